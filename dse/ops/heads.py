"""What the ops share: (…, s, h·p) <-> (…, h, s, p), exact integer products, and the type of a shape lookup."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dse.ir import Array

Shapes = Mapping[str, tuple[int, ...]]  # tensor name -> shape


def split_heads(x: Array, heads: int) -> Array:
    """(..., s, h*p) -> (..., h, s, p)."""
    *batch, s, width = x.shape
    return np.moveaxis(x.reshape(*batch, s, heads, width // heads), -2, -3)


def join_heads(x: Array) -> Array:
    """(..., h, s, p) -> (..., s, h*p)."""
    *batch, h, s, p = x.shape
    return np.moveaxis(x, -3, -2).reshape(*batch, s, h * p)


def integer_matmul(a: Array, b: Array) -> Array:
    """Exact integer a @ b through float64 (exact below 2^53), int64: numpy has no fast integer product."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
