"""Program + Target + Calibration -> Cost. Reads the Program only; it never sees a Schedule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from cost_models.calibration import Calibration
from cost_models.cluster import copy_waits, critical_path
from cost_models.counts import CallCount, call_macs, count_calls, moved_bytes
from dse.alloc import live_spans
from dse.cost import Cost, Overrun, StageCost
from dse.kernel import Kernel
from dse.program import Node, Program, Stage, loops
from dse.target import Target


@dataclass(frozen=True)
class Budget:
    """What the person allows; None = all the target has."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    cycles: int | None = None


def evaluate(
    program: Program,
    target: Target,
    calibration: Calibration,
    kernels: Mapping[str, Kernel],
    budget: Budget = Budget(),
    wait_states: int = 0,
) -> Cost:
    """The price of a program.

    cycles = Σ stages (stage_cycles + loop_cycles · iterations + Σ calls Σ terms coefficient · feature)
             (calls and iterations of the slowest core; forks, copies and waits of a cluster: cost_models/cluster.py)
             + wait_states · flash_cycles_per_byte · bytes read from flash
             + wait_states · code_cycles_per_byte · bytes of code first run, from flash
             + bytes moved in slow RAM · cycles to fill its cache line / bytes of the line, with wait states.
    """
    moved: Counter[tuple[str, str]] = Counter()
    stages, peaks = [], _stage_peaks(program)
    spread = 0.0
    fetched, slow = _fetched_bytes(program, calibration), _slow_ram(target, wait_states)
    waits = copy_waits(program, target.cluster, partial(call_cycles, kernels=kernels, calibration=calibration))
    for stage in program.stages:
        calls, _ = count_calls(stage)
        traffic = moved_bytes(program, calls)
        moved.update(traffic)
        slowest = critical_path(stage)
        cycles = stage_cycles(slowest.calls, slowest.iterations, 0, kernels, calibration, 0)
        cycles += slowest.cluster_cycles(target.cluster, calibration) + waits.get(stage.name, 0.0)
        spread += sum(
            item.times * call_cycles(item, kernels, calibration) * calibration.kernels[item.call.kernel].worst_error
            for item in slowest.calls
        )
        stalls = wait_states * calibration.flash_cycles_per_byte * traffic["flash", "read"]
        stalls += wait_states * calibration.code_cycles_per_byte * fetched[stage.name]
        stalls += sum(slow.get(region, 0.0) * count for (region, _), count in traffic.items())
        cycles += stalls
        spread += stalls  # one number for all kernels: it may be none of it, or twice
        macs = sum(item.times * call_macs(item.call.op, item.sizes) for item in calls)
        used = tuple(dict.fromkeys(item.call.kernel for item in calls))
        tile = tuple(dict.fromkeys((loop.var, loop.step) for loop in loops(stage.body)))
        read_written = sum(traffic.values())
        stages.append(StageCost(stage.name, stage.ops, used, cycles, macs, read_written, peaks[stage.name], tile))
    total = sum(stage.cycles for stage in stages)
    code = code_bytes(program, calibration)
    sizes = program.arena_bytes()
    if program.code != "flash":
        sizes |= {program.code: code - program.input_bytes - program.output_bytes}  # all but the sample of main
    return Cost(
        cycles=total,
        energy_joules=target.energy_joules(total),
        macs=sum(stage.macs for stage in stages),
        moved_bytes=tuple((region, way, count) for (region, way), count in sorted(moved.items())),
        peak_bytes=tuple(sorted(sizes.items())),
        weight_bytes=program.weight_bytes(),
        code_bytes=code,
        stages=tuple(stages),
        overruns=_overruns(sizes, target, budget, program.weight_bytes() + code, total),
        spread_cycles=spread,
    )


def code_bytes(program: Program, calibration: Calibration) -> int:
    """Flash of the emitted firmware besides its weights: start-up, kernels, calls, and the sample its main checks."""
    calls = tuple(program.calls())
    turns = sum(1 for stage in program.stages for _ in loops(stage.body))
    sample = program.input_bytes + program.output_bytes
    return flash_code_bytes({call.kernel for call in calls}, len(calls), turns, sample, calibration)


def flash_code_bytes(
    kernels: Iterable[str], calls: int, turns: int, sample_bytes: int, calibration: Calibration
) -> int:
    """The same from the kernels called, how many calls and loops there are, and the bytes of the sample."""
    functions: dict[str, int] = {}
    for name in kernels:
        functions |= calibration.kernels[name].functions
    glue = calibration.network_code_bytes + calibration.call_code_bytes * calls
    glue += calibration.loop_code_bytes * turns
    return round(glue) + sum(functions.values()) + sample_bytes


def stage_cycles(
    calls: Iterable[CallCount],
    iterations: int,
    flash_bytes: int,
    kernels: Mapping[str, Kernel],
    calibration: Calibration,
    wait_states: int,
) -> float:
    """Cycles of a stage: its own, those of its loop iterations and calls, and the stalls of bytes read from flash."""
    cycles = calibration.stage_cycles + calibration.loop_cycles * iterations
    cycles += sum(item.times * call_cycles(item, kernels, calibration) for item in calls)
    return cycles + wait_states * calibration.flash_cycles_per_byte * flash_bytes


def _fetched_bytes(program: Program, calibration: Calibration) -> dict[str, int]:
    """Stage -> bytes of code that run there for the first time; 0 when code does not run from flash."""
    fetched, seen = dict.fromkeys((stage.name for stage in program.stages), 0), set[str]()
    for stage in program.stages if program.code == "flash" else ():
        for item in count_calls(stage)[0]:
            functions = calibration.kernels[item.call.kernel].functions
            fetched[stage.name] += sum(size for name, size in functions.items() if name not in seen)
            fetched[stage.name] += round(calibration.call_code_bytes)
            seen |= set(functions)
    return fetched


def _slow_ram(target: Target, wait_states: int) -> dict[str, float]:
    """Region -> cycles a byte that is touched once, of the RAM that takes time."""
    if wait_states == 0 or target.data_cache is None:
        return {}
    return {region.name: region.fill_cycles / target.data_cache.fill_bytes for region in target.ram()}


def call_cycles(item: CallCount, kernels: Mapping[str, Kernel], calibration: Calibration) -> float:
    """Cycles of one call: the calibrated coefficients times the manifest's features at these integer arguments.

    The same call comes up in thousands of schedules, so its cycles are kept with the calibration.
    """
    name = item.call.kernel
    key = (name, *item.sizes.values())
    known = calibration.priced.get(key)
    if known is None:
        fit = calibration.kernels[name].cycles
        known = sum(fit[term] * feature.evaluate(item.sizes) for term, feature in kernels[name].terms)
        calibration.priced[key] = known
    return known


def _overruns(
    sizes: Mapping[str, int], target: Target, budget: Budget, flash_bytes: int, cycles: float
) -> tuple[Overrun, ...]:
    code = target.code()
    found = [
        Overrun(region.name, sizes[region.name], region.size_bytes)
        for region in (*target.ram(), *((code,) if code else ()))
        if sizes.get(region.name, 0) > region.size_bytes
    ]
    limits = [("ram", sum(sizes.values()), budget.ram_bytes), ("flash", flash_bytes, budget.flash_bytes)]
    found += [Overrun(name, demand, limit) for name, demand, limit in limits if limit is not None and demand > limit]
    if budget.cycles is not None and cycles > budget.cycles:
        found.append(Overrun("latency", math.ceil(cycles), budget.cycles, "cycles"))
    if flash_bytes > target.flash_bytes():
        found.append(Overrun("flash", flash_bytes, target.flash_bytes()))
    return tuple(found)


def _leaves(body: tuple[Node, ...]) -> int:
    return sum(_leaves(node.body) if hasattr(node, "body") else 1 for node in body)


def _stage_peaks(program: Program) -> dict[str, int]:
    """Bytes alive at the fullest moment of each stage."""
    return {stage.name: max((sum(b.values()) for b in moments), default=0) for stage, moments in _moments(program)}


def _moments(program: Program) -> list[tuple[Stage, list[dict[str, int]]]]:
    spans = live_spans(program.stages, program.input.base, program.output.base)
    sizes = {b.name: b.size_bytes for b in program.buffers}
    result, position = [], 0
    for stage in program.stages:
        count = _leaves(stage.body)
        moments = [
            {name: sizes[name] for name, span in spans.items() if name in sizes and span.first <= leaf <= span.last}
            for leaf in range(position, position + count)
        ]
        result.append((stage, moments))
        position += count
    return result


def peak_buffers(program: Program) -> tuple[str, tuple[tuple[str, int], ...]]:
    """(stage, buffers alive with their bytes, largest first) at the moment most bytes are alive."""
    best: tuple[int, str, dict[str, int]] = (-1, "", {})
    for stage, moments in _moments(program):
        for alive in moments:
            if sum(alive.values()) > best[0]:
                best = (sum(alive.values()), stage.name, alive)
    return best[1], tuple(sorted(best[2].items(), key=lambda item: (-item[1], item[0])))
