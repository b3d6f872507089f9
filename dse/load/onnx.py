"""fp32 ONNX -> float Model, by execution: what a node means is found by running it, not by matching exporters' templates.

Every graph tensor becomes a value: a constant, or a `View` of an IR tensor, which is an index array with the shape of
the graph tensor whose entries are positions in the (tokens, channels) matrix. Reshape, Transpose, Gather, Split and
their kin are run on the index arrays, so a view always tells which token, head and channel sits where; packed or split
projections, sequence-first layers and single key heads need no rule of their own. Elementwise chains become functions
that are told apart by their values. In the end the model is run next to the graph and compared tensor by tensor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dse import ops
from dse.ir import Array, Model, Op, Tensor
from dse.ops.activation import FUNCTIONS

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_ELEMENTS = 1 << 24  # of any tensor: a stranger's file must not allocate what it likes
MAX_NODES = 20_000
TOLERANCE = 1e-4  # of a tensor's largest magnitude, between the graph (float32) and the model (float64)

MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Gather", "Slice", "Split", "Identity", "Expand"}
IDLE = {"Dropout", "Cast"}  # of inference: the first output is the first input
FOLDABLE = MOVES | {
    *(
        "Constant",
        "ConstantOfShape",
        "Shape",
        "Size",
        "Concat",
        "Cast",
        "Range",
        "Tile",
        "Where",
        "Equal",
        "Not",
        "And",
    ),
    *("Or", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Trilu", "Add", "Sub", "Mul", "Div", "Mod", "Pow"),
    *("Sqrt", "Neg", "Abs", "Floor", "Ceil", "Reciprocal", "Exp", "Log", "Min", "Max", "ReduceProd", "ReduceSum"),
    *("MatMul", "Gemm", "CastLike", "ScatterND", "IsNaN"),
}
UNARY: dict[str, Callable[[Array], Array]] = {
    "Erf": lambda x: np.asarray(_erf(x)),
    "Tanh": np.tanh,
    "Sigmoid": FUNCTIONS["sigmoid"],
    "Relu": FUNCTIONS["relu"],
    "Neg": np.negative,
    "Abs": np.abs,
    "Exp": lambda x: np.exp(np.minimum(x, 700.0)),
}
REFUSED = {
    "Conv": "patch or signal embeddings by convolution are not supported; export the encoder from its tokens on",
    "LSTM": "recurrent layers are not encoders",
    "Attention": "export with opset 13..22, in which attention is spelled out",
    **dict.fromkeys(
        (
            "QuantizeLinear",
            "DequantizeLinear",
            "DynamicQuantizeLinear",
            "QLinearMatMul",
            "QLinearConv",
            "MatMulInteger",
        ),
        "the graph is quantised already; give the fp32 export, Tileformer quantises it from calibration samples",
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow is not supported; export with fixed shapes, in eval mode"),
}


def _erf(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


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
    function: Callable[[Array], Array]


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
    """The attention map written by op `probs`; shape: of the graph tensor."""

    tensor: str
    shape: tuple[int, ...]


Value = Array | View | Elementwise | Moment | Scores | Map


class _Refusal(Exception):
    """Why a node is not understood, and what to do."""


def load_onnx(path: Path) -> Model:
    """The float Model of an fp32 .onnx file (batch 1); ValueError names the node, the cause and the remedy."""
    proto = _read(path)
    importer = _Importer(proto, path.stem)
    for node in proto.graph.node:
        try:
            importer.take(node)
        except _Refusal as refusal:
            raise ValueError(f"{path}: node {_label(node)}: {refusal}") from refusal
        except (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: node {_label(node)} cannot be evaluated ({_first_line(error)}); check the export"
            ) from error
    try:
        model = importer.finish()
        _compare(proto, importer, model)
    except _Refusal as refusal:
        raise ValueError(f"{path}: {refusal}") from refusal
    return model


def _label(node: onnx.NodeProto) -> str:
    name = node.name or (node.output[0] if node.output else "?")
    return f"{name!r} ({node.op_type})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


# ---- reading the file -----------------------------------------------------------------------------------------------


def _read(path: Path) -> onnx.ModelProto:
    """The checked graph with local functions inlined and batch 1."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of an .onnx file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; allowed are {MAX_FILE_BYTES}")
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
        if not proto.graph.node:
            raise ValueError("the graph has no node")
    except Exception as error:  # protobuf raises a type of its own, which differs between its versions
        raise ValueError(f"{path}: not a readable ONNX file ({_first_line(error)}); export it again") from error
    held_elsewhere = [t.name for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if held_elsewhere:
        raise ValueError(
            f"{path}: weights such as {held_elsewhere[0]!r} are in another file; export with external_data=False"
        )
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    if len(proto.graph.node) > MAX_NODES:
        raise ValueError(f"{path}: {len(proto.graph.node)} nodes; allowed are {MAX_NODES}")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{path}: not a valid ONNX model ({_first_line(error)}); export it again") from error
    _fix_batch(proto, path)
    return proto


def _graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    initialised = {tensor.name for tensor in proto.graph.initializer}
    return [item for item in proto.graph.input if item.name not in initialised]


def _fix_batch(proto: onnx.ModelProto, path: Path) -> None:
    """Set the one batch dimension to 1, in place; ValueError when the input is not one float tensor of known shape."""
    inputs = _graph_inputs(proto)
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs) or "none"
        raise ValueError(
            f"{path}: {len(inputs)} inputs ({names}); allowed is one, the tokens: masks and other inputs (cross-attention) "
            "must be constants folded into the export"
        )
    if len(proto.graph.output) != 1:
        names = ", ".join(item.name for item in proto.graph.output)
        raise ValueError(f"{path}: {len(proto.graph.output)} outputs ({names}); allowed is one; export only that one")
    kind = inputs[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        got = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise ValueError(
            f"{path}: input {inputs[0].name!r} is {got}; allowed is FLOAT: token ids need the embedding outside the model"
        )
    open_axes = [axis for axis, dim in enumerate(kind.shape.dim) if dim.dim_value <= 0]
    if len(open_axes) > 1:
        raise ValueError(
            f"{path}: input {inputs[0].name!r} has {len(open_axes)} dynamic dimensions; allowed is one, the batch: "
            "export with a fixed number of tokens"
        )
    for axis in open_axes:
        kind.shape.dim[axis].dim_value = 1
    shape = [dim.dim_value for dim in kind.shape.dim]
    if len(shape) not in (2, 3) or (len(shape) == 3 and 1 not in shape[:2]) or np.prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"{path}: input {inputs[0].name!r} has shape {tuple(shape)}; allowed is (1, tokens, channels), "
            "(tokens, 1, channels) or (tokens, channels)"
        )


# ---- the walk over the nodes ----------------------------------------------------------------------------------------


@dataclass
class _Importer:
    """Values of the graph tensors so far, and the ops that make them."""

    proto: onnx.ModelProto
    name: str
    values: dict[str, Value] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)  # graph tensors that an op has since absorbed a step of
    layer: int = -1

    def __post_init__(self) -> None:
        graph = self.proto.graph
        self.readers = Counter(name for node in graph.node for name in node.input if name)
        self.readers.update(item.name for item in graph.output)
        for tensor in graph.initializer:
            self.values[tensor.name] = numpy_helper.to_array(tensor)
        (source,) = _graph_inputs(self.proto)
        shape = tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)
        rows, channels = shape if len(shape) == 2 else (shape[0] * shape[1], shape[2])
        self.input = re.sub(r"\W", "_", source.name)
        self.tensors[self.input] = Tensor(self.input, (rows, channels))
        self.values[source.name] = View(self.input, np.arange(rows * channels).reshape(shape), alone=False)

    def take(self, node: onnx.NodeProto) -> None:
        """Give every output of the node a value."""
        if node.domain not in ("", "ai.onnx"):
            raise _Refusal(f"operators of domain {node.domain!r} are not supported; export plain ONNX")
        values = [self._read(name) for name in node.input]
        if all(value is None or isinstance(value, np.ndarray) for value in values):
            results: Sequence[Value] = self._fold(node, values)
        elif node.op_type in ("Shape", "Size"):
            results = self._evaluate(node, [np.empty(_shape(values[0]), np.int8)])
        elif node.op_type in MOVES and isinstance(values[0], View):
            results = self._move(node, values)
        elif node.op_type in IDLE and values[0] is not None:
            results = [values[0]]
        else:
            results = [self._compute(node, [value for value in values if value is not None])]
        self.values.update(zip(node.output, results, strict=False))

    def _read(self, name: str) -> Value | None:
        if not name:
            return None
        value = self.values[name]
        if isinstance(value, View) and self.readers[name] > 1:
            return replace(value, alone=False)
        return value

    def _fold(self, node: onnx.NodeProto, values: Sequence[Any]) -> list[Value]:
        if node.op_type not in FOLDABLE:
            raise _Refusal(
                REFUSED.get(node.op_type, "this operation on constants is not supported; simplify the export")
            )
        _bound(node, values)
        return self._evaluate(node, values)

    def _evaluate(self, node: onnx.NodeProto, values: Sequence[Any]) -> list[Value]:
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        model = onnx.helper.make_model(graph, opset_imports=self.proto.opset_import, ir_version=8)
        feeds = {name: value for name, value in zip(node.input, values, strict=False) if name}
        found = iter(ReferenceEvaluator(model).run(None, feeds))
        return [np.asarray(next(found)) if name else np.empty(0) for name in node.output]

    def _move(self, node: onnx.NodeProto, values: Sequence[Value | None]) -> list[Value]:
        view = values[0]
        assert isinstance(view, View)
        others = values[1:]
        if not all(value is None or isinstance(value, np.ndarray) for value in others):
            raise _Refusal("its shape or indices depend on the data; export with fixed shapes")
        _bound(node, [view.index, *others])
        moved = self._evaluate(node, [view.index, *others])
        return [replace(view, index=np.asarray(index, np.int64)) for index in moved]

    def _compute(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        handler = getattr(self, f"_{node.op_type.lower()}", None)
        if node.op_type in UNARY and isinstance(values[0], View | Elementwise):
            return self._elementwise(values[0], UNARY[node.op_type])
        if handler is None or node.op_type in REFUSED:
            raise _Refusal(
                REFUSED.get(node.op_type, "this operation is not supported here; see the README for the graphs")
            )
        result: Value = handler(node, values)
        return result

    # ---- ops of the model

    def _add_op(self, kind: str, inputs: Sequence[str], shape: tuple[int, ...], name: str = "", **rest: Any) -> str:
        """A new op with constants (arrays) and attributes (scalars) in `rest`; the name of its op and tensor."""
        if not name:
            stem = (f"l{self.layer}." if self.layer >= 0 else "") + kind
            name = next(f"{stem}{i}" for i in range(1, MAX_NODES) if f"{stem}{i}" not in self.ops)
        arrays = {role: value for role, value in rest.items() if isinstance(value, np.ndarray)}
        self.constants.update({f"{name}.{role}": array.astype(np.float32) for role, array in arrays.items()})
        attributes = tuple((key, value) for key, value in rest.items() if key not in arrays)
        roles = tuple((role, f"{name}.{role}") for role in arrays)
        self.ops[name] = Op(kind, name, tuple(inputs), (name,), roles, attributes)
        self.tensors[name] = Tensor(name, shape)
        return name

    def _fresh(self, tensor: str, shape: tuple[int, ...]) -> View:
        return View(tensor, np.arange(int(np.prod(shape))).reshape(shape))

    def _materialise(self, value: Value) -> View:
        """The value as a view: an elementwise chain becomes an activation op."""
        if isinstance(value, Elementwise):
            view = value.view
            if not np.array_equal(np.sort(view.index, axis=None), np.arange(view.index.size)):
                raise _Refusal("an activation of a part of a tensor is not supported")
            function = _name_function(value.function)
            name = self._add_op("activation", [view.tensor], self.tensors[view.tensor].shape, function=function)
            return View(name, view.index)
        if not isinstance(value, View):
            raise _Refusal(_EXPECTED)
        return value

    def _token_channels(self, view: View) -> Array:
        """The channel of each entry of the last axis; the other axes must run over all tokens, in order."""
        tokens, channels = self.tensors[view.tensor].shape
        rows, columns = np.divmod(view.index.reshape(-1, view.index.shape[-1]), channels)
        if not (rows == rows[:, :1]).all() or not (columns == columns[:1]).all():
            raise _Refusal("it mixes tokens (a flattened or windowed tensor); pool with a mean over the tokens instead")
        if not np.array_equal(rows[:, 0], np.arange(tokens)):
            raise _Refusal("it reads some tokens only, or in another order (a class token?); pool with a mean instead")
        return np.asarray(columns[0])

    def _linear(self, value: Value, w: Array, b: Array | None) -> View:
        """value · w (k, n) + b."""
        view = self._materialise(value)
        if w.ndim != 2 or w.shape[0] != view.index.shape[-1]:
            raise _Refusal(
                f"a weight of shape {w.shape} is not supported; allowed is a matrix of depth {view.index.shape[-1]}"
            )
        channels = self._token_channels(view)
        tokens, depth = self.tensors[view.tensor].shape
        full = np.zeros((w.shape[1], depth))
        np.add.at(full.T, channels, w * view.factor)
        bias = np.zeros(w.shape[1]) if b is None else np.broadcast_to(b, (w.shape[1],))
        name = self._add_op("linear", [view.tensor], (tokens, w.shape[1]), w=full, b=np.array(bias))
        return self._fresh(name, (*view.index.shape[:-1], w.shape[1]))

    # ---- one method an operator; `values` are the inputs that are present

    def _matmul(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        a, b = values
        if isinstance(b, np.ndarray) and not isinstance(a, np.ndarray):
            return self._linear(
                a, b.reshape(b.shape[-2:]) if b.ndim > 2 and b.size == np.prod(b.shape[-2:]) else b, None
            )
        if isinstance(a, Map):
            return self._attend(a, self._materialise(b))
        if isinstance(a, View) and isinstance(b, View):
            return self._scores(a, b)
        raise _Refusal("a product of these operands is not part of an encoder (attention without softmax?)")

    def _gemm(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        x, w, *rest = values
        if attributes.get("transA", 0) or not isinstance(w, np.ndarray):
            raise _Refusal("allowed is data times a constant weight")
        weight = (w.T if attributes.get("transB", 0) else w) * attributes.get("alpha", 1.0)
        bias = rest[0] * attributes.get("beta", 1.0) if rest and isinstance(rest[0], np.ndarray) else None
        if rest and bias is None:
            raise _Refusal("allowed is a constant bias")
        return self._linear(x, np.asarray(weight), None if bias is None else np.asarray(bias).reshape(-1))

    def _scores(self, a: View, b: View) -> Scores:
        if a.index.ndim < 2 or b.index.ndim != a.index.ndim or a.index.shape[:-2] != b.index.shape[:-2]:
            raise _Refusal(f"operands of shapes {a.index.shape} and {b.index.shape} are not the heads of an attention")
        stack = (-1, *a.index.shape[-2:])
        key = np.swapaxes(b.index, -1, -2)
        query = replace(a, index=a.index.reshape(stack))
        flipped = replace(b, index=key.reshape((-1, *key.shape[-2:])))
        shape = (*a.index.shape[:-1], b.index.shape[-1])
        return Scores(query, flipped, a.factor * b.factor, shape)

    def _head_channels(self, view: View, what: str) -> tuple[str, Array]:
        """(tensor, channels (h, p)) of a projection split into heads (h, s, p)."""
        tokens, channels = self.tensors[view.tensor].shape
        rows, columns = np.divmod(view.index, channels)
        if view.index.shape[1] != tokens or not (rows == np.arange(tokens)[None, :, None]).all():
            raise _Refusal(
                f"{what} does not hold every token in order (windowed or cross attention?); "
                "allowed is full self-attention"
            )
        if not (columns == columns[:, :1]).all():
            raise _Refusal(f"{what} takes other channels for other tokens; allowed is plain multi-head attention")
        producer = self.ops.get(view.tensor)
        if producer is None or producer.kind != "linear":
            made = producer.kind if producer else "the model input"
            raise _Refusal(
                f"{what} comes from {made}, not from a projection (rotary positions, query/key norms?); "
                "allowed is a linear projection right before the attention"
            )
        return view.tensor, np.asarray(columns[:, 0])

    def _projection(self, letter: str, tensor: str, channels: Array) -> tuple[str, str]:
        """The rows `channels` of a projection as an op of its own: (name, tensor it reads)."""
        source = self.ops[tensor]
        rows = channels.reshape(-1)
        w, b = (self.constants[source.constant(role)][rows] for role in ("w", "b"))
        shape = (self.tensors[tensor].shape[0], len(rows))
        name = self._add_op("linear", source.inputs, shape, f"l{self.layer}.{letter}", w=w, b=b)
        return name, source.inputs[0]

    def _softmax(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        (scores,) = values
        if not isinstance(scores, Scores):
            raise _Refusal("allowed is the softmax of attention scores; export logits without a last softmax")
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
        if axis not in (-1, len(scores.shape) - 1):
            raise _Refusal(f"softmax over axis {axis}; allowed is the last one, the keys")
        query, key = self._head_channels(scores.query, "the query"), self._head_channels(scores.key, "the key")
        if query[1].shape != key[1].shape:
            raise _Refusal("query and key have different heads; allowed is the same number and size")
        self.layer += 1
        names = [self._projection(letter, *found) for letter, found in (("q", query), ("k", key))]
        if names[0][1] != names[1][1]:
            raise _Refusal(
                "query and key are projected from different tensors (cross-attention); allowed is self-attention"
            )
        heads, tokens = query[1].shape[0], scores.shape[-2]
        name = self._add_op(
            "probs",
            [name for name, _ in names],
            (heads, tokens, tokens),
            f"l{self.layer}.probs",
            heads=heads,
            scale=float(scores.scale),
            shared_keys=0,
        )
        return Map(name, scores.shape)

    def _attend(self, probs: Map, value: View) -> View:
        if value.index.ndim != len(probs.shape) or value.index.shape[:-2] != probs.shape[:-2] or value.factor != 1.0:
            raise _Refusal(f"a value of shape {value.index.shape} does not fit an attention map of {probs.shape}")
        tensor, channels = self._head_channels(
            replace(value, index=value.index.reshape((-1, *value.index.shape[-2:]))), "the value"
        )
        name, source = self._projection("v", tensor, channels)
        if source != self.ops[self.ops[probs.tensor].inputs[0]].inputs[0]:
            raise _Refusal(
                "the value is projected from another tensor than the query (cross-attention); allowed is self-attention"
            )
        heads, dims = channels.shape
        tokens = probs.shape[-2]
        name = self._add_op(
            "attend", [probs.tensor, name], (tokens, heads * dims), f"l{self.layer}.attend", heads=heads
        )
        head, token, dim = np.indices((heads, tokens, dims))
        index = token * heads * dims + head * dims + dim
        return View(name, index.reshape((*probs.shape[:-2], tokens, dims)))

    def _layernormalization(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        view = self._materialise(values[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        if axis not in (-1, view.index.ndim - 1):
            raise _Refusal(f"normalises axis {axis}; allowed is the last one, the channels")
        constants = [np.asarray(value, np.float64) for value in values[1:] if isinstance(value, np.ndarray)]
        return self._norm(view, epsilon, *constants)

    def _norm(self, view: View, epsilon: float, gamma: Array | None = None, beta: Array | None = None) -> View:
        tokens, channels = self.tensors[view.tensor].shape
        if not np.array_equal(self._token_channels(view), np.arange(channels)) or view.factor != 1.0:
            raise _Refusal("normalises a part of the channels (query/key norm, group norm?); allowed is all of them")
        scale = np.ones(channels) if gamma is None else np.broadcast_to(gamma, (channels,))
        shift = np.zeros(channels) if beta is None else np.broadcast_to(beta, (channels,))
        name = self._add_op(
            "layernorm",
            [view.tensor],
            (tokens, channels),
            epsilon=float(epsilon),
            gamma=np.array(scale),
            beta=np.array(shift),
        )
        return self._fresh(name, view.index.shape)

    def _reducemean(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        axes = attributes.get("axes", values[1] if len(values) > 1 else None)
        value, keep = values[0], bool(attributes.get("keepdims", 1))
        if axes is None:
            raise _Refusal("the mean over everything is not supported; name the axes")
        last = len(_shape(value)) - 1
        over = sorted(int(axis) % (last + 1) for axis in np.ravel(axes))
        if over == [last] and isinstance(value, Moment) and value.kind == "square":
            return replace(value, kind="variance")
        view = self._materialise(value)
        if over == [last] and keep:
            return Moment("mean", view)
        return self._mean(view, over, keep)

    def _mean(self, view: View, over: Sequence[int], keep: bool) -> View:
        tokens, channels = self.tensors[view.tensor].shape
        kept = [axis for axis in range(view.index.ndim) if axis not in over]
        groups = np.transpose(view.index, [*over, *kept]).reshape(-1, *(view.index.shape[axis] for axis in kept))
        rows, columns = np.divmod(groups.reshape(len(groups), -1), channels)
        if not np.array_equal(columns, np.broadcast_to(np.arange(channels), columns.shape)) or not np.array_equal(
            np.sort(rows, axis=0), np.broadcast_to(np.arange(tokens)[:, None], rows.shape)
        ):
            raise _Refusal("allowed is the mean over all tokens")
        if view.factor != 1.0:
            raise _Refusal("the mean of a scaled tensor is not supported")
        name = self._add_op(
            "mean", [view.tensor], (1, channels), f"mean{len(self.ops)}" if "mean" in self.ops else "mean"
        )
        self.layer = -1
        shape = [1 if axis in over else view.index.shape[axis] for axis in range(view.index.ndim)]
        return self._fresh(name, tuple(shape if keep else (view.index.shape[axis] for axis in kept)))

    def _elementwise(self, value: Value, function: Callable[[Array], Array]) -> Elementwise:
        if isinstance(value, Elementwise):
            inner = value.function
            return Elementwise(value.view, lambda x: function(inner(x)))
        if not isinstance(value, View):
            raise _Refusal(_EXPECTED)
        factor = value.factor
        return Elementwise(replace(value, factor=1.0), lambda x: function(factor * x))

    def _pow(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        base, exponent = values
        if not isinstance(exponent, np.ndarray) or exponent.size != 1:
            raise _Refusal("allowed is a constant exponent")
        power = float(exponent.reshape(()))
        if isinstance(base, Moment) and base.kind == "centred" and power == 2.0:
            return replace(base, kind="square")
        return self._elementwise(base, lambda x: x**power)

    def _sqrt(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        (value,) = values
        if isinstance(value, Moment) and value.kind == "variance":
            return replace(value, kind="deviation")
        return self._elementwise(value, np.sqrt)

    def _reciprocal(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        (value,) = values
        if isinstance(value, Moment) and value.kind == "deviation":
            return replace(value, kind="inverse")
        raise _Refusal(_EXPECTED)

    def _sub(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        a, b = values
        if isinstance(a, View) and isinstance(b, Moment) and b.kind == "mean":
            return Moment("centred", b.view)
        if isinstance(b, np.ndarray):
            return self._sum(a, -b)
        raise _Refusal(_EXPECTED)

    def _add(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        a, b = values
        return self._sum(b, a) if isinstance(a, np.ndarray) else self._sum(a, b)

    def _sum(self, a: Value, b: Value) -> Value:
        """a + b; a is data."""
        if isinstance(a, Scores | Map):
            if isinstance(b, np.ndarray) and not b.any():
                return a
            raise _Refusal("attention is masked (causal, padding or a bias on the scores); export without the mask")
        if isinstance(b, np.ndarray):
            return self._add_constant(a, b)
        if isinstance(a, Elementwise) and _same_place(a, b):
            return _combine(a, b, np.add)
        if isinstance(b, Elementwise) and _same_place(b, a):
            return _combine(b, a, np.add)
        left, right = self._materialise(a), self._materialise(b)
        if not np.array_equal(left.index, right.index) or left.factor != 1.0 or right.factor != 1.0:
            raise _Refusal("the summands differ in shape, order or scale; allowed is a residual sum of like tensors")
        shape = self.tensors[left.tensor].shape
        if shape != self.tensors[right.tensor].shape or left.index.size != np.prod(shape):
            raise _Refusal("allowed is a sum of whole tensors")
        return View(self._add_op("add", [left.tensor, right.tensor], shape), left.index)

    def _add_constant(self, a: Value, b: Array) -> Value:
        if isinstance(a, Moment):
            if a.kind == "variance" and b.size == 1:
                return replace(a, epsilon=a.epsilon + float(b.reshape(())))
            raise _Refusal(_EXPECTED)
        if isinstance(a, Elementwise) and b.size == 1:
            amount = float(b.reshape(()))
            return self._elementwise(a, lambda x: x + amount)
        view = self._materialise(a)
        matrix = self._scatter(view, b)
        producer = self.ops.get(view.tensor)
        role = {"linear": "b", "layernorm": "beta"}.get(producer.kind) if producer else None
        if producer and role and view.alone and (matrix == matrix[:1]).all() and view.factor == 1.0:
            name = producer.constant(role)
            self.constants[name] = (self.constants[name] + matrix[0]).astype(np.float32)
            self._outdate(view)
            return view
        if view.factor != 1.0:
            raise _Refusal("the sum of a scaled tensor and a constant is not supported")
        return View(self._add_op("add", [view.tensor], matrix.shape, b=matrix), view.index)

    def _scatter(self, view: View, constant: Array) -> Array:
        """The constant as a matrix in the order of the view's tensor."""
        shape = self.tensors[view.tensor].shape
        if (
            view.index.size != np.prod(shape)
            or np.broadcast_shapes(view.index.shape, constant.shape) != view.index.shape
        ):
            raise _Refusal(f"a constant of shape {constant.shape} does not fit data of shape {view.index.shape}")
        matrix = np.zeros(int(np.prod(shape)))
        matrix[view.index.reshape(-1)] = np.broadcast_to(constant, view.index.shape).reshape(-1)
        return matrix.reshape(shape)

    def _div(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        a, b = values
        if isinstance(a, Moment) and isinstance(b, Moment) and (a.kind, b.kind) == ("centred", "deviation"):
            return self._norm(a.view, b.epsilon)
        if isinstance(b, np.ndarray) and not isinstance(a, np.ndarray):
            return self._scale(a, 1.0 / b.astype(np.float64))
        raise _Refusal(_EXPECTED)

    def _mul(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        a, b = values
        if isinstance(a, np.ndarray):
            a, b = b, a
        if isinstance(b, np.ndarray):
            return self._scale(a, b.astype(np.float64))
        if isinstance(a, Moment) and isinstance(b, Moment):
            if a.kind == b.kind == "centred" and a.view.tensor == b.view.tensor:
                return replace(a, kind="square")
            if {a.kind, b.kind} == {"centred", "inverse"}:
                return self._norm(a.view, max(a.epsilon, b.epsilon))
        for left, right in ((a, b), (b, a)):
            if isinstance(left, Elementwise) and _same_place(left, right):
                return _combine(left, right, np.multiply)
        if isinstance(a, View) and isinstance(b, View) and _same_place(a, b):
            return self._elementwise(a, lambda x: x * x)
        raise _Refusal("the product of two tensors is not part of an encoder")

    def _scale(self, a: Value, by: Array) -> Value:
        if by.size == 1:
            amount = float(by.reshape(()))
            if isinstance(a, Scores):
                return replace(a, scale=a.scale * amount)
            if isinstance(a, View):
                return replace(a, factor=a.factor * amount)
            return self._elementwise(a, lambda x: x * amount)
        view = self._materialise(a)
        matrix = self._scatter(view, by)
        producer = self.ops.get(view.tensor)
        if producer is None or producer.kind not in ("layernorm", "linear") or not view.alone:
            raise _Refusal("a product with a constant vector is allowed right after a LayerNorm or a linear layer only")
        if not (matrix == matrix[:1]).all():
            raise _Refusal("a factor that differs from token to token (rotary positions?) is not supported")
        for role in {"layernorm": ("gamma", "beta"), "linear": ("w", "b")}[producer.kind]:
            name = producer.constant(role)
            factors = matrix[0][:, None] if role == "w" else matrix[0]
            self.constants[name] = (self.constants[name] * factors).astype(np.float32)
        self._outdate(view)
        return view

    def _outdate(self, view: View) -> None:
        self.stale |= {
            name for name, value in self.values.items() if isinstance(value, View) and value.tensor == view.tensor
        }

    def _gelu(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        tanh = any(a.name == "approximate" and a.s == b"tanh" for a in node.attribute)
        return self._elementwise(values[0], FUNCTIONS["gelu_tanh" if tanh else "gelu"])

    def _where(self, node: onnx.NodeProto, values: Sequence[Value]) -> Value:
        raise _Refusal("attention is masked, or the graph decides by data; export without masks")

    # ---- the end

    def finish(self) -> Model:
        """The model of the graph's output, ops that nothing reads left out."""
        (output,) = self.proto.graph.output
        value = self.values.get(output.name)
        if value is None or isinstance(value, np.ndarray):
            raise _Refusal(f"output {output.name!r} does not depend on the input")
        view = self._materialise(value)
        if not np.array_equal(view.index.reshape(-1), np.arange(np.prod(self.tensors[view.tensor].shape))):
            raise _Refusal(f"output {output.name!r} is a part or a permutation of a tensor; export the whole one")
        if view.factor != 1.0 or view.tensor == self.input:
            raise _Refusal(f"output {output.name!r} is a scaled or unchanged input; nothing to deploy")
        used, wanted = set(), [view.tensor]
        while wanted:
            op = self.ops.get(wanted.pop())
            if op is not None and op.name not in used:
                used.add(op.name)
                wanted += op.inputs
        kept = tuple(op for op in self.ops.values() if op.name in used)
        constants = {name: self.constants[name] for op in kept for _, name in op.constants}
        tensors = {name: self.tensors[name] for name in (self.input, *(op.name for op in kept))}
        return Model(self.name, self.input, view.tensor, kept, tensors, constants)


_EXPECTED = (
    "this step is not part of a transformer encoder that Tileformer knows; see the README for the graphs it reads"
)


def _shape(value: Value | None) -> tuple[int, ...]:
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
    raise _Refusal("it has no input")


def _same_place(a: View | Elementwise, b: Value) -> bool:
    """Whether two values are functions of the same entries."""
    left = a.view if isinstance(a, Elementwise) else a
    right = b.view if isinstance(b, Elementwise) else b
    return isinstance(right, View) and left.tensor == right.tensor and np.array_equal(left.index, right.index)


def _combine(a: Elementwise, b: Value, operation: Callable[[Array, Array], Array]) -> Elementwise:
    """operation(a(x), b(x))."""
    left = a.function
    if isinstance(b, Elementwise):
        right = b.function
        return Elementwise(a.view, lambda x: operation(left(x), right(x)))
    assert isinstance(b, View)
    factor = b.factor
    return Elementwise(a.view, lambda x: operation(left(x), factor * x))


def _name_function(function: Callable[[Array], Array]) -> str:
    """The known activation that has the same values."""
    x = np.linspace(-12.0, 12.0, 4801)
    with np.errstate(all="ignore"):
        y = function(x)
    for name, known in FUNCTIONS.items():
        if np.abs(y - known(x)).max() < 2e-6:
            return name
    raise _Refusal(f"an elementwise function that is none of {', '.join(FUNCTIONS)}; use one of them")


def _bound(node: onnx.NodeProto, values: Sequence[Any]) -> None:
    """_Refusal when the node would make more than MAX_ELEMENTS elements."""
    size = _output_elements(node, [np.asarray(value) for value in values if value is not None])
    if size > MAX_ELEMENTS:
        raise _Refusal(f"makes a tensor of {size:.0f} elements; allowed are {MAX_ELEMENTS}")


def _output_elements(node: onnx.NodeProto, values: Sequence[Array]) -> float:
    """An upper bound of the elements a foldable node makes, without making them."""
    sizes = [float(value.size) for value in values]
    if node.op_type == "ConstantOfShape":
        return float(np.prod(values[0].astype(np.float64)))
    if node.op_type == "Expand":
        return float(np.prod(np.broadcast_shapes(values[0].shape, tuple(values[1].tolist())), dtype=np.float64))
    if node.op_type == "Tile":
        return float(sizes[0] * np.prod(values[1].astype(np.float64)))
    if node.op_type == "Range":
        start, limit, delta = (float(value.reshape(())) for value in values)
        return float(abs(limit - start) / max(abs(delta), 1e-30))
    if node.op_type in ("MatMul", "Gemm"):
        return float(sizes[0] / max(1, values[0].shape[-1]) * sizes[1] / max(1, min(values[1].shape[-2:])))
    if node.op_type == "Gather":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return float(sizes[0] / max(1, values[0].shape[axis]) * sizes[1])
    if node.op_type in ("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Where", "Equal", "And", "Or", "Greater", "Less"):
        return float(np.prod(np.broadcast_shapes(*(value.shape for value in values)), dtype=np.float64))
    return float(sum(sizes))


# ---- the proof ------------------------------------------------------------------------------------------------------


def _compare(proto: onnx.ModelProto, importer: _Importer, model: Model) -> None:
    """Run graph and model on noise and compare every tensor both have; _Refusal names the first that differs."""
    (source,) = _graph_inputs(proto)
    shape = tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        traced: Any = ReferenceEvaluator(proto).run(None, {source.name: x}, intermediate=True)
    except Exception as error:  # whatever a reference implementation raises on a strange graph
        raise _Refusal(f"the graph cannot be run ({_first_line(error)}); check the export") from error
    ours = ops.run(model, x.reshape(model.tensors[model.input].shape))
    for name, value in importer.values.items():
        if name in importer.stale:
            continue
        if isinstance(value, View) and value.tensor in ours and name in traced:
            mine = value.factor * ours[value.tensor].reshape(-1)[value.index]
        elif isinstance(value, Map) and value.tensor in ours:
            mine = ours[value.tensor].reshape(value.shape)
        else:
            continue
        wanted = np.asarray(traced[name], np.float64)
        if wanted.shape != mine.shape or np.abs(mine - wanted).max() > TOLERANCE * max(1.0, np.abs(wanted).max()):
            raise _Refusal(
                f"tensor {name!r} differs from the model read from it: a graph Tileformer does not understand; "
                "please report it with the file"
            )
