"""What lowering shares: buffers, constants, loops and kernel calls of a Program under construction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from dse.facts import facts_of
from dse.ir import Array, Model, Op
from dse.kernel import Kernels, Variants
from dse.layout import panels_bytes, panels_stride_bytes
from dse.program import Affine, Buffer, Call, Constant, Loop, Node, Pointer, Stage, affine, symbol
from dse.schedule import FAMILIES, Schedule

Argument = Pointer | Affine | int | None
_STORED: WeakKeyDictionary[Model, dict[str, Constant]] = WeakKeyDictionary()
"""All other constants by model, name by name."""
_SCRATCHED = ("tlf_linear_args", "tlf_linear_residual_args", "tlf_probs_args", "tlf_attend_args")


@dataclass(frozen=True)
class Matrix:
    """An activation in memory, the left-hand operand of products: (…, width) int8 as `rows`, `row_bytes` apart, or as
    `panels`."""

    base: Pointer
    width: int
    panels: bool = False
    row_bytes: int = 0  # as the width where it is 0

    @property
    def stride(self) -> int:
        """Bytes from a row, or a group of two rows of panels, to the next."""
        return panels_stride_bytes(self.width) if self.panels else self.row_bytes or self.width

    def at(self, row: Affine | int = 0, column: Affine | int = 0) -> Pointer:
        """Where an element lies; in panels its row and column are even."""
        if self.panels:
            offset = affine(row) * (self.stride // 2) + affine(column) * 4
        else:
            offset = affine(row) * self.stride + affine(column)
        return Pointer(self.base.base, self.base.offset_bytes + offset)


@dataclass(frozen=True)
class Asked:
    """The kernels asked for the calls of one kernel op that work for one model op, and the integers of those calls that
    scratch is measured by; wanted: a kernel's most bytes of it, with loop symbols at their largest."""

    kernels: Kernels
    scratch: str
    arguments: list[tuple[tuple[str, Affine], ...]]
    wanted: list[int]


class Builder:
    """Collects what `lower` decides. Tensors are `rows` buffers unless the attention asks for another layout."""

    def __init__(
        self,
        model: Model,
        schedule: Schedule,
        variants: Variants,
        entry: str,
        rivals: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`entry` is the tensor that exists from the start: the model's input, or that of the part to lower.

        rivals: family -> variants to be priced for its calls; the first, the schedule's own, is the one called. `apart`
        becomes true when they would not be lowered alike.
        """
        self.model, self.schedule, self.variants = model, schedule, variants
        self.rivals = rivals or {family: (schedule.variant(family),) for family in FAMILIES}
        self.asked: dict[tuple[str, str], Asked] = {}
        self.sizes: dict[str, Affine] = {}
        self.apart = False
        self.buffers: dict[str, Buffer] = {}
        self.constants: dict[str, Constant] = {}
        self.stages: list[Stage] = []
        self.done: set[str] = set()
        self._body: list[Node] = []
        self._largest: dict[str, int] = {}
        self._home: dict[str, Pointer] = {}
        self._stored = _STORED.setdefault(model, {})
        self.new_tensor(entry)

    # ---- buffers and constants -----------------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[int, int]:
        """(tokens, channels) of a rank-2 tensor."""
        rows, columns = self.model.tensors[tensor].shape
        return rows, columns

    def new(self, name: str, size_bytes: Affine | int, role: str, dtype: str = "s8") -> Pointer:
        """A pointer to a fresh buffer; its role groups buffers for the placement knob.

        size_bytes may hold symbols of `open_steps`: it is what they make it at their largest.
        """
        if name in self.buffers:
            raise ValueError(f"buffer {name} exists already")
        if isinstance(size_bytes, Affine):
            self.sizes[name] = size_bytes
            size_bytes = size_bytes.evaluate(self._largest)
        self.buffers[name] = Buffer(name, size_bytes, role, dtype)
        return Pointer(name)

    def open_steps(self, steps: Mapping[str, int]) -> None:
        """Declare loops to come: variable -> step. Sizes may then be written in terms of `<variable>_n`."""
        self._largest |= {f"{var}_n": step for var, step in steps.items()}

    def new_matrix(
        self, name: str, rows: Affine | int, width: int, role: str, panels: bool, row_bytes: int = 0
    ) -> Matrix:
        """A fresh (rows, width) activation as rows or panels, of which a symbol means an even number."""
        row_bytes = row_bytes or width
        if isinstance(rows, Affine):
            size: Affine | int = rows * (panels_stride_bytes(width) // 2 if panels else row_bytes)
        else:
            size = panels_bytes(rows, width) if panels else rows * row_bytes
        return Matrix(self.new(name, size, role, "s16" if panels else "s8"), width, panels, row_bytes)

    def new_tensor(self, tensor: str) -> Pointer:
        """The home of a model tensor: dense rows."""
        self._home[tensor] = self.new(tensor, self.model.tensors[tensor].size_bytes, "activation")
        return self._home[tensor]

    def tensor(self, tensor: str) -> Pointer:
        """Where a model tensor lives."""
        return self._home[tensor]

    def has_home(self, tensor: str) -> bool:
        """Whether a model tensor lives somewhere by now."""
        return tensor in self._home

    def rows(self, tensor: str) -> Matrix:
        """A model tensor as left-hand operand."""
        return Matrix(self.tensor(tensor), self.shape(tensor)[1])

    def overwrite_or_new(self, op: Op, *operands: str) -> Pointer:
        """The home of an elementwise op's result: a dead operand of the same size when there is one, else a new one."""
        result = op.outputs[0]
        for operand in operands:
            readers = self.model.consumers(operand)
            same = self.model.tensors[operand].size_bytes == self.model.tensors[result].size_bytes
            if same and readers[-1].name == op.name and operand not in (self.model.input, self.model.output):
                self._home[result] = self._home[operand]
                return self._home[result]
        return self.new_tensor(result)

    def constant(self, name: str, values: Array) -> Pointer:
        """A pointer to constant data in flash, little endian, stored once per name."""
        if name not in self.constants:
            if name not in self._stored:
                self._stored[name] = stored(name, values)
            self.constants[name] = self._stored[name]
        return Pointer(name)

    def records(self, name: str, op: Op, roles: tuple[str, str], width: int) -> Pointer:
        """Interleaved int32 channel records of two constants of the op, each (width,)."""
        first, second = (self.model.constants[op.constant(role)].astype(np.int32) for role in roles)
        return self.constant(f"{name}.channel", np.stack([first, second], axis=1).reshape(2 * width))

    # ---- structure ---------------------------------------------------------------------------------------------

    @contextmanager
    def stage(self, name: str, *ops: Op) -> Iterator[None]:
        """Everything recorded inside becomes one stage."""
        outer, self._body = self._body, []
        yield
        self.stages.append(Stage(name, tuple(op.name for op in ops), tuple(self._body)))
        self.done.update(op.name for op in ops)
        self._body = outer

    @contextmanager
    def loop(self, var: str, extent: Affine | int, step: int) -> Iterator[tuple[Affine, Affine]]:
        """A loop over `extent` in steps: yields (first index, size) of the step. One single step leaves no loop."""
        extent = affine(extent)
        if not extent.terms and extent.const <= step:
            yield affine(0), extent
            return
        outer, self._body = self._body, []
        self._largest |= {f"{var}_n": step}
        yield symbol(var), symbol(f"{var}_n")
        outer.append(Loop(var, extent, step, tuple(self._body)))
        self._body = outer

    def at(self, pointer: Pointer, offset_bytes: Affine | int) -> Pointer:
        """The pointer moved on by some bytes."""
        return Pointer(pointer.base, pointer.offset_bytes + offset_bytes)

    # ---- kernels ---------------------------------------------------------------------------------------------------

    def eligible(self, op: str, family: str, layout: str | None, facts: Mapping[str, int]) -> Kernels:
        """The kernels for a kernel op, one a rival: itself, else the best that can serve; () without any."""
        return self.variants.serving(op, self.rivals[family], layout, facts)

    def choose(self, op: str, family: str, layout: str | None = None, **facts: int) -> Kernels:
        """`eligible`, or ValueError."""
        kernels = self.eligible(op, family, layout, facts)
        if not kernels:
            raise ValueError(f"kernels: no variant of {op} can serve {facts} with layout {layout or 'any'}")
        return kernels

    def call(self, kernels: Kernels, source: Op, /, **arguments: Argument) -> None:
        """Record one kernel call; the scratch its variant asks for becomes a buffer of its own."""
        kernel = kernels[0]
        self.apart |= any((rival.layout, rival.align) != (kernel.layout, kernel.align) for rival in kernels[1:])
        values = {k: affine(v) if isinstance(v, int) else v for k, v in arguments.items()}
        if kernel.args in _SCRATCHED:
            values["scratch"] = self._scratch(kernels, source, values)
        else:
            self.asked[kernel.op, source.name] = Asked(kernels, "", [], [])
        self._body.append(Call(kernel.name, kernel.op, source.name, tuple(values.items()), kernel.layout))

    def _scratch(self, kernels: Kernels, source: Op, values: Mapping[str, Pointer | Affine | None]) -> Pointer | None:
        """The scratch of a call, as large as its kernel, or the hungriest rival, wants it; None when none wants any."""
        integers = tuple((k, v) for k, v in values.items() if isinstance(v, Affine))
        sizes = {k: v.evaluate(self._upper(v)) if v.terms else v.const for k, v in integers}
        wanted = [kernel.scratch.evaluate(sizes) for kernel in kernels]
        op = kernels[0].op
        name = f"{source.name}.{op}.scratch"
        asked = self.asked.setdefault((op, source.name), Asked(kernels, name, [], [0] * len(kernels)))
        asked.arguments.append(integers)
        asked.wanted[:] = map(max, asked.wanted, wanted)
        if not any(wanted):
            return None
        known = self.buffers.get(name)
        if known is None or known.size_bytes < max(wanted):
            self.buffers[name] = Buffer(name, max(wanted), "scratch", "s16")
        return Pointer(name)

    def scratch_bytes(self, call: Call, largest: Mapping[str, int]) -> int:
        """Bytes of scratch of a recorded call, with these symbols at these values instead of their largest."""
        integers = {k: v for k, v in call.arguments if isinstance(v, Affine)}
        sizes = {k: v.evaluate({**self._upper(v), **largest}) for k, v in integers.items()}
        return self.asked[call.op, call.source].kernels[0].scratch.evaluate(sizes)

    def _upper(self, value: Affine) -> dict[str, int]:
        return {name: self._largest.get(name, 0) for name, _ in value.terms}

    def bound(self, op: Op) -> int:
        """Largest magnitude of the op's accumulators over all int8 inputs."""
        return facts_of(self.model, op)["bound"]


def stored(name: str, values: Array) -> Constant:
    """Values as constant data, little endian."""
    dtypes = {"int8": "s8", "uint8": "u8", "int32": "s32"}
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return Constant(name, dtypes[values.dtype.name], data)
