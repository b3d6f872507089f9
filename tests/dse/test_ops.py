"""ops: whole-tensor references against loops over single numbers, batches, counts, and what they refuse."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import ops, ptq
from dse.ir import Model, Op, Tensor
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.rewrite import rewrite


def sat8(v: int) -> int:
    return max(-128, min(127, v))


def one(op: Op, inputs, constants=None, table=ops.INT8):
    return table[op.kind](op, inputs, constants or {})


def op_of(kind: str, **attributes) -> Op:
    return Op(kind, kind, (), (), (), tuple(attributes.items()))


def int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


# ---- int8 against scalar loops -----------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_linear_int8(s, k, n, seed):
    rng = np.random.default_rng(seed)
    x, w = int8(rng, s, k), int8(rng, n, k)
    bias, mult = rng.integers(-5000, 5000, n), rng.integers(1, 4000, n)
    (y,) = one(op_of("linear", round=77, preshift=1, shift=12, right=0), [x], {"w": w, "bias": bias, "mult": mult})
    for r in range(s):
        for c in range(n):
            acc = int(bias[c]) + sum(int(x[r, d]) * int(w[c, d]) for d in range(k))
            assert y[r, c] == sat8(((acc >> 1) * int(mult[c]) + 77) >> 12)


def _scalar_probs(q, k, mult, table, shift):
    rows, sums = [], []
    for r in q:
        score = [sum(int(a) * max(int(b), -127) for a, b in zip(r, key, strict=True)) for key in k]
        steps = [((1 << shift >> 1) - v * mult) >> shift for v in score]
        rows.append([int(table[min(255, step - min(steps))]) for step in steps])
        sums.append(sum(rows[-1]))
    return rows, sums


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_probs_int8(s, p, h, shared, seed):
    rng = np.random.default_rng(seed)
    q, k = int8(rng, s, h * p), int8(rng, s, p if shared else h * p)
    mult, table = rng.integers(1, 9000, h), np.arange(255, -1, -1).astype(np.uint8)
    op = op_of("probs", heads=h, shared_keys=int(shared), shift=12)
    e, sums = one(op, [q, k], {"mult": mult, "table": table})
    assert (e.dtype, e.shape, sums.dtype, sums.shape) == (np.uint8, (h, s, s), np.int32, (h, s))
    for head in range(h):
        part = slice(head * p, head * p + p)
        keys = k if shared else k[:, part]
        rows, totals = _scalar_probs(q[:, part], keys, int(mult[head]), table, 12)
        assert e[head].tolist() == rows
        assert sums[head].tolist() == totals


def _scalar_product(e, v, total, scale, preshift):
    acc = sum(int(a) * int(b) for a, b in zip(e, v, strict=True))
    return ((acc + ((1 << preshift) >> 1)) >> preshift) * ((scale + total // 2) // total)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_attend_and_attend_sum_int8(s, p, h, seed):
    rng = np.random.default_rng(seed)
    e = rng.integers(0, 256, (h, s, s)).astype(np.uint8)
    e[..., 0] = 255
    sums, v, scale = e.sum(axis=-1).astype(np.int32), int8(rng, s, h * p), rng.integers(1, 2**22, h)
    bias = rng.integers(-(2**20), 2**20, p)
    (y,) = one(op_of("attend", heads=h, round=512, preshift=2, shift=14), [e, sums, v], {"scale": scale})
    (z,) = one(op_of("attend_sum", heads=h, preshift=4, shift=14), [e, sums, v], {"scale": scale, "bias": bias})
    for r in range(s):
        for c in range(p):
            total = int(bias[c])
            for head in range(h):
                operands = e[head, r], v[:, head * p + c], int(sums[head, r]), int(scale[head])
                assert y[r, head * p + c] == sat8((_scalar_product(*operands, 2) + 512) >> 14)
                total += _scalar_product(*operands, 4)
            assert z[r, c] == sat8(total >> 14)


def test_table_add_and_mean_int8():
    rng = np.random.default_rng(3)
    x, other, table = int8(rng, 7, 5), int8(rng, 7, 5), int8(rng, 256)
    (y,) = one(op_of("activation", function="gelu"), [x], {"table": table})
    assert y.tolist() == [[int(table[v + 128]) for v in row] for row in x.tolist()]
    op = op_of("add", mult_a=300, mult_b=511, round=99, shift=9)
    expected = [
        [sat8((a * 300 + b * 511 + 99) >> 9) for a, b in zip(*rows, strict=True)]
        for rows in zip(x.tolist(), other.tolist(), strict=True)
    ]
    assert one(op, [x, other])[0].tolist() == expected
    assert one(op, [x], {"b": other})[0].tolist() == expected
    (m,) = one(op_of("mean", mult=1234, round=-5000, shift=12), [x])
    assert m.tolist() == [[sat8((sum(column) * 1234 - 5000) >> 12) for column in x.T.tolist()]]


# ---- float ---------------------------------------------------------------------------------------------------------------


def test_float_attention_is_softmax_times_values():
    rng = np.random.default_rng(0)
    s, p, h = 4, 3, 2
    q, k, v = (rng.normal(size=(s, h * p)) for _ in range(3))
    (e,) = one(op_of("probs", heads=h, scale=0.7, shared_keys=0), [q, k], table=ops.FLOAT)
    (y,) = one(op_of("attend", heads=h), [e, v], table=ops.FLOAT)
    (z,) = one(op_of("attend_sum", heads=h), [e, v], {"b": np.ones(p)}, table=ops.FLOAT)
    for i in range(s):
        total = np.ones(p)
        for head in range(h):
            part = slice(head * p, head * p + p)
            weights = [math.exp(0.7 * float(q[i, part] @ k[j, part])) for j in range(s)]
            mixed = sum(w / sum(weights) * v[j, part] for j, w in enumerate(weights))
            assert y[i, part] == pytest.approx(mixed)
            total = total + mixed
        assert z[i] == pytest.approx(total)


def test_float_layernorm_and_gelu_are_torchs():
    x = np.array([[1.0, 2.0, 4.0]])
    op = op_of("layernorm", epsilon=0.5)
    (y,) = one(op, [x], {"gamma": np.array([1, 2, 3]), "beta": np.array([0, 0, 1])}, table=ops.FLOAT)
    std = math.sqrt(14 / 9 + 0.5)  # biased variance plus epsilon
    assert y[0] == pytest.approx([(1 - 7 / 3) / std, 2 * (2 - 7 / 3) / std, 3 * (4 - 7 / 3) / std + 1])
    (g,) = one(op_of("activation", function="gelu"), [np.array([1.0, -2.0])], table=ops.FLOAT)
    assert g == pytest.approx([0.8413447460685429, -0.04550026389635842])  # x·Φ(x)


# ---- run: batches, counts, refusals --------------------------------------------------------------------------------


SMALL = HyperParameters("small", s=7, e=5, p=3, h=2, layers=2)


@pytest.mark.parametrize("form", ["none", "qk", "vo", "qkvo"])
def test_a_batch_is_its_samples_one_by_one(form):
    xs = sample_inputs(SMALL, 3, 0)
    for model in (f := rewrite(build_model(SMALL, "encoder"), form), ptq.quantise(f, xs)):
        inputs = ops.quantise_input(model, xs) if model.quantised else xs
        batch = ops.run(model, inputs)
        assert set(batch) == set(model.tensors)
        for i, x in enumerate(inputs):
            single = ops.run(model, x)
            for name, values in single.items():
                assert values.shape == model.tensors[name].shape
                assert np.array_equal(batch[name][i], values) or np.allclose(batch[name][i], values)
        assert np.array_equal(ops.run_batch(model, inputs), batch[model.output])


def test_run_batch_splits_without_changing_anything(monkeypatch):
    xs = sample_inputs(SMALL, 5, 0)
    q = ptq.quantise(build_model(SMALL, "encoder"), xs)
    whole = ops.run_batch(q, ops.quantise_input(q, xs))
    monkeypatch.setattr(ops, "BATCH", 2)
    assert np.array_equal(ops.run_batch(q, ops.quantise_input(q, xs)), whole)
    monkeypatch.setattr(ops, "BATCH_ELEMENTS", 1)
    assert ops.batch_size(q) == 1
    assert np.array_equal(ops.run_batch(q, ops.quantise_input(q, xs)), whole)


def test_five_hundred_digits_sized_samples_take_seconds():
    hyper = HyperParameters("digits", s=16, e=32, p=8, h=4, layers=2, classes=10)
    xs = sample_inputs(hyper, 500, 0)
    q = ptq.quantise(build_model(hyper, "encoder"), xs[:50])
    start = time.perf_counter()
    assert ops.run_batch(q, ops.quantise_input(q, xs)).shape == (500, 1, 10)
    assert time.perf_counter() - start < 5


def test_quantise_input_and_dequantise_are_inverse_up_to_half_a_step():
    xs = sample_inputs(SMALL, 4, 0)
    q = ptq.quantise(build_model(SMALL, "mhsa"), xs)
    back = ops.dequantise(q, "x", ops.quantise_input(q, xs))
    assert np.abs(back - xs).max() <= q.tensors["x"].scale[0] * 0.51
    assert ops.quantise_input(q, np.full((1, 7, 5), 1e9)).max() == 127
    assert ops.quantise_input(q, xs).dtype == np.int8


def test_dequantise_uses_the_scale_of_each_head():
    q = ptq.quantise(build_model(SMALL, "mhsa"), sample_inputs(SMALL, 4, 0))
    scale = q.tensors["l0.q"].scale
    real = ops.dequantise(q, "l0.q", np.ones((7, 6), np.int8))
    assert real[0] == pytest.approx([scale[0]] * 3 + [scale[1]] * 3)


@pytest.mark.parametrize(
    ("sizes", "form", "total"),
    [  # FACTS §1, by hand: 4SEHP + 2HS²P unfused; 2SEHP + HSE² + HS²E + HS²P with QK fused
        ((81, 32, 32, 8), "none", 6_013_440),
        ((81, 32, 32, 8), "qk", 5_349_888),
        ((66, 16, 2, 8), "none", 206_976),
        ((66, 16, 2, 8), "qk", 796_224),
        ((5, 32, 32, 8), "none", 176_640),
        ((5, 32, 32, 8), "qk", 135_680),
    ],
)
def test_macs_of_the_published_networks(sizes, form, total):
    s, e, p, h = sizes
    model = rewrite(build_model(HyperParameters("m", s=s, e=e, p=p, h=h), "mhsa"), form)
    shapes = {name: tensor.shape for name, tensor in model.tensors.items()}
    assert sum(ops.macs(op, shapes) for op in model.ops) == total


def test_macs_are_the_same_before_and_after_quantisation_and_zero_where_nothing_multiplies():
    model = build_model(SMALL, "encoder")
    quantised = ptq.quantise(model, sample_inputs(SMALL, 2, 0))
    for op in model.ops:
        shapes = {name: tensor.shape for name, tensor in model.tensors.items()}
        after = {name: tensor.shape for name, tensor in quantised.tensors.items()}
        assert ops.macs(op, shapes) == ops.macs(quantised.op(op.name), after)
        assert (ops.macs(op, shapes) == 0) == (op.kind in ("add", "layernorm", "activation", "mean"))


def _with_kind(kind: str, **attributes) -> Model:
    op = Op(kind, "strange", ("x",), ("y",), (), tuple(attributes.items()))
    return Model("m", "x", "y", (op,), {"x": Tensor("x", (2, 3)), "y": Tensor("y", (2, 3))})


def test_unknown_kinds_and_functions_are_named():
    with pytest.raises(ValueError, match="strange: unknown op kind 'conv'; known: linear, probs"):
        ops.run(_with_kind("conv"), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="unknown op kind"):
        ops.macs(_with_kind("conv").ops[0], {})
    with pytest.raises(ValueError, match="strange: unknown activation function 'swish'; known: gelu"):
        ops.run(_with_kind("activation", function="swish"), np.zeros((2, 3)))


def test_inputs_of_the_wrong_shape_or_dtype_are_refused():
    model = build_model(SMALL, "mhsa")
    xs = sample_inputs(SMALL, 2, 0)
    with pytest.raises(ValueError, match=r"input of shape \(5, 7\); allowed is \(7, 5\)"):
        ops.run(model, xs[0].T)
    with pytest.raises(ValueError, match="float32 for an int8 model; use quantise_input"):
        ops.run(ptq.quantise(model, xs), xs)


def test_int8_run_raises_instead_of_overflowing():
    xs = sample_inputs(SMALL, 2, 0)
    q = ptq.quantise(build_model(SMALL, "mhsa"), xs)
    broken = dict(q.constants) | {"l0.q.mult": np.full(6, 2**30, np.int32)}
    with pytest.raises(OverflowError):
        ops.run(replace(q, constants=broken), ops.quantise_input(q, xs))
