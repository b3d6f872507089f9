"""Calls to measure -> a Program that runs each on all cores of a cluster at once, everything it reads near them.

That is how a deployed network runs a kernel: beside seven others that want the same memory banks, its constants fetched.
Each core has its own rows and results; the right-hand operand and the constants are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dse.alloc import Span, place_buffers
from dse.program import Axis, Buffer, Call, Constant, Loop, Node, Parallel, Pointer, Program, Stage, affine, symbol
from dse.target import Target

Item = Buffer | Constant
_SHARED = ("w", "keys", "values")  # right-hand operands
STAGES = ("many", "once", "alone", "alone.once")  # of a call: on all cores or on one, so often or once


def cluster_program(calls: Sequence[tuple[Call, Sequence[Item]]], target: Target, turns: int) -> Program:
    """A stage of STAGES each for every call, which is made `turns` times or once. Buffers of different calls share the
    arena."""
    stages, buffers = [], [Buffer("input", 4, "input", "s8"), Buffer("output", 4, "output", "s8")]
    spans = {b.name: Span(0, 2 * len(calls)) for b in buffers}
    for position, (call, items) in enumerate(calls):
        strides = {item.name: -(-item.size_bytes // 4) * 4 for item in items if _is_private(item)}
        for name in STAGES:
            count, cores = (1 if name.endswith("once") else turns), (1 if name.startswith("alone") else target.cores)
            loop = Loop("i", affine(count), 1, (_on_core(call, strides),))
            stages.append(Stage(f"{call.source}.{name}", (call.source,), (_on(loop, cores, target.cores),)))
        for item in items:
            size = strides[item.name] * target.cores if item.name in strides else item.size_bytes
            buffers.append(Buffer(item.name, size, "activation", item.dtype))
            spans[item.name] = Span(2 * position, 2 * position + 1)
    return bench_of(stages, place_buffers(buffers, spans, target.ram(), {}), target)


def bench_of(
    stages: Sequence[Stage],
    buffers: tuple[Buffer, ...],
    target: Target,
    constants: tuple[Constant, ...] = (),
    code: str = "flash",
) -> Program:
    """A program of calls to be measured: of no model, with four bytes in and out that nobody reads."""
    return Program(
        model="bench",
        form="none",
        target=target.name,
        schedule_digest="bench",
        input=Pointer("input"),
        input_bytes=4,
        output=Pointer("output"),
        output_bytes=4,
        buffers=buffers,
        constants=constants,
        stages=tuple(stages),
        code=code,
    )


def constants_of(program: Program, items: Iterable[Item]) -> dict[int, bytes]:
    """Offset in the first arena -> bytes, of what a call reads and never writes."""
    places = {buffer.name: buffer.offset_bytes for buffer in program.buffers}
    return {places[item.name]: item.data for item in items if isinstance(item, Constant)}


def _is_private(item: Item) -> bool:
    return isinstance(item, Buffer) and item.name.rstrip("0123456789") not in _SHARED


def _on(node: Node, cores: int, ways: int) -> Parallel:
    return Parallel((Axis("share", affine(cores), 1, ways),), (node,))


def _on_core(call: Call, strides: Mapping[str, int]) -> Call:
    moved = []
    for name, value in call.arguments:
        if isinstance(value, Pointer) and value.base in strides:
            value = Pointer(value.base, value.offset_bytes + symbol("core") * strides[value.base])
        moved.append((name, value))
    return replace(call, arguments=tuple(moved))
