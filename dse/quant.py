"""int8 arithmetic in numpy: the bit-exact twin of kernels/include/tileformer.h, and the choice of its constants.

Everything runs in int64 and passes `exact_int32`, so a broken promise (an int32 overflow on the device) raises here.
`choose_*` turns real ratios into integers: the largest shift with which no intermediate of any int8 input leaves int32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

INT32_MAX = 2**31 - 1
NATS = 12.0  # the softmax table spans exp(-12) .. 1
MAX_SHIFT = 24
ADD_SHIFT = 14  # residual sums: ratios below 2 fit 16-bit multipliers, and err by less than 2^-7 of an output step
PRESHIFT_MAX = 8
ENOUGH_BITS = 9  # a multiplier below this many bits costs accuracy (NUMERICS): pre-shift the accumulator instead
BIAS_REACH = 2**17  # larger integer biases would eat the bits of the whole tensor's multipliers
LAYERNORM_WIDTH = 256  # widest row for which V stays below 2^30


def exact_int32(values: Array | int) -> Array:
    """`values` as int64; OverflowError when any does not fit int32."""
    wide = np.asarray(values, np.int64)
    if wide.size and (wide.min() < -(2**31) or wide.max() > INT32_MAX):
        raise OverflowError(f"int32 overflow: {wide.min()}..{wide.max()}")
    return wide


def asr(values: Array | int, bits: int) -> Array:
    """values >> bits, rounding towards minus infinity, of int32 values; int64."""
    return np.asarray(exact_int32(values) >> bits)


def sat8(values: Array) -> Array:
    """Clamped to int8."""
    return np.clip(values, -128, 127).astype(np.int8)


def sat8_right(values: Array) -> Array:
    """Clamped to -127..127, the range of a right-hand operand of a matrix product; int8."""
    return np.clip(values, -127, 127).astype(np.int8)


def requant(acc: Array, mult: Array, rounding: int, preshift: int, shift: int) -> Array:
    """sat8(((acc >> preshift) * mult + rounding) >> shift), int32 throughout; int8."""
    product = exact_int32(asr(acc, preshift) * np.asarray(mult, np.int64))
    return sat8(asr(product + rounding, shift))


def softmax_rows(score: Array, table: Array, mult: Array | int, shift: int) -> tuple[Array, Array]:
    """(e uint8, row sums int64) of int32 scores (..., n); mult broadcasts against the rows.

    A score becomes a whole number of table steps, rounded, before the distance to the row's best is taken: the rounding of
    that best is common to the row and cancels in the division by the sum.
    """
    product = exact_int32(exact_int32(score) * np.asarray(mult, np.int64))
    step = asr((1 << shift >> 1) - product, shift)
    e = table[np.minimum(255, step - step.min(axis=-1, keepdims=True))]
    return e, exact_int32(e.astype(np.int64).sum(axis=-1))


def attend_factor(scale: Array | int, sums: Array) -> Array:
    """(scale + sum/2) / sum, truncating, all operands positive; int64, broadcast."""
    sums = np.asarray(sums, np.int64)
    return np.asarray(exact_int32(np.asarray(scale, np.int64) + sums // 2) // sums)


def attend_product(acc: Array, sums: Array, scale: Array | int, preshift: int) -> Array:
    """((acc + half) >> preshift) * attend_factor a row; acc (..., m, n), sums (..., m)."""
    rounded = asr(exact_int32(acc) + ((1 << preshift) >> 1), preshift)
    return exact_int32(rounded * attend_factor(scale, sums)[..., None])


def layernorm_rows(x: Array, mult: Array, rounding: Array, epsilon: int, guard: int, shift: int) -> Array:
    """The header's integer LayerNorm of (..., n) int8 rows; int8."""
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    total = x.sum(axis=-1, keepdims=True)
    spread = n * (x * x).sum(axis=-1, keepdims=True) - total * total + epsilon
    if (spread >= 1 << 30).any():
        raise OverflowError(f"LayerNorm of {n} channels: V = {spread.max()} is not below 2^30")
    exponent = (30 - _bit_length(spread)) // 2
    root = isqrt(spread << (2 * exponent))
    recip = ((1 << 29) + root // 2) // root
    centred = asr(exact_int32((n * x - total) << exponent) + ((1 << guard) >> 1), guard)
    normal = asr(exact_int32(centred * recip) + (1 << (16 - guard)), 17 - guard)
    scaled = exact_int32(normal * mult.astype(np.int64)) + rounding.astype(np.int64)
    return sat8(asr(scaled, shift))


def _bit_length(values: Array) -> Array:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def isqrt(values: Array) -> Array:
    """floor(sqrt(values)), exact for 0 <= values < 2^52; int64."""
    values = np.asarray(values, np.int64)
    root = np.floor(np.sqrt(values.astype(np.float64))).astype(np.int64)
    root -= root * root > values
    root += (root + 1) * (root + 1) <= values
    return root


def add(a: Array, b: Array, mult_a: int, mult_b: int, rounding: int, shift: int) -> Array:
    """sat8((a * mult_a + b * mult_b + rounding) >> shift); a, b int8."""
    products = exact_int32(a.astype(np.int64) * mult_a) + exact_int32(b.astype(np.int64) * mult_b)
    return sat8(asr(exact_int32(products) + rounding, shift))


def mean_rows(x: Array, mult: int, rounding: int, shift: int) -> Array:
    """sat8((column sums of (..., m, n) int8 * mult + rounding) >> shift)."""
    total = np.asarray(x, np.int64).sum(axis=-2)
    return sat8(asr(exact_int32(total * mult) + rounding, shift))


# ---- offline: scales and integers of real values -------------------------------------------------------------------


@dataclass(frozen=True)
class Multiplier:
    """Constants of one requantisation: `mult` int32 (channels,), and the scalars of the header."""

    mult: Array
    rounding: int
    preshift: int
    shift: int


def rounding_term(offset: float, shift: int) -> int:
    """round(offset·2^shift) + half: carries an output offset and the rounding of the shift."""
    return round(offset * 2.0**shift) + ((1 << shift) >> 1)


def activation_scale(low: float, high: float, least: float = 0.0) -> tuple[float, int]:
    """(scale ≥ least, zero) of an asymmetric int8 activation covering [low, high] and 0; (1, 0) for an all-zero one."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        return 1.0, 0
    scale = max((high - low) / 255.0, least)
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def symmetric_scale(largest: float) -> float:
    """Scale of a symmetric int8 quantity with this largest magnitude; 1 for an all-zero one."""
    return largest / 127.0 if largest > 1e-12 else 1.0


def quantise_values(values: Array, scale: Array | float, zero: int) -> Array:
    """sat8(round(values / scale) + zero)."""
    return sat8(np.rint(values / scale) + zero)


def quantise_weights(weights: Array, bias: Array, x_scale: float) -> tuple[Array, Array]:
    """((n, k) int8, scales (n,)) symmetric per output channel.

    A channel whose bias dwarfs its weights gets a coarser scale, so that the bias in accumulator units stays within
    BIAS_REACH; the weights of such a channel hardly move the output. An all-zero channel still carries its bias finely.
    """
    floor = np.abs(bias) / (x_scale * BIAS_REACH)
    wanted = np.maximum(np.abs(weights).max(axis=1) / 127.0, floor)
    scales = np.where(wanted > 1e-14, wanted, 1.0)
    return np.clip(np.rint(weights / scales[:, None]), -127, 127).astype(np.int8), scales


def accumulator_bound(weights: Array, bias: Array) -> Array:
    """Largest |bias + Σ w·x| over all int8 x, per output channel, and room for the pre-shift's rounding."""
    w = weights.astype(np.int64)
    high = np.where(w > 0, w * 127, w * -128).sum(axis=1) + bias
    low = np.where(w > 0, w * -128, w * 127).sum(axis=1) + bias
    return np.asarray(np.maximum(np.abs(high), np.abs(low)) + (1 << PRESHIFT_MAX))


# ---- offline: multipliers, shifts, tables --------------------------------------------------------------------------


def choose_multiplier(ratio: Sequence[float] | Array, bound: Array, zero: int) -> Multiplier:
    """mult ≈ ratio·2^(shift+preshift), every intermediate below 2^31 for |acc| ≤ bound; ratio and bound (channels,).

    The largest shift that is safe is taken; the accumulator is pre-shifted only as far as the widest channel needs to
    keep ENOUGH_BITS bits. The caller folds (1 << preshift) >> 1 into the bias.
    """
    ratios = np.asarray(ratio, np.float64)
    for preshift in range(PRESHIFT_MAX + 1):
        best = _at_preshift(ratios, np.asarray(bound, np.int64), zero, preshift)
        if int(best.mult.max()).bit_length() >= ENOUGH_BITS or best.shift == MAX_SHIFT:
            break
    return best


def _at_preshift(ratios: Array, bound: Array, zero: int, preshift: int) -> Multiplier:
    reach = (bound >> preshift) + 1
    for shift in range(MAX_SHIFT, -1, -1):
        mult = np.rint(ratios * 2.0 ** (shift + preshift))
        rounding = rounding_term(zero, shift)
        if (mult * reach + abs(rounding)).max() < INT32_MAX:
            return Multiplier(mult.astype(np.int32), rounding, preshift, shift)
    raise OverflowError("the weights can reach 2^23 times the calibrated output range, which no int32 shift covers")


def softmax_table() -> Array:
    """(256,) uint8: round(255·exp(-NATS·i/255)); entry 0 is 255."""
    return np.asarray(np.rint(255.0 * np.exp(-NATS * np.arange(256) / 255.0)), np.uint8)


def score_bound(depth: int) -> int:
    """Largest magnitude of a score: int8 queries times keys of -127..127."""
    return 128 * 127 * depth


def choose_softmax(score_scale: Sequence[float] | Array, depth: int) -> tuple[Array, int]:
    """(mult (h,) int32, shift): step = (half - score·mult) >> shift, in units of NATS/255.

    score_scale: real score per integer, a head; depth: length of the dot product of two int8 vectors. A head whose
    smallest distance already exceeds the table is clamped, which leaves its softmax what it is: one-hot.
    """
    bound = score_bound(depth)
    steps = np.minimum(np.asarray(score_scale, np.float64) * 255.0 / NATS, (INT32_MAX - 4) // (2 * bound))
    for shift in range(MAX_SHIFT, 0, -1):
        mult = np.maximum(1, np.rint(steps * 2.0**shift))
        if mult.max() * bound + (1 << shift) < INT32_MAX:
            return mult.astype(np.int32), shift
    raise OverflowError(f"softmax: dot products of depth {depth} are too long for int32")


def choose_attend(ratio: Sequence[float] | Array, keys: int, offset: float, summed: bool) -> tuple[Array, int, int]:
    """(scale C (h,) int32, preshift, shift) for `attend_product` ≈ ratio·2^shift·softmax·V.

    ratio: value scale / output scale, a head; offset: largest output offset in output units; summed: heads add up
    (attend_sum), which starts at the pre-shift of 4 (NUMERICS). The pre-shift grows until the factor of the longest row
    (every e = 255) keeps more than ENOUGH_BITS bits.
    """
    best: tuple[Array, int, int] | None = None
    for preshift in range(4 if summed else 0, PRESHIFT_MAX + 1):
        found = _attend_at(np.asarray(ratio, np.float64), keys, offset, preshift, summed)
        if found is not None:
            best = (found[0], preshift, found[1])
            if found[0].max() >= 255 * keys << ENOUGH_BITS or found[1] == MAX_SHIFT:
                break
    if best is None:
        raise OverflowError(f"softmax·V over {keys} keys in {len(np.asarray(ratio))} heads does not fit int32")
    return best


def _attend_at(ratio: Array, keys: int, offset: float, preshift: int, summed: bool) -> tuple[Array, int] | None:
    """(C, shift) at that pre-shift; |acc| ≤ 128·Σe and 255 ≤ Σe ≤ 255·keys bound v. None when no shift is safe."""
    longest = 255 * keys
    for shift in range(MAX_SHIFT, -1, -1):
        scale = np.maximum(1, np.rint(ratio * 2.0 ** (shift + preshift)))
        bound = (128 * scale + 64 * longest) / 2.0**preshift + scale / 255 + 2
        total = bound.sum() if summed else bound.max()
        if total + (abs(offset) + 1) * 2.0**shift < INT32_MAX and scale.max() + longest < INT32_MAX:
            return scale.astype(np.int32), shift
    return None


def layernorm_guard(width: int) -> int:
    """ceil(log2(sqrt(width)))."""
    return ((width - 1).bit_length() + 1) // 2


def _most_epsilon(width: int) -> int:
    return (1 << 30) - 1 - width * width * 255 * 255 // 4  # with it V of any int8 row stays below 2^30


def layernorm_least_scale(epsilon: float, width: int) -> float:
    """The smallest input scale whose integer epsilon keeps V below 2^30: finer inputs would need a larger V."""
    return width * math.sqrt(epsilon / _most_epsilon(width))


def layernorm_epsilon(epsilon: float, width: int, x_scale: float) -> int:
    """The layer's epsilon in units of V, at least 1; x_scale ≥ layernorm_least_scale."""
    return max(1, min(_most_epsilon(width), round(epsilon * width * width / x_scale**2)))


def choose_layernorm(gamma: Array, beta: Array, width: int) -> tuple[Array, Array, int]:
    """(mult (n,), round (n,), shift) for y = (h·mult + round) >> shift; gamma, beta in output units, h in Q12."""
    bound = math.sqrt(width) * 4096 * 1.001 + 2  # |x - mean| ≤ sqrt(n - 1) standard deviations, and roundings
    for shift in range(MAX_SHIFT, -1, -1):
        mult = np.rint(gamma / 4096 * 2.0**shift)
        rounding = np.rint(beta * 2.0**shift) + ((1 << shift) >> 1)
        if (np.abs(mult) * bound + np.abs(rounding)).max() < INT32_MAX:
            return mult.astype(np.int32), rounding.astype(np.int32), shift
    raise OverflowError("LayerNorm: gamma or beta are 2^19 times the calibrated output range")


def choose_sum(
    ratios: Sequence[float], reach: int, offset: float, most: int = MAX_SHIFT
) -> tuple[tuple[int, ...], int, int]:
    """(multipliers, rounding, shift ≤ most) for (Σ aᵢ·multᵢ + rounding) >> shift ≈ Σ aᵢ·ratioᵢ + offset, |aᵢ| ≤ reach."""
    for shift in range(most, -1, -1):
        mults = tuple(round(ratio * 2.0**shift) for ratio in ratios)
        rounding = rounding_term(offset, shift)
        if reach * sum(mults) + abs(rounding) < INT32_MAX:
            return mults, rounding, shift
    raise OverflowError("the operands can reach 2^23 times the calibrated output range, which no int32 shift covers")


def activation_table(
    function: Callable[[Array], Array], x_scale: float, x_zero: int, y_scale: float, y_zero: int
) -> Array:
    """(256,) int8: entry i is function((i - 128 - x_zero)·x_scale) in output units."""
    return quantise_values(function((np.arange(-128, 128) - x_zero) * x_scale), y_scale, y_zero)
