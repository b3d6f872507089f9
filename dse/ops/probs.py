"""probs: the attention map. Float: softmax rows. int8: unnormalised uint8 rows with maximum 255, and their sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import integer_matmul, split_heads


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
    """(e (..., h, s, s) uint8, sum (..., h, s) int64)."""
    q, k = _operands(op, inputs)
    mult = constants["mult"][:, None, None]
    return quant.softmax_rows(
        integer_matmul(q, k), constants["table"], mult, op.integer("round"), op.integer("shift")
    )
