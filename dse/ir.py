"""The model every room speaks of: ops in topological order over named tensors and constants.

One `Model` type serves both number systems. In a float model every tensor is "f32"; in a quantised one activations are
"s8" with `scale` and `zero`, and the constants are the integers the kernels take. The op kinds are the same:

kind        inputs            outputs       float constants     attributes
linear      x (s, k)          y (s, n)      w (n, k)  b (n,)
probs       q (s, h*p)        e (h, s, s)                       heads, scale, shared_keys (0 or 1)
            k (s, h*p), or the layer input (s, p) when shared_keys = 1 (fused W_Q·W_Kᵀ)
attend      e, v (s, h*p)     y (s, h*p)                        heads
attend_sum  e, u (s, h*n)     y (s, n)      b (n,)              heads (fused W_V·W_O: y = b + Σ_h softmax_h · u_h)
layernorm   x (s, n)          y (s, n)      gamma, beta (n,)    epsilon
activation  x (s, n)          y (s, n)                          function: gelu | gelu_tanh | relu | tanh | ...
add         a (s, n), b       y (s, n)      [b (s, n)]          b is a tensor, or the constant `b` (positions)
mean        x (s, n)          y (1, n)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Tensor:
    """An activation: `real = scale * (integer - zero)`; `scale` has one entry, or one a head (equal column groups)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "f32"
    scale: tuple[float, ...] = ()
    zero: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense tensor in its dtype."""
        return math.prod(self.shape) * {"f32": 4, "s32": 4, "s8": 1, "u8": 1}[self.dtype]


@dataclass(frozen=True)
class Op:
    """One operation. `constants` maps the role of a constant (w, b, table, ...) to its name in `Model.constants`."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, float | int | str], ...] = ()

    def constant(self, role: str) -> str:
        """Name of the constant with this role; KeyError when the op has none."""
        return dict(self.constants)[role]

    def integer(self, name: str) -> int:
        """Attribute `name` as an int."""
        value = dict(self.attributes)[name]
        if not isinstance(value, int):
            raise TypeError(f"{self.name}: attribute {name} is {value!r}, not an int")
        return value

    def number(self, name: str) -> float:
        """Attribute `name` as a float."""
        return float(dict(self.attributes)[name])

    def text(self, name: str) -> str:
        """Attribute `name` as text."""
        return str(dict(self.attributes)[name])


@dataclass(frozen=True, eq=False)
class Model:
    """A network: one input, one output (both named tensors of rank 2), ops in topological order."""

    name: str
    input: str
    output: str
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, Array] = field(default_factory=dict)
    form: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))
        known = {self.input}
        for op in self.ops:
            missing = [name for name in op.inputs if name not in known]
            if missing:
                raise ValueError(f"{self.name}: {op.name} reads {missing[0]} before anything writes it")
            known.update(op.outputs)
        for name in (*known, self.output):
            if name not in self.tensors or name not in known:
                raise ValueError(f"{self.name}: tensor {name} is not declared or never written")

    @property
    def quantised(self) -> bool:
        """True for an int8 model."""
        return self.tensors[self.input].dtype == "s8"

    def op(self, name: str) -> Op:
        """The op of that name; KeyError when there is none."""
        return {op.name: op for op in self.ops}[name]

    def producer(self, tensor: str) -> Op | None:
        """The op that writes `tensor`; None for the model input."""
        return next((op for op in self.ops if tensor in op.outputs), None)

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        """The ops that read `tensor`."""
        return tuple(op for op in self.ops if tensor in op.inputs)

    def graph(self) -> nx.DiGraph[str]:
        """The op graph: nodes are op names, edges carry the tensor."""
        from networkx import DiGraph  # a tenth of a second, and no search asks for it

        graph: nx.DiGraph[str] = DiGraph()
        for op in self.ops:
            graph.add_node(op.name, kind=op.kind)
            for name in op.inputs:
                source = self.producer(name)
                if source is not None:
                    graph.add_edge(source.name, op.name, tensor=name)
        return graph
