"""A study of the cost model: random schedules, all executed -> predicted beside executed, and what the errors amount to.

The networks are none of those that `dse calibrate` measures: it knows single calls at shapes of its own.
"""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from dse import execute, pipeline
from dse.interpret import interpret
from dse.ops import quantise_input
from dse.pareto import Point
from dse.pipeline import Prepared
from dse.runs import RunResult
from dse.schedule import Schedule

PROCESSES = 2
DRAWS = 200  # points a schedule may take; a space smaller than the plan gives what it has
Row = dict[str, Any]
COLUMNS: tuple[str, ...] = ("target", "wait_states", "model", "scope", "predicted_cycles", "low_cycles", "high_cycles")
COLUMNS += ("executed_cycles", "error_percent", "bit_exact", "arena_exact", "traffic_exact")
COLUMNS += ("flash_bytes", "flash_error_percent", "schedule")


@dataclass(frozen=True)
class Case:
    """One schedule of one network on one target."""

    target: str
    model: str
    scope: str
    schedule: Schedule


def run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    """A row a schedule and wait state, in the plan's order."""
    found = [case for target in plan["targets"] for model in plan["models"] for case in draw(plan, target, *model)]
    rows: list[Row] = []
    states = tuple(plan["wait_states"])
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for done, answer in enumerate(pool.map(functools.partial(prove, wait_states=states), found), 1):
            progress("accuracy", done, len(found), f"{found[done - 1].target} {found[done - 1].model}")
            rows += answer
    return rows


def draw(plan: Mapping[str, Any], target: str, model: str, scope: str) -> list[Case]:
    """Distinct random schedules that fit, the same for the same seed."""
    prepared = _prepared(model, target, scope)
    rng = random.Random(f"{plan['seed']} {target} {model} {scope}")
    chosen: dict[str, Schedule] = {}
    for _ in range(DRAWS * plan["schedules"]):
        if len(chosen) == plan["schedules"]:
            break
        schedule = prepared.space.decode({name: rng.choice(choices) for name, choices in prepared.space.choices})
        if schedule is not None and prepared.price(schedule).fits:
            chosen.setdefault(schedule.digest(), schedule)
    return [Case(target, model, scope, schedule) for schedule in chosen.values()]


@functools.lru_cache(maxsize=4)
def _prepared(model: str, target: str, scope: str) -> Prepared:
    return pipeline.prepare(model, target, scope=scope)


def prove(case: Case, wait_states: Sequence[int]) -> list[Row]:
    """Build once, execute with each of the wait states that the target takes."""
    prepared = _prepared(case.model, case.target, case.scope)
    states = [state for state in wait_states if state <= prepared.target.max_wait_states]
    point = Point(case.schedule, prepared.price(case.schedule))
    exact = _traffic_exact(prepared, point)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        execute.write_run_folder(prepared, point, folder)
        execute.build_firmware(folder, prepared.target)
        return [_row(case, prepared, state, folder) | {"traffic_exact": exact} for state in states]


def _row(case: Case, prepared: Prepared, state: int, folder: Path) -> Row:
    cost = prepared.price(case.schedule, wait_states=state)
    run = _execute(case, prepared, state, folder)
    ram = {region.name for region in prepared.target.ram()}
    arenas = {name: size for name, size in cost.peak_bytes if name in ram}
    return {
        "target": case.target,
        "wait_states": state,
        "model": case.model,
        "scope": case.scope,
        "predicted_cycles": round(cost.cycles),
        "low_cycles": round(cost.cycles_low),
        "high_cycles": round(cost.cycles_high),
        "executed_cycles": run.cycles,
        "error_percent": round(100 * (cost.cycles / run.cycles - 1), 3),
        "bit_exact": run.bit_exact and run.canaries_intact,
        "arena_exact": arenas == {name: size for name, size in run.arena_bytes.items() if name in ram},
        "flash_bytes": run.flash_bytes,
        "flash_error_percent": round(100 * (cost.flash_bytes / run.flash_bytes - 1), 3),
        "schedule": case.schedule.describe(),
    }


def _execute(case: Case, prepared: Prepared, state: int, folder: Path) -> RunResult:
    """The first sample on the emulated device."""
    program, cost = prepared.program(case.schedule), prepared.price(case.schedule)
    model, sample = prepared.models[program.form], prepared.loaded.samples[:1]
    inputs = quantise_input(model, sample)
    expected = pipeline.reference_output(model, inputs[0])[None]
    stages, regions = [stage.name for stage in cost.stages], [name for name, _ in cost.peak_bytes]
    elf = folder / "firmware.elf"
    return execute.execute(elf, stages, regions, prepared.target, inputs, expected, "", state)


def _traffic_exact(prepared: Prepared, point: Point) -> bool:
    """True when the closed form's bytes moved by region are those that the interpreter counts."""
    program = prepared.program(point.schedule)
    first = quantise_input(prepared.models[program.form], prepared.loaded.samples[:1])[0]
    counted = interpret(program, first, prepared.target.cluster).counters
    return {(r, way): n for r, way, n in point.cost.moved_bytes} == {k: n for k, n in counted.moved_bytes.items() if n}


def summary(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row a target and wait state: quantiles of the cycles' error, order, regret, coverage and exactness.

    tau and regret are taken within each network; the worst network is what is shown.
    """
    groups = dict.fromkeys((row["target"], row["wait_states"]) for row in rows)
    return [_summary([row for row in rows if (row["target"], row["wait_states"]) == group]) for group in groups]


def _summary(rows: Sequence[Mapping[str, Any]]) -> Row:
    errors = np.abs([float(row["error_percent"]) for row in rows])
    cases = dict.fromkeys((row["model"], row["scope"]) for row in rows)
    ranks = [_ranks([row for row in rows if (row["model"], row["scope"]) == case]) for case in cases]
    inside = [int(r["low_cycles"]) <= int(r["executed_cycles"]) <= int(r["high_cycles"]) for r in rows]
    return {
        "target": rows[0]["target"],
        "wait_states": rows[0]["wait_states"],
        "schedules": len(rows),
        "median_percent": round(float(np.median(errors)), 2),
        "p95_percent": round(float(np.percentile(errors, 95)), 2),
        "max_percent": round(float(errors.max()), 2),
        "tau": round(min(tau for tau, _ in ranks), 3),
        "regret_percent": round(max(regret for _, regret in ranks), 2),
        "in_interval_percent": round(100 * float(np.mean(inside)), 1),
        "bytes_exact": all(_true(row, "arena_exact", "traffic_exact") for row in rows),
        "bit_exact": all(_true(row, "bit_exact") for row in rows),
    }


def _true(row: Mapping[str, Any], *columns: str) -> bool:
    return all(str(row[column]) == "True" for column in columns)


def _ranks(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(Kendall's tau of predicted against executed, percent by which the predicted best is slower than the best)."""
    predicted = np.array([int(row["predicted_cycles"]) for row in rows])
    executed = np.array([int(row["executed_cycles"]) for row in rows])
    regret = 100 * (executed[predicted.argmin()] / executed.min() - 1)
    return float(kendalltau(predicted, executed).statistic), float(regret)


def markdown(rows: Sequence[Mapping[str, Any]], header: str) -> str:
    """The summary, then the same by network."""
    cases = dict.fromkeys((row["target"], row["wait_states"], row["model"], row["scope"]) for row in rows)
    by_case = [[r for r in rows if (r["target"], r["wait_states"], r["model"], r["scope"]) == case] for case in cases]
    networks = [{"network": f"{group[0]['model']} {group[0]['scope']}"} | _summary(group) for group in by_case]
    parts = [header.replace("# ", "Provenance: "), _table(summary(rows)), "By network:", _table(networks)]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[Row]) -> str:
    listed = list(rows)
    lines = ["| " + " | ".join(key.replace("_", " ") for key in listed[0]) + " |", "|---" * len(listed[0]) + "|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in listed]
    return "\n".join(lines)
