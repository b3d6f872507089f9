"""What an ONNX operator does to the values of its inputs: one function an operator, found in OPERATORS by its name.

Nothing here asks which exporter wrote the graph, or which nodes stand around one. LayerNorms and activations that are
spelled out pass through as moments and elementwise chains until it is clear what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.ir import Array
from dse.load.network import Network
from dse.load.values import (
    KNOWN,
    UNARY,
    UNEXPECTED,
    Elementwise,
    Map,
    Moment,
    Refusal,
    Scores,
    Value,
    View,
    chain,
    combine,
    same_place,
    shape_of,
)
from dse.ops.activation import FUNCTIONS


@dataclass(frozen=True)
class Step:
    """A node with values for its inputs (None where one is omitted)."""

    kind: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    opset: int

    def data(self, count: int) -> tuple[Value, ...]:
        """The first `count` inputs; Refusal when one is missing."""
        found = tuple(value for value in self.inputs[:count] if value is not None)
        if len(found) != count:
            raise Refusal(f"has {len(found)} inputs; allowed are {count} or more; check the export")
        return found

    def optional(self, position: int) -> Array | None:
        """A constant input that may be missing; Refusal when it depends on the input of the graph."""
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is not None and not isinstance(value, np.ndarray):
            raise Refusal(f"input {position} depends on the data; allowed is a constant; fold it into the export")
        return value


Operator = Callable[[Network, Step], Value]

_MASKED = "attention is masked (causal, padding or a bias on the scores); export without the mask"
_CROSSED = "query and key have different numbers of tokens (cross-attention); allowed is self-attention"


def _scalar(value: Value | None) -> float | None:
    return float(value.reshape(())) if isinstance(value, np.ndarray) and value.size == 1 else None


# ---- products of matrices


def _matmul(network: Network, step: Step) -> Value:
    a, b = step.data(2)
    if isinstance(b, np.ndarray):
        flat = b.reshape(b.shape[-2:]) if b.ndim > 2 and b.size == math.prod(b.shape[-2:]) else b
        return network.linear(a, flat)
    if isinstance(a, Map):
        return network.attend(a, b)
    if isinstance(a, View) and isinstance(b, View) and b.index.ndim > 1:
        return network.scores(a, replace(b, index=np.swapaxes(b.index, -1, -2)))
    raise Refusal(
        "a product of these operands is not part of an encoder (attention without softmax?); check the export"
    )


def _gemm(network: Network, step: Step) -> Value:
    (x, w), bias = step.data(2), step.optional(2)
    if step.attributes.get("transA", 0) or not isinstance(w, np.ndarray):
        raise Refusal("a product of two tensors; allowed is data times a constant weight; check the export")
    weight = (w.T if step.attributes.get("transB", 0) else w) * step.attributes.get("alpha", 1.0)
    shift = None if bias is None else (bias * step.attributes.get("beta", 1.0)).reshape(-1)
    return network.linear(x, np.asarray(weight), shift)


def _einsum(network: Network, step: Step) -> Value:
    """Axes of index arrays are moved until the product is a linear layer, attention scores or an attention."""
    equation = step.attributes["equation"].decode().replace(" ", "")
    terms = equation.replace("->", ",").split(",")
    if "->" not in equation or len(terms) != 3 or not all(t.isalpha() and len(set(t)) == len(t) for t in terms):
        raise Refusal(
            f"einsum {equation!r}; allowed are two operands and an output, spelled out as in 'bhid,bhjd->bhij'"
        )
    (a, b), (left, right, out) = step.data(2), terms
    if isinstance(a, np.ndarray) or isinstance(b, Map):
        a, b, left, right = b, a, right, left
    if len(left) != len(shape_of(a)) or len(right) != len(shape_of(b)):
        raise Refusal(f"einsum {equation!r} on shapes {shape_of(a)} and {shape_of(b)}; check the export")
    summed = "".join(letter for letter in left if letter in right and letter not in out)
    shared = "".join(letter for letter in out if letter in left and letter in right)
    mine, theirs = ("".join(letter for letter in out if letter in t and letter not in shared) for t in (left, right))
    if not isinstance(a, Map) and isinstance(b, np.ndarray) and not shared:
        view = network.materialise(a)
        rows = _axes(view.index, left, mine + summed)
        w = _axes(b, right, summed + theirs)
        depth = math.prod(w.shape[: len(summed)])
        flat = replace(view, index=rows.reshape(*rows.shape[: len(mine)], depth))
        result = network.linear(flat, w.reshape(depth, -1))
        index = result.index.reshape(*rows.shape[: len(mine)], *w.shape[len(summed) :])
        return replace(result, index=_axes(index, mine + theirs, out))
    if isinstance(a, Map) and left == shared + mine + summed and len(mine) == len(summed) == len(theirs) == 1:
        view = network.materialise(b)
        result = network.attend(a, replace(view, index=_axes(view.index, right, shared + summed + theirs)))
        return replace(result, index=_axes(result.index, shared + mine + theirs, out))
    if isinstance(a, View) and isinstance(b, View) and len(mine) == len(theirs) == len(summed) == 1:
        query, key = (
            replace(view, index=_axes(view.index, letters, shared + row + summed))
            for view, letters, row in ((a, left, mine), (b, right, theirs))
        )
        if out == shared + mine + theirs:
            return network.scores(query, key)
        if out == shared + theirs + mine:
            return network.scores(key, query)
    raise Refusal(
        f"einsum {equation!r}; allowed are data with a weight ('bsd,de->bse'), queries with keys ('bhid,bhjd->bhij', "
        "the keys last) and an attention map with values ('bhij,bhjd->bhid')"
    )


def _axes(array: Array, letters: str, order: str) -> Array:
    """The axes of the array, named by letters, in another order; Refusal when the letters are not the same."""
    if sorted(letters) != sorted(order):
        raise Refusal(f"einsum sums or repeats one of the axes {letters!r} alone; allowed are products of matrices")
    return np.transpose(array, [letters.index(letter) for letter in order])


# ---- attention


def _softmax(network: Network, step: Step) -> Value:
    (scores,) = step.data(1)
    if not isinstance(scores, Scores):
        raise Refusal("allowed is the softmax of attention scores; export logits without a last softmax")
    last = len(scores.shape) - 1
    axis = step.attributes.get("axis", -1 if step.opset >= 13 else 1)
    if axis not in (-1, last):
        raise Refusal(f"softmax over axis {axis} of {last + 1}; allowed is the last one, the keys")
    if scores.shape[-1] != scores.shape[-2]:
        raise Refusal(_CROSSED)
    return network.attention_map(scores)


def _attention(network: Network, step: Step) -> Value:
    """The operator of opset 23: softmax(scale · q·kᵀ)·v, heads as an axis of their own or side by side."""
    query, key, value = (network.materialise(data) for data in step.data(3))
    mask = step.optional(3)
    if step.attributes.get("is_causal", 0) or (mask is not None and not _lets_all_pass(mask)):
        raise Refusal(_MASKED)
    if any(given is not None for given in step.inputs[4:]) or step.attributes.get("softcap", 0.0):
        raise Refusal("attention with past keys or a softcap; allowed is plain self-attention; export without them")
    packed = query.index.ndim == 3
    if packed:
        heads = step.attributes.get("q_num_heads", 0), *(step.attributes.get("kv_num_heads", 0),) * 2
        query, key, value = (_split(data, n) for data, n in zip((query, key, value), heads, strict=True))
    if min(data.index.ndim for data in (query, key, value)) != 4:
        raise Refusal(
            "attention of operands that are not (1, heads, tokens, size) or (1, tokens, channels); check the export"
        )
    count = query.index.shape[1]
    key, value = (_repeat(network, data, count) for data in (key, value))
    scores = network.scores(query, key)
    if scores.shape[-1] != scores.shape[-2]:
        raise Refusal(_CROSSED)
    scale = step.attributes.get("scale", query.index.shape[-1] ** -0.5)
    result = network.attend(network.attention_map(replace(scores, scale=scores.scale * scale)), value)
    if not packed:
        return result
    index = np.swapaxes(result.index, 1, 2)
    return replace(result, index=index.reshape(*index.shape[:2], -1))


def _lets_all_pass(mask: Array) -> bool:
    return bool(mask.all()) if mask.dtype == np.bool_ else not mask.any()


def _split(view: View, heads: int) -> View:
    """(1, tokens, channels) -> (1, heads, tokens, size)."""
    if heads < 1 or view.index.shape[-1] % heads:
        raise Refusal(f"{view.index.shape[-1]} channels in {heads} heads; allowed is a whole number of channels a head")
    return replace(view, index=np.swapaxes(view.index.reshape(*view.index.shape[:2], heads, -1), 1, 2))


def _repeat(network: Network, view: View, heads: int) -> View:
    """Each of the key heads for several query heads in a row."""
    own = view.index.shape[1]
    if own < 1 or heads % own:
        raise Refusal(f"{heads} query heads with {own} key heads; allowed is a multiple")
    network.spend(view.index.size * (heads // own))
    return replace(view, index=np.repeat(view.index, heads // own, axis=1))


def _isnan(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    if not isinstance(value, Map):  # a softmax of finite scores has no NaN: exporters guard fully masked rows
        raise Refusal(UNEXPECTED)
    network.spend(math.prod(value.shape))
    return np.zeros(value.shape, bool)


def _where(network: Network, step: Step) -> Value:
    condition, yes, no = step.data(3)
    if isinstance(condition, np.ndarray) and (condition.all() or not condition.any()):
        chosen = yes if condition.all() else no
        if shape_of(chosen) == np.broadcast_shapes(condition.shape, shape_of(yes), shape_of(no)):
            return chosen
    raise Refusal("attention is masked, or the graph decides by data; export without the mask")


# ---- LayerNorm and means


def _layernormalization(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    axis, last = step.attributes.get("axis", -1), len(shape_of(value)) - 1
    if axis not in (-1, last):
        raise Refusal(f"normalises from axis {axis} of {last + 1} on; allowed is the last one, the channels")
    return network.layernorm(value, step.attributes.get("epsilon", 1e-5), step.optional(1), step.optional(2))


def _reducemean(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    axes, keep = step.attributes.get("axes", step.optional(1)), bool(step.attributes.get("keepdims", 1))
    if axes is None:
        raise Refusal("the mean over everything; allowed are the tokens or the channels; name the axes")
    last = len(shape_of(value)) - 1
    over = sorted({int(axis) % (last + 1) for axis in np.ravel(axes)})
    if over == [last] and isinstance(value, Moment) and value.kind == "square":
        return replace(value, kind="variance")
    if over == [last] and keep:
        return Moment("mean", network.materialise(value))
    return network.mean(value, over, keep)


def _pow(network: Network, step: Step) -> Value:
    base, exponent = step.data(2)
    power = _scalar(exponent)
    if power is None:
        raise Refusal("a power that is not one constant number is not part of an encoder; check the export")
    if isinstance(base, Moment) and base.kind == "centred" and power == 2.0:
        return replace(base, kind="square")
    return chain(base, lambda x: x**power)


def _sqrt(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    if isinstance(value, Moment) and value.kind == "variance":
        return replace(value, kind="deviation")
    return chain(value, np.sqrt)


def _reciprocal(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    if isinstance(value, Moment) and value.kind == "deviation":
        return replace(value, kind="inverse")
    return chain(value, np.reciprocal)


# ---- sums and products


def _add(network: Network, step: Step) -> Value:
    a, b = step.data(2)
    return _plus(network, b, a) if isinstance(a, np.ndarray) else _plus(network, a, b)


def _sub(network: Network, step: Step) -> Value:
    a, b = step.data(2)
    if isinstance(a, View) and isinstance(b, Moment) and b.kind == "mean":
        return Moment("centred", b.view)
    number = _scalar(a)
    if number is not None:
        return chain(b, lambda x: number - x)
    if isinstance(b, np.ndarray):
        return _plus(network, a, np.asarray(-b))
    raise Refusal("the difference of two tensors is not part of an encoder; train and export without it")


def _plus(network: Network, a: Value, b: Value) -> Value:
    """a + b; a is data."""
    if isinstance(a, Scores | Map):
        if isinstance(b, np.ndarray) and not b.any() and np.broadcast_shapes(a.shape, b.shape) == a.shape:
            return a
        raise Refusal(_MASKED)
    if isinstance(b, np.ndarray):
        amount = _scalar(b)
        if isinstance(a, Moment) and a.kind == "variance" and amount is not None:
            return replace(a, epsilon=a.epsilon + amount)
        if isinstance(a, Elementwise) and amount is not None:
            return chain(a, lambda x: x + amount)
        return network.add_constant(a, b)
    for left, right in ((a, b), (b, a)):
        if isinstance(left, Elementwise) and same_place(left, right):
            return combine(left, right, np.add)
    return network.residual(a, b)


def _div(network: Network, step: Step) -> Value:
    a, b = step.data(2)
    if isinstance(a, Moment) and isinstance(b, Moment) and (a.kind, b.kind) == ("centred", "deviation"):
        return network.layernorm(a.view, b.epsilon)
    if isinstance(b, np.ndarray):
        return _times(network, a, np.asarray(1.0 / b.astype(np.float64)))  # a scalar stays an array
    number = _scalar(a)
    if number is None:
        raise Refusal(UNEXPECTED)
    return chain(b, lambda x: number / x)


def _mul(network: Network, step: Step) -> Value:
    a, b = step.data(2)
    if isinstance(a, np.ndarray):
        a, b = b, a
    if isinstance(b, np.ndarray):
        return _times(network, a, b.astype(np.float64))
    if isinstance(a, Moment) and isinstance(b, Moment):
        if a.kind == b.kind == "centred" and a.view.tensor == b.view.tensor:
            return replace(a, kind="square")
        if {a.kind, b.kind} == {"centred", "inverse"}:
            return network.layernorm(a.view, max(a.epsilon, b.epsilon))
    if isinstance(a, View | Elementwise) and same_place(a, b):
        return combine(chain(a, lambda x: x), b, np.multiply)
    raise Refusal("the product of two tensors is not part of an encoder (a gate?); train and export without it")


def _times(network: Network, a: Value, by: Array) -> Value:
    amount = _scalar(by)
    if amount is None:
        return network.scale_channels(a, by)
    if isinstance(a, Scores):
        return replace(a, scale=a.scale * amount)
    if isinstance(a, View):
        return replace(a, factor=a.factor * amount)
    return chain(a, lambda x: x * amount)


def _gelu(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    return chain(value, FUNCTIONS["gelu_tanh" if step.attributes.get("approximate") == b"tanh" else "gelu"])


def _unary(network: Network, step: Step) -> Value:
    (value,) = step.data(1)
    return chain(value, UNARY[step.kind])


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(UNARY, _unary),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Softmax": _softmax,
    "Attention": _attention,
    "IsNaN": _isnan,
    "Where": _where,
    "LayerNormalization": _layernormalization,
    "ReduceMean": _reducemean,
    "Pow": _pow,
    "Sqrt": _sqrt,
    "Reciprocal": _reciprocal,
    "Add": _add,
    "Sub": _sub,
    "Div": _div,
    "Mul": _mul,
    "Gelu": _gelu,
}

_QUANTISED = "the graph is quantised already; give the fp32 export, Tileformer quantises it from calibration samples"
_CONTROL = "control flow is not supported; export with fixed shapes, in eval mode"
REFUSED: dict[str, str] = {
    "Conv": "embeddings by convolution (patches, signals) are not supported; export the encoder from its tokens on",
    "Concat": "it joins tensors (a class token, rotary positions?); allowed is one stream of tokens; pool with a mean",
    "LSTM": "recurrent layers are not encoders; export a transformer encoder",
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), _QUANTISED),
    **dict.fromkeys(("QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger"), _QUANTISED),
    **dict.fromkeys(("If", "Loop", "Scan"), _CONTROL),
}


def compute(network: Network, step: Step) -> Value:
    """The value of the node's first output; Refusal when Tileformer has no op for it."""
    if step.kind not in OPERATORS:
        raise Refusal(REFUSED.get(step.kind, f"operator {step.kind} is not supported here; {KNOWN}"))
    return OPERATORS[step.kind](network, step)
