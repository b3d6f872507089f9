"""Placed buffers: the live range of every buffer in a loop tree, then a region and an offset for each.

A buffer belongs to the innermost loop body that holds all its uses; every iteration writes it before reading it. Inside
that body it is alive from the first to the last child node that touches it (a child that is a loop counts as a whole).
Written as leaf positions in text order, that is one interval a buffer, so two buffers conflict exactly when their
intervals meet, and placement is interval packing. Three things reach further: whatever a parallel region touches is alive
in all of it (the cores do not wait for each other), the double buffers of a loop that fetches are alive in all of the
loop, and what a stage fetches is alive from the stage before to its own end, what it loads from the one before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dse.program import Buffer, Call, Copy, Node, Parallel, Pointer, Stage
from dse.target import Region

ALIGN_BYTES = 4


@dataclass(frozen=True)
class Span:
    """First and last leaf (call) position, inclusive."""

    first: int
    last: int

    def meets(self, other: Span) -> bool:
        """True when both are alive at some leaf."""
        return self.first <= other.last and other.first <= self.last


def live_spans(stages: Sequence[Stage], input_name: str, output_name: str) -> dict[str, Span]:
    """The live range of every buffer the stages touch; the input lives from the first leaf, the output to the last."""
    body: tuple[Node, ...] = tuple(node for stage in stages for node in stage.body)
    inside, touched, end = _touches(body, 0)
    spans = _hulls(inside, touched)
    spans |= _fetched_ahead(stages)
    for name, reach in ((input_name, Span(0, 0)), (output_name, Span(end - 1, end - 1))):
        reached = [reach, *touched.get(name, ())]
        spans[name] = Span(min(span.first for span in reached), max(span.last for span in reached))
    return spans


def _fetched_ahead(stages: Sequence[Stage]) -> dict[str, Span]:
    """What stages fetch or load -> from the first leaf of the stage where the copy may start to the last of its own: no
    turn of a loop writes it again."""
    found: dict[str, Span] = {}
    earlier = before = start = 0
    for stage in stages:
        after = start + sum(_leaf_count(node) for node in stage.body)
        found |= {fetch.dst.base: Span(before, after - 1) for fetch in stage.fetch}
        found |= {load.dst.base: Span(earlier, after - 1) for load in stage.load}
        earlier, before, start = before, start, after
    return found


def _leaf_count(node: Node) -> int:
    return 1 if isinstance(node, Call | Copy) else sum(_leaf_count(child) for child in node.body)


def _touches(body: tuple[Node, ...], start: int) -> tuple[dict[str, Span], dict[str, list[Span]], int]:
    """Of every buffer of a body: its span inside the last child that touches it, and the spans of all children that
    do; then the position after the body's last leaf."""
    inside: dict[str, Span] = {}
    touched: dict[str, list[Span]] = {}
    position = start
    for node in body:
        if isinstance(node, Call | Copy):
            span = Span(position, position)
            inner = dict.fromkeys(_names(node), span)
            position += 1
        else:
            deep_inside, deep_touched, after = _touches(node.body, position)
            inner = _hulls(deep_inside, deep_touched)
            span, position = Span(position, after - 1), after
            if isinstance(node, Parallel):
                inner = dict.fromkeys(inner, span)
            else:
                inner |= {pointer.base: span for fetch in node.fetch for pointer in (fetch.dst, fetch.src)}
        inside.update(inner)
        for name in inner:
            touched.setdefault(name, []).append(span)
    return inside, touched, position


def _hulls(inside: dict[str, Span], touched: dict[str, list[Span]]) -> dict[str, Span]:
    return {
        name: inside[name] if len(spans) == 1 else Span(spans[0].first, spans[-1].last)
        for name, spans in touched.items()
    }


def _names(call: Call | Copy) -> set[str]:
    if isinstance(call, Copy):
        return {call.dst.base, call.src.base}
    return {value.base for _, value in call.arguments if isinstance(value, Pointer)}


def place_buffers(
    buffers: Sequence[Buffer], spans: dict[str, Span], regions: Sequence[Region], preferred: dict[str, str]
) -> tuple[Buffer, ...]:
    """The buffers with region and offset. A buffer goes to its preferred region, else to the first that holds it.

    Several orders are tried (by size, by length of life) and the one with the smallest total of arenas is kept; when no
    region has room, the buffer is put in the first region anyway, whose arena then exceeds it: infeasible is data.
    """
    sizes = {b.name: b.size_bytes for b in buffers}
    orders = (
        sorted(buffers, key=lambda b: (-sizes[b.name], b.name)),
        sorted(buffers, key=lambda b: (spans[b.name].first - spans[b.name].last, -sizes[b.name], b.name)),
        sorted(buffers, key=lambda b: (spans[b.name].first, -sizes[b.name], b.name)),
    )
    floor = (0, fullest_bytes(buffers, spans))
    best, badness = None, (0, 0)
    for order in orders:
        placed = _place_in_order(order, spans, regions, preferred)
        found = _badness(placed, regions)
        if best is None or found < badness:
            best, badness = placed, found
        if badness == floor:
            break
    assert best is not None
    by_name = {b.name: b for b in best}
    return tuple(by_name[b.name] for b in buffers)


def fullest_bytes(buffers: Sequence[Buffer], spans: dict[str, Span]) -> int:
    """Most bytes alive at any leaf: no placement needs less, in however many regions."""
    starts = {span.first for span in spans.values()}
    alive = [(spans[b.name], b.size_bytes) for b in buffers]
    return max((sum(size for span, size in alive if span.first <= leaf <= span.last) for leaf in starts), default=0)


def _badness(placed: Sequence[Buffer], regions: Sequence[Region]) -> tuple[int, int]:
    over = total = 0
    for region in regions:
        peak = max((b.offset_bytes + b.size_bytes for b in placed if b.region == region.name), default=0)
        over += max(0, peak - region.size_bytes)
        total += peak
    return over, total


def _place_in_order(
    order: Sequence[Buffer], spans: dict[str, Span], regions: Sequence[Region], preferred: dict[str, str]
) -> list[Buffer]:
    placed: list[Buffer] = []
    for buffer in order:
        wish = preferred.get(buffer.name, regions[0].name)
        candidates = sorted(regions, key=lambda region: region.name != wish)
        rivals = [b for b in placed if spans[b.name].meets(spans[buffer.name])]
        offsets = {r.name: _lowest_offset(buffer, [b for b in rivals if b.region == r.name]) for r in candidates}
        fitting = [r for r in candidates if offsets[r.name] + buffer.size_bytes <= r.size_bytes]
        region = (fitting or [regions[0]])[0].name
        placed.append(replace(buffer, region=region, offset_bytes=offsets[region]))
    return placed


def _lowest_offset(buffer: Buffer, rivals: Sequence[Buffer]) -> int:
    offset = 0
    for rival in sorted(rivals, key=lambda b: b.offset_bytes):
        if offset + buffer.size_bytes <= rival.offset_bytes:
            break
        offset = max(offset, _aligned(rival.offset_bytes + rival.size_bytes))
    return offset


def _aligned(offset_bytes: int) -> int:
    return -(-offset_bytes // ALIGN_BYTES) * ALIGN_BYTES
