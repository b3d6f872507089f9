"""Micro-benchmarks on the emulated device, or cycles from a board -> the calibration file of a target."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from rich.table import Table

from codegen.build import find_toolchains
from cost_models import calibration as calibrations
from cost_models.calibrate import fit_code, fit_contention, fit_errors, fit_kernel, fit_stalls, shapes
from cost_models.calibration import Calibration, KernelFit, load_calibration
from cost_models.model import evaluate
from dse.bench_calls import bench_call, bench_program
from dse.bench_runs import ScheduleRun, bench_project, run_calls, run_cold, schedule_runs
from dse.folders import write_files
from dse.kernel import Kernel, kernels_for, kernels_root, load_kernels
from dse.measurements import read_measurements
from dse.target import Target

CLUSTER_OPERANDS = 6  # bytes an element of the elementwise kernels, at most


def calibrate(target: Target, out: Path | None, progress: Callable[..., None]) -> tuple[Path, Table]:
    """Measure and fit every kernel the target runs; writes the TOML and returns (path, table of fits)."""
    kernels = load_kernels()
    wanted = _wanted(target, kernels)
    fits: dict[str, KernelFit] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for done, kernel in enumerate(wanted):
            progress("calibrate", done, len(wanted), kernel.name)
            ran = run_calls(kernel, _shapes_on(kernel, target), target, kernels, Path(scratch))
            fit = fit_kernel(kernel, ran.measured, ran.functions)
            contention = fit_contention(kernel, ran.measured, ran.alone)
            fit = replace(fit, fetch_cycles=ran.fetch_cycles, contention=contention)
            fits[kernel.name] = fit_stalls(kernel, fit, run_cold(kernel, target, kernels, Path(scratch)), target)
        runs = schedule_runs(target, kernels, Path(scratch), {name: fit.functions for name, fit in fits.items()})
        code = fit_code([run.footprint for run in runs])
    result = Calibration(target.name, provenance(target, wanted), 0.0, 0.0, *code, fits, cores=target.cores)
    result = replace(result, errors=_errors(runs, target, kernels, result))
    return _write(result, out), _table(result)


def _errors(
    runs: Sequence[ScheduleRun], target: Target, kernels: Mapping[str, Kernel], result: Calibration
) -> tuple[float, ...]:
    """What the prices of executed schedules err by, at each number of wait states; () where none was executed."""
    states = range(target.max_wait_states + 1 if runs and runs[0].cycles else 0)
    predicted = [[evaluate(run.program, target, result, kernels, wait_states=s).cycles for s in states] for run in runs]
    return fit_errors(predicted, [[run.cycles[state] for state in states] for run in runs])


def _wanted(target: Target, kernels: Mapping[str, Kernel]) -> list[Kernel]:
    ops = dict.fromkeys(kernel.op for kernel in kernels.values())
    return [kernel for op in ops for kernel in kernels_for(op, target.isa, kernels)]


def _shapes_on(kernel: Kernel, target: Target) -> tuple[dict[str, int], ...]:
    """The calibration shapes of a kernel; on a cluster those whose operands lie in L1 for all cores at once."""
    most = target.ram()[0].size_bytes // (CLUSTER_OPERANDS * target.cores) if target.is_cluster else None
    return tuple(sizes for sizes in shapes(kernel) if most is None or sizes.get("n", 1) <= most)


def calibrate_from(target: Target, measurements: Path, out: Path | None) -> tuple[Path, Table]:
    """Refit the kernels that were measured on a board at zero wait states; terms that its calls do not tell apart, and all
    other kernels, stay as calibrated. Writes the TOML and returns (path, table of the refitted)."""
    kernels, before = load_kernels(), load_calibration(target.calibrated_as)
    measured = read_measurements(measurements, target, kernels)
    known = {name: calls for name, calls in measured.items() if name in before.kernels}
    if not known:
        raise ValueError(f"{measurements}: {target.calibrated_as} has no calibration of {', '.join(measured)}")
    fits = dict(before.kernels)
    for name, calls in known.items():
        old = fits[name]
        fit = fit_kernel(kernels[name], calls, old.functions, old.cycles)
        spans = {key: _union(fit.spans[key], old.spans.get(key, fit.spans[key])) for key in fit.spans}
        error = max(old.worst_error, fit.worst_error)  # a few calls can be met exactly
        fits[name] = replace(old, cycles=fit.cycles, worst_error=error, shapes=fit.shapes, spans=spans, calls=fit.calls)
    digest = hashlib.sha256(measurements.read_bytes()).hexdigest()[:12]
    source = f"{date.today()}; {len(known)} kernels measured, {measurements.name} {digest}; else {before.provenance}"
    result = replace(before, target=target.name, provenance=source.replace('"', "'"), kernels=fits)
    return _write(result, out), _table(replace(result, kernels={name: fits[name] for name in known}))


def _union(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0]), max(one[1], other[1])


def write_projects(target: Target, folder: Path) -> list[Path]:
    """Write a C project a kernel that makes its calibration calls: built with -DTLF_MEASURE it prints their cycles as CSV.
    Returns their folders."""
    kernels = load_kernels()
    wanted = _wanted(target, kernels)
    for kernel in wanted:
        calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(shapes(kernel))]
        write_files(folder / kernel.name, dict(bench_project(bench_program(calls, target), target, kernels)))
    return [folder / kernel.name for kernel in wanted]


def _write(result: Calibration, out: Path | None) -> Path:
    path = out or calibrations.FOLDER / f"{result.target}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(calibrations.to_toml(result), encoding="utf-8")
    partial.replace(path)
    return path


def _table(result: Calibration) -> Table:
    table = Table("kernel", "shapes", "worst error", "code B", title=f"Calibration of {result.target}")
    for name, fit in result.kernels.items():
        table.add_row(name, str(fit.shapes), f"{100 * fit.worst_error:.2f} %", str(fit.code_bytes))
    return table


def provenance(target: Target, kernels: Sequence[Kernel]) -> str:
    """When, how and of which sources a calibration was made."""
    digest = hashlib.sha256()
    sources = {kernels_root() / source for kernel in kernels for source in kernel.sources}
    included = {path for folder in {source.parent for source in sources} for path in folder.glob("*.inc")}
    for path in sorted(sources | included):
        digest.update(path.read_bytes())
    compiler = find_toolchains(target.isa)[0]
    return f"{date.today()}; emulated {target.cpu}; {compiler}; kernels {digest.hexdigest()[:12]}"
