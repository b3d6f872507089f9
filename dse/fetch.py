"""Stages that read constants far from the cores -> the same on copies near them.

`fetch_constants` copies them into buffers near the cores, a stage ahead, or a loop step ahead where a loop walks through
a constant. `walk_columns` makes such loops of linear ops whose weights are too large to lie near as a whole.
`head_start` cuts the first linear op in two, so that its second part arrives while the first one runs.
`load_constants` puts constants behind one more memory: they are loaded, another stage ahead, to where those copies start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dse.cluster import columns_apart, pointers_of
from dse.layout import RIGHT
from dse.program import (
    Affine,
    Buffer,
    Call,
    Constant,
    Copy,
    Fetch,
    Loop,
    Node,
    Parallel,
    Pointer,
    Stage,
    affine,
    symbol,
)

WALKED_BYTES = 16384  # weights that are larger are walked through
TILE_BYTES = 8192  # of weights at a time, about
START_BYTES = 4096  # weights of a first op that are larger arrive in two parts


def walk_columns(stages: list[Stage]) -> list[Stage]:
    """The stages with linear calls of large weights as loops over their columns; before the work is shared."""
    return [replace(stage, body=tuple(_walk(node) for node in stage.body)) for stage in stages]


def _walk(node: Node) -> Node:
    if not isinstance(node, Call) or node.op not in ("linear_rows", "linear_residual"):
        return node
    values = dict(node.arguments)
    columns, stride = (value.const for name in ("n", "w_stride") if isinstance(value := values[name], Affine))
    group = RIGHT[node.layout].group
    step = max(1, TILE_BYTES * group // stride // 8) * 8
    if columns * stride // group <= WALKED_BYTES or step >= columns:
        return node
    first = symbol("column")
    for name, move in {"w": stride // group, "channel": 8, "r": 1, "y": 1}.items():
        pointer = values.get(name)
        if isinstance(pointer, Pointer):
            values[name] = Pointer(pointer.base, pointer.offset_bytes + first * move)
    values["n"] = symbol("column_n")
    return Loop("column", affine(columns), step, (replace(node, arguments=tuple(values.items())),))


def head_start(
    stages: list[Stage], constants: Mapping[str, Constant], cores: int
) -> tuple[list[Stage], dict[str, Constant]]:
    """The stages with the first in two, and the constants with its own in two, when it is one linear call of large weights.

    Nothing hides the copy that the first stage waits for: it brings a quarter of the columns, and these hide the rest.
    """
    call = stages[0].body[0]
    if not isinstance(call, Call) or len(stages[0].body) > 1 or not call.op.startswith("linear_"):
        return stages, dict(constants)
    values = dict(call.arguments)
    n, weights = values["n"], values["w"]
    assert isinstance(n, Affine)
    assert isinstance(weights, Pointer)
    whole = n.const
    first = -(-whole // (16 * cores)) * 4 * cores
    shared = sum(pointer.base == weights.base for _, _, pointer in pointers_of(stages)) > 1
    if constants[weights.base].size_bytes < START_BYTES or first >= whole or shared:
        return stages, dict(constants)
    found, parts, apart = dict(constants), [], columns_apart(call)
    for name, at, end in ((f"{stages[0].name}.start", 0, first), (stages[0].name, first, whole)):
        arguments = {**values, "n": affine(end - at)}
        for operand, step in apart.items():
            pointer = values.get(operand)
            if not isinstance(pointer, Pointer):
                continue
            arguments[operand] = Pointer(pointer.base, pointer.offset_bytes + at * step)
            if pointer.base in constants:
                old = constants[pointer.base]
                own = f"{old.name}.columns{at}"
                found[own] = replace(old, name=own, data=old.data[at * step : end * step if end < whole else None])
                found.pop(old.name, None)
                arguments[operand] = Pointer(own)
        parts.append(replace(stages[0], name=name, body=(replace(call, arguments=tuple(arguments.items())),)))
    return [*parts, *stages[1:]], found


def fetch_constants(
    stages: list[Stage],
    buffers: dict[str, Buffer],
    constants: Mapping[str, Constant],
    most_copy_bytes: int = 1 << 30,
    most_copies: int = 1 << 10,
) -> tuple[list[Stage], dict[str, Constant]]:
    """Stages that read constants from buffers near the cores, with the copies that fill them, and the constants as copied.

    A constant that one loop at the top of a stage walks through alone is fetched step by step; the others of a stage lie
    together in one block, which is fetched during the stage before. No copy is larger than most_copy_bytes, and half of
    most_copies is left to the block of the stage that follows.
    """
    kept = {p.base: constants[p.base] for p in _copied(stages) if p.base in constants}
    done = []
    for stage in stages:
        walked: dict[str, tuple[str, int]] = {}
        used = [{p.base for _, _, p in pointers_of([replace(stage, body=(node,))])} for node in stage.body]
        for node, names_read in zip(stage.body, used, strict=True):
            if isinstance(node, Loop):
                found = [(n, size) for n, size in _walked(node, stage, constants).items() if size <= most_copy_bytes]
                alone = [(n, size) for n, size in found if n in names_read and sum(n in others for others in used) == 1]
                walked |= {name: (node.var, size) for name, size in alone[: most_copies // 2]}
        names = sorted({p.base for _, _, p in pointers_of([stage]) if p.base in constants})
        whole = [name for name in names if name not in walked]
        homes: dict[str, Affine] = {}
        fetch: tuple[Fetch, ...] = ()
        block = f"{stage.name}.constants"
        if whole:
            data, homes = _block(whole, constants)
            kept[block] = Constant(block, "s32", data)
            buffers[block + _NEAR] = Buffer(block + _NEAR, len(data), "constants", "s32")
            fetch = _pieces(block, len(data), most_copy_bytes)
        body = []
        for node, names_read in zip(stage.body, used, strict=True):
            own = {name: step for name, step in walked.items() if name in names_read}
            body.append(_read_near(node, stage.name, block, homes, own, buffers, kept, constants))
        done.append(replace(stage, body=tuple(body), fetch=fetch))
    return done, kept


def _pieces(block: str, size: int, most: int) -> tuple[Fetch, ...]:
    """Copies of a whole block, none larger than `most`."""
    parts = ((at, min(most, size - at)) for at in range(0, size, most))
    return tuple(
        Fetch(Pointer(block + _NEAR, affine(at)), Pointer(block, affine(at)), affine(count)) for at, count in parts
    )


_NEAR = ".near"  # a copy of constants near the cores


def _block(names: list[str], constants: Mapping[str, Constant]) -> tuple[bytes, dict[str, Affine]]:
    data, homes = b"", {}
    for name in names:
        homes[name] = affine(len(data))
        data += constants[name].data + bytes(-constants[name].size_bytes % 4)
    return data, homes


def _walked(loop: Loop, stage: Stage, constants: Mapping[str, Constant]) -> dict[str, int]:
    """Constants the loop walks through -> bytes a step: every use moves on by the same bytes an index."""
    steps: dict[str, set[int]] = {}
    for _, _, pointer in pointers_of([stage]):
        if pointer.base in constants:
            steps.setdefault(pointer.base, set()).add(dict(pointer.offset_bytes.terms).get(loop.var, 0))
    found: dict[str, int] = {}
    if loop.extent.terms:
        return found
    for name, factors in steps.items():
        (factor, *others) = factors
        whole = factor * loop.extent.const == constants[name].size_bytes
        if not others and factor and whole and factor * loop.step % 4 == 0 and factor * loop.step >= 64:
            found[name] = factor * loop.step
    return found


def _read_near(
    node: Node,
    stage: str,
    block: str,
    homes: Mapping[str, Affine],
    walked: Mapping[str, tuple[str, int]],
    buffers: dict[str, Buffer],
    kept: dict[str, Constant],
    constants: Mapping[str, Constant],
) -> Node:
    fetches = []
    for name, (var, size) in walked.items():
        near = f"{stage}.{name}{_NEAR}"
        buffers[near] = Buffer(near, 2 * size, "constants", "s8")
        kept[name] = constants[name]
        per_index = size // node.step if isinstance(node, Loop) else 0
        target = Pointer(near, symbol(f"{var}_slot") * size)
        fetches.append(Fetch(target, Pointer(name, symbol(var) * per_index), symbol(f"{var}_n") * per_index))

    def near_pointer(pointer: Pointer) -> Pointer:
        if pointer.base in homes:
            return Pointer(block + _NEAR, pointer.offset_bytes + homes[pointer.base])
        if pointer.base in walked:
            var, size = walked[pointer.base]
            rest = pointer.offset_bytes.substitute({var: affine(0)}) + symbol(f"{var}_slot") * size
            return Pointer(f"{stage}.{pointer.base}{_NEAR}", rest)
        return pointer

    def visit(child: Node) -> Node:
        if isinstance(child, Copy):
            return child
        if isinstance(child, Call):
            near = ((n, near_pointer(v) if isinstance(v, Pointer) else v) for n, v in child.arguments)
            return replace(child, arguments=tuple(near))
        return replace(child, body=tuple(visit(inner) for inner in child.body))

    result = visit(node)
    return replace(result, fetch=result.fetch + tuple(fetches)) if isinstance(result, Loop) and fetches else result


def _copied(stages: list[Stage]) -> list[Pointer]:
    """Where the copies of tiles come from, and what goes along."""
    found: list[Pointer] = []

    def visit(node: Node) -> None:
        if isinstance(node, Copy):
            found.append(node.far)
        for child in node.body if isinstance(node, Loop | Parallel) else ():
            visit(child)

    for stage in stages:
        for node in stage.body:
            visit(node)
    return found


def load_constants(
    stages: list[Stage], buffers: dict[str, Buffer], constants: Mapping[str, Constant], external: str, far: str
) -> tuple[list[Stage], dict[str, Constant]]:
    """The stages of `fetch_constants` with all constants in the region `external`, loaded to buffers in the region `far`
    before they are fetched from there; and those constants."""
    done = []
    for stage in stages:
        loads = _Loads(stage.name, constants, buffers, far)
        body, fetch = tuple(loads.node(node) for node in stage.body), loads.fetches(stage.fetch)
        done.append(replace(stage, body=body, fetch=fetch, load=tuple(loads.copies.values())))
    return done, {name: replace(constant, region=external) for name, constant in constants.items()}


@dataclass(frozen=True)
class _Loads:
    """What a stage loads: constant -> copy; filled as its copies are pointed to where the constants are loaded to."""

    stage: str
    constants: Mapping[str, Constant]
    buffers: dict[str, Buffer]
    far: str
    copies: dict[str, Fetch] = field(default_factory=dict)

    def node(self, node: Node) -> Node:
        if isinstance(node, Copy):
            return replace(node, src=self.source(node.src))
        if isinstance(node, Call):
            return node
        inner = replace(node, body=tuple(self.node(child) for child in node.body))
        return replace(inner, fetch=self.fetches(inner.fetch)) if isinstance(inner, Loop) else inner

    def fetches(self, copies: tuple[Fetch, ...]) -> tuple[Fetch, ...]:
        return tuple(replace(copy, src=self.source(copy.src)) for copy in copies)

    def source(self, pointer: Pointer) -> Pointer:
        constant = self.constants.get(pointer.base)
        if constant is None:
            return pointer
        home = f"{self.stage}.{constant.name}.loaded"
        self.buffers[home] = Buffer(home, constant.size_bytes, "constants", constant.dtype, self.far)
        self.copies[constant.name] = Fetch(Pointer(home), Pointer(constant.name), affine(constant.size_bytes))
        return Pointer(home, pointer.offset_bytes)
