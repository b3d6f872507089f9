"""The commands that list what is built in, run studies and calibrate.

What only one of them needs is imported there: a search starts without SciPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from cost_models.calibration import load_calibration
from dse.commands import Answer, Options
from dse.kernel import kernels_for, load_kernels
from dse.load import describe_models
from dse.target import load_target, target_names


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


def models(options: Options) -> Answer:
    """The built-in models."""
    rows = describe_models()
    table = _table("Built-in models", ("model", "s", "e", "p", "h", "f", "layers", "what"), [tuple(r) for r in rows])
    keys = ("name", "s", "e", "p", "h", "f", "layers", "description")
    return Answer([dict(zip(keys, row, strict=True)) for row in rows], (table,))


def targets(options: Options) -> Answer:
    """The built-in targets."""
    boards = [load_target(name) for name in target_names()]
    rows = [
        (t.name, t.isa, f"{t.clock_hz / 1e6:g} MHz", ", ".join(f"{r.name} {r.size_bytes // 1024}K" for r in t.regions))
        for t in boards
    ]
    data = [{"name": t.name, "isa": t.isa, "clock_hz": t.clock_hz, "description": t.description} for t in boards]
    return Answer(data, (_table("Built-in targets", ("target", "isa", "clock", "memories"), rows),))


def kernels(options: Options) -> Answer:
    """The kernel variants a target can run, with their calibrated terms."""
    target, all_kernels = load_target(options.target), load_kernels()
    fits = load_calibration(target.calibrated_as).kernels
    rows = []
    for op in dict.fromkeys(kernel.op for kernel in all_kernels.values()):
        for kernel in kernels_for(op, target.isa, all_kernels):
            fit = fits.get(kernel.name)
            terms = ", ".join(f"{k} {v:.2f}" for k, v in fit.cycles.items() if v) if fit else "not calibrated"
            size = str(fit.code_bytes) if fit else "–"
            rows.append((kernel.name, kernel.isa, kernel.scratch.text, size, terms))
    table = _table(f"Kernels on {target.name}", ("kernel", "isa", "scratch B", "code B", "cycles a term"), rows)
    keys = ("name", "isa", "scratch", "code_bytes", "cycles")
    return Answer([dict(zip(keys, row, strict=True)) for row in rows], (table,))


def study(options: Options) -> Answer:
    """List the studies, or run one and write its CSV and result table."""
    from dse import studies

    if options.action == "list":
        rows = studies.describe_studies()
        return Answer(dict(rows), (_table("Studies", ("study", "what"), rows),))
    written = studies.run_study(options.name, options.out, options.progress)
    return Answer([str(path) for path in written], tuple(f"wrote {path}" for path in written))


def calibrate(options: Options) -> Answer:
    """Fit the cost terms of every kernel and write the calibration file, on the emulated device or --from a board's CSV."""
    from dse import calibrate as calibration_runs

    target = load_target(options.target)
    if options.project:
        written = calibration_runs.write_projects(target, options.project)
        return Answer([str(folder) for folder in written], (f"wrote {len(written)} projects to {options.project}",))
    if options.measured:
        path, table = calibration_runs.calibrate_from(target, options.measured, options.out)
    else:
        path, table = calibration_runs.calibrate(target, options.out, options.progress)
    return Answer({"written": str(path)}, (table, f"wrote {path}"))


def _bench_search(options: Options) -> Answer:
    """Measure how fast the search is on this machine."""
    from dse import benchmarks

    rows = benchmarks.search_speed(options.progress)
    shown = [(row.what, f"{row.value:,.4g} {row.unit}", row.bar) for row in rows]
    return Answer(
        {"machine": benchmarks.machine(), "rows": [asdict(row) for row in rows]},
        (_table(f"Search on {benchmarks.machine()}", ("what", "measured", "bar"), shown),),
    )


def bench(options: Options) -> Answer:
    """Measure every kernel variant of a target on the networks' calls (kernels), or how fast the search is (search)."""
    if options.what == "search":
        return _bench_search(options)
    from dse import bench as kernel_bench

    written, rows = kernel_bench.bench(load_target(options.target), options.out, options.progress)
    columns = ("shape", "kernel", "cycles", "instructions", "mac_per_cycle", "cycles_per_element", "code_bytes")
    table = _table("Kernels", columns, [tuple(str(row[column]) for column in columns) for row in rows])
    anchors = _table("Published and earlier figures", ("what", "figure"), kernel_bench.ANCHORS)
    return Answer(rows, (table, anchors, *(f"wrote {path}" for path in written)))
