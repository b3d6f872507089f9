"""Whole-tensor meaning of every op kind, in float and in int8. A leading batch axis is allowed everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dse.ir import Array, Model, Op
from dse.ops import activation, add, attend, attend_sum, layernorm, linear, mean, probs

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


def run(model: Model, x: Array) -> dict[str, Array]:
    """Every tensor of the model for an input (s, e) or a batch (b, s, e): float for a float model, int8 for a quantised."""
    table = INT8 if model.quantised else FLOAT
    values: dict[str, Array] = {model.input: x}
    for op in model.ops:
        if op.kind not in table:
            raise ValueError(f"{op.name}: unknown op kind {op.kind!r}; known: {', '.join(table)}")
        constants = {role: model.constants[name] for role, name in op.constants}
        results = table[op.kind](op, [values[name] for name in op.inputs], constants)
        values.update(zip(op.outputs, results, strict=True))
    return values


def run_batch(model: Model, xs: Array) -> Array:
    """The outputs (b, s', e') for inputs (b, s, e), a bounded number of samples at a time."""
    step = 64
    return np.concatenate([run(model, xs[i : i + step])[model.output] for i in range(0, len(xs), step)])


def quantise_input(model: Model, x: Array) -> Array:
    """Real inputs -> the int8 input of a quantised model."""
    tensor = model.tensors[model.input]
    return np.clip(np.rint(x / tensor.scale[0]) + tensor.zero, -128, 127).astype(np.int8)


def dequantise(model: Model, name: str, values: Array) -> Array:
    """Real values of an int8 tensor (one scale, or one a head over equal column groups)."""
    tensor = model.tensors[name]
    scale = np.repeat(np.asarray(tensor.scale), values.shape[-1] // len(tensor.scale))
    return (values.astype(np.float64) - tensor.zero) * scale
