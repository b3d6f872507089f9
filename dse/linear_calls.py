"""Linear ops -> kernel calls: weights packed for the kernels that read them, the residual add an epilogue takes over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from dse.builder import Argument, Builder, Matrix, stored
from dse.ir import Array, Model, Op
from dse.kernel import Kernels, align_of
from dse.layout import RIGHT, Right, is_high, pitch
from dse.program import Affine, Constant, Pointer, affine

_PACKED: WeakKeyDictionary[Model, dict[tuple[str | int, ...], tuple[Constant, Constant, int, bool]]] = (
    WeakKeyDictionary()
)
"""Weights in kernel layout by model: packed for the first schedule that reads them, shared by all others."""


@dataclass(frozen=True)
class Weights:
    """Packed weights of a linear op: `width` columns a head (all of them when there are no heads), `padded` stored."""

    data: Pointer
    channel: Pointer
    layout: Right
    width: int
    padded: int
    depth: int
    high: bool
    kernels: Kernels

    @property
    def stride(self) -> int:
        """Bytes from a group of columns to the next."""
        return pitch(self.layout.stride_bytes(self.depth), align_of(self.kernels))


def weights_of(
    build: Builder, op: Op, kernels: Kernels, heads: int = 1, tile: int = 1, head_width: int = 0, depth_width: int = 0
) -> Weights:
    """The packed weights of a linear op for its kernels.

    head_width: columns a head is padded to (0: as it is). Head tiles start at a multiple of the layout's column group,
    so a tile of one head is padded to it; ValueError when a tile of several heads cannot be.
    depth_width: each head's share of the depth padded to that width.
    """
    right = RIGHT[kernels[0].layout]
    columns = build.model.tensors[op.outputs[0]].shape[1]
    shares, heads = heads, 1 if depth_width else heads
    width = head_width or columns // heads
    padded = width
    if tile < heads and tile * width % right.group:
        if tile > 1:
            raise ValueError(
                f"{op.name}: a head tile of {tile} x {width} columns must be a multiple of {right.group} "
                f"(layout {right.name}); take one head, or a multiple of {right.group // 2} heads"
            )
        padded = -(-width // right.group) * right.group
    known = _PACKED.setdefault(build.model, {})
    align = align_of(kernels)
    key = (op.name, right.name, align, heads, padded, shares, depth_width)
    if key not in known:
        known[key] = _pack(build.model, op, right, align, heads, padded, shares, depth_width)
    data, channel, depth, high = known[key]
    for constant in (data, channel):
        build.constants.setdefault(constant.name, constant)
    return Weights(Pointer(data.name), Pointer(channel.name), right, width, padded, depth, high, kernels)


def _pack(
    model: Model, op: Op, right: Right, align: int, heads: int, padded: int, shares: int, depth_width: int
) -> tuple[Constant, Constant, int, bool]:
    """(weights, channel records, depth, high) of a linear op in a layout."""
    matrix, bias, mult = (model.constants[op.constant(role)] for role in ("w", "bias", "mult"))
    if depth_width:
        matrix = _pad_heads(matrix.T, shares, depth_width).T
    matrix, bias, mult = (_pad_heads(values, heads, padded) for values in (matrix, bias, mult))
    high = right.reads_panels and is_high(mult, *_requantisation(op).values())
    channel = right.pack_channel(bias, mult, high, op.integer("shift"))
    data = right.pack(matrix, pitch(right.stride_bytes(matrix.shape[1]), align))
    constants = stored(f"{op.name}.w", data), stored(f"{op.name}.channel", channel)
    return *constants, matrix.shape[1], high


def call_linear(
    build: Builder,
    op: Op,
    weights: Weights,
    x: Pointer,
    source: Matrix,
    y: Pointer,
    rows: Affine | int,
    y_stride: int,
    head: Affine | int = 0,
    head_n: Affine | int = 1,
    more: Mapping[str, Argument] | None = None,
) -> None:
    """A linear call on `rows` rows at `x` of `source`: the columns of the heads [head, head + head_n)."""
    build.call(
        weights.kernels,
        op,
        x=x,
        w=build.at(weights.data, affine(head) * weights.layout.column_bytes(weights.padded, weights.stride)),
        channel=build.at(weights.channel, affine(head) * (8 * weights.padded)),
        y=y,
        m=rows,
        n=affine(head_n) * weights.width,
        k=weights.depth,
        x_stride=source.stride,
        w_stride=weights.stride,
        y_stride=y_stride,
        **_requantisation(op),
        high=int(weights.high),
        x_panels=int(source.panels),
        **(more or {}),
    )


def residual_of(build: Builder, op: Op) -> Op | None:
    """The add that the epilogue of a linear op takes over under this schedule: its only reader, whose other operand is
    there already; None otherwise."""
    readers = build.model.consumers(op.outputs[0])
    if build.schedule.residual != "fused" or len(readers) != 1 or op.outputs[0] == build.model.output:
        return None
    (add,) = readers
    other = [name for name in add.inputs if name != op.outputs[0]]
    if add.kind != "add" or len(other) != 1 or not build.has_home(other[0]):
        return None
    return add if build.eligible("linear_residual", "linear", None, {"bound": build.bound(op)}) else None


def call_output_rows(
    build: Builder,
    op: Op,
    x: Matrix,
    rows: Affine | int,
    row: Affine,
    result: Pointer,
    x_row: Affine | int = 0,
    depth: tuple[int, int] = (1, 0),
) -> None:
    """`rows` rows of a whole linear op to dense rows of `result` from row `row` on, its residual add included.

    depth: (heads, width each head's share of the depth is padded to).
    """
    add = residual_of(build, op)
    kind = "linear_rows" if add is None else "linear_residual"
    weights = weights_of(build, op, build.choose(kind, "linear", bound=build.bound(op)), depth[0], 1, 0, depth[1])
    width = build.shape(op.outputs[0])[1]
    more: dict[str, Argument] = {}
    if add is not None:
        y_first = add.inputs[0] == op.outputs[0]
        roles = ("mult_a", "mult_b") if y_first else ("mult_b", "mult_a")
        more = {
            "r": build.at(build.tensor(add.inputs[1 if y_first else 0]), row * width),
            "r_stride": width,
            "mult_y": add.integer(roles[0]),
            "mult_r": add.integer(roles[1]),
            "add_round": add.integer("round"),
            "add_shift": add.integer("shift"),
        }
    call_linear(build, op, weights, x.at(x_row), x, build.at(result, row * width), rows, width, more=more)


def output_home(build: Builder, op: Op, overwrite: bool = True) -> Pointer:
    """Where `call_output_rows` of this op goes: the home of its result, or of the sum when the residual add is fused.

    overwrite: the sum may take the place of a dead residual operand.
    """
    add = residual_of(build, op)
    if add is None:
        return build.new_tensor(op.outputs[0])
    other = [name for name in add.inputs if name != op.outputs[0]]
    return build.overwrite_or_new(add, *(other if overwrite else ()))


def output_ops(build: Builder, op: Op) -> tuple[Op, ...]:
    """The ops `call_output_rows` computes: the linear and its fused add."""
    add = residual_of(build, op)
    return (op,) if add is None else (op, add)


def _requantisation(op: Op) -> dict[str, int]:
    return {name: op.integer(name) for name in ("round", "preshift", "shift")}


def _pad_heads(values: Array, heads: int, width: int) -> Array:
    """(heads*p, ...) -> (heads*width, ...): every head's channels padded with zeros to `width`."""
    split = values.reshape(heads, -1, *values.shape[1:])
    padded = np.zeros((heads, width, *values.shape[1:]), values.dtype)
    padded[:, : split.shape[1]] = split
    return padded.reshape(-1, *values.shape[1:])
