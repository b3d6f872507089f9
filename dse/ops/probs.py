"""probs: the attention map. Float: softmax rows. int8: unnormalised uint8 rows with maximum 255, and their sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes, integer_matmul, split_heads


def _operands(op: Op, inputs: Sequence[Array]) -> tuple[Array, Array]:
    heads = op.integer("heads")
    q = split_heads(inputs[0], heads)
    k = inputs[1][..., None, :, :] if op.integer("shared_keys") else split_heads(inputs[1], heads)
    return q, np.swapaxes(k, -1, -2)


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """softmax(scale · q·kᵀ): (..., h, s, s)."""
    q, k = _operands(op, inputs)
    score = op.number("scale") * (q @ k)
    e = np.exp(score - score.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True),)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """(e (..., h, s, s) uint8, sum (..., h, s) int32) of int8 q and k; the zero point of k drops in the softmax."""
    score = integer_matmul(*_operands(op, (inputs[0], quant.sat8_right(inputs[1]))))
    mult = constants["mult"][:, None, None]
    e, sums = quant.softmax_rows(score, constants["table"], mult, op.integer("shift"))
    return e, sums.astype(np.int32)


def macs(op: Op, shapes: Shapes) -> int:
    """s·s·(query width): every head's rows against every key."""
    s, width = shapes[op.inputs[0]]
    return s * s * width
