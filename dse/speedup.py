"""A study of a cluster: the best schedule on every number of cores and with every budget of L1, executed -> speed-ups over
the first number of cores, and what waiting for the DMA takes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dse import execute, pipeline
from dse.target import load_target

Row = dict[str, Any]
COLUMNS: tuple[str, ...] = (
    "model",
    "scope",
    "near_bytes",
    "cores",
    "predicted_cycles",
    "executed_cycles",
    "error_percent",
    "speedup",
)
COLUMNS += ("bar", "copy_wait_cycles", "mac_per_cycle", "arena_bytes", "bit_exact", "schedule")


def run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    """A row a network, budget and number of cores, in the plan's order; speed-ups refer to the first number of cores.

    A model of the plan is (name, scope, least speed-up on the last number of cores, "" for none); near_bytes: most bytes of
    the first memory, 0 for all of it.
    """
    rows: list[Row] = []
    budgets, counts = plan.get("near_bytes", [0]), plan["cores"]
    for (model, scope, bar), near in itertools.product(plan["models"], budgets):
        alone = 0
        for cores in counts:
            progress("cluster", len(rows), len(plan["models"]) * len(budgets) * len(counts), f"{model} on {cores}")
            row = _row(model, scope, plan, near, cores)
            alone = alone or row["executed_cycles"]
            row["speedup"] = round(alone / row["executed_cycles"], 2)
            row["bar"] = bar if cores == counts[-1] else ""
            rows.append(row)
    return rows


def _row(model: str, scope: str, plan: Mapping[str, Any], near: int, cores: int) -> Row:
    name = load_target(plan["target"]).near()[0].name
    limits = {name: near} if near else {}
    prepared = pipeline.prepare(model, plan["target"], scope=scope, form=plan.get("form"), regions=limits, cores=cores)
    found = pipeline.find(prepared, ("latency",), trials=plan["trials"], seed=plan["seed"])
    point = found.best or found.nearest
    if not point.cost.fits:
        raise ValueError(f"study: {model} on {cores} cores with {near} B near them: no schedule fits")
    with tempfile.TemporaryDirectory() as scratch:
        ran = execute.prove(prepared, point, Path(scratch))
    return {
        "model": model,
        "scope": scope,
        "near_bytes": near or "all",
        "cores": cores,
        "predicted_cycles": round(point.cost.cycles),
        "executed_cycles": ran.cycles,
        "error_percent": round(100 * (point.cost.cycles / ran.cycles - 1), 2),
        "copy_wait_cycles": ran.copy_wait_cycles,
        "mac_per_cycle": round(point.cost.macs / ran.cycles, 3),
        "arena_bytes": ran.arena_bytes[name],
        "bit_exact": ran.bit_exact and ran.canaries_intact,
        "schedule": point.schedule.describe(),
    }


def markdown(rows: Sequence[Mapping[str, Any]], header: str) -> str:
    """Provenance and the table."""
    names = [name for name in COLUMNS if name != "schedule"]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return header.replace("# ", "Provenance: ") + "\n\n" + "\n".join(lines) + "\n"
