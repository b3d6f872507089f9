"""Program + Target + Calibration -> Cost. Reads the Program only; it never sees a Schedule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from cost_models.calibration import Calibration, is_of_banks
from cost_models.cluster import copy_waits, critical_path
from cost_models.code_fetch import CodeFetch
from cost_models.code_stalls import exact
from cost_models.counts import CallCount, call_macs, count_calls, moved_bytes
from cost_models.stalls import stage_stalls
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
             + with wait states the stalls of data and code (cost_models/stalls.py).
    """
    moved: Counter[tuple[str, str]] = Counter()
    stages, peaks = [], _stage_peaks(program)
    spread, beyond = 0.0, dict[str, None]()
    fetch, recent = CodeFetch(program, target, wait_states, kernels, calibration), dict[str, float]()
    waits = copy_waits(program, target.cluster, partial(call_cycles, kernels=kernels, calibration=calibration))
    for stage in program.stages:
        calls, _ = count_calls(stage)
        traffic = moved_bytes(program, calls)
        moved.update(traffic)
        slowest = critical_path(stage)
        cycles = stage_cycles(slowest.calls, slowest.iterations, kernels, calibration)
        cycles += slowest.cluster_cycles(target.cluster, calibration) + waits.get(stage.name, 0.0)
        for item in slowest.calls:
            found = outside(item, calibration)
            beyond |= dict.fromkeys(found)
            spread += call_spread(item, bool(found), kernels, calibration)
        for stalled in stage_stalls(program, stage, target, wait_states, kernels, calibration, recent):
            cycles += stalled.data_cycles + fetch.cycles(stalled.item, stalled.code_cycles)
        cycles += fetch.again(stage)
        macs = sum(item.times * call_macs(item.call.op, item.sizes) for item in calls)
        used = tuple(dict.fromkeys(item.call.kernel for item in calls))
        tile = tuple(dict.fromkeys((loop.var, loop.step) for loop in loops(stage.body)))
        read_written = sum(traffic.values())
        stages.append(StageCost(stage.name, stage.ops, used, cycles, macs, read_written, peaks[stage.name], tile))
    total = sum(stage.cycles for stage in stages)
    code = code_bytes(program, calibration)
    sizes, held = program.arena_bytes(), program.constant_bytes()
    if program.code != "flash":
        sizes |= {program.code: code - program.input_bytes - program.output_bytes}  # all but the sample of main
    accesses = tuple((region, way, count) for (region, way), count in sorted(moved.items()))
    access_joules = target.access_joules(accesses)
    return Cost(
        cycles=total,
        energy_joules=target.energy_joules(total) + access_joules,
        macs=sum(stage.macs for stage in stages),
        moved_bytes=accesses,
        peak_bytes=tuple(sorted(sizes.items())),
        weight_bytes=program.weight_bytes(),
        code_bytes=code,
        stages=tuple(stages),
        overruns=_overruns(held, sizes, target, budget, program.weight_bytes() + code, total),
        spread_cycles=spread + schedule_spread(total, wait_states, calibration),
        outside=tuple(beyond),
        external_bytes=sum(held.values()) - program.weight_bytes(),
        access_joules=access_joules,
    )


def code_bytes(program: Program, calibration: Calibration) -> int:
    """Flash of the emitted firmware besides its weights: start-up, kernels, calls, and the sample its main checks."""
    calls = (*program.calls(), *(load for stage in program.stages for load in stage.load))
    turns = sum(1 for stage in program.stages for _ in loops(stage.body))
    sample = program.input_bytes + program.output_bytes
    return flash_code_bytes({call.kernel for call in program.calls()}, len(calls), turns, sample, calibration)


def flash_code_bytes(
    kernels: Iterable[str], calls: int, turns: int, sample_bytes: int, calibration: Calibration
) -> int:
    """The same from the kernels called, how many calls and loops there are, and the bytes of the sample."""
    glue = calibration.network_code_bytes + calibration.call_code_bytes * calls
    glue += calibration.loop_code_bytes * turns
    return round(glue) + kernel_code_bytes(kernels, calibration) + sample_bytes


def kernel_code_bytes(kernels: Iterable[str], calibration: Calibration) -> int:
    """Bytes of code of kernel variants linked together: what several of them call counts once."""
    functions: dict[str, int] = {}
    for name in kernels:
        functions |= calibration.kernels[name].functions
    return sum(functions.values())


def stage_cycles(
    calls: Iterable[CallCount], iterations: int, kernels: Mapping[str, Kernel], calibration: Calibration
) -> float:
    """Cycles of a stage without stalls: its own, and those of its loop iterations and calls."""
    cycles = calibration.stage_cycles + calibration.loop_cycles * iterations
    return cycles + sum(item.times * call_cycles(item, kernels, calibration) for item in calls)


def outside(item: CallCount, calibration: Calibration) -> tuple[str, ...]:
    """Which sizes of a call lie beyond those its kernel was measured at, as text."""
    kernel = item.call.kernel
    return tuple(
        f"{kernel}: {name} = {item.sizes[name]}, measured {least} to {most}"
        for name, (least, most) in calibration.kernels[kernel].spans.items()
        if not least <= item.sizes[name] <= most
    )


def call_spread(item: CallCount, is_outside: bool, kernels: Mapping[str, Kernel], calibration: Calibration) -> float:
    """How far off these calls are if each errs as the worst shape of its kernel's calibration, twice that outside the sizes
    measured. Where schedules were executed for the calibration only calls outside count: `schedule_spread` has the rest."""
    error = calibration.kernels[item.call.kernel].worst_error
    times = 2 * is_outside if calibration.errors else 1 + is_outside
    return times * error * item.times * call_cycles(item, kernels, calibration)


def schedule_spread(cycles: float, wait_states: int, calibration: Calibration) -> float:
    """How far off a program is that errs as the schedules executed for the calibration."""
    errors = calibration.errors
    return cycles * errors[min(wait_states, len(errors) - 1)] if errors else 0.0


def call_cycles(item: CallCount, kernels: Mapping[str, Kernel], calibration: Calibration) -> float:
    """Cycles of one call: the calibrated coefficients times the manifest's features at these integer arguments; less, in
    proportion to the cores of a cluster that are not at work, what those would keep it waiting (all of the terms `bank`).

    The same call comes up in thousands of schedules, so its cycles are kept with the calibration.
    """
    name = item.call.kernel
    key = (name, item.cores, *item.sizes.values())
    known = calibration.priced.get(key)
    if known is None:
        fit = calibration.kernels[name]
        idle = (calibration.cores - item.cores) / max(1, calibration.cores - 1)
        known = exact(
            sum(
                fit.cycles[term]
                * feature.evaluate(item.sizes)
                * (1 - idle * (1.0 if is_of_banks(term) else fit.contention))
                for term, feature in kernels[name].terms
            )
        )
        calibration.priced[key] = known
    return known


def _overruns(
    constants: Mapping[str, int],
    sizes: Mapping[str, int],
    target: Target,
    budget: Budget,
    flash_bytes: int,
    cycles: float,
) -> tuple[Overrun, ...]:
    demand = {**constants, **sizes}
    found = [
        Overrun(region.name, demand[region.name], region.size_bytes)
        for region in (*target.ram(), target.code(), target.external())
        if region is not None and demand.get(region.name, 0) > region.size_bytes
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
