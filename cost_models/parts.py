"""One lowered part of a network -> its price: the rows of the search's tables. The sums over parts equal `evaluate` of the
whole program (a test holds them together on random schedules)."""

from __future__ import annotations

from collections.abc import Mapping

from cost_models.calibration import Calibration
from cost_models.counts import count_calls, moved_bytes
from cost_models.model import call_cycles, stage_cycles
from dse.alloc import fullest_bytes, live_spans
from dse.cost import PartCost
from dse.kernel import Kernel
from dse.program import Program, loops


def price_part(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, wait_states: int = 0
) -> PartCost:
    """The price of a part that `lower_part` made; its buffers need no place."""
    cycles = 0.0
    for stage in program.stages:
        calls, iterations = count_calls(stage)
        flash = moved_bytes(program, calls)["flash", "read"] if wait_states else 0
        cycles += stage_cycles(calls, iterations, flash, kernels, calibration, wait_states)
    every = tuple(program.calls())
    return PartCost(
        cycles=cycles,
        floor_bytes=fullest_bytes(program.buffers, live_spans(program.stages, program.input.base, program.output.base)),
        weight_bytes=program.weight_bytes(),
        kernels=frozenset(call.kernel for call in every),
        calls=len(every),
        loops=sum(1 for stage in program.stages for _ in loops(stage.body)),
    )


def price_ops(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, wait_states: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """(cycles, bytes moved) of a whole program by the model op its calls work for; loops and stages are on their own."""
    cycles: dict[str, float] = {}
    moved: dict[str, float] = {}
    rest = 0.0
    for stage in program.stages:
        calls, iterations = count_calls(stage)
        rest += stage_cycles((), iterations, 0, kernels, calibration, wait_states)
        for item in calls:
            op, traffic = item.call.source, moved_bytes(program, (item,))
            stall = wait_states * calibration.flash_cycles_per_byte * traffic["flash", "read"]
            cycles[op] = cycles.get(op, 0.0) + item.times * call_cycles(item, kernels, calibration) + stall
            moved[op] = moved.get(op, 0.0) + sum(traffic.values())
    return cycles | {"loops and stages": rest}, moved
