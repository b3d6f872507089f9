"""What a tensor of an ONNX graph can be while it is read: a constant, a view of an IR tensor, or a step on the way to one.

A `View` is an index array with the shape of the graph tensor whose entries are positions in the (tokens, channels)
matrix of an IR tensor. Data movement is run on the index array, so a view always tells which token, head and channel
sits where; packed or split projections, sequence-first layers and shared key heads need no rule of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from dse.ir import Array
from dse.ops.activation import FUNCTIONS

Function = Callable[[Array], Array]

UNARY: dict[str, Function] = {
    "Erf": lambda x: np.asarray(erf(x)),
    "Tanh": np.tanh,
    "Sigmoid": FUNCTIONS["sigmoid"],
    "Relu": FUNCTIONS["relu"],
    "Neg": np.negative,
    "Abs": np.abs,
    "Exp": lambda x: np.exp(np.minimum(x, 700.0)),
}
SAME_FUNCTION = 2e-6  # largest difference of two functions with one name on [-12, 12]


class Refusal(Exception):
    """Why a graph is not read: the cause and the remedy. `load_onnx` adds the file and the node."""


KNOWN = (
    f"allowed are linear layers, self-attention, LayerNorm, {', '.join(FUNCTIONS)}, residual sums, positions and a mean "
    "over the tokens; export an encoder of these"
)
UNEXPECTED = f"this step is not part of a transformer encoder that Tileformer knows; {KNOWN}"


@dataclass(frozen=True, eq=False)
class View:
    """`factor` times the entries of IR tensor `tensor` at `index` (positions in its row-major matrix).

    alone: no other node reads the tensor on the way here, so its producer may absorb what follows.
    """

    tensor: str
    index: Array
    factor: float = 1.0
    alone: bool = True


@dataclass(frozen=True, eq=False)
class Elementwise:
    """function(view): a chain of scalar operations that no op stands for yet."""

    view: View
    function: Function


@dataclass(frozen=True, eq=False)
class Moment:
    """A step of a LayerNorm spelled out. kind: mean, centred, square, variance, deviation or inverse."""

    kind: str
    view: View
    epsilon: float = 0.0


@dataclass(frozen=True, eq=False)
class Scores:
    """scale · q·kᵀ of every head, not yet normalised: q and k as views (h, s, p); shape: of the graph tensor."""

    query: View
    key: View
    scale: float
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Map:
    """The attention map (h, s, s) written by op `probs`; shape: of the graph tensor, (..., s, s)."""

    tensor: str
    shape: tuple[int, ...]


Value = Array | View | Elementwise | Moment | Scores | Map


def shape_of(value: Value | None) -> tuple[int, ...]:
    """The shape of the graph tensor."""
    if isinstance(value, np.ndarray):
        return tuple(value.shape)
    if isinstance(value, View):
        return tuple(value.index.shape)
    if isinstance(value, Elementwise):
        return tuple(value.view.index.shape)
    if isinstance(value, Moment):
        shape = value.view.index.shape
        return shape if value.kind in ("centred", "square") else (*shape[:-1], 1)
    if isinstance(value, Scores | Map):
        return value.shape
    raise Refusal("an input is missing; check the export")


def is_constant(value: Value | None) -> bool:
    """Whether the value is known without the input; an omitted input is."""
    return value is None or isinstance(value, np.ndarray)


def chain(value: Value, function: Function) -> Elementwise:
    """function(value) as an elementwise chain; Refusal when the value is no plain data."""
    if isinstance(value, Elementwise):
        inner = value.function
        return Elementwise(value.view, lambda x: function(inner(x)))
    if not isinstance(value, View):
        raise Refusal(UNEXPECTED)
    view, factor = value, value.factor
    return Elementwise(View(view.tensor, view.index, alone=view.alone), lambda x: function(factor * x))


def same_place(a: View | Elementwise, b: Value) -> bool:
    """Whether two values are functions of the same entries."""
    left = a.view if isinstance(a, Elementwise) else a
    right = b.view if isinstance(b, Elementwise) else b
    return isinstance(right, View) and left.tensor == right.tensor and np.array_equal(left.index, right.index)


def combine(a: Elementwise, b: Value, operation: Callable[[Array, Array], Array]) -> Elementwise:
    """operation(a(x), b(x)) of two values in the same place."""
    left, right = a.function, chain(b, lambda x: x).function
    return Elementwise(a.view, lambda x: operation(left(x), right(x)))


def name_function(function: Function) -> str:
    """The known activation that has the same values; Refusal when there is none."""
    x = np.linspace(-12.0, 12.0, 4801)
    with np.errstate(all="ignore"):
        y = function(x)
    for name, known in FUNCTIONS.items():
        if np.abs(y - known(x)).max() < SAME_FUNCTION:
            return name
    raise Refusal(f"an elementwise function that is none of {', '.join(FUNCTIONS)}; use one of them")
