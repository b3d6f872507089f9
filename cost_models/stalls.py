"""Stalls of slow memories in closed form: a stage of a Program, a Target and its wait states -> cycles lost, call by call.

Data: an operand misses once in units of the data cache wherever it is new, and again in every turn of a loop that does not
move it, unless all that a turn touches fits the cache. Inside a call the weights of four columns come again for every pair
of rows, unless they stay. Every miss waits for its memory: `fill_cycles + wait_states * fill_cycles_per_wait_state`.

Code: cost_models/code_stalls.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cost_models.calibration import Calibration
from cost_models.code_stalls import BLOCK_ROWS, code_cycles, exact, fill_cycles, four_row_blocks, has_four_rows
from cost_models.counts import CallCount, Sizes, call_traffic
from cost_models.sets import Piece, lost_share, reach
from dse.kernel import Kernel
from dse.layout import RIGHT, even
from dse.program import Affine, Buffer, Call, Loop, Node, Pointer, Program, Stage
from dse.target import Cache, Region, Target

SPARE_BYTES = 32  # of a data cache: what else a kernel reads from flash between two tiles


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


@dataclass(frozen=True)
class _Touch:
    """An operand of a call in a slow memory: bytes that a turn touches, in chunks at a stride (0: as one), and bytes that
    miss over all turns."""

    pointer: Pointer
    region: Region
    place: str
    bytes: float
    missed: float
    chunk: float
    stride: int

    def kept(self, turns: float) -> _Touch:
        """The same where, in that many turns, what it touches first is still cached."""
        return replace(self, missed=max(0.0, self.missed - turns * self.bytes))


@dataclass(frozen=True)
class _Visit:
    item: CallCount
    touches: tuple[_Touch, ...]
    again: float  # bytes of weights and channel records that one call reads again


@dataclass(frozen=True)
class _Memory:
    """The slow operands' homes, the cache before them, and the kernels that make the calls."""

    homes: Mapping[str, _Home]
    cache: Cache
    kernels: Mapping[str, Kernel]


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
    visits = _visit(stage.body, {}, _Memory(homes, cache, kernels))
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
    own bytes included, no more was touched than the cache holds. Adds what this stage touches to `recent`."""
    cached, since = set[str](), 0.0
    for base, size in reversed(recent.items()):
        since += size
        if since <= cache.size_bytes and base in buffers:
            cached.add(base)
    found = []
    for visit in visits:
        touches = []
        for touch in visit.touches:
            base = touch.place
            touches.append(replace(touch, missed=max(0.0, touch.missed - touch.bytes * (base in cached))))
            recent[base] = max(recent.pop(base, 0.0), touch.bytes)
            cached.discard(base)
        found.append(replace(visit, touches=tuple(touches)))
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
            touches = []
            for touch in found[index].touches:
                base = touch.place
                known = base in seen and base not in here
                touches.append(touch.kept(1 - _lost(base, found, seen[base], index, memory.cache)) if known else touch)
            here |= {touch.place: index for touch in touches}
            found[index] = replace(found[index], touches=tuple(touches))
        seen |= here
    return found


def _lost(base: str, visits: list[_Visit], last: int, first: int, cache: Cache) -> float:
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
                most[name] = Piece(min(size, touch.bytes), reach(touch.chunk, touch.stride, cache))
    own = most.pop(base)
    return lost_share(own, most.values(), cache)


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
                    lost = _lost(base, inner, last[base], index, memory.cache)
                touches.append(_over(touch, loop, turns, new, lost))
            seen |= {touch.place for touch in touches}
            found.append(
                replace(visit, item=replace(visit.item, times=visit.item.times * turns), touches=tuple(touches))
            )
    return found


def _move(touch: _Touch, loop: Loop) -> int:
    """Bytes from where an operand lies in one turn to where it does in the next."""
    return sum(factor for symbol, factor in touch.pointer.offset_bytes.terms if symbol == loop.var) * loop.step


def _over(touch: _Touch, loop: Loop, turns: int, new: int, lost: float) -> _Touch:
    """The same operand over the turns of a loop: in the first `new` it is not cached, in others `lost` of it is not. What
    moves by less than its stride fills the gaps."""
    if move := _move(touch, loop):
        chunk = touch.chunk + min(abs(move), touch.chunk) * (turns - 1) * (abs(move) < touch.stride)
        return replace(touch, bytes=touch.bytes * turns, missed=touch.missed * turns, chunk=chunk)
    return replace(touch, missed=touch.missed * turns).kept((1 - lost) * (turns - new))


def _call(call: Call, sizes: Sizes, memory: _Memory) -> _Visit:
    values = {k: v.evaluate(sizes) if v.terms else v.const for k, v in call.arguments if isinstance(v, Affine)}
    pointers = {k: v for k, v in call.arguments if isinstance(v, Pointer)}
    traffic = {field: max(moved) for field, moved in call_traffic(call, values).items()}
    kernel, cache = memory.kernels[call.kernel], memory.cache
    if "scratch" in pointers and call.op.startswith("linear_"):
        traffic["scratch"] = 2 * min(values["m"], BLOCK_ROWS) * even(values["k"])
    slow = {
        field: touched_bytes(call.op, field, values, size)
        for field, size in traffic.items()
        if pointers[field].base in memory.homes
    }
    touches = []
    for field, size in slow.items():
        chunk, stride = _chunks(field, call.layout, values)
        piece, passes = Piece(size, reach(chunk, stride, cache)), passes_over(kernel, field, values)
        if (
            passes > 1
        ):  # what passes by meanwhile: a share of all the rest, the weights of four columns for both pairs of them
            rest = sum(other for name, other in slow.items() if name != field) / passes + SPARE_BYTES
            rest += slow.get("w", 0.0) / passes * (field == "scratch" and has_four_rows(kernel))
            passes = 1 + (passes - 1) * lost_share(piece, (Piece(rest),), cache)
        home = memory.homes[pointers[field].base]
        touches.append(_Touch(pointers[field], home.region, home.place, size, size * passes, chunk, stride))
    beside = sum(size for field, size in slow.items() if field not in ("w", "channel"))
    return _Visit(CallCount(call, values, 1), tuple(touches), again_bytes(kernel, values, cache, beside))


def _chunks(field: str, layout: str, z: Sizes) -> tuple[float, int]:
    """(bytes, stride) of the chunks of an operand: columns by four, or rows, of the depth; (0, 0) where all is one."""
    if f"{field}_stride" not in z or "k" not in z or field in ("y", "r"):
        return 0.0, 0
    depth = even(z["k"]) * (RIGHT[layout].element_bytes if field == "w" else 1)
    return 4 * depth if z.get(f"{field}_panels", 1) else z["k"], z[f"{field}_stride"]


def touched_bytes(op: str, field: str, z: Sizes, size: float) -> float:
    """Bytes of an operand that a call touches: all of it, or the share of a table that so many random look-ups meet."""
    if field != "table":
        return size
    lookups = z["n"] * z.get("m", 1)
    return size * (1 - (1 - 8 / size) ** lookups)


def again_bytes(kernel: Kernel, z: Sizes, cache: Cache, beside: float) -> float:
    """Bytes of weights and channel records that a call reads again: for every further tile of rows, when the four columns
    that tiles read do not stay in the cache until the next; else for every further block of rows. beside: bytes of its
    other operands in slow memories."""
    if not kernel.op.startswith("linear_") or kernel.layout not in ("columns", "quads", "pairs"):
        return 0.0
    right = RIGHT[kernel.layout]
    depth_bytes = right.depth(z["k"]) * right.element_bytes
    weights = (z["n"] if right.group == 1 else even(z["n"])) * depth_bytes
    records = 8 * z["n"] * (kernel.op != "linear_add")
    blocks, tiles = blocks_and_tiles(kernel, z)
    if right.group > 1 and 4 * depth_bytes > cache.size_bytes - SPARE_BYTES:
        return weights * (tiles - 1) + records * (blocks - 1)
    own = Piece(weights, reach(right.group * depth_bytes, z["w_stride"], cache))
    return (weights + records) * (blocks - 1) * lost_share(own, (Piece(records + beside / blocks),), cache)


def blocks_and_tiles(kernel: Kernel, z: Sizes) -> tuple[int, int]:
    """How often a linear call goes over all of its weights, and over the four columns that lie side by side: for every row
    (columns), for every pair of rows, or for every panel of up to four rows twice, two columns at a time."""
    m = z["m"]
    if RIGHT[kernel.layout].group == 1:
        return m, m
    if has_four_rows(kernel):
        return four_row_blocks(m), 2 * ((m + 3) // 4)
    return 1 if z["x_panels"] else -(-m // BLOCK_ROWS), (m + 1) // 2


def walk(kernel: Kernel) -> tuple[bool, bool]:
    """What of a kernel decides how often it goes over its operands, besides their layouts."""
    return has_four_rows(kernel), kernel.isa == "any"


def passes_over(kernel: Kernel, field: str, z: Sizes) -> float:
    """How often a call goes over an operand: rows in panels, unpacked or not, for every four columns (two where they are
    panels of four rows), keys, values and records of narrow for every pair of rows, other records for every row."""
    if kernel.op.startswith("linear_") and field in ("x", "scratch"):
        if has_four_rows(kernel):
            return four_row_blocks(z["m"]) * ((z["n"] + 1) // 2) if field == "scratch" else 1
        blocks = -(-z["m"] // BLOCK_ROWS) if field == "scratch" else int(z["x_panels"])
        return max(1, blocks * ((z["n"] + 3) // 4))
    one_by_one = kernel.isa == "any" or kernel.op == "layernorm"
    if field in ("keys", "values") or (field == "channel" and kernel.op in ("narrow", "layernorm")):
        return z["m"] if one_by_one else (z["m"] + 1) // 2
    return 1
