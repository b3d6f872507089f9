"""linear: y = x·Wᵀ + b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes, integer_matmul


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """x (..., s, k), w (n, k), b (n,) -> (..., s, n)."""
    y = inputs[0] @ constants["w"].T
    return (y + constants["b"] if "b" in constants else y,)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """requant(x·Wᵀ + bias): x (..., s, k) int8, w (n, k) int8, bias, mult (n,) int32 -> (..., s, n) int8.

    `right` = 1: the result is a right-hand operand, clamped to -127..127.
    """
    acc = integer_matmul(inputs[0], constants["w"].T) + constants["bias"].astype(np.int64)
    integers = (op.integer(name) for name in ("round", "preshift", "shift"))
    y = quant.requant(acc, constants["mult"], *integers)
    return (quant.sat8_right(y) if op.integer("right") else y,)


def macs(op: Op, shapes: Shapes) -> int:
    """s·k·n."""
    (s, k), (_, n) = shapes[op.inputs[0]], shapes[op.outputs[0]]
    return s * k * n
