"""attend: softmax·V per head, heads side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import integer_matmul, join_heads, split_heads


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """(..., h, s, s) @ v (..., s, h*p) -> (..., s, h*p)."""
    e, v = inputs
    return (join_heads(e @ split_heads(v, op.integer("heads"))),)


def head_products(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> Array:
    """((e·v + half) >> preshift) · factor, (..., h, s, p) int64."""
    e, sums, v = inputs
    acc = integer_matmul(e, split_heads(v, op.integer("heads")))
    return quant.attend_product(acc, sums, constants["scale"][:, None], op.integer("preshift"))


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """sat8((product + round) >> shift), int8."""
    product = quant.exact_int32(head_products(op, inputs, constants) + op.integer("round"))
    return (quant.sat8(join_heads(product >> op.integer("shift"))),)
