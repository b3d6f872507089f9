"""Calls to measure -> cycles, instructions and code bytes, counted on the emulated device."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.device import Device
from codegen.device.elf import parse_elf
from codegen.device.result import CallResult
from codegen.emit import IoScale, Sample, emit
from codegen.names import arena_symbol, stage_symbols
from cost_models.calibrate import ColdCall, Footprint, Measurement, loop_shapes, shapes
from cost_models.code_row import code_order
from cost_models.code_stalls import keeps_code
from dse import ptq
from dse.bench_calls import REPEATS, bench_call, bench_program
from dse.cluster_bench import STAGES, cluster_program, constants_of
from dse.execute import build_firmware, open_device
from dse.folders import write_files
from dse.kernel import Kernel
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.lower import lower
from dse.program import Affine, Buffer, Call, Constant, Program, loops
from dse.rewrite import forms, rewrite
from dse.space import build_space
from dse.target import Target

COLD_CALLS = 256  # of one firmware: their weights fill its flash
SCHEDULES = 16  # of every network below
_DEEP = HyperParameters("deep", s=28, e=24, p=8, h=4, f=40, layers=2)
_WIDE = HyperParameters("wide", s=52, e=40, p=16, h=5, f=80, layers=1)
_SHORT = HyperParameters("short", s=6, e=48, p=24, h=6, f=96, layers=1)  # calls of few rows
NETWORKS = (  # none of them is built in
    (_DEEP, "mhsa"),
    (_DEEP, "encoder"),
    (_WIDE, "mhsa"),
    (_WIDE, "block"),
    (_SHORT, "mhsa"),
    (_SHORT, "encoder"),
)
_GLUE = ("main", "Reset_", "_start", "Default_", "tlf_port", "tlf_network", "tlf_stage", "mem", "__", "SystemInit")


@dataclass(frozen=True)
class CallRuns:
    """The calls of a kernel, and the bytes of the functions it links. On a cluster: cycles of the calls on one core,
    `alone`, and until the code lies in the caches of one core and of all (the mean over the calls)."""

    measured: list[Measurement]
    functions: dict[str, int]
    alone: tuple[float, ...] = ()
    fetch_cycles: tuple[float, float] = (0.0, 0.0)


def run_calls(
    kernel: Kernel,
    at: Sequence[Mapping[str, int]],
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
) -> CallRuns:
    """A call at each of these sizes; on a cluster by all cores at once."""
    calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(at)]
    if target.is_cluster:
        return _run_on_cluster(calls, target, kernels, folder)
    program = bench_program(calls, target)
    elf = build_bench(program, target, kernels, folder)
    device = open_device(elf, target)
    device.boot()
    fill(device, program)
    symbols = stage_symbols([stage.name for stage in program.stages])
    run = device.call("tlf_network_run", stages=symbols)
    sizes = [{k: v.const for k, v in call.arguments if isinstance(v, Affine)} for call, _ in calls]
    measured = [
        Measurement(z, c.cycles / REPEATS, c.instructions / REPEATS) for z, c in zip(sizes, run.stages, strict=True)
    ]
    return CallRuns(measured, _kernel_functions(elf))


def _run_on_cluster(
    calls: list[tuple[Call, tuple[Buffer | Constant, ...]]],
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
) -> CallRuns:
    program = cluster_program(calls, target, REPEATS)
    elf = build_bench(program, target, kernels, folder)
    device = open_device(elf, target)
    device.boot()
    symbols = stage_symbols([stage.name for stage in program.stages])
    arena = device.symbol(arena_symbol(target.ram()[0].name)).address
    measured, alone, fetches = [], [], []
    for index, (call, items) in enumerate(calls):
        fill(device, program)
        for offset, data in constants_of(program, items).items():
            device.write(arena + offset, data)
        first = len(STAGES) * index
        many, once, own, own_once = (device.call(name) for name in symbols[first : first + len(STAGES)])
        cycles = (many.cycles - once.cycles) / (REPEATS - 1)
        instructions = (many.instructions - once.instructions) / (REPEATS - 1) / target.cores
        sizes = {k: v.const for k, v in call.arguments if isinstance(v, Affine)}
        measured.append(Measurement(sizes, cycles, instructions))
        alone.append((own.cycles - own_once.cycles) / (REPEATS - 1))
        cold = (own_once.cycles - alone[-1], once.cycles - cycles)
        fetches.append([max(0.0, more - target.cluster.fork_cycles) for more in cold])
    fetch_alone, fetch_all = np.mean(fetches, axis=0)
    return CallRuns(measured, _kernel_functions(elf), tuple(alone), (float(fetch_alone), float(fetch_all)))


def run_cold(kernel: Kernel, target: Target, kernels: Mapping[str, Kernel], folder: Path) -> list[ColdCall]:
    """Cycles of one call with empty caches at every calibration shape and wait state, and at the shapes of its loops
    without and with the most wait states; [] on a target without."""
    if target.max_wait_states == 0:
        return []
    ends = (0, target.max_wait_states)
    # without prefetch, what a call loses is in proportion to what a miss takes
    states = range(target.max_wait_states + 1) if target.code_cache and target.code_cache.prefetch else ends
    found = _cold_calls(kernel, shapes(kernel), states, target, kernels, folder)
    further = loop_shapes(kernel, keeps_code(target))
    for first in range(0, len(further), COLD_CALLS):
        found += _cold_calls(kernel, further[first : first + COLD_CALLS], ends, target, kernels, folder)
    return found


def _cold_calls(
    kernel: Kernel,
    at: Sequence[Mapping[str, int]],
    states: Sequence[int],
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
) -> list[ColdCall]:
    calls = [bench_call(kernel, index, sizes) for index, sizes in enumerate(at)]
    program = bench_program(calls, target, repeats=1)
    elf = build_bench(program, target, kernels, folder)
    symbols = stage_symbols([stage.name for stage in program.stages])
    found: dict[int, list[int]] = {}
    runs: list[CallResult] = []
    for state in states:
        device = open_device(elf, target, state)
        device.boot()
        fill(device, program)
        runs = [device.call(symbol) for symbol in symbols]  # a call starts with empty caches
        found[state] = [run.cycles for run in runs]
    integers = [{k: v.const for k, v in call.arguments if isinstance(v, Affine)} for call, _ in calls]
    return [
        ColdCall(sizes, {s: found[s][index] for s in states}, run.code_misses, run.data_misses, run.code_lines)
        for index, (sizes, run) in enumerate(zip(integers, runs, strict=True))
    ]


@dataclass(frozen=True)
class ScheduleRun:
    """A random schedule of a network made for the calibration: what its firmware takes, and wait states -> cycles."""

    program: Program
    footprint: Footprint
    cycles: dict[int, int]


def schedule_runs(
    target: Target, kernels: Mapping[str, Kernel], folder: Path, functions: Mapping[str, Mapping[str, int]]
) -> list[ScheduleRun]:
    """Small networks under random schedules: the calls of real stages, not of benches. On a cluster none is executed.
    functions: kernel -> function -> bytes, which the linker gets in order as for a network."""
    rng = random.Random(0)
    found: list[ScheduleRun] = []
    for hyper, scope in NETWORKS:
        samples = sample_inputs(hyper, 2, 0)
        plain = build_model(hyper, scope)
        models = {form: ptq.quantise(rewrite(plain, form), samples) for form in forms(plain)}
        space = build_space(models, target, kernels)
        points = ({name: rng.choice(choices) for name, choices in space.choices} for _ in itertools.count())
        schedules = itertools.islice(filter(None, map(space.decode, points)), SCHEDULES)
        programs = (lower(models[schedule.form], schedule, target, kernels) for schedule in schedules)
        found += [_schedule_run(program, target, kernels, folder, functions) for program in programs]
    return found


def _schedule_run(
    program: Program,
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
    functions: Mapping[str, Mapping[str, int]],
) -> ScheduleRun:
    order = code_order(program, functions) if keeps_code(target) else ()
    elf = build_bench(program, target, kernels, folder, code_order=order)
    code = open_device(elf, target).flash_bytes - program.weight_bytes() - program.input_bytes
    glue = code - program.output_bytes - sum(_kernel_functions(elf).values())
    turns = sum(1 for stage in program.stages for _ in loops(stage.body))
    cycles: dict[int, int] = {}
    for state in () if target.is_cluster else range(target.max_wait_states + 1):
        device = open_device(elf, target, state)
        device.boot()
        fill(device, program)
        cycles[state] = device.call("tlf_network_run").cycles
    return ScheduleRun(program, Footprint(glue, len(tuple(program.calls())), turns), cycles)


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


def bench_project(
    program: Program, target: Target, kernels: Mapping[str, Kernel], code_order: Sequence[Sequence[str]] = ()
) -> dict[str, str]:
    """{path: text} of the C project of a program of calls."""
    rng = np.random.default_rng(0)  # of zeros the compiler would make no table
    sample = Sample(rng.bytes(program.input_bytes), rng.bytes(program.output_bytes))
    return emit(program, target, kernels, IoScale(1.0, 0, 1.0, 0), sample, code_order)


def build_bench(
    program: Program,
    target: Target,
    kernels: Mapping[str, Kernel],
    folder: Path,
    defines: Sequence[str] = (),
    code_order: Sequence[Sequence[str]] = (),
) -> Path:
    """The firmware of a program of calls, under `folder`."""
    project = folder / "bench"
    shutil.rmtree(project, ignore_errors=True)
    write_files(project, dict(bench_project(program, target, kernels, code_order)))
    build_firmware(project, target, defines=defines)
    return project / "firmware.elf"


def fill(device: Device, program: Program) -> None:
    """Random bytes in every arena: cycles that depend on data then see typical data."""
    rng = np.random.default_rng(0)
    for region, size in program.arena_bytes().items():
        device.write(device.symbol(arena_symbol(region)).address, rng.integers(1, 100, size).astype(np.uint8).tobytes())
