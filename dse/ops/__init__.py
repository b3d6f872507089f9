"""Whole-tensor meaning of every op kind, in float and in int8. A leading batch axis is allowed everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dse import quant
from dse.ir import Array, Model, Op
from dse.ops import activation, add, attend, attend_sum, layernorm, linear, mean, probs
from dse.ops.heads import Shapes

Reference = Callable[[Op, Sequence[Array], Mapping[str, Array]], tuple[Array, ...]]

_MODULES = {
    "linear": linear,
    "probs": probs,
    "attend": attend,
    "attend_sum": attend_sum,
    "layernorm": layernorm,
    "activation": activation,
    "add": add,
    "mean": mean,
}
FLOAT: dict[str, Reference] = {kind: module.float_reference for kind, module in _MODULES.items()}
INT8: dict[str, Reference] = {kind: module.int8_reference for kind, module in _MODULES.items()}
MACS: dict[str, Callable[[Op, Shapes], int]] = {kind: module.macs for kind, module in _MODULES.items()}

BATCH = 64
BATCH_ELEMENTS = 2**23  # of the largest tensor: bounds the memory of a batch


def check_kind(op: Op) -> None:
    """ValueError when the op's kind is unknown."""
    if op.kind not in _MODULES:
        raise ValueError(f"{op.name}: unknown op kind {op.kind!r}; known: {', '.join(_MODULES)}")


def macs(op: Op, shapes: Shapes) -> int:
    """Multiply-accumulates of the op; `shapes` maps tensor names to shapes."""
    check_kind(op)
    return MACS[op.kind](op, shapes)


def run(model: Model, x: Array) -> dict[str, Array]:
    """Every tensor of the model for an input (s, e) or a batch (b, s, e), in the number system of the model.

    ValueError when the input has another shape, or is not int8 for a quantised model.
    """
    values: dict[str, Array] = {model.input: _checked_input(model, x)}
    table = INT8 if model.quantised else FLOAT
    for op in model.ops:
        check_kind(op)
        constants = {role: model.constants[name] for role, name in op.constants}
        results = table[op.kind](op, [values[name] for name in op.inputs], constants)
        values.update(zip(op.outputs, results, strict=True))
    return values


def _checked_input(model: Model, x: Array) -> Array:
    shape = model.tensors[model.input].shape
    if x.ndim not in (2, 3) or x.shape[-2:] != shape:
        raise ValueError(f"{model.name}: input of shape {x.shape}; allowed is {shape}, or a batch of them")
    if not model.quantised:
        return x.astype(np.float64)
    if x.dtype != np.int8:
        raise ValueError(f"{model.name}: input of dtype {x.dtype} for an int8 model; use quantise_input first")
    return x


def batch_size(model: Model) -> int:
    """How many samples to run at once so that no tensor grows past BATCH_ELEMENTS."""
    largest = max(int(np.prod(tensor.shape)) for tensor in model.tensors.values())
    return max(1, min(BATCH, BATCH_ELEMENTS // largest))


def run_batch(model: Model, xs: Array) -> Array:
    """The outputs (b, s', e') for inputs (b, s, e), a bounded number of samples at a time."""
    step = batch_size(model)
    return np.concatenate([run(model, xs[i : i + step])[model.output] for i in range(0, len(xs), step)])


def _channel_scale(model: Model, name: str, channels: int) -> Array:
    scale = np.asarray(model.tensors[name].scale)
    return np.repeat(scale, channels // len(scale))


def quantise_input(model: Model, x: Array) -> Array:
    """Real inputs (..., s, e) -> the int8 input of a quantised model."""
    scale = _channel_scale(model, model.input, x.shape[-1])
    return quant.quantise_values(x.astype(np.float64), scale, model.tensors[model.input].zero)


def dequantise(model: Model, name: str, values: Array) -> Array:
    """Real values of an int8 tensor (one scale, or one a head over equal column groups)."""
    scale = _channel_scale(model, name, values.shape[-1])
    return np.asarray((values.astype(np.float64) - model.tensors[name].zero) * scale)
