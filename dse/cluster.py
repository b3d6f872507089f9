"""Stages for one core -> stages for a cluster: work shared between cores.

`share_work` puts parallel regions around the calls: a core takes heads of the attention, or query rows, or columns of a
linear op. What a core needs for itself gets as many places as there are cores at work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dse.layout import RIGHT, Right
from dse.program import (
    Affine,
    Axis,
    Buffer,
    Call,
    Copy,
    Loop,
    Node,
    Parallel,
    Pointer,
    Stage,
    affine,
    symbol,
)

Scratch = Callable[[Call, Mapping[str, int]], int]  # bytes a call asks for, with symbols at these values
_SHARE = "share"
_HEADS = "one"
_MAP_LOOPS = ("sub", _HEADS)  # of lower_attention: row steps of the map, heads


# ---- sharing work ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    """How a call is cut along one of its dimensions: bytes a unit moves each operand on, and the unit cores share."""

    dim: str
    moves: Mapping[str, Affine | int]
    grain: int = 1

    def balance(self, extent: int, ways: int) -> float:
        """Share of the cores' time that works, when every unit takes equally long."""
        axis = Axis(_SHARE, affine(extent), self.grain, ways)
        return extent / (ways * max(count for _, count in axis.shares(extent)))


def share_work(stages: list[Stage], buffers: dict[str, Buffer], ways: int, split: str, scratch: Scratch) -> list[Stage]:
    """The stages with parallel regions on `ways` cores; buffers that each core needs for itself grow `ways` times.

    split: what a core takes of the attention map, "heads", "rows" (that too where heads add into the same sums) or "both":
    some rows of some heads. scratch: what a call asks for, which is less for the fewer rows of a core.
    """
    shared = []
    for stage in stages:
        body = tuple(_share_node(node, ways, split, {}, buffers, scratch) for node in stage.body)
        shared.append(replace(stage, body=_join_queries(body, buffers)))
    return _privatise(shared, buffers)


def _share_node(
    node: Node, ways: int, split: str, largest: Mapping[str, int], buffers: dict[str, Buffer], scratch: Scratch
) -> Node:
    if isinstance(node, Call):
        return _share_call(node, ways, largest)
    if isinstance(node, Copy):
        return node
    assert isinstance(node, Loop)
    if node.var in _MAP_LOOPS:
        region = _share_map(node, ways, split, largest, buffers, scratch)
        if region is not None:
            return region
    inner = {**largest, f"{node.var}_n": node.step}
    body = tuple(_share_node(child, ways, split, inner, buffers, scratch) for child in node.body)
    return replace(node, body=_join_queries(body, buffers))


def _join_queries(nodes: tuple[Node, ...], buffers: Mapping[str, Buffer]) -> tuple[Node, ...]:
    """The nodes with the queries of a head projected by the core that works on this head, in the same region, where that
    leaves all cores as much to do as before."""
    done: list[Node] = []
    for node in nodes:
        project = done[-1] if done else None
        if isinstance(node, Parallel) and isinstance(project, Parallel) and (joined := _joined(project, node, buffers)):
            done[-1] = joined
        else:
            done.append(node)
    return tuple(done)


def _joined(project: Parallel, heads: Parallel, buffers: Mapping[str, Buffer]) -> Parallel | None:
    (call, *more), axis, own = project.body, project.axes[0], heads.axes[0]
    if more or len(heads.axes) > 1 or not isinstance(call, Call) or call.op != "linear_rows":
        return None
    values = dict(call.arguments)
    y = values["y"]
    assert isinstance(y, Pointer)
    by_head = any(loop.var == _HEADS and loop.extent == symbol(f"{own.var}_n") for loop in _loops(heads.body))
    if y.base not in buffers or buffers[y.base].role != "queries" or values["n"] != symbol(f"{axis.var}_n"):
        return None
    if not by_head or axis.extent.terms or own.extent.terms or own.extent.const % own.ways or own.ways != axis.ways:
        return None
    width, rest = divmod(axis.extent.const, own.extent.const)
    if rest or width % axis.grain:
        return None
    moved = tuple((name, _moved(v, {axis.var: symbol(own.var) * width})) for name, v in call.arguments if name != "n")
    shared = replace(call, arguments=(*moved, ("n", symbol(f"{own.var}_n") * width)))
    return replace(heads, body=(shared, *heads.body))


def _loops(body: tuple[Node, ...]) -> list[Loop]:
    found = [node for node in body if isinstance(node, Loop)]
    return found + [inner for loop in found for inner in _loops(loop.body)]


def _share_map(
    loop: Loop, ways: int, split: str, largest: Mapping[str, int], buffers: dict[str, Buffer], scratch: Scratch
) -> Parallel | None:
    """Row steps and heads of scores–softmax–softmax·V as one region; None when there is nothing to cut."""
    heads = (
        loop if loop.var == _HEADS else next((n for n in loop.body if isinstance(n, Loop) and n.var == _HEADS), None)
    )
    apart = heads is not None and not _heads_collide(heads)
    if heads is not None and apart and (split == "heads" or loop is heads):
        return _region(loop, {heads.var: Axis(_SHARE, heads.extent, 1, min(ways, _most(heads.extent, largest)))})
    if loop.var != "sub":
        return None
    most, panels = _most(loop.extent, largest), any(call.op.endswith("_panels") for call in _calls((loop,)))
    cut = {}
    if heads is not None and apart and split == "both":
        across = _grid(_most(heads.extent, largest), most, ways, panels)
        ways //= across
        cut[heads.var] = Axis(f"{_SHARE}_head", heads.extent, 1, across)
    rows = _row_axis(loop.extent, most, ways, panels)
    loop = _shrink(loop, max(count for _, count in rows.shares(most)), buffers, scratch)
    return _region(loop, {loop.var: rows} | cut)


def _row_axis(extent: Affine, most: int, ways: int, panels: bool) -> Axis:
    """Rows of the map, at most that many, for that many cores."""
    grain = min((4, 2, 1), key=lambda rows: _turns(Axis(_SHARE, extent, rows, ways), most))
    grain = max(grain, 2 if panels else 1)
    return Axis(_SHARE, extent, grain, min(ways, -(-most // grain)))


def _grid(heads: int, rows: int, ways: int, panels: bool) -> int:
    """Over how many of the cores to share the heads, the rows over as many groups of them: what keeps none long."""
    counts = (across for across in range(ways, 0, -1) if ways % across == 0 and across <= heads)
    return min(counts, key=lambda n: -(-heads // n) * _turns(_row_axis(affine(rows), rows, ways // n, panels), rows))


def _shrink(loop: Loop, share: int, buffers: dict[str, Buffer], scratch: Scratch) -> Loop:
    """The loop over map rows with no more rows a step than a core has, nor in the map and scratch of one core."""
    if share >= loop.step or any(call.op.endswith("_panels") for call in _calls(loop.body)):
        return loop
    names = {p.base for call in _calls(loop.body) for _, p in call.arguments if isinstance(p, Pointer)}
    for name in names & set(buffers):
        if buffers[name].role in ("map", "sum"):
            buffers[name] = replace(buffers[name], size_bytes=buffers[name].size_bytes // loop.step * share)
    for call in _calls(loop.body):
        pointer = dict(call.arguments).get("scratch")
        if isinstance(pointer, Pointer):
            size = scratch(call, {f"{loop.var}_n": share})
            buffers[pointer.base] = replace(buffers[pointer.base], size_bytes=size)
    return replace(loop, step=share)


_TURNS = (0.0, 0.4, 0.65, 0.85)  # of a turn of four rows, what the kernels take for the rows that are left


def _turns(axis: Axis, most: int) -> float:
    """About how long the core with the most rows works."""
    rows = max(count for _, count in axis.shares(most))
    return rows // 4 + _TURNS[rows % 4]


def _most(extent: Affine, largest: Mapping[str, int]) -> int:
    return extent.evaluate({name: largest.get(name, 0) for name, _ in extent.terms})


def _heads_collide(heads: Loop) -> bool:
    """True when all heads add into the same sums."""
    return any(call.op == "attend_add" for call in _calls(heads.body))


def _region(outer: Loop, cut: Mapping[str, Axis]) -> Parallel:
    """`outer` as the body of every core, its loops of these variables running over the core's share of those axes."""

    def own(node: Node) -> Node:
        if not isinstance(node, Loop):
            return node
        node = replace(node, body=tuple(own(child) for child in node.body))
        axis = cut.get(node.var)
        if axis is None:
            return node
        moved = tuple(_substitute(child, {node.var: symbol(axis.var) + symbol(node.var)}) for child in node.body)
        return replace(node, extent=symbol(f"{axis.var}_n"), body=moved)

    return Parallel(tuple(cut.values()), (own(outer),))


def _share_call(call: Call, ways: int, largest: Mapping[str, int]) -> Node:
    """The call cut along the dimension that keeps the cores busiest."""
    sizes = {
        k: v.evaluate({s: largest.get(s, 0) for s, _ in v.terms}) for k, v in call.arguments if isinstance(v, Affine)
    }
    splits = [split for split in _splits(call, sizes) if sizes[split.dim] > split.grain]
    if not splits:
        return Parallel((Axis(_SHARE, affine(1), 1, ways),), (call,))
    best = max(splits, key=lambda split: split.balance(sizes[split.dim], ways))
    values = dict(call.arguments)
    extent = values[best.dim]
    assert isinstance(extent, Affine)
    for field, step in best.moves.items():
        pointer = values.get(field)
        if isinstance(pointer, Pointer):
            values[field] = Pointer(pointer.base, pointer.offset_bytes + symbol(_SHARE) * _constant(step))
    values[best.dim] = symbol(f"{_SHARE}_n")
    return Parallel((Axis(_SHARE, extent, best.grain, ways),), (replace(call, arguments=tuple(values.items())),))


def _constant(value: Affine | int) -> int:
    value = affine(value)
    if value.terms:
        raise ValueError(f"a stride must not change inside a loop, got {value}")
    return value.const


def _splits(call: Call, z: Mapping[str, int]) -> list[_Split]:
    """The ways to cut a call. Cores write whole words, so that they never share one."""
    right = RIGHT.get(call.layout, RIGHT["columns"])
    family = call.op.split("_")[0]
    if family == "linear":
        return _linear_splits(call.op, z, right)
    if family in ("probs", "attend"):
        return [_by_row(call.op, z, ("q", "e", "y"), {"sum": 4})]
    if call.op == "pack_keys":
        return [_Split("m", {"x": z["x_stride"], "y": z["y_stride"] // right.group}, right.group)]
    if call.op in ("narrow", "layernorm", "pack_panels", "pack_rows"):
        return [_by_row(call.op, z, ("x", "y"))]
    if call.op == "zero":
        return [_Split("n", {"y": 4})]
    if call.op == "mean":
        return [_Split("n", {"x": 1, "y": 1}, 4)]
    return [_Split("n", {"x": 1, "a": 1, "b": 1, "y": 1}, 4)]


def columns_apart(call: Call) -> dict[str, int]:
    """operand -> bytes from what belongs to one column of a linear call to what belongs to the next."""
    sizes = {k: v.const for k, v in call.arguments if isinstance(v, Affine)}
    by_column = _linear_splits(call.op, sizes, RIGHT[call.layout])[0]
    return {name: _constant(step) for name, step in by_column.moves.items()}


def _linear_splits(op: str, z: Mapping[str, int], right: Right) -> list[_Split]:
    by_column = {"w": z["w_stride"] // right.group, "channel": 8, "r": 1}
    written = RIGHT[right.written]
    if op == "linear_keys":
        rows = {"x": _row_bytes(op, z, "x"), "y": z["y_stride"] // written.group}
        return [_Split("n", by_column | {"y": written.depth_bytes(1)}, 4), _Split("m", rows, written.group)]
    if op == "linear_values":
        grain = max(2, right.group, written.group)
        return [_Split("n", by_column | {"y": z["y_stride"] // written.group}, grain)]
    width = 4 if op in ("linear_add", "linear_panels") else 1
    return [_Split("n", by_column | {"y": width}, 4), _by_row(op, z, ("x", "r", "y"))]


def _by_row(op: str, z: Mapping[str, int], operands: tuple[str, ...], more: Mapping[str, int] = {}) -> _Split:
    """The cut between rows of these operands; panels hold two rows side by side, so none is cut between those."""
    moves = {name: _row_bytes(op, z, name) for name in operands}
    return _Split("m", {**moves, **more}, 2 if any(_as_panels(op, z, name) for name in operands) else 1)


def _row_bytes(op: str, z: Mapping[str, int], operand: str) -> int:
    stride = z.get(f"{operand}_stride", 0)
    return stride // 2 if _as_panels(op, z, operand) else stride


def _as_panels(op: str, z: Mapping[str, int], operand: str) -> bool:
    """True when the operand is panels: read ones say so in the record, written ones are in the name of the op."""
    return bool(z.get(f"{operand}_panels")) or (op.endswith("_panels") and operand == ("e" if "probs" in op else "y"))


def _calls(body: tuple[Node, ...]) -> list[Call]:
    found: list[Call] = []
    for node in body:
        found += [node] if isinstance(node, Call) else [] if isinstance(node, Copy) else _calls(node.body)
    return found


def _substitute(node: Node, values: Mapping[str, Affine]) -> Node:
    if isinstance(node, Call):
        return replace(node, arguments=tuple((name, _moved(value, values)) for name, value in node.arguments))
    if not isinstance(node, Loop):
        raise ValueError("copies and regions cannot be shared between cores")
    body = tuple(_substitute(child, values) for child in node.body)
    return replace(node, extent=node.extent.substitute(values), body=body)


def _moved(value: Pointer | Affine | None, values: Mapping[str, Affine]) -> Pointer | Affine | None:
    if isinstance(value, Affine):
        return value.substitute(values)
    return None if value is None else Pointer(value.base, value.offset_bytes.substitute(values))


# ---- buffers of a core -------------------------------------------------------------------------------------------------


def _privatise(stages: list[Stage], buffers: dict[str, Buffer]) -> list[Stage]:
    """Scratch, and a map or sums that only one region uses, at the same place on every core become one a core; all scratch
    of a region is the same, as a core makes one call at a time."""
    users: dict[str, set[int]] = {}
    same: dict[str, bool] = {}
    ways: dict[str, int] = {}
    for region, cores, pointer in pointers_of(stages):
        users.setdefault(pointer.base, set()).add(region)
        ways[pointer.base] = max(cores, ways.get(pointer.base, 1))
        own = all(not name.startswith(_SHARE) for name, _ in pointer.offset_bytes.terms)
        same[pointer.base] = same.get(pointer.base, True) and own
    private = {n for n, found in users.items() if n in buffers and min(found) >= 0 and same[n]}
    private &= {
        n
        for n, b in buffers.items()
        if b.role == "scratch" or (b.role in ("map", "sum") and len(users.get(n, ())) == 1)
    }
    homes = {name: name for name in sorted(private)}
    for name in homes:
        if buffers[name].role == "scratch":
            homes[name] = min(n for n in private if buffers[n].role == "scratch" and users[n] == users[name])
    strides = dict.fromkeys(homes.values(), 0)
    for name, home in homes.items():
        strides[home] = max(strides[home], -(-buffers[name].size_bytes // 4) * 4)
    for name, home in homes.items():
        if name == home:
            buffers[name] = replace(buffers[name], size_bytes=strides[name] * ways[name])
        else:
            del buffers[name]
    body = {stage.name: tuple(_offset_private(node, homes, strides) for node in stage.body) for stage in stages}
    return [replace(stage, body=body[stage.name]) for stage in stages]


def pointers_of(stages: list[Stage]) -> list[tuple[int, int, Pointer]]:
    """(number of the region or -1, cores it runs on, pointer) of every operand."""
    found: list[tuple[int, int, Pointer]] = []
    regions = 0

    def visit(node: Node, region: int, cores: int) -> None:
        nonlocal regions
        if isinstance(node, Call):
            found.extend((region, cores, value) for _, value in node.arguments if isinstance(value, Pointer))
            return
        if isinstance(node, Copy):
            found.append((region, cores, node.near))
            return
        if isinstance(node, Parallel):
            region, cores = regions, node.ways
            regions += 1
        for child in node.body:
            visit(child, region, cores)

    for stage in stages:
        for node in stage.body:
            visit(node, -1, 1)
    return found


def _offset_private(node: Node, homes: Mapping[str, str], strides: Mapping[str, int]) -> Node:
    if isinstance(node, Copy):
        return node
    if not isinstance(node, Call):
        return replace(node, body=tuple(_offset_private(child, homes, strides) for child in node.body))
    arguments = []
    for name, value in node.arguments:
        if isinstance(value, Pointer) and value.base in homes:
            home = homes[value.base]
            value = Pointer(home, value.offset_bytes + symbol("core") * strides[home])
        arguments.append((name, value))
    return replace(node, arguments=tuple(arguments))
