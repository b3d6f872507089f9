"""Micro-benchmarks on the emulated device -> the calibration file of a target.

A benchmark is a Program like any other, with one stage a shape that calls one kernel a few times; it goes through the
same emitter, compiler and device as a real network, so what is fitted is what will be counted.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from codegen.build import build
from codegen.device import Device
from codegen.device.elf import parse_elf
from codegen.emit import IoScale, Sample, emit
from codegen.names import arena_symbol, stage_symbols
from cost_models import calibration as calibrations
from cost_models.calibrate import Footprint, Measurement, fit_code, fit_kernel, shapes
from cost_models.calibration import Calibration, KernelFit
from dse import ptq
from dse.alloc import Span, place_buffers
from dse.cluster_bench import cluster_program, constants_of
from dse.execute import open_device
from dse.kernel import Kernel, kernels_for, load_kernels
from dse.layout import RIGHT, Right, even, panels_bytes, panels_stride_bytes
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.lower import lower
from dse.program import Affine, Buffer, Call, Constant, Loop, Pointer, Program, Stage, affine, loops
from dse.quant import layernorm_guard
from dse.rewrite import forms, rewrite
from dse.space import build_space
from dse.target import Target

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
            measured, functions = run_calls(kernel, shapes(kernel), target, kernels, Path(scratch))
            fits[kernel.name] = fit_kernel(kernel, measured, functions)
        code = fit_code(_footprints(target, kernels, Path(scratch)))
        stalls = _flash_stalls(target, kernels, Path(scratch))
    toolchain = "zig, emulated device, zero wait states"
    result = Calibration(target.name, toolchain, 0.0, 0.0, *stalls, *code, fits)
    path = out or calibrations.FOLDER / f"{target.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(calibrations.to_toml(result), encoding="utf-8")
    partial.replace(path)
    return path, _table(result)


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
    wait_states: int = 0,
    code: str = "flash",
) -> tuple[list[Measurement], dict[str, int]]:
    """Cycles and instructions of a call at each of these sizes, and the bytes of the functions the kernel links."""
    calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(at)]
    if target.is_cluster:
        measured, functions, _ = _run_on_cluster(calls, target, kernels, folder)
        return measured, functions
    program = bench_program(calls, target, code)
    elf = _build(program, target, kernels, folder)
    device = open_device(elf, target, wait_states)
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
    calls: list[tuple[Call, tuple[Buffer | Constant, ...]]], target: Target, code: str = "flash"
) -> Program:
    """One stage a call, every call repeated; the buffers of all stages share the arena."""
    stages = [Stage(call.source, (call.source,), (Loop("i", affine(REPEATS), 1, (call,)),)) for call, _ in calls]
    buffers = [item for _, items in calls for item in items if isinstance(item, Buffer)]
    io = [Buffer("input", 4, "input", "s8"), Buffer("output", 4, "output", "s8")]
    spans = {b.name: Span(0, len(calls)) for b in io}
    for position, (_, items) in enumerate(calls):
        spans |= {item.name: Span(position, position) for item in items}
    placed = place_buffers([*io, *buffers], spans, target.ram(), {})
    constants = tuple(item for _, items in calls for item in items if isinstance(item, Constant))
    return Program(
        model="bench",
        form="none",
        target=target.name,
        schedule_digest="bench",
        input=Pointer("input"),
        input_bytes=4,
        output=Pointer("output"),
        output_bytes=4,
        buffers=placed,
        constants=constants,
        stages=tuple(stages),
        code=code,
    )


def _build(program: Program, target: Target, kernels: Mapping[str, Kernel], folder: Path) -> Path:
    rng = np.random.default_rng(0)  # of zeros the compiler would make no table
    sample = Sample(rng.bytes(program.input_bytes), rng.bytes(program.output_bytes))
    files = emit(program, target, kernels, IoScale(1.0, 0, 1.0, 0), sample)
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
    return build(used, include, folder / "bench.elf", linker_script=script, isa=target.isa).elf


def files_to_compile(files: Mapping[str, str]) -> list[str]:
    """The translation units of an emitted project, relative to its src/."""
    return [name.removeprefix("src/") for name in files if name.startswith("src/") and name.endswith((".c", ".S"))]


def _fill(device: Device, program: Program) -> None:
    """Random bytes in every arena: cycles that depend on data then see typical data."""
    rng = np.random.default_rng(0)
    for region, size in program.arena_bytes().items():
        device.write(device.symbol(arena_symbol(region)).address, rng.integers(1, 100, size).astype(np.uint8).tobytes())


def _code_bytes(elf: Path) -> int:
    """Bytes of the functions that the schedule places; 1 on a board that cannot place them."""
    symbols = parse_elf(elf.read_bytes()).symbols
    ends = [symbols[name].address for name in ("__code_start", "__code_end") if name in symbols]
    return ends[1] - ends[0] if len(ends) == 2 else 1


def _flash_stalls(target: Target, kernels: Mapping[str, Kernel], folder: Path) -> tuple[float, float]:
    """Stall cycles a wait state of one byte read from flash, and of one byte of code first run from there; on a cluster
    the latter as they are, code lies behind small caches there.

    Linear kernels measured with and without wait states. Where code can run from RAM the two are told apart; else all of
    it is charged to the bytes read.
    """
    if target.is_cluster:
        return 0.0, _cold_cycles_per_byte(target, kernels, folder)
    states = target.max_wait_states
    if states == 0:
        return 0.0, 0.0
    (kernel, *_) = sorted(kernels_for("linear_rows", target.isa, kernels), key=lambda k: k.isa == "any")
    at = shapes(kernel)
    region = target.code()
    home = region.name if region else "flash"
    still, _ = run_calls(kernel, at, target, kernels, folder, code=home)
    slow, _ = run_calls(kernel, at, target, kernels, folder, states, home)
    fetched, _ = run_calls(kernel, at, target, kernels, folder, states)
    read = sum(even(m.sizes["n"]) * even(m.sizes["k"]) + 8 * m.sizes["n"] for m in still)
    code = _code_bytes(folder / "bench.elf")
    still_cycles, slow_cycles, fetched_cycles = (sum(m.cycles for m in runs) for runs in (still, slow, fetched))
    per_byte = (slow_cycles - still_cycles) / states / read
    return max(0.0, per_byte), max(0.0, REPEATS * (fetched_cycles - slow_cycles) / states / code)
