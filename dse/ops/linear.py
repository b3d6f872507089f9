"""linear: y = x·Wᵀ + b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import integer_matmul


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """x (..., s, k), w (n, k), b (n,) -> (..., s, n)."""
    y = inputs[0] @ constants["w"].T
    return (y + constants["b"] if "b" in constants else y,)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """requant(x·Wᵀ + bias), int8."""
    acc = integer_matmul(inputs[0], constants["w"].T) + constants["bias"].astype("int64")
    return (
        quant.requant(acc, constants["mult"], op.integer("round"), op.integer("preshift"), op.integer("shift")),
    )
