"""quant.py against scalar Python written from the contracts of tileformer.h, and the int32 promise of every choice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import quant

INT32 = range(-(2**31), 2**31)
settings.register_profile("quant", max_examples=60, deadline=None)
settings.load_profile("quant")


def sat8(v: int) -> int:
    return max(-128, min(127, v))


def int32(v: int) -> int:
    assert v in INT32, v
    return v


def scalar_layernorm(x, mult, rounding, epsilon, guard, shift):
    """The header's LayerNorm of one row, one integer at a time."""
    n, total = len(x), sum(x)
    v = n * sum(c * c for c in x) - total * total + epsilon
    assert 1 <= v < 2**30
    t = 0
    while v * 4 ** (t + 1) < 2**30:
        t += 1
    root = math.isqrt(v * 4**t)
    assert 2**14 <= root < 2**15
    recip = (2**29 + root // 2) // root
    y = []
    for c, value in enumerate(x):
        a = int32(int32((n * value - total) * 2**t) + ((1 << guard) >> 1)) >> guard
        h = int32(int32(a * recip) + (1 << (16 - guard))) >> (17 - guard)
        y.append(sat8(int32(int32(h * mult[c]) + rounding[c]) >> shift))
    return y


def test_exact_int32_raises_only_outside_int32():
    edges = np.array([-(2**31), 2**31 - 1])
    assert (quant.exact_int32(edges) == edges).all()
    assert quant.exact_int32(np.zeros(0)).size == 0
    for value in (2**31, -(2**31) - 1):
        with pytest.raises(OverflowError, match="int32"):
            quant.exact_int32(np.array([value]))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), st.integers(0, 30))
def test_asr_floors_like_python(values, bits):
    assert quant.asr(np.array(values), bits).tolist() == [v >> bits for v in values]


def test_sat8_clamps():
    assert quant.sat8(np.array([-(2**31), -129, -128, 0, 127, 128])).tolist() == [-128, -128, -128, 0, 127, 127]


@given(
    st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=30),
    st.integers(1, 2**10),
    st.integers(-(2**29), 2**29),
    st.integers(0, 8),
    st.integers(0, 24),
)
def test_requant_is_the_headers_formula(acc, mult, rounding, preshift, shift):
    expected = [sat8((((v >> preshift) * mult) + rounding) >> shift) for v in acc]
    assert quant.requant(np.array(acc), np.array(mult), rounding, preshift, shift).tolist() == expected


def test_requant_raises_when_a_product_leaves_int32():
    with pytest.raises(OverflowError):
        quant.requant(np.array([2**20]), np.array([2**11]), 0, 0, 4)
    with pytest.raises(OverflowError):
        quant.requant(np.array([2**20]), np.array([2**10]), 2**30, 0, 4)


def test_isqrt_around_squares_and_at_random():
    rng = np.random.default_rng(0)
    roots = np.concatenate([np.arange(300), rng.integers(0, 2**25, 2000)])
    values = np.concatenate([roots**2 - 1, roots**2, roots**2 + 1, rng.integers(0, 2**50, 2000)])
    values = values[values >= 0]
    assert quant.isqrt(values).tolist() == [math.isqrt(int(v)) for v in values]


# ---- softmax -----------------------------------------------------------------------------------------------------------


def test_softmax_table_starts_at_255_and_falls_to_zero():
    table = quant.softmax_table()
    assert table.dtype == np.uint8
    assert table[0] == 255
    assert table[255] == 0
    assert (np.diff(table.astype(int)) <= 0).all()


@given(st.integers(1, 40), st.integers(1, 2**12), st.integers(1, 14), st.integers(0, 1000))
def test_softmax_rows_one_score_at_a_time(n, mult, shift, seed):
    score = np.random.default_rng(seed).integers(-50000, 50000, n)
    table = quant.softmax_table()
    e, total = quant.softmax_rows(score[None], table, mult, shift)
    steps = [((1 << shift >> 1) - int(v) * mult) >> shift for v in score]
    expected = [int(table[min(255, step - min(steps))]) for step in steps]
    assert e[0].tolist() == expected
    assert total.tolist() == [sum(expected)]
    assert max(expected) == 255


@given(st.integers(1, 512), st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=5))
def test_softmax_choice_is_safe_at_the_largest_score(depth, scales):
    mult, shift = quant.choose_softmax(scales, depth)
    assert mult.dtype == np.int32
    assert (mult > 0).all()
    largest = 128 * 127 * depth
    assert int(mult.max()) * largest + (1 << shift) < 2**31
    assert shift == quant.MAX_SHIFT or 2 * int(mult.max()) * largest + (2 << shift) >= 2**31 - 4 * largest


def test_softmax_follows_exp():
    rng = np.random.default_rng(1)
    scale = 2e-4
    score = rng.integers(-30000, 30000, (200, 60))
    e, total = quant.softmax_rows(score, quant.softmax_table(), *quant.choose_softmax([scale], 32))
    real = np.exp(scale * (score - score.max(axis=1, keepdims=True)))
    real /= real.sum(axis=1, keepdims=True)
    half_step = quant.NATS / 255 / 2  # of the table, in nats: moves a probability by at most 2·p·(1 - p) of it
    assert np.abs(e / total[:, None] - real).max() < half_step / 2 + 0.5 / 255


def test_softmax_of_a_huge_scale_is_one_hot():
    e, total = quant.softmax_rows(np.array([[5, 6, -7]]), quant.softmax_table(), *quant.choose_softmax([1e9], 64))
    assert e.tolist() == [[0, 255, 0]]
    assert total.tolist() == [255]


# ---- attend ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 100), st.integers(1, 2**22), st.integers(0, 6), st.integers(0, 1000))
def test_attend_product_one_integer_at_a_time(keys, scale, preshift, seed):
    rng = np.random.default_rng(seed)
    e = rng.integers(0, 256, (3, keys))
    e[:, 0] = 255
    acc, sums = e @ rng.integers(-128, 128, (keys, 2)), e.sum(axis=1)
    half = (1 << preshift) >> 1
    expected = [
        [((int(a) + half) >> preshift) * ((scale + int(total) // 2) // int(total)) for a in row]
        for row, total in zip(acc, sums, strict=True)
    ]
    assert quant.attend_product(acc, sums, scale, preshift).tolist() == expected


@given(
    st.lists(st.floats(1e-3, 50), min_size=1, max_size=16),
    st.sampled_from([1, 2, 5, 66, 81, 512, 4096]),
    st.floats(-128, 127),
    st.booleans(),
)
def test_attend_choice_is_safe_and_fine(ratios, keys, offset, summed):
    scale, preshift, shift = quant.choose_attend(ratios, keys, offset, summed)
    heads = len(ratios)
    sums = np.unique(np.concatenate([np.arange(255, 255 * min(keys, 40) + 1), np.linspace(255, 255 * keys, 50)]))
    sums = sums.astype(np.int64)
    for value in (-128, 127):
        v = quant.attend_product(np.tile(sums[:, None] * value, (heads, 1, 1)), sums, scale[:, None], preshift)
        total = v.sum(axis=0) if summed else v
        quant.exact_int32(total + quant.rounding_term(offset, shift))
    factor = quant.attend_factor(scale, np.array(255 * keys))
    assert factor.max() >= 1 << 7 or shift == quant.MAX_SHIFT
    assert preshift >= (4 if summed else 0)


def test_attend_too_coarse_an_output_is_an_overflow():
    with pytest.raises(OverflowError, match="81 keys"):
        quant.choose_attend([1e12], 81, 0, summed=False)


# ---- LayerNorm, add, mean, table -------------------------------------------------------------------------------------


def _rows(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random rows and the extremes: constant, one-hot, half at each end."""
    half = np.where(np.arange(n) < (n + 1) // 2, -128, 127)
    one = np.where(np.arange(n) == 0, 127, -128)
    fixed = [np.full(n, -128), np.full(n, 127), np.zeros(n), half, -half - 1, one, -one - 1]
    return np.concatenate([fixed, rng.integers(-128, 128, (8, n)), rng.integers(-2, 3, (4, n))]).astype(np.int8)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 31, 32, 33, 64, 65, 100, 128, 255, 256])
def test_layernorm_one_integer_at_a_time(n):
    rng = np.random.default_rng(n)
    gamma, beta = rng.normal(30, 20, n), rng.normal(0, 40, n)
    mult, rounding, shift = quant.choose_layernorm(gamma, beta, n)
    guard, rows = quant.layernorm_guard(n), _rows(n, rng)
    for epsilon in (1, 7, quant.layernorm_epsilon(1e-5, n, 0.01), quant.layernorm_epsilon(1.0, n, 1e-12)):
        y = quant.layernorm_rows(rows, mult, rounding, epsilon, guard, shift)
        expected = [scalar_layernorm(r, mult.tolist(), rounding.tolist(), epsilon, guard, shift) for r in rows.tolist()]
        assert y.tolist() == expected


def test_layernorm_is_close_to_the_real_one():
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (500, 48)).astype(np.int8)
    gamma, beta = rng.normal(30, 5, 48), rng.normal(0, 10, 48)
    mult, rounding, shift = quant.choose_layernorm(gamma, beta, 48)
    y = quant.layernorm_rows(x, mult, rounding, 1, quant.layernorm_guard(48), shift)
    real = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True) * gamma + beta
    assert np.abs(y - np.clip(real, -128, 127)).max() < 0.52


def test_layernorm_guard_is_the_headers():
    for n in range(1, 257):
        assert quant.layernorm_guard(n) == next(g for g in range(5) if 4**g >= n)


def test_layernorm_refuses_rows_whose_spread_overflows():
    x = np.where(np.arange(300) < 150, -128, 127).astype(np.int8)[None]
    with pytest.raises(OverflowError, match="2\\^30"):
        quant.layernorm_rows(x, np.ones(300), np.zeros(300), 1, 4, 0)


@given(st.integers(1, 256), st.floats(1e-8, 1e-3))
def test_layernorm_epsilon_is_faithful_from_the_least_scale_on(n, epsilon):
    least = quant.layernorm_least_scale(epsilon, n)
    integer = quant.layernorm_epsilon(epsilon, n, least)
    assert n * n * 255 * 255 // 4 + integer < 2**30
    assert integer == pytest.approx(epsilon * n * n / least**2, rel=1e-6, abs=1)


@given(st.tuples(st.floats(1e-3, 100), st.floats(1e-3, 100)), st.floats(-300, 300), st.integers(0, 1000))
def test_add_one_element_at_a_time(ratios, offset, seed):
    (ma, mb), rounding, shift = quant.choose_sum(ratios, 128, offset)
    a, b = np.random.default_rng(seed).integers(-128, 128, (2, 50)).astype(np.int8)
    a[:4], b[:4] = (-128, -128, 127, 127), (-128, 127, -128, 127)
    expected = [sat8(int32(i * ma + j * mb + rounding) >> shift) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    assert quant.add(a, b, ma, mb, rounding, shift).tolist() == expected
    real = np.clip(a * ratios[0] + b * ratios[1] + offset, -128, 127)
    assert np.abs(expected - real).max() < 0.51


@pytest.mark.parametrize("rows", [1, 2, 5, 81, 4096])
def test_mean_one_column_at_a_time(rows):
    rng = np.random.default_rng(rows)
    x = rng.integers(-128, 128, (rows, 6)).astype(np.int8)
    x[:, 0], x[:, 1] = -128, 127
    (mult,), rounding, shift = quant.choose_sum((1.7 / rows,), 128 * rows, -20.0)
    y = quant.mean_rows(x, mult, rounding, shift).tolist()
    assert y == [sat8(int32(int32(sum(column) * mult) + rounding) >> shift) for column in x.T.tolist()]
    assert np.abs(y - np.clip(1.7 * x.mean(axis=0) - 20, -128, 127)).max() < 0.51


def test_sum_that_no_shift_can_hold_is_an_overflow():
    with pytest.raises(OverflowError, match="calibrated output range"):
        quant.choose_sum((1e9, 1.0), 128, 0)


def test_activation_table_is_the_function_in_integer_clothes():
    table = quant.activation_table(np.tanh, 0.03, 5, 1 / 127, -1)
    expected = [sat8(round(math.tanh((i - 5) * 0.03) * 127) - 1) for i in range(-128, 128)]
    assert table.tolist() == expected
    assert table.dtype == np.int8


# ---- scales and multipliers --------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_activation_scale_covers_the_range_and_represents_zero(a, b):
    low, high = min(a, b), max(a, b)
    scale, zero = quant.activation_scale(low, high)
    assert scale > 0
    assert -128 <= zero <= 127
    assert (-128 - zero) * scale <= min(low, 0) + scale
    assert (127 - zero) * scale >= max(high, 0) - scale


def test_degenerate_ranges_have_scale_one():
    assert quant.activation_scale(0.0, 0.0) == (1.0, 0)
    assert quant.symmetric_scale(0.0) == 1.0


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 10000))
def test_accumulator_bound_is_reached_and_never_passed(k, n, seed):
    rng = np.random.default_rng(seed)
    w, bias = rng.integers(-127, 128, (n, k)).astype(np.int8), rng.integers(-(10**5), 10**5, n)
    bound = quant.accumulator_bound(w, bias)
    highest = np.where(w > 0, 127, -128).astype(np.int64)
    lowest = np.where(w > 0, -128, 127).astype(np.int64)
    reached = [np.abs((w * x).sum(axis=1) + bias) for x in (highest, lowest)]
    assert (bound - np.maximum(*reached) == 256).all()


@given(st.lists(st.floats(1e-7, 2.0), min_size=1, max_size=8), st.integers(300, 2**27), st.integers(-128, 127))
def test_multiplier_is_safe_largest_and_preshifted_only_when_short(ratios, bound, zero):
    bounds = np.full(len(ratios), bound)
    if max(ratios) * bound > 2**22:
        return
    m = quant.choose_multiplier(ratios, bounds, zero)
    for acc in (bound, -bound):
        quant.requant(np.full(len(ratios), acc), m.mult, m.rounding, m.preshift, m.shift)
    reach = (bound >> m.preshift) + 1
    doubled = (
        round(max(ratios) * 2.0 ** (m.shift + 1 + m.preshift)) * reach + abs(zero << (m.shift + 1)) + (1 << m.shift)
    )
    assert m.shift == quant.MAX_SHIFT or doubled >= 2**31 - 1
    if m.preshift:
        plain = quant._at_preshift(np.array(ratios), bounds, zero, m.preshift - 1)
        assert int(plain.mult.max()).bit_length() < quant.ENOUGH_BITS


def test_multiplier_of_a_deep_dot_product_uses_the_preshift():
    m = quant.choose_multiplier([1e-3], np.array([127 * 128 * 3072]), 0)
    assert m.preshift > 0
    assert int(m.mult[0]).bit_length() >= quant.ENOUGH_BITS


def test_multiplier_rounds_to_nearest():
    rng = np.random.default_rng(0)
    ratios, acc = rng.uniform(1e-4, 1e-2, 16), rng.integers(-(10**5), 10**5, (300, 16))
    m = quant.choose_multiplier(ratios, np.full(16, 10**5 + 256), 11)
    y = quant.requant(acc + ((1 << m.preshift) >> 1), m.mult, m.rounding, m.preshift, m.shift)
    real = np.clip(acc * ratios + 11, -128, 127)
    assert np.abs(y - real).max() < 0.5 + 0.15


def test_multiplier_that_no_shift_can_hold_is_an_overflow():
    with pytest.raises(OverflowError, match="calibrated output range"):
        quant.choose_multiplier([1e5], np.array([10**6]), 0)


def test_weights_are_symmetric_per_channel():
    w = np.array([[1.0, -2.0], [0.0, 0.0], [1e-3, 5e-4]])
    q, scales = quant.quantise_weights(w, np.zeros(3), 0.1)
    assert q.tolist() == [[64, -127], [0, 0], [127, 64]]
    assert scales == pytest.approx([2 / 127, 1.0, 1e-3 / 127])


def test_a_dominant_bias_coarsens_its_channel_only():
    w, bias = np.array([[1e-6, 0.0], [1.0, -1.0], [0.0, 0.0]]), np.array([1.0, 0.1, 0.03])
    q, scales = quant.quantise_weights(w, bias, 0.05)
    integers = bias / (0.05 * scales)
    assert np.abs(integers).max() <= quant.BIAS_REACH * (1 + 1e-12)
    assert integers[2] > 1000  # an all-zero channel keeps its bias fine
    assert q[1].tolist() == [127, -127]
