"""The ops read so far, and how a value becomes the input or the output of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dse.ir import Array, Model, Op, Tensor
from dse.load.values import UNEXPECTED, Elementwise, Map, Refusal, Scores, Value, View, name_function

MAX_ELEMENTS = 1 << 24  # of any tensor: a stranger's file must not allocate what it likes
MAX_TOTAL_ELEMENTS = 1 << 27  # of all tensors together


def fresh(tensor: str, shape: tuple[int, ...]) -> View:
    """The whole tensor in order, seen in a shape."""
    return View(tensor, np.arange(math.prod(shape)).reshape(shape))


@dataclass
class Network:
    """A model that grows op by op; every op writes the one tensor of its name."""

    ops: dict[str, Op] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    absorbed: set[str] = field(default_factory=set)  # tensors whose producer has absorbed a later step
    layer: int = -1
    spent: float = 0.0

    def spend(self, elements: float) -> None:
        """Count elements about to be made; Refusal when one tensor, or all of them, would be too large."""
        if not 0 <= elements <= MAX_ELEMENTS:
            raise Refusal(
                f"would make a tensor of {elements:.3g} elements; allowed are {MAX_ELEMENTS}; check the export"
            )
        self.spent += elements
        if self.spent > MAX_TOTAL_ELEMENTS:
            raise Refusal(
                f"the tensors so far have {self.spent:.3g} elements; allowed are {MAX_TOTAL_ELEMENTS}; "
                "export a smaller network"
            )

    def add(self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], name: str = "", **rest: Any) -> str:
        """A new op with constants (arrays) and attributes (scalars) in `rest`; the name of its op and tensor."""
        arrays = {role: value for role, value in rest.items() if isinstance(value, np.ndarray)}
        for size in (math.prod(shape), *(array.size for array in arrays.values())):
            self.spend(size)
        if not name or name in self.tensors:
            stem = name or (f"l{self.layer}." if self.layer >= 0 else "") + kind
            name = next(f"{stem}{i}" for i in range(1, len(self.tensors) + 2) if f"{stem}{i}" not in self.tensors)
        self.constants.update({f"{name}.{role}": array.astype(np.float32) for role, array in arrays.items()})
        attributes = tuple((key, value) for key, value in rest.items() if key not in arrays)
        roles = tuple((role, f"{name}.{role}") for role in arrays)
        self.ops[name] = Op(kind, name, tuple(inputs), (name,), roles, attributes)
        self.tensors[name] = Tensor(name, shape)
        return name

    def materialise(self, value: Value) -> View:
        """The value as a view: an elementwise chain becomes an activation op, one however often it is read."""
        if isinstance(value, View):
            return value
        if not isinstance(value, Elementwise):
            raise Refusal(UNEXPECTED)
        view, shape = value.view, self.tensors[value.view.tensor].shape
        if not np.array_equal(np.sort(view.index, axis=None), np.arange(math.prod(shape))):
            raise Refusal("an activation of a part of a tensor; allowed is one of all its channels and tokens")
        function = name_function(value.function)
        twin = (op.name for op in self.ops.values() if op.kind == "activation" and op.inputs == (view.tensor,))
        same = (name for name in twin if self.ops[name].text("function") == function)
        name = next(same, None) or self.add("activation", [view.tensor], shape, function=function)
        return View(name, view.index)

    def plain(self, value: Value, what: str) -> View:
        """The value as a view with factor 1."""
        view = self.materialise(value)
        if view.factor != 1.0:
            raise Refusal(f"{what} of a tensor times {view.factor:.6g}; allowed is the tensor itself; fold the factor")
        return view

    def token_channels(self, view: View) -> Array:
        """The channel of each entry of the last axis; the other axes must run over all tokens, in order."""
        tokens, channels = self.tensors[view.tensor].shape
        rows, columns = np.divmod(view.index.reshape(-1, view.index.shape[-1]), channels)
        if not (rows == rows[:, :1]).all() or not (columns == columns[:1]).all():
            raise Refusal("it mixes tokens (a flattened or windowed tensor); pool with a mean over the tokens instead")
        if not np.array_equal(rows[:, 0], np.arange(tokens)):
            raise Refusal("it reads some tokens only, or in another order (a class token?); pool with a mean instead")
        return np.asarray(columns[0])

    # ---- layers

    def linear(self, value: Value, w: Array, b: Array | None = None) -> View:
        """value (..., k) · w (k, n) + b (n,)."""
        view = self.materialise(value)
        if view.index.ndim == 0 or w.ndim != 2 or w.shape[0] != view.index.shape[-1]:
            depth = view.index.shape[-1:]
            raise Refusal(f"a weight of shape {w.shape} on data of depth {depth}; allowed is a matrix (depth, width)")
        channels = self.token_channels(view)
        (tokens, depth), width = self.tensors[view.tensor].shape, w.shape[1]
        self.spend(depth * width)
        full = np.zeros((width, depth))
        np.add.at(full.T, channels, w * view.factor)
        bias = np.zeros(width) if b is None else np.array(np.broadcast_to(b, (width,)))
        name = self.add("linear", [view.tensor], (tokens, width), w=full, b=bias)
        return fresh(name, (*view.index.shape[:-1], width))

    def layernorm(self, value: Value, epsilon: float, gamma: Array | None = None, beta: Array | None = None) -> View:
        """LayerNorm over the last axis, which must hold all channels."""
        view = self.plain(value, "the LayerNorm")
        tokens, channels = self.tensors[view.tensor].shape
        if view.index.shape[-1] != channels:
            raise Refusal(
                f"normalises {view.index.shape[-1]} of {channels} channels (query/key norm, group norm?); "
                "allowed is a LayerNorm of all channels; train without this norm"
            )
        if not np.array_equal(self.token_channels(view), np.arange(channels)):
            raise Refusal("normalises channels in another order than they are stored in; check the export")
        scale = np.ones(channels) if gamma is None else np.array(np.broadcast_to(gamma, (channels,)))
        shift = np.zeros(channels) if beta is None else np.array(np.broadcast_to(beta, (channels,)))
        shape = (tokens, channels)
        name = self.add("layernorm", [view.tensor], shape, epsilon=float(epsilon), gamma=scale, beta=shift)
        return fresh(name, view.index.shape)

    def mean(self, value: Value, over: Sequence[int], keep: bool) -> View:
        """The mean over axes that together are the tokens."""
        view = self.plain(value, "the mean")
        tokens, channels = self.tensors[view.tensor].shape
        kept = [axis for axis in range(view.index.ndim) if axis not in over]
        groups = np.transpose(view.index, [*over, *kept])
        rows, columns = np.divmod(groups.reshape(math.prod(groups.shape[: len(over)]), -1), channels)
        all_channels = np.broadcast_to(np.arange(channels), (*columns.shape[:1], channels))
        all_tokens = np.broadcast_to(np.arange(tokens)[:, None], (tokens, *rows.shape[1:]))
        if not np.array_equal(columns, all_channels) or not np.array_equal(np.sort(rows, axis=0), all_tokens):
            raise Refusal(f"the mean over axes {tuple(over)}; allowed is the mean over all tokens of every channel")
        self.layer = -1
        name = self.add("mean", [view.tensor], (1, channels), "mean")
        shape = [1 if axis in over else view.index.shape[axis] for axis in range(view.index.ndim)]
        return fresh(name, tuple(shape if keep else (view.index.shape[axis] for axis in kept)))

    def residual(self, a: Value, b: Value) -> View:
        """The sum of two whole tensors."""
        left, right = self.plain(a, "the sum"), self.plain(b, "the sum")
        shape = self.tensors[left.tensor].shape
        if (
            not np.array_equal(left.index, right.index)
            or shape != self.tensors[right.tensor].shape
            or left.index.size != math.prod(shape)
        ):
            raise Refusal("the summands differ in shape or order; allowed is a residual sum of whole tensors")
        return View(self.add("add", [left.tensor, right.tensor], shape), left.index)

    # ---- constants: absorbed by the op before where that is exact

    def _in_order(self, view: View, constant: Array) -> Array:
        """The constant as a matrix in the order of the view's tensor."""
        shape = self.tensors[view.tensor].shape
        whole = view.index.size == math.prod(shape)
        if not whole or np.broadcast_shapes(view.index.shape, constant.shape) != view.index.shape:
            raise Refusal(
                f"a constant of shape {constant.shape} on data of shape {view.index.shape}, a part of a tensor "
                "(rotary positions?); allowed are constants a channel, or positions of a whole tensor; "
                "train without this step"
            )
        matrix = np.zeros(math.prod(shape))
        matrix[view.index.reshape(-1)] = np.broadcast_to(constant, view.index.shape).reshape(-1)
        return matrix.reshape(shape)

    def _absorber(self, view: View, matrix: Array) -> Op | None:
        """The op that may take a constant with equal rows into its own constants."""
        op = self.ops.get(view.tensor)
        equal_rows = bool((matrix == matrix[:1]).all())
        return op if op and op.kind in ("linear", "layernorm") and view.alone and equal_rows else None

    def add_constant(self, value: Value, b: Array) -> View:
        """value + b: into the bias of a linear op or a LayerNorm, else an add op."""
        view = self.plain(value, "the sum with a constant")
        matrix = self._in_order(view, b)
        op = self._absorber(view, matrix)
        if op is None:
            return View(self.add("add", [view.tensor], matrix.shape, b=matrix), view.index)
        name = op.constant("b" if op.kind == "linear" else "beta")
        self.constants[name] = (self.constants[name] + matrix[0]).astype(np.float32)
        self.absorbed.add(view.tensor)
        return view

    def scale_channels(self, value: Value, by: Array) -> View:
        """value · by, one factor a channel: into the op before."""
        view = self.materialise(value)
        matrix = self._in_order(view, by)
        op = self._absorber(view, matrix)
        if op is None:
            raise Refusal(
                "a product with factors that differ from token to token (rotary positions?), or not right after a "
                "LayerNorm or linear layer; allowed are factors a channel, right after one; train without this step"
            )
        for role in ("w", "b") if op.kind == "linear" else ("gamma", "beta"):
            name = op.constant(role)
            factors = matrix[0][:, None] if role == "w" else matrix[0]
            self.constants[name] = (self.constants[name] * factors).astype(np.float32)
        self.absorbed.add(view.tensor)
        return view

    # ---- attention

    def scores(self, query: View, key: View) -> Scores:
        """query (..., s, p) · keyᵀ of key (..., s, p); the leading axes are the heads and may broadcast."""
        if min(query.index.ndim, key.index.ndim) < 2 or query.index.shape[-1] != key.index.shape[-1]:
            raise Refusal(
                f"operands of shapes {query.index.shape} and {key.index.shape} are not the heads of an attention; "
                "allowed is query (heads, tokens, size) times transposed key"
            )
        lead = np.broadcast_shapes(query.index.shape[:-2], key.index.shape[:-2])
        shape = (*lead, query.index.shape[-2], key.index.shape[-2])
        self.spend(math.prod(shape))
        return Scores(self._stack(query, lead), self._stack(key, lead), query.factor * key.factor, shape)

    def _stack(self, view: View, lead: tuple[int, ...]) -> View:
        """(..., s, p) -> (h, s, p)."""
        matrix = view.index.shape[-2:]
        self.spend(math.prod((*lead, *matrix)))
        return replace(view, index=np.broadcast_to(view.index, (*lead, *matrix)).reshape(math.prod(lead), *matrix))

    def _head_channels(self, view: View, what: str) -> Array:
        """The channels (h, p) of a projection split into heads (h, s, p)."""
        tokens, channels = self.tensors[view.tensor].shape
        rows, columns = np.divmod(view.index, channels)
        if view.index.shape[1] != tokens or not (rows == np.arange(tokens)[None, :, None]).all():
            raise Refusal(
                f"{what} does not hold every token in order (windowed or cross-attention?); "
                "allowed is full self-attention"
            )
        if not (columns == columns[:, :1]).all():
            raise Refusal(f"{what} takes other channels for other tokens; allowed is plain multi-head attention")
        op = self.ops.get(view.tensor)
        if op is None or op.kind != "linear":
            made = f"{op.kind}" if op else "the model input"
            raise Refusal(
                f"{what} comes from {made}, not from a projection (rotary positions, query/key norms?); "
                "allowed is a linear projection right before the attention"
            )
        return np.asarray(columns[:, 0])

    def _projection(self, name: str, view: View, channels: Array) -> str:
        """The rows `channels` of the projection that `view` sees, as an op of its own."""
        source, rows = self.ops[view.tensor], channels.reshape(-1)
        w, b = (self.constants[source.constant(role)][rows] for role in ("w", "b"))
        return self.add("linear", source.inputs, (self.tensors[view.tensor].shape[0], len(rows)), name, w=w, b=b)

    def attention_map(self, scores: Scores) -> Map:
        """softmax(scores) over the keys, as a probs op with projections of its own."""
        query, key = (self._head_channels(scores.query, "the query"), self._head_channels(scores.key, "the key"))
        read = [self.ops[view.tensor].inputs for view in (scores.query, scores.key)]
        if read[0] != read[1]:
            raise Refusal(
                "query and key are projected from different tensors (cross-attention); allowed is self-attention"
            )
        self.layer += 1
        names = [
            self._projection(f"l{self.layer}.{letter}", view, channels)
            for letter, view, channels in (("q", scores.query, query), ("k", scores.key, key))
        ]
        (heads, _), tokens = query.shape, scores.shape[-1]
        attributes = {"heads": heads, "scale": float(scores.scale), "shared_keys": 0}
        name = self.add("probs", names, (heads, tokens, tokens), f"l{self.layer}.probs", **attributes)
        return Map(name, scores.shape)

    def attend(self, probs: Map, value: Value) -> View:
        """probs (..., s, s) · value (..., s, p): the heads (..., s, p) of an attend op."""
        view = self.plain(value, "the attention")
        if view.index.ndim < 2 or view.index.shape[-2] != probs.shape[-1]:
            raise Refusal(f"a value of shape {view.index.shape} does not fit an attention map of {probs.shape}")
        lead = probs.shape[:-2]
        if np.broadcast_shapes(view.index.shape[:-2], lead) != lead:
            raise Refusal(
                f"a value of shape {view.index.shape} has more heads than a map of {probs.shape}; check the export"
            )
        stacked = self._stack(view, lead)
        channels = self._head_channels(stacked, "the value")
        query = self.ops[self.ops[probs.tensor].inputs[0]]
        if self.ops[view.tensor].inputs != query.inputs:
            raise Refusal(
                "the value is projected from another tensor than the query (cross-attention); allowed is self-attention"
            )
        layer = probs.tensor.split(".")[0]
        name = self._projection(f"{layer}.v", stacked, channels)
        (heads, size), tokens = channels.shape, probs.shape[-1]
        name = self.add("attend", [probs.tensor, name], (tokens, heads * size), f"{layer}.attend", heads=heads)
        index = np.arange(tokens * heads * size).reshape(tokens, heads, size).transpose(1, 0, 2)
        return View(name, index.reshape((*lead, tokens, size)))

    # ---- the end

    def model(self, name: str, source: str, output: View) -> Model:
        """The model that computes `output` from `source`, ops that nothing reads left out; Refusal when it is none."""
        shape = self.tensors[output.tensor].shape
        if not np.array_equal(output.index.reshape(-1), np.arange(math.prod(shape))):
            raise Refusal(
                "it is a part or a permutation of a tensor (a class token?); export the whole tensor or its mean"
            )
        if output.factor != 1.0 or output.tensor == source:
            raise Refusal("it is a scaled tensor or the input itself; nothing to deploy; export an encoder")
        used, wanted = set(), [output.tensor]
        while wanted:
            op = self.ops.get(wanted.pop())
            if op is not None and op.name not in used:
                used.add(op.name)
                wanted += op.inputs
        kept = tuple(op for op in self.ops.values() if op.name in used)
        constants = {key: self.constants[key] for op in kept for _, key in op.constants}
        broken = next((key for key, value in constants.items() if not np.isfinite(value).all()), None)
        if broken:
            raise Refusal(f"constant {broken} is infinite or not a number; train or export again")
        tensors = {key: self.tensors[key] for key in (source, *(op.name for op in kept))}
        return Model(name, source, output.tensor, kept, tensors, constants)
