"""One lowered part of a network -> its price: the rows of the search's tables. The sums over parts equal `evaluate` of the
whole program (a test holds them together on random schedules), but for the time a cluster waits for its DMA: the whole
program alone knows what runs beside a copy, so that parts bound its cycles from below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cost_models.calibration import Calibration
from cost_models.cluster import copy_waits, critical_path
from cost_models.code_fetch import CodeFetch
from cost_models.code_stalls import keeps_code
from cost_models.counts import count_calls, moved_bytes
from cost_models.model import call_cycles, stage_cycles
from cost_models.stalls import stage_stalls
from dse.alloc import live_spans
from dse.cost import PartCost
from dse.kernel import Kernel
from dse.program import Pointer, Program, loops
from dse.schedule import FAMILIES, family_of
from dse.target import Target


def price_part(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, target: Target, wait_states: int = 0
) -> PartCost:
    """The price of a part that `lower_part` made; its buffers need no place. Code that is fetched once is left out."""
    cycles = dict.fromkeys(("", *FAMILIES), 0.0)
    scratch: dict[str, str] = {}
    readers: dict[str, str] = {}  # constant -> the family that reads it
    used: dict[str, set[str]] = {family: set() for family in FAMILIES}
    constants = {c.name: c.size_bytes if c.region == "flash" else 0 for c in program.constants}
    for stage in program.stages:
        path = critical_path(stage)
        cycles[""] += stage_cycles((), path.iterations, kernels, calibration) + path.overhead_cycles(target.cluster)
        for family, cold in path.cold_cycles(calibration).items():
            cycles[family] += cold
        for item in path.calls:
            cycles[family_of(item.call.op)] += item.times * call_cycles(item, kernels, calibration)
        for stalled in stage_stalls(program, stage, target, wait_states, kernels, calibration):
            cycles[family_of(stalled.item.call.op)] += stalled.data_cycles
            cycles[family_of(stalled.item.call.op)] += 0.0 if keeps_code(target) else stalled.code_cycles
    for call in (calls := tuple(program.calls())):
        family = family_of(call.op)
        used[family].add(call.kernel)
        for field, value in call.arguments:
            if isinstance(value, Pointer):
                if value.base in constants:
                    readers[value.base] = family
                elif field == "scratch":
                    scratch[value.base] = family
    weights = dict.fromkeys(FAMILIES, 0)
    for name, size in constants.items():  # what nobody reads came with the weights of a linear op
        weights[readers.get(name, "linear")] += size
    return PartCost(
        cycles=cycles,
        floor_bytes=_floors(program, scratch),
        kernels={family: frozenset(names) for family, names in used.items()},
        weight_bytes=weights,
        calls=len(calls) + sum(len(stage.load) for stage in program.stages),
        loops=sum(1 for stage in program.stages for _ in loops(stage.body)),
    )


def _floors(program: Program, scratch: Mapping[str, str]) -> dict[str, int]:
    """Family -> most bytes alive near the cores at any call, scratch of other families left out.

    scratch: buffer -> family.
    """
    spans = live_spans(program.stages, program.input.base, program.output.base)
    buffers = [(spans[b.name], b.size_bytes, scratch.get(b.name, "")) for b in program.buffers if not b.region]
    floors = dict.fromkeys(FAMILIES, 0)
    for leaf in {span.first for span, _, _ in buffers}:
        alive = dict.fromkeys(("", *FAMILIES), 0)
        for span, size_bytes, family in buffers:
            if span.first <= leaf <= span.last:
                alive[family] += size_bytes
        for family, most in floors.items():
            floors[family] = max(most, alive[""] + alive[family])
    return floors


def price_ops(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, target: Target, wait_states: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """(cycles, bytes moved) of a whole program by the model op its calls work for; loops and stages are on their own, with
    what a cluster adds to them."""
    cycles: dict[str, float] = {}
    moved: dict[str, float] = {}
    price = partial(call_cycles, kernels=kernels, calibration=calibration)
    rest = sum(copy_waits(program, target.cluster, price).values())
    fetch, recent = CodeFetch(program, target, wait_states, kernels, calibration), dict[str, float]()
    for stage in program.stages:
        path = critical_path(stage)
        rest += stage_cycles((), path.iterations, kernels, calibration)
        rest += path.cluster_cycles(target.cluster, calibration)
        for item in path.calls:
            cycles[item.call.source] = cycles.get(item.call.source, 0.0) + item.times * price(item)
        for stalled in stage_stalls(program, stage, target, wait_states, kernels, calibration, recent):
            cycles[stalled.item.call.source] += stalled.data_cycles + fetch.cycles(stalled.item, stalled.code_cycles)
        for item in count_calls(stage)[0]:
            op = item.call.source
            moved[op] = moved.get(op, 0.0) + sum(moved_bytes(program, (item,)).values())
    return cycles | {"loops and stages": rest}, moved
