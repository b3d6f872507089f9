"""attend: softmax·V per head, heads side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes, integer_matmul, join_heads, split_heads


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """(..., h, s, s) @ v (..., s, h*p) -> (..., s, h*p)."""
    e, v = inputs
    return (join_heads(e @ split_heads(v, op.integer("heads"))),)


def head_products(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> Array:
    """((e·v + half) >> preshift) · factor of (e uint8, sum, v int8), (..., h, s, p) int64."""
    e, sums, v = inputs
    acc = integer_matmul(e, split_heads(v, op.integer("heads")))
    return quant.attend_product(acc, sums, constants["scale"][:, None], op.integer("preshift"))


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """sat8((product + round) >> shift), (..., s, h*p) int8."""
    total = quant.asr(head_products(op, inputs, constants) + op.integer("round"), op.integer("shift"))
    return (quant.sat8(join_heads(total)),)


def macs(op: Op, shapes: Shapes) -> int:
    """s·s·(value width)."""
    s, width = shapes[op.inputs[-1]]
    return s * s * width
