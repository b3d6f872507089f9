"""activation: an elementwise function; in int8 one 256-entry table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dse.ir import Array, Op
from dse.ops.heads import Shapes


def _gelu(x: Array) -> Array:
    from scipy.special import erf  # a tenth of a second to import

    return np.asarray(0.5 * x * (1.0 + erf(x / np.sqrt(2.0))))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
}


def function_of(op: Op) -> Callable[[Array], Array]:
    """The function the op's attribute names; ValueError for an unknown one."""
    name = op.text("function")
    if name not in FUNCTIONS:
        raise ValueError(f"{op.name}: unknown activation function {name!r}; known: {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name]


def float_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """The function of the op's `function` attribute."""
    return (function_of(op)(inputs[0]),)


def int8_reference(op: Op, inputs: Sequence[Array], constants: Mapping[str, Array]) -> tuple[Array, ...]:
    """table[x + 128], int8."""
    return (constants["table"][inputs[0].astype(np.int64) + 128],)


def macs(op: Op, shapes: Shapes) -> int:
    """0: a table."""
    return 0
