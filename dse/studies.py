"""studies/*.toml -> CSV and Markdown: models × forms × RAM budgets on a target, every winner executed."""

from __future__ import annotations

import csv
import io
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cost_models.model import Budget
from dse import __version__, accuracy, execute, pipeline, speedup
from dse.folders import staged, write_files
from dse.pareto import Point
from dse.pipeline import Prepared

COLUMNS = (
    "model",
    "scope",
    "form",
    "ram_budget_bytes",
    "fits",
    "predicted_cycles",
    "executed_cycles",
    "error_percent",
    "mac_per_cycle",
    "latency_ms",
    "energy_uj",
    "arena_bytes",
    "flash_bytes",
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
    study = {"accuracy": accuracy, "speedup": speedup}.get(kind)
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
    """A Markdown table: the fastest schedule of every network with all the memory of the target."""
    lines = ["| network | form | cycles | predicted | MAC/cycle | latency | energy | arena | flash |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    fitting = [row for row in rows if str(row["fits"]) == "True" and str(row["ram_budget_bytes"]) == "all"]
    for case in dict.fromkeys((row["model"], row["scope"]) for row in fitting):
        same = [row for row in fitting if (row["model"], row["scope"]) == case]
        row = min(same, key=lambda r: int(r["executed_cycles"]))
        lines.append(
            f"| {case[0]} {case[1]} | {row['form']} | {int(row['executed_cycles']):,} | "
            f"{float(row['error_percent']):+.1f} % | {float(row['mac_per_cycle']):.2f} | "
            f"{float(row['latency_ms']):.2f} ms | "
            f"{float(row['energy_uj']):,.0f} µJ | {int(row['arena_bytes']):,} B | {int(row['flash_bytes']):,} B |"
        )
    return "\n".join(lines) + "\n"


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
    return (
        f"commit {commit()}; {versions}; seed {plan['seed']}; target {plan.get('target') or ', '.join(plan['targets'])}"
    )


def _run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    cases = [(m, scope, form) for m, scope in plan["models"] for form in plan["forms"]]
    total = len(cases) * len(plan["ram_bytes"])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for model, scope, form in cases:
            prepared = pipeline.prepare(model, plan["target"], scope=scope, form=form)
            for ram in plan["ram_bytes"]:
                progress("study", len(rows), total, f"{model} {scope} {form}")
                budget = Budget(ram_bytes=ram or None)
                found = pipeline.find(prepared, ("latency",), budget, plan["trials"], plan["seed"])
                point = found.best or found.nearest
                rows.append(_row(prepared, point, (model, scope, form, ram), Path(scratch)))
    return rows


def _row(prepared: Prepared, point: Point, case: tuple[str, str, str, int], folder: Path) -> Row:
    model, scope, form, ram = case
    cost, target = point.cost, prepared.target
    row: Row = dict.fromkeys(COLUMNS, "")
    row |= {"model": model, "scope": scope, "form": form, "ram_budget_bytes": ram or "all", "fits": cost.fits}
    row |= {"predicted_cycles": round(cost.cycles), "arena_bytes": cost.arena_bytes}
    row |= {"sqnr_db": round(prepared.forms[0].sqnr_db, 1), "schedule": point.schedule.describe()}
    if not cost.fits:
        return row
    result = execute.prove(prepared, point, folder)
    return row | {
        "executed_cycles": result.cycles,
        "error_percent": round(100 * (cost.cycles - result.cycles) / result.cycles, 2),
        "mac_per_cycle": round(cost.macs / result.cycles, 3),
        "latency_ms": round(1e3 * result.cycles / target.clock_hz, 3),
        "energy_uj": round(1e6 * target.energy_joules(result.cycles), 1),
        "arena_bytes": sum(result.arena_bytes.values()),
        "flash_bytes": result.flash_bytes,
        "stack_bytes": result.stack_bytes,
        "bit_exact": result.bit_exact and result.canaries_intact,
    }


def _csv(rows: list[Row], columns: Sequence[str], header: str) -> str:
    stream = io.StringIO()
    stream.write(header + "\n")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(rows: list[Row], plan: Mapping[str, Any], header: str) -> str:
    shown: tuple[str, ...] = (
        "model",
        "scope",
        "form",
        "ram_budget_bytes",
        "executed_cycles",
        "error_percent",
        "mac_per_cycle",
    )
    shown += ("latency_ms", "energy_uj", "arena_bytes", "flash_bytes", "bit_exact")
    lines = [header.replace("# ", "Provenance: "), "", "| " + " | ".join(c.replace("_", " ") for c in shown) + " |"]
    lines.append("|" + "---|" * len(shown))
    for row in rows:
        values = [str(row[c]) if row["fits"] or c in shown[:4] else "–" for c in shown]
        if not row["fits"]:
            values[4] = f"does not fit: needs {row['arena_bytes']} B"
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"
