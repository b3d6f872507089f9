"""Where the code of a network lies: stage by stage, each followed by the kernels that no stage before has called.

The emitter prints this order into the linker script, so that what a loop calls lies side by side, and the cost model knows
which code shares sets of a cache. Only distances count: where the row begins moves all sets alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cost_models.calibration import Calibration
from dse.program import Call, Loop, Node, Parallel, Program, calls_in

Span = tuple[float, float]  # bytes of the row: where a piece of code begins and ends
_ELSEWHERE = "tlf_mem"  # routines of the port, which lie before the row


def code_order(program: Program, functions: Mapping[str, Mapping[str, int]]) -> tuple[tuple[str, ...], ...]:
    """Stage by stage the functions that lie behind its own code. functions: kernel -> function -> bytes."""
    seen: set[str] = set()
    found = []
    for stage in program.stages:
        names = dict.fromkeys(name for call in calls_in(stage.body) for name in functions[call.kernel])
        found.append(tuple(name for name in names if name not in seen and not name.startswith(_ELSEWHERE)))
        seen |= set(names)
    return tuple(found)


@dataclass(frozen=True)
class CodeRow:
    """Where functions of kernels lie, by name, and the code of stages, by index, bytes from the first of all."""

    functions: Mapping[str, Span]
    stages: tuple[Span, ...]


def code_row(program: Program, calibration: Calibration) -> CodeRow:
    """The row of `code_order`; of the code of stages only the mean size of a call and of a loop is known."""
    sizes = {k: v for call in program.calls() for k, v in calibration.kernels[call.kernel].functions.items()}
    functions: dict[str, Span] = {}
    stages, end = [], 0.0
    order = code_order(program, {name: fit.functions for name, fit in calibration.kernels.items()})
    for stage, names in zip(program.stages, order, strict=True):
        stages.append((end, end + body_bytes(stage.body, calibration)))
        end = stages[-1][1]
        for name in names:
            functions[name] = (end, end + sizes[name])
            end += sizes[name]
    return CodeRow(functions, tuple(stages))


def body_bytes(body: tuple[Node, ...], calibration: Calibration) -> float:
    """Code of the calls and loops of a body."""
    size = 0.0
    for node in body:
        if isinstance(node, Call):
            size += calibration.call_code_bytes
        elif isinstance(node, Loop):
            size += calibration.loop_code_bytes + body_bytes(node.body, calibration)
        elif isinstance(node, Parallel):
            size += body_bytes(node.body, calibration)
    return size
