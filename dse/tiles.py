"""Stages whose activations lie far from the cores -> the same with tiles of them near: copied in, worked on, copied back.

Runs before the work is shared. Tensors, the context and the accumulators of all rows move to the far memory; K, V, the
map and whatever one row step needs stay near. A call then works on `rows` rows at a time: what it only reads is
fetched a tile ahead (double-buffered), what it writes goes back when the tile is done. Weights come near for one call.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dse.cluster import Scratch, pointers_of
from dse.layout import RIGHT, written_as
from dse.program import Affine, Buffer, Call, Copy, Fetch, Loop, Node, Pointer, Stage, affine, symbol

NEAR_BYTES = 1024  # the context or the accumulators of a row step stay near
_LARGE = ("context", "accumulators")
_MAP_LOOPS = ("sub", "one")


@dataclass(frozen=True)
class _Operand:
    """A far operand of a call: rows of `row_bytes`, `stride` apart there; read, written or both."""

    field: str
    row_bytes: int
    stride: int
    read: bool
    written: bool


def tile_stages(
    stages: list[Stage], buffers: dict[str, Buffer], rows: int, region: str, scratch: Scratch
) -> list[Stage]:
    """The stages on tiles of `rows` rows; far buffers get that region, tiles join `buffers`, scratch that no tile asks for
    leaves them."""
    far = {n for n, b in buffers.items() if b.role == "activation" or (b.role in _LARGE and b.size_bytes > NEAR_BYTES)}
    tiler = _Tiler(far, buffers, rows, scratch)
    done = [replace(stage, body=tuple(tiler.nodes(stage.body, {}))) for stage in stages]
    used = {pointer.base for _, _, pointer in pointers_of(done)}
    for name in [n for n, b in buffers.items() if b.role == "scratch" and n not in used]:
        del buffers[name]
    for name in far:
        buffers[name] = replace(buffers[name], region=region)
    return done


class _Tiler:
    def __init__(self, far: set[str], buffers: dict[str, Buffer], rows: int, scratch: Scratch) -> None:
        self.far, self.buffers, self.rows, self.scratch = far, buffers, rows, scratch
        self.numbers = itertools.count()

    def nodes(self, body: tuple[Node, ...], largest: Mapping[str, int]) -> Iterator[Node]:
        """The nodes of a body with copies around those that touch far memory. largest: symbol -> its largest value."""
        for node in body:
            if isinstance(node, Call):
                yield from self._call(node, largest)
            elif isinstance(node, Loop) and node.var in _MAP_LOOPS:
                yield from self._map(node, largest)
            elif isinstance(node, Loop):
                inner = {**largest, f"{node.var}_n": node.step}
                yield replace(node, body=tuple(self.nodes(node.body, inner)))
            else:
                yield node

    def _near(self, size: int) -> Pointer:
        name = f"tile{next(self.numbers)}"
        self.buffers[name] = Buffer(name, -(-size // 4) * 4, "tile", "s8")
        return Pointer(name)

    # ---- one call ---------------------------------------------------------------------------------------------------

    def _call(self, call: Call, largest: Mapping[str, int]) -> Iterator[Node]:
        call, weights = self._weights(call, largest)
        yield from weights
        operands = [o for o in _operands(call) if self._is_far(call, o.field)]
        if not operands:
            yield call
            return
        values = dict(call.arguments)
        if call.op == "mean":  # reads every row for every column
            yield from self._whole(call, operands)
            return
        dim = "m" if "m" in values else "n"
        extent = values[dim]
        assert isinstance(extent, Affine)
        step = self.rows if dim == "m" else self.rows * 32
        if extent.evaluate({name: largest.get(name, 0) for name, _ in extent.terms}) <= step:
            yield from self._tile(call, operands, dim, None, step)
        else:
            yield self._loop(call, operands, dim, extent, step)

    def _is_far(self, call: Call, field: str) -> bool:
        pointer = dict(call.arguments).get(field)
        return isinstance(pointer, Pointer) and pointer.base in self.far

    def _loop(self, call: Call, operands: list[_Operand], dim: str, extent: Affine, step: int) -> Loop:
        """A loop over tiles: what is only read and lies dense is fetched ahead."""
        var = f"tile{next(self.numbers)}"
        fetches, ahead = [], []
        values = dict(call.arguments)
        for operand in operands:
            pointer = values[operand.field]
            if operand.written or operand.stride != operand.row_bytes or not isinstance(pointer, Pointer):
                continue
            size = -(-step * operand.row_bytes // 4) * 4
            near = self._near(2 * size)
            slot = Pointer(near.base, symbol(f"{var}_slot") * size)
            source = Pointer(pointer.base, pointer.offset_bytes + symbol(var) * operand.row_bytes)
            fetches.append(Fetch(slot, source, symbol(f"{var}_n") * operand.row_bytes))
            values[operand.field] = slot
            ahead.append(operand)
        values = _advance(call, values, dim, var, {o.field for o in ahead})
        moved = replace(call, arguments=tuple(values.items()))
        if values.get("scratch") is not None and not self.scratch(moved, {f"{var}_n": step}):
            moved = replace(call, arguments=tuple({**values, "scratch": None}.items()))
        rest = [operand for operand in operands if operand not in ahead]
        body = tuple(self._tile(moved, rest, dim, var, step))
        return Loop(var, extent, step, body, tuple(fetches))

    def _tile(self, call: Call, operands: list[_Operand], dim: str, var: str | None, step: int) -> Iterator[Node]:
        """Copies in, the call on near tiles, copies out."""
        values = dict(call.arguments)
        rows = values[dim]
        assert isinstance(rows, Affine)
        before, after = [], []
        for operand in operands:
            far = values[operand.field]
            assert isinstance(far, Pointer)
            near = self._near(step * operand.row_bytes)
            flat = dim == "n"
            count, width = (affine(1), rows * operand.row_bytes) if flat else (rows, affine(operand.row_bytes))
            stride = 0 if flat else operand.stride
            if operand.read:
                before.append(Copy(near, far, count, width, stride, True))
            if operand.written:
                after.append(Copy(far, near, count, width, stride, False))
            values[operand.field] = near
            if f"{operand.field}_stride" in values:
                values[f"{operand.field}_stride"] = affine(operand.row_bytes)
        yield from before
        yield replace(call, arguments=tuple(values.items()))
        yield from after

    def _whole(self, call: Call, operands: list[_Operand]) -> Iterator[Node]:
        """All of the operands of a call copied at once."""
        values = dict(call.arguments)
        before, after = [], []
        for operand in operands:
            far = values[operand.field]
            assert isinstance(far, Pointer)
            size = self.buffers[far.base].size_bytes
            near = self._near(size)
            if operand.written:
                after.append(Copy(far, near, affine(1), affine(size), 0, False))
            else:
                before.append(Copy(near, far, affine(1), affine(size), 0, True))
            values[operand.field] = near
        yield from before
        yield replace(call, arguments=tuple(values.items()))
        yield from after

    # ---- weights ----------------------------------------------------------------------------------------------------

    def _weights(self, call: Call, largest: Mapping[str, int]) -> tuple[Call, list[Node]]:
        """The call with its weights and channel records near, and the copies that bring them."""
        values = dict(call.arguments)
        copies: list[Node] = []
        if not call.op.startswith("linear_"):
            return call, copies
        z = {k: v.evaluate({s: largest.get(s, 0) for s, _ in v.terms}) for k, v in values.items() if type(v) is Affine}
        right = RIGHT[call.layout]
        group_bytes = right.stride_bytes(z["k"])
        far, channel = values["w"], values["channel"]
        assert isinstance(far, Pointer)
        groups = -(-z["n"] // right.group)
        near = self._near(groups * group_bytes)
        copies.append(Copy(near, far, affine(groups), affine(group_bytes), z["w_stride"], True))
        values |= {"w": near, "w_stride": affine(group_bytes)}
        if isinstance(channel, Pointer):
            size = 8 * groups * right.group
            near = self._near(size)
            copies.append(Copy(near, channel, affine(1), affine(size), 0, True))
            values["channel"] = near
        return replace(call, arguments=tuple(values.items())), copies

    # ---- the attention map --------------------------------------------------------------------------------------------

    def _map(self, loop: Loop, largest: Mapping[str, int]) -> Iterator[Node]:
        """Row steps and heads of the map as one unit: only where softmax·V goes may be far."""
        attends = [call for call in _calls((loop,)) if call.op.startswith("attend_")]
        far = [call for call in attends if self._is_far(call, "y")]
        if not far:
            yield loop
            return
        (call,) = far
        values = dict(call.arguments)
        y, stride, n = values["y"], values["y_stride"], values["n"]
        assert isinstance(y, Pointer)
        assert isinstance(stride, Affine)
        assert isinstance(n, Affine)
        found = {node.var: node for node in _loops(loop)}
        heads = found["one"].extent.const if "one" in found else 1
        own = dict(y.offset_bytes.terms)
        between = own.get("one", 0)
        adds = call.op == "attend_add"
        row_bytes = max(between * heads, n.const * (4 if adds else 1))
        rows = found["sub"].extent if "sub" in found else values["m"]
        assert isinstance(rows, Affine)
        most = rows.evaluate({name: largest.get(name, 0) for name, _ in rows.terms})
        near = self._near(most * row_bytes)
        base = Pointer(y.base, y.offset_bytes.substitute({"sub": affine(0), "one": affine(0)}))
        tile = Pointer(near.base, symbol("sub") * (row_bytes if "sub" in found else 0) + symbol("one") * between)
        moved = replace(call, arguments=tuple((values | {"y": tile, "y_stride": affine(row_bytes)}).items()))
        if adds:
            yield Copy(near, base, rows, affine(row_bytes), stride.const, True)
        yield _replaced(loop, call, moved)
        yield Copy(base, near, rows, affine(row_bytes), stride.const, False)


def _operands(call: Call) -> list[_Operand]:
    """Operands of a call that may be far; for flat calls a row is one element."""
    z = {k: v.const for k, v in call.arguments if isinstance(v, Affine)}

    def rows(field: str, width: int, read: bool, written: bool) -> _Operand:
        return _Operand(field, width, z.get(f"{field}_stride", width), read, written)

    if call.op.startswith("linear_"):
        adds = call.op == "linear_add"
        y = [] if call.op in ("linear_keys", "linear_values") else [rows("y", z["n"] * (4 if adds else 1), adds, True)]
        residual = [rows("r", z["n"], True, False)] if call.op == "linear_residual" else []
        return [rows("x", z["k"], True, False), *residual, *y]
    if call.op.startswith("attend_"):
        adds = call.op == "attend_add"
        return [rows("y", z["n"] * (4 if adds else 1), adds, True)]
    if call.op.startswith("pack_"):
        return [rows("x", z["k"], True, False)]
    if call.op in ("narrow", "layernorm"):
        return [rows("x", z["n"] * (4 if call.op == "narrow" else 1), True, False), rows("y", z["n"], False, True)]
    if call.op == "zero":
        return [_Operand("y", 4, 4, False, True)]
    if call.op == "mean":
        return [rows("x", z["n"], True, False), _Operand("y", z["n"], z["n"], False, True)]
    if call.op.startswith("probs_"):
        return []
    return [_Operand(field, 1, 1, field != "y", field == "y") for field in ("x", "a", "b", "y")]


def _advance(
    call: Call, values: dict[str, Pointer | Affine | None], dim: str, var: str, near: set[str]
) -> dict[str, Pointer | Affine | None]:
    """The arguments of a call for the tile that starts at `var`: operands that are not near tiles yet move along."""
    z = {k: v.const for k, v in call.arguments if isinstance(v, Affine)}
    moves = {o.field: o.stride for o in _operands(call)}
    if call.op == "linear_keys":
        moves["y"] = z["y_stride"] // RIGHT[written_as(call.layout)].group
    elif call.op == "linear_values":
        moves["y"] = RIGHT[written_as(call.layout)].depth_bytes(1)
    elif call.op.startswith("pack_"):
        moves["y"] = z["y_stride"] // RIGHT[call.layout].group
    elif call.op.startswith("attend_"):
        moves |= {"e": z["e_stride"], "sum": 4}
    for field, step in moves.items():
        pointer = values.get(field)
        if isinstance(pointer, Pointer) and field not in near:
            values[field] = Pointer(pointer.base, pointer.offset_bytes + symbol(var) * step)
    return values | {dim: symbol(f"{var}_n")}


def _loops(loop: Loop) -> Iterator[Loop]:
    yield loop
    for node in loop.body:
        if isinstance(node, Loop):
            yield from _loops(node)


def _calls(body: tuple[Node, ...]) -> Iterator[Call]:
    for node in body:
        if isinstance(node, Call):
            yield node
        elif isinstance(node, Loop):
            yield from _calls(node.body)


def _replaced(node: Loop, old: Call, new: Call) -> Loop:
    body = (_replaced(n, old, new) if isinstance(n, Loop) else new if n is old else n for n in node.body)
    return replace(node, body=tuple(body))
