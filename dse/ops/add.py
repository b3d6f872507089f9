"""add: residual sum of two tensors, or of a tensor and the constant `b` (positions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """a + b, (..., s, n)."""
    return (inputs[0] + (inputs[1] if len(inputs) == 2 else constants["b"]),)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """sat8((a·mult_a + b·mult_b + round) >> shift), (..., s, n) int8."""
    other = inputs[1] if len(inputs) == 2 else constants["b"]
    integers = (op.integer(name) for name in ("mult_a", "mult_b", "round", "shift"))
    return (quant.add(inputs[0], other, *integers),)


def macs(op: Op, shapes: Shapes) -> int:
    """0: no matrix product."""
    return 0
