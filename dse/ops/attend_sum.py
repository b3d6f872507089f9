"""attend_sum: Σ_h softmax_h·u_h + b, the fused W_V·W_O side: heads are summed, no output projection follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Op
from dse.ops.attend import head_products
from dse.ops.heads import Shapes, split_heads


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """(..., h, s, s) @ u (..., s, h*n), summed over heads -> (..., s, n)."""
    e, u = inputs
    return ((e @ split_heads(u, op.integer("heads"))).sum(axis=-3) + constants["b"],)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """sat8((Σ_h product_h + bias) >> shift), (..., s, n) int8; the running sum stays in int32 in head order."""
    running = quant.exact_int32(head_products(op, inputs, constants).cumsum(axis=-3))
    total = running[..., -1, :, :] + constants["bias"].astype(np.int64)
    return (quant.sat8(quant.asr(total, op.integer("shift"))),)


def macs(op: Op, shapes: Shapes) -> int:
    """s·s·(width of u over all heads)."""
    s, width = shapes[op.inputs[-1]]
    return s * s * width
