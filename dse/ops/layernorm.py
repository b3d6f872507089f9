"""layernorm over the channels of each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Op
from dse.ops.heads import Shapes


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """(x - mean)/sqrt(var + epsilon)·gamma + beta, (..., s, n)."""
    x = inputs[0]
    centred = x - x.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + op.number("epsilon"))
    return (normal * constants["gamma"] + constants["beta"],)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """The header's integer LayerNorm, (..., s, n) int8."""
    integers = (op.integer(name) for name in ("epsilon", "guard", "shift"))
    return (quant.layernorm_rows(inputs[0], constants["mult"], constants["round"], *integers),)


def macs(op: Op, shapes: Shapes) -> int:
    """0: no matrix product."""
    return 0
