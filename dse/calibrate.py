"""Micro-benchmarks on the emulated device -> the calibration file of a target.

A benchmark is a Program like any other, with one stage a shape that calls one kernel a few times; it goes through the
same emitter, compiler and device as a real network, so what is fitted is what will be counted.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from rich.table import Table

from codegen.build import build, find_toolchains
from codegen.device import Device
from codegen.device.elf import parse_elf
from codegen.emit import IoScale, Sample, emit
from codegen.names import arena_symbol, stage_symbols
from cost_models import calibration as calibrations
from cost_models.calibrate import ColdCall, Footprint, Measurement, fit_code, fit_kernel, fit_stalls, shapes
from cost_models.calibration import Calibration, KernelFit, load_calibration
from cost_models.counts import call_traffic
from dse import ptq
from dse.alloc import Span, place_buffers
from dse.cluster_bench import bench_of, cluster_program, constants_of
from dse.execute import open_device
from dse.folders import write_files
from dse.kernel import Kernel, kernels_for, kernels_root, load_kernels
from dse.layout import RIGHT, Right, panels_bytes, panels_stride_bytes
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.lower import lower
from dse.measurements import read_measurements
from dse.program import Affine, Buffer, Call, Constant, Loop, Pointer, Program, Stage, affine, loops
from dse.quant import layernorm_guard
from dse.rewrite import forms, rewrite
from dse.space import build_space
from dse.target import Target

CLUSTER_OPERANDS = 6  # bytes an element of the elementwise kernels, at most
REPEATS = 4
FOOTPRINTS = 16  # firmwares a scope
_GLUE = ("main", "Reset_", "_start", "Default_", "tlf_port", "tlf_network", "tlf_stage", "mem", "__", "SystemInit")


def calibrate(target: Target, out: Path | None, progress: Callable[..., None]) -> tuple[Path, Table]:
    """Measure and fit every kernel the target runs; writes the TOML and returns (path, table of fits)."""
    kernels = load_kernels()
    wanted = [k for op in dict.fromkeys(k.op for k in kernels.values()) for k in kernels_for(op, target.isa, kernels)]
    fits: dict[str, KernelFit] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for done, kernel in enumerate(wanted):
            progress("calibrate", done, len(wanted), kernel.name)
            measured, functions = run_calls(kernel, _shapes_on(kernel, target), target, kernels, Path(scratch))
            fit = fit_kernel(kernel, measured, functions)
            fits[kernel.name] = fit_stalls(kernel, fit, run_cold(kernel, target, kernels, Path(scratch)), target)
        code = fit_code(_footprints(target, kernels, Path(scratch)))
        cold = _cold_cycles_per_byte(target, kernels, Path(scratch)) if target.is_cluster else 0.0
    result = Calibration(target.name, provenance(target, wanted), 0.0, 0.0, cold, *code, fits)
    return _write(result, out), _table(result)


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
        fits[name] = replace(old, cycles=fit.cycles, worst_error=error, shapes=fit.shapes, spans=spans)
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
    wanted = [k for op in dict.fromkeys(k.op for k in kernels.values()) for k in kernels_for(op, target.isa, kernels)]
    for kernel in wanted:
        calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(shapes(kernel))]
        write_files(folder / kernel.name, dict(_project(bench_program(calls, target), target, kernels)))
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


def run_calls(
    kernel: Kernel,
    at: Sequence[Mapping[str, int]],
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
) -> tuple[list[Measurement], dict[str, int]]:
    """Cycles and instructions of a call at each of these sizes, and the bytes of the functions the kernel links."""
    calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(at)]
    if target.is_cluster:
        measured, functions, _ = _run_on_cluster(calls, target, kernels, folder)
        return measured, functions
    program = bench_program(calls, target)
    elf = _build(program, target, kernels, folder)
    device = open_device(elf, target)
    device.boot()
    _fill(device, program)
    symbols = stage_symbols([stage.name for stage in program.stages])
    run = device.call("tlf_network_run", stages=symbols)
    sizes = [{k: v.const for k, v in call.arguments if isinstance(v, Affine)} for call, _ in calls]
    measured = [
        Measurement(z, c.cycles / REPEATS, c.instructions / REPEATS) for z, c in zip(sizes, run.stages, strict=True)
    ]
    return measured, _kernel_functions(elf)


def _run_on_cluster(
    calls: list[tuple[Call, tuple[Buffer | Constant, ...]]],
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
) -> tuple[list[Measurement], dict[str, int], float]:
    """The same on all cores at once, and cycles until the code of the kernel lies in the caches."""
    program = cluster_program(calls, target, REPEATS)
    elf = _build(program, target, kernels, folder)
    device = open_device(elf, target)
    device.boot()
    symbols = stage_symbols([stage.name for stage in program.stages])
    arena = device.symbol(arena_symbol(target.ram()[0].name)).address
    measured, cold = [], 0.0
    for index, (call, items) in enumerate(calls):
        _fill(device, program)
        for offset, data in constants_of(program, items).items():
            device.write(arena + offset, data)
        many, once = (device.call(name) for name in symbols[2 * index : 2 * index + 2])
        cycles = (many.cycles - once.cycles) / (REPEATS - 1)
        instructions = (many.instructions - once.instructions) / (REPEATS - 1) / target.cores
        sizes = {k: v.const for k, v in call.arguments if isinstance(v, Affine)}
        measured.append(Measurement(sizes, cycles, instructions))
        cold += max(0.0, once.cycles - cycles - target.cluster.fork_cycles)
    return measured, _kernel_functions(elf), cold / len(calls)


def run_cold(kernel: Kernel, target: Target, kernels: Mapping[str, Kernel], folder: Path) -> list[ColdCall]:
    """Cycles of one call with empty caches at every calibration shape and wait state; [] on a target without."""
    if target.max_wait_states == 0:
        return []
    calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(shapes(kernel))]
    program = bench_program(calls, target, repeats=1)
    elf = _build(program, target, kernels, folder)
    symbols = stage_symbols([stage.name for stage in program.stages])
    prefetches = target.code_cache is not None and target.code_cache.prefetch
    states = range(target.max_wait_states + 1) if prefetches else (0, target.max_wait_states)
    found: dict[int, list[int]] = {}  # without prefetch, what a call loses is in proportion to what a miss takes
    for state in states:
        device = open_device(elf, target, state)
        device.boot()
        _fill(device, program)
        found[state] = [device.call(symbol).cycles for symbol in symbols]  # a call starts with empty caches
    integers = [{k: v.const for k, v in call.arguments if isinstance(v, Affine)} for call, _ in calls]
    return [
        ColdCall(sizes, _flash_operands(call, sizes, items), {state: found[state][index] for state in states})
        for index, ((call, items), sizes) in enumerate(zip(calls, integers, strict=True))
    ]


def _flash_operands(call: Call, sizes: Mapping[str, int], items: Sequence[Buffer | Constant]) -> dict[str, int]:
    constants = {item.name for item in items if isinstance(item, Constant)}
    bases = {name: value.base for name, value in call.arguments if isinstance(value, Pointer)}
    return {f: sum(moved) for f, moved in call_traffic(call, sizes).items() if bases[f] in constants}


def provenance(target: Target, kernels: Sequence[Kernel]) -> str:
    """When, how and of which sources a calibration was made."""
    digest = hashlib.sha256()
    for source in sorted({source for kernel in kernels for source in kernel.sources}):
        digest.update((kernels_root() / source).read_bytes())
    compiler = find_toolchains(target.isa)[0]
    return f"{date.today()}; emulated {target.cpu}; {compiler}; kernels {digest.hexdigest()[:12]}"


def _cold_cycles_per_byte(target: Target, kernels: Mapping[str, Kernel], folder: Path) -> float:
    """Cycles a byte of a product kernel's code until all cores of a cluster have fetched it."""
    cycles = code = 0.0
    products = ("linear_rows", "probs_rows", "attend_rows")
    for kernel in (kernel for op in products for kernel in kernels_for(op, target.isa, kernels)):
        calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(shapes(kernel))]
        _, functions, cold = _run_on_cluster(calls, target, kernels, folder)
        cycles, code = cycles + cold, code + sum(functions.values())
    return cycles / code


def _footprints(target: Target, kernels: Mapping[str, Kernel], folder: Path) -> list[Footprint]:
    """Flash of small networks under random schedules: the calls of real stages, not of benches."""
    hyper = HyperParameters("footprint", s=18, e=20, p=12, h=6, f=44, layers=2)
    rng = random.Random(0)
    samples = sample_inputs(hyper, 2, 0)
    found: list[Footprint] = []
    for scope in ("mhsa", "encoder"):
        plain = build_model(hyper, scope)
        models = {form: ptq.quantise(rewrite(plain, form), samples) for form in forms(plain)}
        space = build_space(models, target, kernels)
        points = ({name: rng.choice(choices) for name, choices in space.choices} for _ in itertools.count())
        schedules = itertools.islice(filter(None, map(space.decode, points)), FOOTPRINTS)
        programs = (lower(models[schedule.form], schedule, target, kernels) for schedule in schedules)
        found += [_footprint(program, target, kernels, folder) for program in programs]
    return found


def _footprint(program: Program, target: Target, kernels: Mapping[str, Kernel], folder: Path) -> Footprint:
    elf = _build(program, target, kernels, folder)
    code = open_device(elf, target).flash_bytes - program.weight_bytes() - program.input_bytes
    glue = code - program.output_bytes - sum(_kernel_functions(elf).values())
    turns = sum(1 for stage in program.stages for _ in loops(stage.body))
    return Footprint(glue, len(tuple(program.calls())), turns)


def _kernel_functions(elf: Path) -> dict[str, int]:
    """Name -> bytes of every function of kernels/; an entry inside another function counts with that one."""
    found: dict[str, int] = {}
    end = 0
    functions = ((s.address, -s.size, name) for name, s in parse_elf(elf.read_bytes()).symbols.items() if s.is_function)
    for address, size, name in sorted(functions):
        if address >= end and not name.startswith(_GLUE):
            end = address - size
            found[name] = -size
    return found


def bench_call(kernel: Kernel, index: int, sizes: Mapping[str, int]) -> tuple[Call, tuple[Buffer | Constant, ...]]:
    """One call of a kernel at these sizes with dense operands, and the buffers and constants it needs."""
    m, n, k = (sizes.get(key, 1) for key in "mnk")
    right = RIGHT.get(kernel.layout, RIGHT["columns"])
    panels = max((sizes.get(f"{name}_panels", 0) for name in "xqe"), default=0)
    operands = _operands(kernel.op, m, n, k, right, panels)
    integers = _integers(kernel.op, m, n, k, right, panels)
    scratch = kernel.scratch.evaluate({**integers, **sizes})
    items: list[Buffer | Constant] = []
    arguments: list[tuple[str, Pointer | Affine | None]] = []
    for field, (size, constant) in (operands | ({"scratch": (scratch, "")} if scratch else {})).items():
        name = f"{field}{index}"
        if constant:
            items.append(Constant(name, constant, _data(size, constant, field, index)))
        else:
            items.append(Buffer(name, size, "activation", "s8"))
        arguments.append((field, Pointer(name)))
    arguments += [(field, affine(value)) for field, value in (integers | dict(sizes)).items()]
    return Call(kernel.name, kernel.op, f"shape{index}", tuple(arguments), kernel.layout), tuple(items)


def _data(size: int, dtype: str, field: str, index: int) -> bytes:
    rng = np.random.default_rng(index)
    if field == "scale":  # with these sums few results saturate and every factor is short, as in a network
        return np.array([1 << 18], "<i4").tobytes()
    if field == "sum":
        return rng.integers(255, 20000, size // 4).astype("<i4").tobytes()
    if dtype == "s32":
        return rng.integers(1, 200, size // 4).astype("<i4").tobytes()
    if field == "table" and dtype == "u8":
        return np.round(255 * np.exp(-np.arange(256) * 12 / 255)).astype(np.uint8).tobytes()
    return rng.integers(-127, 128, size).astype(np.int8).tobytes()


def _operands(op: str, m: int, n: int, k: int, right: Right, panels: int) -> dict[str, tuple[int, str]]:
    """field -> (bytes, dtype when it is a constant in flash)."""
    left = panels_bytes(m, k) if panels else m * k
    if op.startswith("linear_"):
        special = {"keys": right.size_bytes(m, n), "values": right.size_bytes(n, m), "panels": panels_bytes(m, n)}
        y = special | {"add": 4 * m * n, "rows": m * n, "residual": m * n}
        channel = 4 * (int(right.channel_index(-(-n // right.group) * right.group).max()) + 1)
        found = {"x": (left, ""), "w": (right.size_bytes(n, k), "s8"), "channel": (channel, "s32")}
        return found | {"y": (y[op[7:]], "")} | ({"r": (m * n, "")} if op == "linear_residual" else {})
    if op.startswith("probs_"):
        e = panels_bytes(m, n) if op.endswith("panels") else m * n
        flash = {"mult": (4, "s32"), "table": (256, "u8")}
        return {"q": (left, ""), "keys": (right.size_bytes(n, k), ""), **flash, "e": (e, ""), "sum": (4 * m, "")}
    if op.startswith("attend_"):
        y = {"rows": m * n, "panels": panels_bytes(m, n), "add": 4 * m * n}
        ram = {"e": (left, ""), "values": (right.size_bytes(n, k), ""), "y": (y[op[7:]], "")}
        return ram | {"sum": (4 * m, "s32"), "scale": (4, "s32")}
    if op in ("narrow", "layernorm"):
        return {"x": ((4 if op == "narrow" else 1) * m * n, ""), "channel": (8 * n, "s32"), "y": (m * n, "")}
    if op == "lut":
        return {"x": (n, ""), "table": (256, "s8"), "y": (n, "")}
    simple = {
        "zero": {"y": 4 * n},
        "pack_keys": {"x": m * k, "y": right.size_bytes(m, k)},
        "pack_panels": {"x": m * k, "y": panels_bytes(m, k)},
        "add": {"a": n, "b": n, "y": n},
        "mean": {"x": m * n, "y": n},
    }
    return {field: (size, "") for field, size in simple[op].items()}


def _integers(op: str, m: int, n: int, k: int, right: Right, panels: int) -> dict[str, int]:
    """Strides and arithmetic constants that are legal for every operand value."""
    left = panels_stride_bytes(k) if panels else k
    if op.startswith("linear_"):
        special = {"keys": right.stride_bytes(n), "values": right.stride_bytes(m), "panels": panels_stride_bytes(n)}
        y = special | {"add": 4 * n}
        found = {"x_stride": left, "w_stride": right.stride_bytes(k), "y_stride": y.get(op[7:], n)}
        found |= {"round": 1 << 17, "preshift": 0, "shift": 18, "high": int(right.reads_panels), "x_panels": panels}
        residual = {"r_stride": n, "mult_y": 100, "mult_r": 90, "add_round": 128, "add_shift": 8}
        return found | (residual if op == "linear_residual" else {})
    if op.startswith("probs_"):
        e = panels_stride_bytes(n) if op.endswith("panels") else n
        strides = {"q_stride": left, "keys_stride": right.stride_bytes(k), "e_stride": e}
        return strides | {"shift": 16, "q_panels": panels}
    if op.startswith("attend_"):
        y = {"rows": n, "panels": panels_stride_bytes(n), "add": 4 * n}
        strides = {"e_stride": left, "values_stride": right.stride_bytes(k), "y_stride": y[op[7:]]}
        return strides | {"round": 1 << 17, "preshift": 0, "shift": 18, "e_panels": panels}
    return {
        "narrow": {"x_stride": 4 * n, "y_stride": n, "round": 128, "preshift": 0, "shift": 8},
        "layernorm": {"x_stride": n, "y_stride": n, "epsilon": 1, "guard": layernorm_guard(n), "shift": 14},
        "pack_keys": {"x_stride": k, "y_stride": right.stride_bytes(k)},
        "pack_panels": {"x_stride": k, "y_stride": panels_stride_bytes(k)},
        "add": {"mult_a": 9000, "mult_b": 7000, "round": 1 << 13, "shift": 14},
        "mean": {"x_stride": n, "mult": 10, "round": 128, "shift": 8},
    }.get(op, {})


def bench_program(
    calls: list[tuple[Call, tuple[Buffer | Constant, ...]]],
    target: Target,
    code: str = "flash",
    repeats: int = REPEATS,
) -> Program:
    """One stage a call, every call repeated; the buffers of all stages share the arena."""
    bodies = [(Loop("i", affine(repeats), 1, (call,)),) if repeats > 1 else (call,) for call, _ in calls]
    stages = [Stage(call.source, (call.source,), body) for (call, _), body in zip(calls, bodies, strict=True)]
    buffers = [item for _, items in calls for item in items if isinstance(item, Buffer)]
    io = [Buffer("input", 4, "input", "s8"), Buffer("output", 4, "output", "s8")]
    spans = {b.name: Span(0, len(calls)) for b in io}
    for position, (_, items) in enumerate(calls):
        spans |= {item.name: Span(position, position) for item in items}
    placed = place_buffers([*io, *buffers], spans, target.ram(), {})
    constants = tuple(item for _, items in calls for item in items if isinstance(item, Constant))
    return bench_of(stages, placed, target, constants, code)


def _project(program: Program, target: Target, kernels: Mapping[str, Kernel]) -> dict[str, str]:
    rng = np.random.default_rng(0)  # of zeros the compiler would make no table
    sample = Sample(rng.bytes(program.input_bytes), rng.bytes(program.output_bytes))
    return emit(program, target, kernels, IoScale(1.0, 0, 1.0, 0), sample)


def _build(
    program: Program, target: Target, kernels: Mapping[str, Kernel], folder: Path, defines: Sequence[str] = ()
) -> Path:
    files = _project(program, target, kernels)
    source = folder / "bench"
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    used = [source / "src" / name for name in files_to_compile(files)]
    include = [
        source / "src",
        source / "src" / "kernels" / "include",
        source / "src" / "port",
        *sorted(path for path in (source / "src" / "port").iterdir() if path.is_dir()),
    ]
    script = source / "src" / "port" / target.port / "link.ld"
    return build(used, include, folder / "bench.elf", linker_script=script, isa=target.isa, defines=defines).elf


def files_to_compile(files: Mapping[str, str]) -> list[str]:
    """The translation units of an emitted project, relative to its src/."""
    return [name.removeprefix("src/") for name in files if name.startswith("src/") and name.endswith((".c", ".S"))]


def _fill(device: Device, program: Program) -> None:
    """Random bytes in every arena: cycles that depend on data then see typical data."""
    rng = np.random.default_rng(0)
    for region, size in program.arena_bytes().items():
        device.write(device.symbol(arena_symbol(region)).address, rng.integers(1, 100, size).astype(np.uint8).tobytes())
