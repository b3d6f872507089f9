"""The pencil of lowering: buffers, packed constants, loops and kernel calls of a Program under construction."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np

from dse.ir import Array, Model, Op
from dse.kernel import Kernel, variant_of
from dse.layout import even, pack_pairs, pairs_stride_bytes
from dse.program import Affine, Buffer, Call, Constant, Loop, Node, Pointer, Stage, affine, symbol
from dse.schedule import Schedule

Argument = Pointer | Affine | int | None
_PACKED: WeakKeyDictionary[Model, dict[tuple[Hashable, ...], Constant]] = WeakKeyDictionary()
"""Constants in kernel layout by model: packed for the first schedule that reads them, shared by all others."""


class Builder:
    """Collects what `lower` decides. Tensors are `rows` buffers unless the attention asks for another layout."""

    def __init__(self, model: Model, schedule: Schedule, kernels: Mapping[str, Kernel], entry: str) -> None:
        """`entry` is the tensor that holds the first operand: the model's input, or that of the part to lower."""
        self.model, self.schedule, self.kernels = model, schedule, kernels
        self._packed = _PACKED.setdefault(model, {})
        self.buffers: dict[str, Buffer] = {}
        self.constants: dict[str, Constant] = {}
        self.stages: list[Stage] = []
        self._body: list[Node] = []
        self._largest: dict[str, int] = {}
        self._home: dict[str, Pointer] = {}
        self.new_tensor(entry)

    # ---- buffers and constants -----------------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[int, int]:
        """(tokens, channels) of a rank-2 tensor."""
        rows, columns = self.model.tensors[tensor].shape
        return rows, columns

    def new(self, name: str, size_bytes: int, role: str, dtype: str = "s8") -> Pointer:
        """A pointer to a fresh buffer; its role groups buffers for the placement knob."""
        if name in self.buffers:
            raise ValueError(f"buffer {name} exists already")
        self.buffers[name] = Buffer(name, size_bytes, role, dtype)
        return Pointer(name)

    def new_tensor(self, tensor: str) -> Pointer:
        """The home of a model tensor: dense rows."""
        self._home[tensor] = self.new(tensor, self.model.tensors[tensor].size_bytes, "activation")
        return self._home[tensor]

    def tensor(self, tensor: str) -> Pointer:
        """Where a model tensor lives."""
        return self._home[tensor]

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

    def constant(self, name: str, values: Callable[[], Array], *layout: Hashable) -> Pointer:
        """A pointer to constant data in flash, little endian, stored once per name.

        `layout` is all of the schedule that `values()` depends on; it is called once a model for each.
        """
        if name not in self.constants:
            key = (name, *layout)
            if key not in self._packed:
                self._packed[key] = _stored(name, values())
            self.constants[name] = self._packed[key]
        return Pointer(name)

    def records(self, name: str, op: Op, roles: tuple[str, str], width: int) -> Pointer:
        """Interleaved int32 channel records of two constants of the op, each (width,)."""

        def interleaved() -> Array:
            first, second = (self.model.constants[op.constant(role)].astype(np.int32) for role in roles)
            return np.stack([first, second], axis=1).reshape(2 * width)

        return self.constant(f"{name}.channel", interleaved)

    # ---- structure ---------------------------------------------------------------------------------------------

    @contextmanager
    def stage(self, name: str, *ops: Op) -> Iterator[None]:
        """Everything recorded inside becomes one stage."""
        outer, self._body = self._body, []
        yield
        self.stages.append(Stage(name, tuple(op.name for op in ops), tuple(self._body)))
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

    def call(self, kernel_op: str, source: Op, family: str = "", /, **arguments: Argument) -> None:
        """Record one kernel call; the scratch its variant asks for becomes a buffer of its own."""
        kernel = variant_of(kernel_op, self.schedule.variant(family), self.kernels)
        values = {k: affine(v) if isinstance(v, int) else v for k, v in arguments.items()}
        if kernel.args in ("tlf_linear_args", "tlf_probs_args", "tlf_attend_args"):
            values["scratch"] = self._scratch(kernel, source, values)
        self._body.append(Call(kernel.name, kernel_op, source.name, tuple(values.items())))

    def _scratch(self, kernel: Kernel, source: Op, values: Mapping[str, Pointer | Affine | None]) -> Pointer | None:
        sizes = {k: v.evaluate(self._upper(v)) for k, v in values.items() if isinstance(v, Affine)}
        size = kernel.scratch.evaluate(sizes)
        if size == 0:
            return None
        name = f"{source.name}.{kernel.op}.scratch"
        known = self.buffers.get(name)
        if known is not None and known.size_bytes >= size:
            return Pointer(name)
        self.buffers[name] = Buffer(name, size, "scratch", "s16")
        return Pointer(name)

    def _upper(self, value: Affine) -> dict[str, int]:
        return {name: self._largest.get(name, 0) for name, _ in value.terms}

    # ---- the two calls that several ops share -------------------------------------------------------------------

    def linear(
        self,
        layout: str,
        op: Op,
        x: Pointer,
        y: Pointer,
        rows: Affine | int,
        out_stride: int,
        heads: int = 0,
        head: Affine | int = 0,
        head_n: Affine | int = 1,
    ) -> None:
        """A linear call. With `heads`, the output columns are heads padded to an even width and only the tile
        [head, head + head_n) is computed; without, all columns."""
        weights, channel, width, depth = self.weights(op, heads)
        stride = pairs_stride_bytes(depth)
        first, count = (affine(head) * width, affine(head_n) * width) if heads else (affine(0), affine(width))
        self.call(
            f"linear_{layout}",
            op,
            "linear",
            x=x,
            w=self.at(weights, first * (stride // 2)),
            channel=self.at(channel, first * 8),
            y=y,
            m=rows,
            n=count,
            k=depth,
            x_stride=depth,
            w_stride=stride,
            y_stride=out_stride,
            round=op.integer("round"),
            preshift=op.integer("preshift"),
            shift=op.integer("shift"),
        )

    def weights(self, op: Op, heads: int = 0, depth_heads: int = 0) -> tuple[Pointer, Pointer, int, int]:
        """(pairs weights, channel records, columns, depth) of a linear op.

        With `heads` the columns are the padded width of one head; `depth_heads` pads each head's share of the depth.
        """
        w, bias, mult = (self.model.constants[op.constant(role)] for role in ("w", "bias", "mult"))

        def matrix() -> Array:
            deep = pad_heads(w.T, depth_heads).T if depth_heads else w
            return pack_pairs(pad_heads(deep, heads) if heads else deep)

        def records() -> Array:
            padded = [pad_heads(values, heads) if heads else values for values in (bias, mult)]
            return np.stack(padded, axis=1).astype(np.int32).reshape(-1)

        packed = self.constant(f"{op.name}.w", matrix, heads, depth_heads)
        channel = self.constant(f"{op.name}.channel", records, heads)
        columns, depth = w.shape
        depth = depth_heads * even(depth // depth_heads) if depth_heads else depth
        return packed, channel, even(columns // heads) if heads else columns, depth

    def lut(self, op: Op, x: Pointer, y: Pointer, count: Affine) -> None:
        """A table call over `count` elements."""
        table = self.constant(f"{op.name}.table", lambda: self.model.constants[op.constant("table")])
        self.call("lut", op, x=x, table=table, y=y, n=count)


def _stored(name: str, values: Array) -> Constant:
    dtypes = {"int8": "s8", "uint8": "u8", "int32": "s32"}
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return Constant(name, dtypes[values.dtype.name], data)


def pad_heads(values: Array, heads: int) -> Array:
    """(heads*p, ...) -> (heads*even(p), ...): every head's channels padded with zeros to an even count."""
    split = values.reshape(heads, -1, *values.shape[1:])
    padded = np.zeros((heads, even(split.shape[1]), *values.shape[1:]), values.dtype)
    padded[:, : split.shape[1]] = split
    return padded.reshape(-1, *values.shape[1:])
