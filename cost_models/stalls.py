"""Stalls of slow memories in closed form: a stage of a Program, a Target and its wait states -> cycles lost, call by call.

Data: an operand misses once in units of the data cache wherever it is new, and again in every turn of a loop that does not
move it, unless all that a turn touches fits the cache. Inside a call the weights of four columns come again for every pair
of rows, unless they stay. Every miss waits for its memory: `fill_cycles + wait_states * fill_cycles_per_wait_state`.

Code: cost_models/code_stalls.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from cost_models.calibration import Calibration
from cost_models.code_stalls import BLOCK_ROWS, code_cycles, exact, fill_cycles
from cost_models.counts import CallCount, Sizes, call_traffic
from cost_models.operands import SPARE_BYTES, Walk, again_bytes, chunks, passes_over, touched_bytes, walk
from cost_models.sets import Piece, lost_share, reach
from dse.kernel import Kernel
from dse.layout import even
from dse.program import Affine, Buffer, Call, Loop, Node, Pointer, Program, Stage, calls_in
from dse.target import Cache, Region, Target


@dataclass(frozen=True)
class Stalled:
    """A distinct call, all its repetitions, and what they lose: cycles of data, and of code if every call starts cold."""

    item: CallCount
    data_cycles: float
    code_cycles: float


@dataclass(frozen=True)
class _Home:
    """Where a buffer or constant lies; buffers that begin at the same address, one after another, share a place."""

    region: Region
    place: str


def _place(buffer: Buffer) -> str:
    return f"{buffer.region}+{buffer.offset_bytes}"


class _Touch(NamedTuple):
    """An operand of a call in a slow memory: bytes that a turn touches, in chunks at a stride (0: as one), bytes that miss
    over all turns, and the share of the cache's sets that it can lie in."""

    pointer: Pointer
    region: Region
    place: str
    bytes: float
    missed: float
    chunk: float
    stride: int
    reach: float

    def kept(self, turns: float) -> _Touch:
        """The same where, in that many turns, what it touches first is still cached."""
        return self._replace(missed=max(0.0, self.missed - turns * self.bytes))


class _Visit(NamedTuple):
    item: CallCount
    touches: tuple[_Touch, ...]
    again: float  # bytes of weights and channel records that one call reads again


@dataclass(frozen=True)
class _Memory:
    """The slow operands' homes, the cache before them, how the kernels of a stage go over them, and which constant lies
    behind which, with the bytes of both: the emitted C has them in the program's order."""

    homes: Mapping[str, _Home]
    cache: Cache
    walks: Mapping[str, Walk]
    behind: Mapping[str, tuple[int, str, int]]

    def joined(self, pieces: dict[str, Piece], own: str) -> tuple[Piece, Iterable[Piece]]:
        """(the piece that `own` is part of, the others): constants that are touched whole and lie side by side are one."""
        before: dict[str, str] = {}  # constant -> the one in front of it
        for name, piece in pieces.items():
            size, following, more = self.behind.get(name, (0, "", 0))
            if following in pieces and piece.bytes >= size and pieces[following].bytes >= more:
                before[following] = name
        if not before:
            return pieces.pop(own), pieces.values()
        runs: dict[str, Piece] = {}
        for name, piece in pieces.items():
            first = name
            while first in before:
                first = before[first]
            runs[first] = Piece(piece.bytes + runs[first].bytes) if first in runs else piece
            own = first if name == own else own
        return runs.pop(own), runs.values()


def slow_regions(target: Target, wait_states: int) -> dict[str, Region]:
    """Name -> the regions whose data goes through the cache; none without wait states."""
    if wait_states == 0 or target.data_cache is None:
        return {}
    return {r.name: r for r in target.regions if r.kind != "code" and fill_cycles(r, wait_states)}


def stage_stalls(
    program: Program,
    stage: Stage,
    target: Target,
    wait_states: int,
    kernels: Mapping[str, Kernel],
    calibration: Calibration,
    recent: dict[str, float] | None = None,
) -> tuple[Stalled, ...]:
    """What every distinct call of a stage loses; () without wait states. recent: bytes of the buffers and constants that
    the stages before have touched, the last one last; this stage's are added."""
    cache, slow = target.data_cache, slow_regions(target, wait_states)
    if not slow or cache is None:
        return ()
    homes = {b.name: _Home(slow[b.region], _place(b)) for b in program.buffers if b.region in slow}
    homes |= {c.name: _Home(slow["flash"], c.name) for c in program.constants}
    fill = fill_cycles(slow["flash"], wait_states)
    found = []
    walks = {name: walk(kernels[name]) for name in {call.kernel for call in calls_in(stage.body)}}
    flat = [(c.name, c.size_bytes) for c in program.constants if c.region == "flash"]
    behind = {name: (size, *following) for (name, size), following in pairwise(flat)}
    visits = _visit(stage.body, {}, _Memory(homes, cache, walks, behind))
    if recent is not None:
        visits = _warm(visits, recent, {_place(b) for b in program.buffers}, cache)
    for visit in visits:
        item = visit.item
        units = [(touch.region, touch.missed) for touch in visit.touches]
        units.append((slow["flash"], visit.again * item.times))
        data = sum(fill_cycles(region, wait_states) * missed / cache.fill_bytes for region, missed in units)
        code = cold_code_cycles(item, wait_states, fill, kernels, calibration) if program.code == "flash" else 0.0
        found.append(Stalled(item, exact(data), code))
    return tuple(found)


def cold_code_cycles(
    item: CallCount, wait_states: int, fill: int, kernels: Mapping[str, Kernel], calibration: Calibration
) -> float:
    """What a distinct call and all its repetitions lose of code if each starts cold."""
    return item.times * exact(code_cycles(item, wait_states, fill, kernels, calibration))


def _warm(visits: list[_Visit], recent: dict[str, float], buffers: set[str], cache: Cache) -> list[_Visit]:
    """The calls of a stage where its buffers are still cached from the stages before: those since whose last touch, their
    own bytes and those of the calls before in this stage included, no more was touched than the cache holds. Adds what this
    stage touches to `recent`."""
    since, total = dict[str, float](), 0.0
    for base, size in reversed(recent.items()):
        total += size
        since[base] = total
    found, seen = [], set[str]()
    passed = 0.0
    for visit in visits:
        touches = []
        for touch in visit.touches:
            base = touch.place
            cached = base in buffers and base not in seen and since.get(base, math.inf) + passed <= cache.size_bytes
            if cached:  # as much as lies there
                touch = touch._replace(missed=max(0.0, touch.missed - min(touch.bytes, recent[base])))
            touches.append(touch)
            recent[base] = max(recent.pop(base, 0.0), touch.bytes)
        fresh = {touch.place: touch.bytes for touch in visit.touches if touch.place not in seen}
        passed += sum(fresh.values())
        seen |= set(fresh)
        found.append(visit._replace(touches=tuple(touches)))
    return found


def _visit(body: tuple[Node, ...], sizes: Sizes, memory: _Memory) -> list[_Visit]:
    """The calls of a body; of what one of its calls or loops touched before, only what did not stay misses again."""
    found: list[_Visit] = []
    seen: dict[str, int] = {}
    for node in body:
        begin = len(found)
        if isinstance(node, Loop):
            found += _loop(node, sizes, memory)
        elif isinstance(node, Call):
            found.append(_call(node, sizes, memory))
        here: dict[str, int] = {}
        for index in range(begin, len(found)):
            touches = found[index].touches
            if any(touch.place in seen and touch.place not in here for touch in touches):
                touches = tuple(
                    touch.kept(1 - _lost(touch.place, found, seen[touch.place], index, memory))
                    if touch.place in seen and touch.place not in here
                    else touch
                    for touch in touches
                )
                found[index] = found[index]._replace(touches=touches)
            here |= {touch.place: index for touch in touches}
        seen |= here
    return found


def _lost(base: str, visits: list[_Visit], last: int, first: int, memory: _Memory) -> float:
    """The share of a buffer or constant that does not stay in the cache from its use in the visit `last` until that in the
    visit `first`, of this turn or (last >= first) of the next: what the visits between them touch passes by, and half of
    what those two do."""
    between = visits[last + 1 : first] if last < first else visits[last + 1 :] + visits[:first]
    most: dict[str, Piece] = {}
    for visits_of, weight in ((between, 1.0), ([visits[last], visits[first]], 0.5)):
        for touch in (touch for visit in visits_of for touch in visit.touches):
            name = touch.place
            size = touch.bytes * (1.0 if name == base else weight)
            size += most[name].bytes if weight < 1 and name != base and name in most else 0.0
            if name not in most or most[name].bytes < size:
                most[name] = Piece(min(size, touch.bytes), touch.reach)
    own, others = memory.joined(most, base)
    return lost_share(own, others, memory.cache)


def _loop(loop: Loop, sizes: Sizes, memory: _Memory) -> list[_Visit]:
    """A loop's calls over all its turns: full ones, then the ragged last."""
    full, rest = divmod(loop.extent.evaluate(sizes), loop.step)
    found: list[_Visit] = []
    for count, turns in ((loop.step, full), (rest, int(rest > 0))):
        if turns == 0:
            continue
        inner = _visit(loop.body, dict(sizes) | {f"{loop.var}_n": count}, memory)
        new = int(not found)  # the ragged turn finds what the others have left
        last = {touch.place: index for index, visit in enumerate(inner) for touch in visit.touches}
        seen: set[str] = set()
        for index, visit in enumerate(inner):
            touches = []
            for touch in visit.touches:
                base, lost = touch.place, 1.0
                if base not in seen and turns > new and not _move(touch, loop):
                    lost = _lost(base, inner, last[base], index, memory)
                touches.append(_over(touch, loop, turns, new, lost, memory.cache))
            seen |= {touch.place for touch in touches}
            call, sizes_of, times, cores = visit.item.call, visit.item.sizes, visit.item.times, visit.item.cores
            found.append(_Visit(CallCount(call, sizes_of, times * turns, cores), tuple(touches), visit.again))
    return found


def _move(touch: _Touch, loop: Loop) -> int:
    """Bytes from where an operand lies in one turn to where it does in the next."""
    return sum(factor for symbol, factor in touch.pointer.offset_bytes.terms if symbol == loop.var) * loop.step


def _over(touch: _Touch, loop: Loop, turns: int, new: int, lost: float, cache: Cache) -> _Touch:
    """The same operand over the turns of a loop: in the first `new` it is not cached, in others `lost` of it is not. What
    moves by less than its stride fills the gaps."""
    if move := abs(_move(touch, loop)):
        touch = touch._replace(bytes=touch.bytes * turns, missed=touch.missed * turns)
        if touch.reach < 1 and move < touch.stride:
            chunk = touch.chunk + min(move, touch.chunk) * (turns - 1)
            return touch._replace(chunk=chunk, reach=reach(chunk, touch.stride, cache))
        return touch
    stays = (1 - lost) * (turns - new) * touch.bytes
    return touch._replace(missed=max(0.0, touch.missed * turns - stays))


def _call(call: Call, sizes: Sizes, memory: _Memory) -> _Visit:
    values = {k: v.evaluate(sizes) if v.terms else v.const for k, v in call.arguments if isinstance(v, Affine)}
    pointers = {k: v for k, v in call.arguments if isinstance(v, Pointer)}
    traffic = {field: max(moved) for field, moved in call_traffic(call, values).items()}
    way, cache = memory.walks[call.kernel], memory.cache
    if "scratch" in pointers and call.op.startswith("linear_"):
        traffic["scratch"] = 2 * min(values["m"], BLOCK_ROWS) * even(values["k"])
    slow = {
        field: touched_bytes(field, values, size)
        for field, size in traffic.items()
        if pointers[field].base in memory.homes
    }
    touches = []
    for field, size in slow.items():
        chunk, stride = chunks(field, call.layout, values)
        piece, passes = Piece(size, reach(chunk, stride, cache)), passes_over(way, field, values)
        if passes > 1:
            passes = 1 + (passes - 1) * _lost_in_call(piece, field, passes, slow, way, cache)
        home = memory.homes[pointers[field].base]
        place = pointers[field], home.region, home.place
        touches.append(_Touch(*place, size, size * passes, chunk, stride, piece.reach))
    beside = sum(size for field, size in slow.items() if field not in ("w", "channel"))
    return _Visit(CallCount(call, values, 1), tuple(touches), again_bytes(way, values, cache, beside))


def _lost_in_call(piece: Piece, field: str, passes: float, slow: Mapping[str, float], way: Walk, cache: Cache) -> float:
    """The share of an operand that does not stay from one pass of a call over it to the next. What passes by meanwhile is
    a share of all the rest; weights of four columns, which every tile reads, are younger than panels of rows when the next
    four push them out, so that they count twice then."""
    rest = SPARE_BYTES + sum(size for name, size in slow.items() if name != field) / passes
    if not way.op.startswith("linear_"):
        return lost_share(piece, (Piece(rest),), cache)
    columns = slow.get("w", 0.0) / passes
    if not way.four_rows:
        return lost_share(piece, (Piece(rest + columns),), cache)
    fours = [lost_share(piece, (Piece(rest + more * columns),), cache) for more in (1, 3)]  # each four in two passes
    return sum(fours) / 2
