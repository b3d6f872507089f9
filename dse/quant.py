"""int8 arithmetic in numpy: the bit-exact twin of kernels/include/tileformer.h, and the offline choice of its constants.

Everything runs in int64 and passes `exact_int32`, so a broken promise (an int32 overflow on the device) raises here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dse.ir import Array

INT32_MAX = 2**31 - 1
NATS = 12.0  # the softmax table spans exp(-12) .. 1
PRESHIFT_MAX = 8
ENOUGH_BITS = 9  # a multiplier below this many bits costs accuracy (NUMERICS): pre-shift the accumulator instead


def exact_int32(values: Array) -> Array:
    """`values` as int64; OverflowError when any does not fit int32."""
    wide = np.asarray(values, np.int64)
    if wide.size and (wide.min() < -(2**31) or wide.max() > INT32_MAX):
        raise OverflowError(f"int32 overflow: {wide.min()}..{wide.max()}")
    return wide


def sat8(values: Array) -> Array:
    """Clamped to int8."""
    return np.clip(values, -128, 127).astype(np.int8)


def requant(acc: Array, mult: Array, rounding: int, preshift: int, shift: int) -> Array:
    """sat8(((acc >> preshift) * mult + rounding) >> shift), int32 throughout; int8."""
    product = exact_int32((exact_int32(acc) >> preshift) * np.asarray(mult, np.int64))
    return sat8(exact_int32(product + rounding) >> shift)


def softmax_rows(score: Array, table: Array, mult: Array | int, rounding: int, shift: int) -> tuple[Array, Array]:
    """(e uint8, row sums int64) of int32 scores (..., n); mult broadcasts against the rows."""
    score = exact_int32(score)
    distance = score.max(axis=-1, keepdims=True) - score
    index = np.minimum(255, exact_int32(distance * np.asarray(mult, np.int64) + rounding) >> shift)
    e = table[index]
    return e, e.astype(np.int64).sum(axis=-1)


def attend_product(acc: Array, sums: Array, scale: Array | int, preshift: int) -> Array:
    """((acc + half) >> preshift) * factor with factor = (scale + sum/2)/sum a row; acc (..., m, n), sums (..., m)."""
    sums = np.asarray(sums, np.int64)
    factor = (np.asarray(scale, np.int64) + sums // 2) // sums
    half = (1 << preshift) >> 1
    return exact_int32((exact_int32(acc + half) >> preshift) * factor[..., None])


def layernorm_rows(x: Array, mult: Array, rounding: Array, epsilon: int, guard: int, shift: int) -> Array:
    """The header's integer LayerNorm of (..., n) int8 rows; int8."""
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    total = x.sum(axis=-1, keepdims=True)
    spread = n * (x * x).sum(axis=-1, keepdims=True) - total * total + epsilon
    exponent = (30 - _bit_length(spread)) // 2
    root = _isqrt(spread << (2 * exponent))
    recip = ((1 << 29) + root // 2) // root
    centred = exact_int32((exact_int32((n * x - total) << exponent) + ((1 << guard) >> 1)) >> guard)
    normal = exact_int32(exact_int32(centred * recip) + (1 << (16 - guard))) >> (17 - guard)
    scaled = exact_int32(exact_int32(normal * mult.astype(np.int64)) + rounding.astype(np.int64))
    return sat8(scaled >> shift)


def _bit_length(values: Array) -> Array:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _isqrt(values: Array) -> Array:
    root = np.floor(np.sqrt(values.astype(np.float64))).astype(np.int64)
    root -= root * root > values
    root += (root + 1) * (root + 1) <= values
    return root


def add(a: Array, b: Array, mult_a: int, mult_b: int, rounding: int, shift: int) -> Array:
    """sat8((a * mult_a + b * mult_b + rounding) >> shift)."""
    products = exact_int32(a.astype(np.int64) * mult_a) + exact_int32(b.astype(np.int64) * mult_b)
    return sat8(exact_int32(exact_int32(products) + rounding) >> shift)


def mean_rows(x: Array, mult: int, rounding: int, shift: int) -> Array:
    """sat8((column sums of (..., m, n) * mult + rounding) >> shift)."""
    total = np.asarray(x, np.int64).sum(axis=-2)
    return sat8(exact_int32(exact_int32(total * mult) + rounding) >> shift)


# ---- offline: scales, zero points, multipliers -----------------------------------------------------------------------


@dataclass(frozen=True)
class Multiplier:
    """Constants of one requantisation: `mult` int32 (channels,), and the scalars of the header."""

    mult: Array
    rounding: int
    preshift: int
    shift: int


def activation_scale(low: float, high: float) -> tuple[float, int]:
    """(scale, zero) of an asymmetric int8 activation covering [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        return 1.0, 0
    scale = (high - low) / 255.0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def symmetric_scale(largest: float) -> float:
    """Scale of a symmetric int8 quantity with this largest magnitude; 1 for an all-zero one."""
    return largest / 127.0 if largest > 1e-12 else 1.0


def quantise_weights(weights: Array) -> tuple[Array, Array]:
    """((n, k) int8, scales (n,)) symmetric per output channel."""
    scales = np.array([symmetric_scale(float(v)) for v in np.abs(weights).max(axis=1)])
    return np.clip(np.rint(weights / scales[:, None]), -127, 127).astype(np.int8), scales


def accumulator_bound(weights: Array, bias: Array) -> Array:
    """Largest |bias + Σ w·x| over all int8 x, per output channel."""
    w = weights.astype(np.int64)
    high = np.where(w > 0, w * 127, w * -128).sum(axis=1) + bias
    low = np.where(w > 0, w * -128, w * 127).sum(axis=1) + bias
    return np.maximum(np.abs(high), np.abs(low)) + 1


def choose_multiplier(ratio: Sequence[float] | Array, bound: Array, zero: int) -> Multiplier:
    """mult ≈ ratio·2^(shift+preshift) with every intermediate below 2^31 for |acc| ≤ bound; ratio and bound (channels,).

    The largest shift that is safe is taken; the accumulator is pre-shifted only as far as the widest channel needs to keep
    ENOUGH_BITS bits. The caller folds (1 << preshift) >> 1 into the bias.
    """
    ratios = np.asarray(ratio, np.float64)
    best: Multiplier | None = None
    for preshift in range(PRESHIFT_MAX + 1):
        best = _at_preshift(ratios, np.asarray(bound, np.int64), zero, preshift)
        if best.mult.max(initial=0).item().bit_length() >= ENOUGH_BITS or best.shift == 30:
            break
    assert best is not None
    return best


def _at_preshift(ratios: Array, bound: Array, zero: int, preshift: int) -> Multiplier:
    reach = (bound >> preshift) + 1
    for shift in range(30, -1, -1):
        mult = np.rint(ratios * 2.0 ** (shift + preshift))
        rounding = (zero << shift) + ((1 << shift) >> 1)
        if (mult * reach + abs(rounding)).max(initial=0) < INT32_MAX:
            return Multiplier(mult.astype(np.int32), rounding, preshift, shift)
    raise OverflowError("no shift keeps the requantisation inside int32: the accumulator bound is too large")


def softmax_table() -> Array:
    """(256,) uint8: round(255·exp(-NATS·i/255)); entry 0 is 255."""
    return np.rint(255.0 * np.exp(-NATS * np.arange(256) / 255.0)).astype(np.uint8)


def choose_softmax(score_scale: Array, bound: int) -> tuple[Array, int, int]:
    """(mult (h,), rounding, shift): index = (distance·mult + rounding) >> shift = distance in steps of NATS/255.

    score_scale: real score per integer, a head; bound: the largest distance between two scores.
    """
    steps = np.asarray(score_scale, np.float64) * 255.0 / NATS
    for shift in range(24, -1, -1):
        mult = np.maximum(1, np.rint(steps * 2.0**shift))
        rounding = (1 << shift) >> 1
        if mult.max() * bound + rounding < INT32_MAX:
            return mult.astype(np.int32), rounding, shift
    raise OverflowError("softmax: the score range is too wide for int32")


def layernorm_guard(width: int) -> int:
    """ceil(log2(sqrt(width)))."""
    return max(0, math.ceil(math.log2(math.sqrt(width)) - 1e-9))
