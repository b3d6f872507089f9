"""The lowered schedule: an immutable loop tree of kernel calls over placed buffers, and a printer for it.

Three rooms read a Program and nothing else: the interpreter runs it, the cost model counts it, codegen prints it. Integers
that change with a loop are affine expressions over two symbols a loop brings: its variable (`row`, the first index of the
step) and its size (`row_n`, how many indices this step has: the step, or what is left of the extent). A loop that fetches
ahead also brings `row_slot`, 0 or 1 in turn: which half of its double buffers this step uses. On several cores a Parallel
brings the share of each core in the same way, and `core`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise, product
from math import prod


@dataclass(frozen=True)
class Affine:
    """`const + Σ coefficient · symbol`, in whatever unit the user of it says."""

    const: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Affine | int) -> Affine:
        """The sum, terms merged and ordered by symbol."""
        right = affine(other)
        if not right.terms:
            return Affine(self.const + right.const, self.terms) if right.const else self
        merged = dict(self.terms)
        for symbol, factor in right.terms:
            merged[symbol] = merged.get(symbol, 0) + factor
        return Affine(self.const + right.const, tuple(sorted((s, f) for s, f in merged.items() if f)))

    def __mul__(self, factor: int) -> Affine:
        """The product with an integer."""
        if not self.terms:
            return Affine(self.const * factor)
        return Affine(self.const * factor, tuple((s, f * factor) for s, f in self.terms if factor))

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The integer at these symbol values; KeyError for an unbound symbol."""
        total = self.const
        for name, factor in self.terms:
            total += factor * values[name]
        return total

    def substitute(self, values: Mapping[str, Affine]) -> Affine:
        """The expression with symbols replaced by expressions."""
        result = Affine(self.const)
        for name, factor in self.terms:
            result = result + values.get(name, symbol(name)) * factor
        return result

    def __str__(self) -> str:
        parts = [symbol if factor == 1 else f"{factor} * {symbol}" for symbol, factor in self.terms]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)


def affine(value: Affine | int) -> Affine:
    """`value` as an expression."""
    return value if isinstance(value, Affine) else _whole(value)


@lru_cache(maxsize=65536)
def _whole(value: int) -> Affine:
    return Affine(int(value))


def symbol(name: str) -> Affine:
    """The expression that is one symbol."""
    return Affine(0, ((name, 1),))


@dataclass(frozen=True)
class Buffer:
    """Bytes in RAM. `role` is input, output, activation or scratch; `offset_bytes` counts from the arena's start."""

    name: str
    size_bytes: int
    role: str
    dtype: str
    region: str = ""
    offset_bytes: int = -1


@dataclass(frozen=True)
class Constant:
    """Bytes in flash, in the layout its kernel reads; dtype s8, u8 or s32 (little endian). Those in another `region`, an
    external memory, are loaded before they are fetched."""

    name: str
    dtype: str
    data: bytes
    region: str = "flash"

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.data)


@dataclass(frozen=True)
class Pointer:
    """An address: the start of a buffer or constant plus a byte offset."""

    base: str
    offset_bytes: Affine = Affine()


@dataclass(frozen=True)
class Call:
    """One kernel call. `kernel` names the variant, `op` what it computes, `source` the model op it works for, `layout` how
    the variant stores right-hand operands ("" when it has none)."""

    kernel: str
    op: str
    source: str
    arguments: tuple[tuple[str, Pointer | Affine | None], ...]
    layout: str = ""

    def argument(self, name: str) -> Pointer | Affine | None:
        """The argument of that field; KeyError when the record has none."""
        return dict(self.arguments)[name]


@dataclass(frozen=True)
class Fetch:
    """A copy of `size_bytes` from where constants or far activations lie to a buffer near the cores, by a DMA while the
    cores compute."""

    dst: Pointer
    src: Pointer
    size_bytes: Affine


@dataclass(frozen=True)
class Copy:
    """`rows` rows of `row_bytes` bytes between memories, by a DMA that is waited for: packed near the cores, `stride_bytes`
    apart far from them (the source when `inward`, else the destination)."""

    dst: Pointer
    src: Pointer
    rows: Affine
    row_bytes: Affine
    stride_bytes: int
    inward: bool

    @property
    def near(self) -> Pointer:
        """The side near the cores."""
        return self.dst if self.inward else self.src

    @property
    def far(self) -> Pointer:
        """The other side."""
        return self.src if self.inward else self.dst


@dataclass(frozen=True)
class Loop:
    """`for var in range(0, extent, step)`, binding `var` and `var_n = min(step, extent - var)`.

    fetch: copies a step needs; they are complete when its body starts, and those of the next step run during the body,
    in the other half of the double buffers (`var_slot`).
    """

    var: str
    extent: Affine
    step: int
    body: tuple[Node, ...]
    fetch: tuple[Fetch, ...] = ()


@dataclass(frozen=True)
class Axis:
    """A dimension that cores share: share i of `ways` has the indices [share(i), share(i + 1)) of `extent`, whole units of
    `grain`, as `var` and `var_n`."""

    var: str
    extent: Affine
    grain: int
    ways: int

    def shares(self, extent: int) -> tuple[tuple[int, int], ...]:
        """(first index, count) of every share: units as even as can be."""
        units = -(-extent // self.grain)
        edges = [min(extent, units * share // self.ways * self.grain) for share in range(self.ways + 1)]
        return tuple((a, b - a) for a, b in pairwise(edges))


@dataclass(frozen=True)
class Parallel:
    """`body` once a core, which has one share of every axis, and its number as `core`: with two axes, core c has share
    c // ways of the first and c % ways of the second, `ways` being those of the second. A core without a share of each does
    nothing; all have finished when it ends."""

    axes: tuple[Axis, ...]
    body: tuple[Node, ...]

    @property
    def ways(self) -> int:
        """How many cores are at work."""
        return prod(axis.ways for axis in self.axes)

    def cores(self, values: Mapping[str, int]) -> Iterator[tuple[int, dict[str, int]]]:
        """(number, the symbols its axes bind) of every core that has something to do, at these values of outer symbols."""
        shares = [axis.shares(axis.extent.evaluate(values)) for axis in self.axes]
        for core, own in enumerate(product(*shares)):
            if all(count for _, count in own):
                bound: dict[str, int] = {}
                for axis, (first, count) in zip(self.axes, own, strict=True):
                    bound |= {axis.var: first, f"{axis.var}_n": count}
                yield core, bound


Node = Call | Copy | Loop | Parallel


@dataclass(frozen=True)
class Stage:
    """A part of the run that is timed on its own: one C function. `ops` are the model ops it computes. `fetch`: copies its
    body needs, which run during the stage before. `load`: copies from external memory that its fetches and its body read,
    which run during the stage before that one."""

    name: str
    ops: tuple[str, ...]
    body: tuple[Node, ...]
    fetch: tuple[Fetch, ...] = ()
    load: tuple[Fetch, ...] = ()


def copies_ahead(stages: Sequence[Stage]) -> Iterator[tuple[Stage | None, Stage | None, Stage | None]]:
    """(stage to run, stage whose fetches start before it runs, stage whose loads do), in the order of a run.

    Before each, what was started the time before has arrived. The first two run no stage: they start what the first stage
    needs.
    """
    for at in range(-2, len(stages)):
        ran, fetched, loaded = (stages[i] if 0 <= i < len(stages) else None for i in (at, at + 1, at + 2))
        yield ran, fetched, loaded


def loops(body: tuple[Node, ...]) -> Iterator[Loop]:
    """Every loop of a body, outer before inner."""
    for node in body:
        if isinstance(node, Loop):
            yield node
        if isinstance(node, Loop | Parallel):
            yield from loops(node.body)


@dataclass(frozen=True)
class Program:
    """Everything the firmware does: buffers placed, constants packed, stages in order."""

    model: str
    form: str
    target: str
    schedule_digest: str
    input: Pointer
    input_bytes: int
    output: Pointer
    output_bytes: int
    buffers: tuple[Buffer, ...]
    constants: tuple[Constant, ...]
    stages: tuple[Stage, ...]
    code: str = "flash"  # the region functions run from

    def arena_bytes(self) -> dict[str, int]:
        """Peak bytes by region: the size of each arena."""
        peaks: dict[str, int] = {}
        for buffer in self.buffers:
            peaks[buffer.region] = max(peaks.get(buffer.region, 0), buffer.offset_bytes + buffer.size_bytes)
        return peaks

    def weight_bytes(self) -> int:
        """Bytes of all constants in flash."""
        return self.constant_bytes().get("flash", 0)

    def constant_bytes(self) -> dict[str, int]:
        """Bytes of constants by region."""
        found: dict[str, int] = {}
        for constant in self.constants:
            found[constant.region] = found.get(constant.region, 0) + constant.size_bytes
        return found

    def calls(self) -> Iterator[Call]:
        """Every call of the tree once, in text order."""
        for stage in self.stages:
            yield from calls_in(stage.body)

    def digest(self) -> str:
        """A short hash of the whole program text and its constants."""
        hasher = sha256(print_program(self).encode())
        for constant in self.constants:
            hasher.update(constant.data)
        return hasher.hexdigest()[:16]


def calls_in(body: tuple[Node, ...]) -> Iterator[Call]:
    """Every call of a body once, in text order."""
    for node in body:
        if isinstance(node, Call):
            yield node
        elif isinstance(node, Loop | Parallel):
            yield from calls_in(node.body)


def print_program(program: Program) -> str:
    """The program as text, for people and for digests."""
    lines = [
        f"program {program.model} form={program.form} target={program.target} schedule={program.schedule_digest}"
        + f" code={program.code}",
        f"input {_show(program.input)} {program.input_bytes} B, output {_show(program.output)} {program.output_bytes} B",
        "",
    ]
    for buffer in program.buffers:
        place = f"{buffer.region}+{buffer.offset_bytes}"
        lines.append(f"buffer {buffer.name:<22} {buffer.size_bytes:>8} B  {buffer.dtype:<4} {buffer.role:<10} {place}")
    lines += [f"const  {c.name:<22} {c.size_bytes:>8} B  {c.dtype:<4} {c.region}" for c in program.constants]
    for stage in program.stages:
        lines += ["", f"stage {stage.name}: {', '.join(stage.ops)}"]
        lines += [*_print_fetch(stage.load, "  ", "load"), *_print_fetch(stage.fetch, "  ")]
        lines += _print_body(stage.body, 1)
    return "\n".join(lines) + "\n"


def _print_body(body: tuple[Node, ...], depth: int) -> list[str]:
    pad = "  " * depth
    lines: list[str] = []
    for node in body:
        if isinstance(node, Loop):
            lines.append(f"{pad}for {node.var} in 0..{node.extent} step {node.step}")
            lines += [*_print_fetch(node.fetch, pad + "  "), *_print_body(node.body, depth + 1)]
        elif isinstance(node, Parallel):
            axes = " x ".join(f"{a.var} in 0..{a.extent} grain {a.grain} by {a.ways}" for a in node.axes)
            lines.append(f"{pad}parallel {axes}")
            lines += _print_body(node.body, depth + 1)
        elif isinstance(node, Copy):
            lines.append(f"{pad}copy {_show(node.dst)} <- {_show(node.src)}, {node.rows} rows of {node.row_bytes} B")
        else:
            fields = ", ".join(f"{name}={_show(value)}" for name, value in node.arguments)
            lines.append(f"{pad}{node.kernel}({fields})  # {node.source}")
    return lines


def _print_fetch(fetch: tuple[Fetch, ...], pad: str, verb: str = "fetch") -> list[str]:
    return [f"{pad}{verb} {_show(f.dst)} <- {_show(f.src)}, {f.size_bytes} B" for f in fetch]


def _show(value: Pointer | Affine | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, Affine):
        return str(value)
    return value.base if value.offset_bytes == Affine() else f"{value.base}[{value.offset_bytes}]"
