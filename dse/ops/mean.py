"""mean over the tokens: (..., s, n) -> (..., 1, n)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """The mean over tokens."""
    return (inputs[0].mean(axis=-2, keepdims=True),)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """sat8((Σ_s x · mult + round) >> shift), int8."""
    integers = (op.integer(name) for name in ("mult", "round", "shift"))
    return (quant.mean_rows(inputs[0], *integers)[..., None, :],)


def macs(op: Op, shapes: Shapes) -> int:
    """0: no matrix product."""
    return 0
