"""fp32 Model + calibration samples -> int8 Model: min–max ranges, per-channel weights, per-head attention scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dse import ops, quant
from dse.ir import Array, Model, Op, Tensor
from dse.ops.activation import function_of


@dataclass(frozen=True)
class _Range:
    """Smallest and largest value a tensor takes, per channel: (n,) each."""

    low: Array
    high: Array


@dataclass(frozen=True)
class _Work:
    """A quantisation under way: the float model, the int8 tensors, and the integer constants found so far."""

    model: Model
    tensors: dict[str, Tensor]
    constants: dict[str, Array]

    def single(self, op: Op, name: str) -> tuple[float, int]:
        """(scale, zero) of a tensor that must have one scale."""
        tensor = self.tensors[name]
        if len(tensor.scale) != 1:
            raise ValueError(f"{op.name}: {name} carries one scale a head, which only attention reads; give it a copy")
        return tensor.scale[0], tensor.zero

    def source(self, op: Op, role: str) -> Array:
        """The float constant with that role, float64."""
        return self.model.constants[op.constant(role)].astype(np.float64)

    def store(self, op: Op, **values: Array) -> tuple[tuple[str, str], ...]:
        """Add integer constants under `<op>.<role>`; returns the op's `constants` field."""
        self.constants.update({f"{op.name}.{role}": array for role, array in values.items()})
        return tuple((role, f"{op.name}.{role}") for role in values)


def quantise(model: Model, samples: Array) -> Model:
    """The int8 model; samples: (count, s, e) float. Ops and tensors keep their names.

    ValueError when the model is not float, the samples do not fit its input, or an op cannot be held in int32.
    """
    _check(model, samples)
    ranges = _calibrate(model, samples)
    tensors = {name: _quantised_tensor(model, tensor, ranges) for name, tensor in model.tensors.items()}
    work = _Work(model, tensors, {})
    quantised = tuple(_quantised_op(work, op) for op in model.ops)
    for op in quantised:
        if op.kind == "probs":
            e, sums = op.outputs
            tensors[e] = Tensor(e, model.tensors[e].shape, "u8", (1 / 255,))
            tensors[sums] = Tensor(sums, model.tensors[e].shape[:2], "s32", (1.0,))
    return replace(model, ops=quantised, tensors=tensors, constants=work.constants)


def _check(model: Model, samples: Array) -> None:
    expected = model.tensors[model.input].shape
    if model.quantised:
        raise ValueError(f"{model.name}: is int8 already; quantise takes a float model")
    if samples.ndim != 3 or samples.shape[1:] != expected or len(samples) == 0:
        raise ValueError(
            f"{model.name}: calibration samples have shape {samples.shape}; allowed is "
            f"(count, {expected[0]}, {expected[1]})"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{model.name}: calibration samples hold NaN or infinity; remove those samples")
    for op in model.ops:
        ops.check_kind(op)


def _quantised_op(work: _Work, op: Op) -> Op:
    try:
        return _QUANTISE[op.kind](work, op)
    except OverflowError as error:
        raise ValueError(f"{op.name}: {error}; calibrate with samples that exercise this op") from error


def _calibrate(model: Model, samples: Array) -> dict[str, _Range]:
    ranges: dict[str, _Range] = {}
    step = ops.batch_size(model)
    for start in range(0, len(samples), step):
        for name, values in ops.run(model, samples[start : start + step]).items():
            flat = values.reshape(-1, values.shape[-1])
            low, high = flat.min(axis=0), flat.max(axis=0)
            if not np.isfinite(low + high).all():
                raise ValueError(f"{model.name}: tensor {name} becomes NaN or infinite on the calibration samples")
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
    least = max((_least_scale(model, op) for op in model.consumers(tensor.name)), default=0.0)
    scale, zero = quant.activation_scale(float(found.low.min()), float(found.high.max()), least)
    return replace(tensor, dtype="s8", scale=(scale,), zero=zero)


def _least_scale(model: Model, op: Op) -> float:
    """The finest scale the op can read: a LayerNorm whose epsilon outweighs its input needs a coarser one."""
    width = model.tensors[op.inputs[0]].shape[-1]
    if op.kind != "layernorm" or width > quant.LAYERNORM_WIDTH:
        return 0.0
    return quant.layernorm_least_scale(op.number("epsilon"), width)


def _per_head(model: Model, name: str) -> int:
    """Heads of a tensor that carries one symmetric scale a head (q, k, v, and the fused g, u); 0 for any other."""
    for op in model.consumers(name):
        if op.kind == "probs" and (op.inputs[0] == name or not op.integer("shared_keys")):
            return op.integer("heads")
        if op.kind in ("attend", "attend_sum") and op.inputs[-1] == name:
            return op.integer("heads")
    return 0


def _linear(work: _Work, op: Op) -> Op:
    (x_scale, x_zero), y = work.single(op, op.inputs[0]), work.tensors[op.outputs[0]]
    source = work.source(op, "w")
    b = work.source(op, "b") if "b" in dict(op.constants) else np.zeros(len(source))
    weights, scales = quant.quantise_weights(source, b, x_scale)
    accumulated = x_scale * scales
    bias = np.rint(b / accumulated).astype(np.int64) - x_zero * weights.astype(np.int64).sum(axis=1)
    out = np.repeat(np.asarray(y.scale), len(source) // len(y.scale))
    chosen = quant.choose_multiplier(accumulated / out, quant.accumulator_bound(weights, bias), y.zero)
    bias = quant.exact_int32(bias + ((1 << chosen.preshift) >> 1)).astype(np.int32)
    return replace(
        op,
        constants=work.store(op, w=weights, bias=bias, mult=chosen.mult),
        attributes=(
            ("round", chosen.rounding),
            ("preshift", chosen.preshift),
            ("shift", chosen.shift),
            ("right", int(_is_right(work.model, op.outputs[0]))),
        ),
    )


def _is_right(model: Model, name: str) -> bool:
    """True for k, v and u: right-hand operands of a product, clamped to -127..127 (kernels/include/tileformer.h)."""
    for op in model.consumers(name):
        if op.kind == "probs" and op.inputs[1] == name and not op.integer("shared_keys"):
            return True
        if op.kind in ("attend", "attend_sum") and op.inputs[-1] == name:
            return True
    return False


def _probs(work: _Work, op: Op) -> Op:
    q, k, heads = work.tensors[op.inputs[0]], work.tensors[op.inputs[1]], op.integer("heads")
    scale = op.number("scale") * np.asarray(q.scale) * np.asarray(k.scale)
    mult, shift = quant.choose_softmax(scale, q.shape[1] // heads)
    shared = op.integer("shared_keys")
    return replace(
        op,
        outputs=(op.outputs[0], f"{op.outputs[0]}.sum"),
        constants=work.store(op, table=quant.softmax_table(), mult=mult),
        attributes=(("heads", heads), ("shared_keys", shared), ("shift", shift)),
    )


def _attend(work: _Work, op: Op) -> Op:
    v, (y_scale, y_zero) = work.tensors[op.inputs[-1]], work.single(op, op.outputs[0])
    ratio = np.asarray(v.scale) / y_scale
    scale, preshift, shift = quant.choose_attend(ratio, v.shape[0], y_zero, summed=False)
    rounding = quant.rounding_term(y_zero, shift)
    return replace(
        op,
        inputs=(op.inputs[0], f"{op.inputs[0]}.sum", op.inputs[-1]),
        constants=work.store(op, scale=scale),
        attributes=(
            ("heads", op.integer("heads")),
            ("round", rounding),
            ("preshift", preshift),
            ("shift", shift),
        ),
    )


def _attend_sum(work: _Work, op: Op) -> Op:
    u, (y_scale, y_zero) = work.tensors[op.inputs[-1]], work.single(op, op.outputs[0])
    offset = work.source(op, "b") / y_scale + y_zero
    ratio = np.asarray(u.scale) / y_scale
    scale, preshift, shift = quant.choose_attend(ratio, u.shape[0], float(np.abs(offset).max()), summed=True)
    bias = np.rint(offset * 2.0**shift).astype(np.int64) + ((1 << shift) >> 1)
    return replace(
        op,
        inputs=(op.inputs[0], f"{op.inputs[0]}.sum", op.inputs[-1]),
        constants=work.store(op, scale=scale, bias=quant.exact_int32(bias).astype(np.int32)),
        attributes=(("heads", op.integer("heads")), ("preshift", preshift), ("shift", shift)),
    )


def _layernorm(work: _Work, op: Op) -> Op:
    (x_scale, _), (y_scale, y_zero) = work.single(op, op.inputs[0]), work.single(op, op.outputs[0])
    width = work.tensors[op.inputs[0]].shape[-1]
    if width > quant.LAYERNORM_WIDTH:
        raise ValueError(f"{op.name}: LayerNorm over {width} channels; allowed are at most {quant.LAYERNORM_WIDTH}")
    gamma, beta = (np.broadcast_to(work.source(op, role), (width,)) / y_scale for role in ("gamma", "beta"))
    mult, rounding, shift = quant.choose_layernorm(gamma, beta + y_zero, width)
    return replace(
        op,
        constants=work.store(op, mult=mult, round=rounding),
        attributes=(
            ("epsilon", quant.layernorm_epsilon(op.number("epsilon"), width, x_scale)),
            ("guard", quant.layernorm_guard(width)),
            ("shift", shift),
        ),
    )


def _activation(work: _Work, op: Op) -> Op:
    x, y = work.single(op, op.inputs[0]), work.single(op, op.outputs[0])
    return replace(op, constants=work.store(op, table=quant.activation_table(function_of(op), *x, *y)))


def _add(work: _Work, op: Op) -> Op:
    (a_scale, a_zero), (y_scale, y_zero) = work.single(op, op.inputs[0]), work.single(op, op.outputs[0])
    stored: tuple[tuple[str, str], ...] = ()
    if len(op.inputs) == 2:
        b_scale, b_zero = work.single(op, op.inputs[1])
    else:
        values = np.broadcast_to(work.source(op, "b"), work.tensors[op.inputs[0]].shape)
        b_scale, b_zero = quant.activation_scale(float(values.min()), float(values.max()))
        stored = work.store(op, b=quant.quantise_values(values, b_scale, b_zero))
    ratios = a_scale / y_scale, b_scale / y_scale
    offset = y_zero - a_zero * ratios[0] - b_zero * ratios[1]
    (mult_a, mult_b), rounding, shift = quant.choose_sum(ratios, 128, offset, quant.ADD_SHIFT)
    numbers = (("mult_a", mult_a), ("mult_b", mult_b), ("round", rounding), ("shift", shift))
    return replace(op, constants=stored, attributes=numbers)


def _mean(work: _Work, op: Op) -> Op:
    (x_scale, x_zero), (y_scale, y_zero) = work.single(op, op.inputs[0]), work.single(op, op.outputs[0])
    rows, ratio = work.tensors[op.inputs[0]].shape[0], x_scale / y_scale
    (mult,), rounding, shift = quant.choose_sum((ratio / rows,), 128 * rows, y_zero - x_zero * ratio)
    return replace(op, attributes=(("mult", mult), ("round", rounding), ("shift", shift)))


_QUANTISE: dict[str, Callable[[_Work, Op], Op]] = {
    "linear": _linear,
    "probs": _probs,
    "attend": _attend,
    "attend_sum": _attend_sum,
    "layernorm": _layernorm,
    "activation": _activation,
    "add": _add,
    "mean": _mean,
}


def _outputs(model: Model, samples: Array) -> Array:
    """Real outputs (count, s', e') for real samples, of a float or an int8 model."""
    if not model.quantised:
        return ops.run_batch(model, samples)
    return ops.dequantise(model, model.output, ops.run_batch(model, ops.quantise_input(model, samples)))


def sqnr_db(reference: Model, quantised: Model, samples: Array) -> float:
    """Signal to quantisation noise of the output in dB over the samples (count, s, e)."""
    exact = _outputs(reference, samples)
    noise = _outputs(quantised, samples) - exact
    return float(10 * np.log10(max((exact**2).sum(), 1e-30) / max((noise**2).sum(), 1e-30)))


def top1(model: Model, xs: Array, ys: Array) -> float:
    """Share of samples xs (count, s, e) whose largest output is the label ys (count,); float or int8 model."""
    return float(np.mean(_outputs(model, xs).reshape(len(xs), -1).argmax(axis=1) == ys))
