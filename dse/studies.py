"""studies/*.toml -> CSV and Markdown: models × forms × RAM budgets on a target, every winner executed."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cost_models.model import Budget, kernel_code_bytes
from dse import __version__, accuracy, execute, exhaustive, pipeline, speedup
from dse.folders import staged, write_files
from dse.pareto import Point
from dse.pipeline import Prepared
from dse.runs import RunResult

PROCESSES = 2
COLUMNS = (
    "target",
    "model",
    "scope",
    "form",
    "ram_budget_bytes",
    "chosen_wait_states",
    "wait_states",
    "fits",
    "predicted_cycles",
    "executed_cycles",
    "error_percent",
    "mac_per_cycle",
    "latency_ms",
    "energy_uj",
    "arena_bytes",
    "flash_bytes",
    "kernel_bytes",
    "stack_bytes",
    "bit_exact",
    "sqnr_db",
    "schedule",
)
Row = dict[str, Any]


def studies_root() -> Path:
    """The folder of the studies: of the checkout this package runs from, else of the one a person stands in."""
    beside = Path(__file__).resolve().parent.parent / "studies"
    return beside if beside.is_dir() else Path.cwd() / "studies"


def describe_studies() -> list[tuple[str, str]]:
    """(name, description) of every study."""
    return [(path.stem, str(_read(path).get("description", ""))) for path in sorted(studies_root().glob("*.toml"))]


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def run_study(name: str | None, out: Path | None, progress: Callable[..., None]) -> list[Path]:
    """Run one study and write `<name>.csv` and `<name>.md`; ValueError for an unknown name."""
    path = studies_root() / f"{name}.toml"
    if not name or not path.is_file():
        known = ", ".join(stem for stem, _ in describe_studies()) or "none here (run inside a checkout)"
        raise ValueError(f"study {name!r} is unknown; there are: {known}" if name else f"name a study: {known}")
    plan = _read(path)
    kind = plan.get("kind", "winners")
    study = {"accuracy": accuracy, "exhaustive": exhaustive, "speedup": speedup}.get(kind)
    rows = study.run(plan, progress) if study else _run(plan, progress)
    columns = study.COLUMNS if study else COLUMNS
    folder = out or studies_root() / "results"
    header = f"# {name}; {provenance(plan)}"
    page = study.markdown(rows, header) if study else _markdown(rows, plan, header)
    files: dict[str, str | bytes] = {f"{name}.csv": _csv(rows, columns, header), f"{name}.md": page}
    with staged(folder) as work:
        write_files(work, files)
    written = [folder / file for file in files]
    return written if out or study else [*written, *update_readme(name, rows)]


def update_readme(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Rewrite the README's table between the markers of this study; [] when it has none."""
    path = studies_root().parent / "README.md"
    first, last = f"<!-- study {name} -->\n", "<!-- end of study -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if first not in text or last not in text:
        return []
    head, rest = text.split(first, 1)
    tail = rest.split(last, 1)[1]
    partial = path.with_suffix(".partial")
    partial.write_text(head + first + summary(rows) + last + tail, encoding="utf-8")
    partial.replace(path)
    return [path]


def read_rows(path: Path) -> list[Row]:
    """The rows of a study's CSV, as text."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table: the fastest schedule of every network with all the memory of the target; of several targets,
    cycles unfused and of the fastest form side by side."""
    fitting = [row for row in rows if str(row["fits"]) == "True" and str(row["ram_budget_bytes"]) == "all"]
    targets = tuple(dict.fromkeys(row["target"] for row in rows))
    networks = tuple(dict.fromkeys((row["model"], row["scope"]) for row in fitting))
    lines = _one_target(fitting, networks) if len(targets) == 1 else _targets(fitting, networks, targets)
    return "\n".join(lines) + "\n"


def _fastest(rows: Sequence[Mapping[str, Any]], **wanted: str) -> Mapping[str, Any] | None:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return min(found, key=lambda row: int(row["executed_cycles"]), default=None)


def _one_target(rows: Sequence[Mapping[str, Any]], networks: Sequence[tuple[str, str]]) -> list[str]:
    lines = ["| network | form | cycles | predicted | MAC/cycle | latency | energy | arena | flash |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for model, scope in networks:
        row = _fastest(rows, model=model, scope=scope)
        if row:
            lines.append(
                f"| {model} {scope} | {row['form']} | {int(row['executed_cycles']):,} | "
                f"{float(row['error_percent']):+.1f} % | {float(row['mac_per_cycle']):.2f} | "
                f"{float(row['latency_ms']):.2f} ms | "
                f"{float(row['energy_uj']):,.0f} µJ | {int(row['arena_bytes']):,} B | {int(row['flash_bytes']):,} B |"
            )
    return lines


def _targets(
    rows: Sequence[Mapping[str, Any]], networks: Sequence[tuple[str, str]], targets: Sequence[str]
) -> list[str]:
    lines = ["| cycles unfused / fastest form | " + " | ".join(targets) + " |", "|---|" + "---:|" * len(targets)]
    for model, scope in networks:
        cells = []
        for target in targets:
            plain = _fastest(rows, model=model, scope=scope, target=target, form="none")
            best = _fastest(rows, model=model, scope=scope, target=target)
            figures = [f"{int(row['executed_cycles']):,}" if row else "–" for row in (plain, best)]
            cells.append(" / ".join(dict.fromkeys(figures)))
        lines.append(f"| {model} {scope} | " + " | ".join(cells) + " |")
    return lines


def commit() -> str:
    """The short hash of the checkout's commit."""
    root = studies_root().parent
    result = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return result.stdout.strip() or "no commit"


def provenance(plan: Mapping[str, Any]) -> str:
    """Commit, versions and seed of a run."""
    import numpy
    import optuna

    versions = f"tileformer {__version__}, numpy {numpy.__version__}, optuna {optuna.__version__}"
    targets = ", ".join(plan.get("targets") or [plan["target"]])
    return f"commit {commit()}; {versions}; seed {plan['seed']}; target {targets}"


@dataclass(frozen=True)
class Case:
    """A network in one form with one budget, its schedule chosen for one number of flash wait states."""

    target: str
    model: str
    scope: str
    form: str
    ram_bytes: int
    wait_states: int


def _run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    """A row a case and number of wait states it is executed with, in the plan's order."""
    states = tuple(plan.get("wait_states", [0]))
    axes = itertools.product(plan["targets"], plan["models"], plan["forms"], plan["ram_bytes"], states)
    cases = [Case(target, model, scope, form, ram, chosen) for target, (model, scope), form, ram, chosen in axes]
    work = functools.partial(_rows, trials=plan["trials"], seed=plan["seed"], states=states)
    rows: list[Row] = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for done, (case, answer) in enumerate(zip(cases, pool.map(work, cases), strict=True), 1):
            progress("study", done, len(cases), f"{case.target} {case.model} {case.scope} {case.form}")
            rows += answer
    return rows


@functools.lru_cache(maxsize=1)
def _prepared(target: str, model: str, scope: str, form: str) -> Prepared:
    return pipeline.prepare(model, target, scope=scope, form=None if form == "best" else form)


def _rows(case: Case, trials: int, seed: int, states: Sequence[int]) -> list[Row]:
    """Search, build once, and execute with every number of wait states."""
    prepared = _prepared(case.target, case.model, case.scope, case.form)
    budget = Budget(ram_bytes=case.ram_bytes or None)
    found = pipeline.find(prepared, ("latency",), budget, trials, seed, case.wait_states)
    point = found.best or found.nearest
    if not point.cost.fits:
        return [_row(prepared, point, case, state) for state in states]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        execute.write_run_folder(prepared, point, folder)
        toolchain = execute.build_firmware(folder, prepared.target)
        runs = [(state, execute.execute_folder(folder, state, toolchain)[0]) for state in states]
        return [_row(prepared, point, case, state) | _executed(prepared, point, state, run) for state, run in runs]


def _row(prepared: Prepared, point: Point, case: Case, wait_states: int) -> Row:
    cost, admitted = point.cost, {form.form: form.sqnr_db for form in prepared.forms}
    row: Row = dict.fromkeys(COLUMNS, "")
    row |= {"target": case.target, "model": case.model, "scope": case.scope, "form": point.schedule.form}
    row |= {"ram_budget_bytes": case.ram_bytes or "all", "chosen_wait_states": case.wait_states}
    row |= {"wait_states": wait_states, "fits": cost.fits, "arena_bytes": cost.arena_bytes}
    used = {kernel for stage in cost.stages for kernel in stage.kernels}
    return row | {
        "predicted_cycles": round(cost.cycles),
        "kernel_bytes": kernel_code_bytes(used, prepared.calibration),
        "sqnr_db": round(admitted[point.schedule.form], 1),
        "schedule": point.schedule.describe(),
    }


def _executed(prepared: Prepared, point: Point, wait_states: int, run: RunResult) -> Row:
    cost, target = prepared.price(point.schedule, wait_states=wait_states), prepared.target
    return {
        "predicted_cycles": round(cost.cycles),
        "executed_cycles": run.cycles,
        "error_percent": round(100 * (cost.cycles - run.cycles) / run.cycles, 2),
        "mac_per_cycle": round(cost.macs / run.cycles, 3),
        "latency_ms": round(1e3 * run.cycles / target.clock_hz, 3),
        "energy_uj": round(1e6 * (target.energy_joules(run.cycles) + cost.access_joules), 1),
        "arena_bytes": sum(run.arena_bytes.values()),
        "flash_bytes": run.flash_bytes,
        "stack_bytes": run.stack_bytes,
        "bit_exact": run.bit_exact and run.canaries_intact,
    }


def _csv(rows: list[Row], columns: Sequence[str], header: str) -> str:
    stream = io.StringIO()
    stream.write(header + "\n")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(rows: list[Row], plan: Mapping[str, Any], header: str) -> str:
    case: tuple[str, ...] = (
        "target",
        "model",
        "scope",
        "form",
        "ram_budget_bytes",
        "chosen_wait_states",
        "wait_states",
    )
    figures: tuple[str, ...] = (
        "executed_cycles",
        "error_percent",
        "mac_per_cycle",
        "latency_ms",
        "energy_uj",
        "arena_bytes",
    )
    figures += ("flash_bytes", "kernel_bytes", "bit_exact")
    case = tuple(column for column in case if len({row[column] for row in rows}) > 1)
    lines = [header.replace("# ", "Provenance: "), "", str(plan["description"]) + ".", ""]
    lines += ["| " + " | ".join(c.replace("_", " ") for c in (*case, *figures)) + " |"]
    lines.append("|" + "---|" * len(case + figures))
    for row in rows:
        values = [str(row[c]) if row["fits"] else "–" for c in figures]
        if not row["fits"]:
            values[0] = f"does not fit: needs {row['arena_bytes']} B"
        lines.append("| " + " | ".join([*(str(row[c]) for c in case), *values]) + " |")
    return "\n".join(lines) + "\n"
