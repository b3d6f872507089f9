"""fp32 Model + calibration samples -> int8 Model: min–max ranges, per-channel weights, per-head attention scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dse import ops, quant
from dse.ir import Array, Model, Op, Tensor
from dse.ops.activation import FUNCTIONS

MAX_SHIFT = 24
MAX_WIDTH = 256  # LayerNorm's integer bound, tileformer.h


@dataclass(frozen=True)
class _Range:
    """Smallest and largest value a tensor takes, per channel: (n,) each."""

    low: Array
    high: Array


def quantise(model: Model, samples: Array) -> Model:
    """The int8 model; samples: (count, s, e) float. Ops and tensors keep their names.

    ValueError when the samples do not have the model input's shape.
    """
    expected = model.tensors[model.input].shape
    if samples.ndim != 3 or samples.shape[1:] != expected or len(samples) == 0:
        raise ValueError(f"calibration samples have shape {samples.shape}; {model.name} takes (count, *{expected})")
    ranges = _calibrate(model, samples)
    tensors = {name: _quantised_tensor(model, tensor, ranges) for name, tensor in model.tensors.items()}
    constants: dict[str, Array] = {}
    quantised = tuple(_QUANTISE[op.kind](model, op, tensors, constants) for op in model.ops)
    for op in quantised:
        if op.kind == "probs":
            e, sums = op.outputs
            heads, s = model.tensors[e].shape[0], model.tensors[e].shape[1]
            tensors[e] = Tensor(e, (heads, s, s), "u8", (1 / 255,))
            tensors[sums] = Tensor(sums, (heads, s), "s32", (1.0,))
    return replace(model, ops=quantised, tensors=tensors, constants=constants)


def _calibrate(model: Model, samples: Array) -> dict[str, _Range]:
    ranges: dict[str, _Range] = {}
    for start in range(0, len(samples), 32):
        for name, values in ops.run(model, samples[start : start + 32].astype(np.float64)).items():
            flat = values.reshape(-1, values.shape[-1])
            low, high = flat.min(axis=0), flat.max(axis=0)
            if name in ranges:
                low, high = np.minimum(low, ranges[name].low), np.maximum(high, ranges[name].high)
            ranges[name] = _Range(low, high)
    return ranges


def _quantised_tensor(model: Model, tensor: Tensor, ranges: dict[str, _Range]) -> Tensor:
    found = ranges[tensor.name]
    heads = _per_head(model, tensor.name)
    if heads:
        largest = np.maximum(np.abs(found.low), np.abs(found.high)).reshape(heads, -1).max(axis=1)
        return replace(tensor, dtype="s8", scale=tuple(quant.symmetric_scale(float(v)) for v in largest), zero=0)
    scale, zero = quant.activation_scale(float(found.low.min()), float(found.high.max()))
    return replace(tensor, dtype="s8", scale=(scale,), zero=zero)


def _per_head(model: Model, name: str) -> int:
    """Heads of a tensor that carries one symmetric scale a head (q, k, v, and the fused g, u); 0 for any other."""
    for op in model.consumers(name):
        if op.kind == "probs" and (op.inputs[0] == name or not op.integer("shared_keys")):
            return op.integer("heads")
        if op.kind in ("attend", "attend_sum") and op.inputs[-1] == name:
            return op.integer("heads")
    return 0


def _store(constants: dict[str, Array], op: Op, **values: Array) -> tuple[tuple[str, str], ...]:
    for role, array in values.items():
        constants[f"{op.name}.{role}"] = array
    return tuple((role, f"{op.name}.{role}") for role in values)


def _linear(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    x, y = tensors[op.inputs[0]], tensors[op.outputs[0]]
    source = model.constants[op.constant("w")].astype(np.float64)
    weights, scales = quant.quantise_weights(source)
    roles = dict(op.constants)
    b = model.constants[roles["b"]].astype(np.float64) if "b" in roles else np.zeros(len(source))
    accumulated = x.scale[0] * scales
    limit = 2.0**30
    bias = np.clip(np.rint(b / accumulated), -limit, limit).astype(np.int64)
    bias -= x.zero * weights.astype(np.int64).sum(axis=1)
    out = np.repeat(np.asarray(y.scale), len(source) // len(y.scale))
    chosen = quant.choose_multiplier(accumulated / out, quant.accumulator_bound(weights, bias) + 256, y.zero)
    bias = quant.exact_int32(bias + ((1 << chosen.preshift) >> 1)).astype(np.int32)
    return replace(
        op,
        constants=_store(constants, op, w=weights, bias=bias, mult=chosen.mult),
        attributes=(("round", chosen.rounding), ("preshift", chosen.preshift), ("shift", chosen.shift)),
    )


def _probs(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    q, k = tensors[op.inputs[0]], tensors[op.inputs[1]]
    heads = op.integer("heads")
    depth = q.shape[1] // heads
    scale = op.number("scale") * np.asarray(q.scale) * np.asarray(k.scale)
    mult, rounding, shift = quant.choose_softmax(scale, 2 * 128 * 128 * depth)
    return replace(
        op,
        outputs=(op.outputs[0], f"{op.outputs[0]}.sum"),
        constants=_store(constants, op, table=quant.softmax_table(), mult=mult),
        attributes=(
            ("heads", heads),
            ("shared_keys", op.integer("shared_keys")),
            ("round", rounding),
            ("shift", shift),
        ),
    )


def _attend_scale(ratio: Array, keys: int, preshift: int, rounding_of: int, shared: bool) -> tuple[Array, int] | None:
    """(C (h,), shift) for v = ((acc + half) >> preshift)·((C + Σe/2)/Σe); None when no shift is safe.

    |acc| ≤ 128·Σe and 255 ≤ Σe ≤ 255·keys bound |v| by 128·C/2^preshift + 64·Σe/2^preshift + C/255 + 1.
    """
    longest = 255 * keys
    for shift in range(MAX_SHIFT, 0, -1):
        scale = np.rint(ratio * 2.0 ** (shift + preshift))
        bound = (128 * scale + 64 * longest) / 2.0**preshift + scale / 255 + 2
        total = bound.sum() if shared else bound.max()
        offset = (abs(rounding_of) + 1) * 2.0**shift
        if total + offset < quant.INT32_MAX and scale.max() + longest < quant.INT32_MAX:
            return np.maximum(1, scale).astype(np.int32), shift
    return None


def _attend(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    v, y = tensors[op.inputs[-1]], tensors[op.outputs[0]]
    ratio, keys = np.asarray(v.scale) / y.scale[0], v.shape[0]
    preshift, found = 0, _attend_scale(np.asarray(ratio), keys, 0, y.zero, shared=False)
    while preshift < 6 and (found is None or found[0].max() < 255 * keys << quant.ENOUGH_BITS):
        preshift += 1
        found = _attend_scale(np.asarray(ratio), keys, preshift, y.zero, shared=False)
    if found is None:
        raise OverflowError(f"{op.name}: {keys} keys are too many for the int32 softmax·V")
    scale, shift = found
    return replace(
        op,
        inputs=(op.inputs[0], f"{op.inputs[0]}.sum", op.inputs[-1]),
        constants=_store(constants, op, scale=scale),
        attributes=(
            ("heads", op.integer("heads")),
            ("round", (y.zero << shift) + ((1 << shift) >> 1)),
            ("preshift", preshift),
            ("shift", shift),
        ),
    )


def _attend_sum(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    u, y = tensors[op.inputs[-1]], tensors[op.outputs[0]]
    b = model.constants[op.constant("b")].astype(np.float64) / y.scale[0]
    preshift = 4
    widest = int(np.ceil(np.abs(b + y.zero).max()))
    found = _attend_scale(np.asarray(u.scale) / y.scale[0], u.shape[0], preshift, widest, shared=True)
    if found is None:
        raise OverflowError(f"{op.name}: {u.shape[0]} keys over {op.integer('heads')} heads overflow int32")
    scale, shift = found
    bias = np.rint((b + y.zero) * 2.0**shift).astype(np.int64) + ((1 << shift) >> 1)
    return replace(
        op,
        inputs=(op.inputs[0], f"{op.inputs[0]}.sum", op.inputs[-1]),
        constants=_store(constants, op, scale=scale, bias=quant.exact_int32(bias).astype(np.int32)),
        attributes=(("heads", op.integer("heads")), ("preshift", preshift), ("shift", shift)),
    )


def _layernorm(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    x, y = tensors[op.inputs[0]], tensors[op.outputs[0]]
    width = x.shape[-1]
    if width > MAX_WIDTH:
        raise ValueError(f"{op.name}: LayerNorm over {width} channels; the integer kernel takes at most {MAX_WIDTH}")
    gamma = model.constants[op.constant("gamma")].astype(np.float64) / y.scale[0] / 4096
    beta = model.constants[op.constant("beta")].astype(np.float64) / y.scale[0] + y.zero
    bound = np.sqrt(width) * 4096 * 1.01 + 2
    for shift in range(MAX_SHIFT, -1, -1):
        mult, rounding = np.rint(gamma * 2.0**shift), np.rint(beta * 2.0**shift) + ((1 << shift) >> 1)
        if (np.abs(mult) * bound + np.abs(rounding)).max() < quant.INT32_MAX:
            break
    epsilon = round(op.number("epsilon") * width**2 / x.scale[0] ** 2)
    most = 2**30 - 1 - (width**2 * 255**2) // 4
    return replace(
        op,
        constants=_store(constants, op, mult=mult.astype(np.int32), round=rounding.astype(np.int32)),
        attributes=(
            ("epsilon", int(np.clip(epsilon, 1, most))),
            ("guard", quant.layernorm_guard(width)),
            ("shift", shift),
        ),
    )


def _activation(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    x, y = tensors[op.inputs[0]], tensors[op.outputs[0]]
    real = FUNCTIONS[op.text("function")]((np.arange(-128, 128) - x.zero) * x.scale[0])
    table = quant.sat8(np.rint(real / y.scale[0]) + y.zero)
    return replace(op, constants=_store(constants, op, table=table))


def _add(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    a, y = tensors[op.inputs[0]], tensors[op.outputs[0]]
    stored: tuple[tuple[str, str], ...] = ()
    if len(op.inputs) == 2:
        b_scale, b_zero = tensors[op.inputs[1]].scale[0], tensors[op.inputs[1]].zero
    else:
        values = model.constants[op.constant("b")].astype(np.float64)
        b_scale, b_zero = quant.activation_scale(float(values.min()), float(values.max()))
        fixed = quant.sat8(np.rint(np.broadcast_to(values, a.shape) / b_scale) + b_zero)
        stored = _store(constants, op, b=fixed)
    ratios = a.scale[0] / y.scale[0], b_scale / y.scale[0]
    offset = y.zero - a.zero * ratios[0] - b_zero * ratios[1]
    shift = _safe_shift(128 * sum(ratios) + abs(offset) + 1)
    return replace(
        op,
        constants=stored,
        attributes=(
            ("mult_a", round(ratios[0] * 2.0**shift)),
            ("mult_b", round(ratios[1] * 2.0**shift)),
            ("round", round(offset * 2.0**shift) + ((1 << shift) >> 1)),
            ("shift", shift),
        ),
    )


def _safe_shift(largest: float) -> int:
    """The largest shift (at most MAX_SHIFT) with largest·2^shift below 2^30: a bit to spare for roundings."""
    return max(0, min(MAX_SHIFT, int(np.floor(30 - np.log2(largest)))))


def _mean(model: Model, op: Op, tensors: dict[str, Tensor], constants: dict[str, Array]) -> Op:
    x, y = tensors[op.inputs[0]], tensors[op.outputs[0]]
    ratio = x.scale[0] / y.scale[0]
    offset = y.zero - x.zero * ratio
    shift = _safe_shift(128 * ratio + abs(offset) + 1)
    return replace(
        op,
        attributes=(
            ("mult", round(ratio / x.shape[0] * 2.0**shift)),
            ("round", round(offset * 2.0**shift) + ((1 << shift) >> 1)),
            ("shift", shift),
        ),
    )


_QUANTISE = {
    "linear": _linear,
    "probs": _probs,
    "attend": _attend,
    "attend_sum": _attend_sum,
    "layernorm": _layernorm,
    "activation": _activation,
    "add": _add,
    "mean": _mean,
}


def sqnr_db(reference: Model, quantised: Model, samples: Array) -> float:
    """Signal to quantisation noise of the output in dB over the samples."""
    exact = ops.run_batch(reference, samples.astype(np.float64))
    integers = ops.run_batch(quantised, ops.quantise_input(quantised, samples))
    noise = ops.dequantise(quantised, quantised.output, integers) - exact
    return float(10 * np.log10((exact**2).sum() / max((noise**2).sum(), 1e-30)))
