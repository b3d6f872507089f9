"""The walk over the nodes of an ONNX graph: constants are folded, data movement is run on index arrays, the rest computed.

Every node is executed by onnx's reference implementation on constants or on index arrays, and what it would allocate
is bounded before.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dse.ir import Array, Model, Tensor
from dse.load.network import Network, fresh
from dse.load.operators import REFUSED, Step, compute
from dse.load.values import Elementwise, Map, Refusal, Scores, Value, View, is_constant, shape_of

MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Gather", "Slice", "Split", "Expand", "Tile"}
IDLE = {"Identity", "Dropout", "Cast"}  # of inference: the first output is the first input
BROADCASTS = {
    *("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max", "Where", "And", "Or", "Not", "Equal", "Greater", "Less"),
    *("GreaterOrEqual", "LessOrEqual", "Sqrt", "Neg", "Abs", "Floor", "Ceil", "Reciprocal", "Exp", "Log", "IsNaN"),
}
FOLDABLE = {
    *("Constant", "ConstantOfShape", "Shape", "Size", "Concat", "Range", "Trilu", "ReduceProd", "ReduceSum"),
    *("MatMul", "Gemm", "CastLike", "ScatterND", *MOVES, *IDLE, *BROADCASTS),
}


@dataclass
class Trace:
    """Values of the graph tensors so far, and the network they are values of."""

    proto: onnx.ModelProto
    values: dict[str, Value] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    stale: set[str] = field(default_factory=set)  # graph tensors of which an op has since absorbed a later step
    readers: Counter[str] = field(default_factory=Counter)
    input: str = ""
    opset: int = 1

    def start(self, source: onnx.ValueInfoProto) -> None:
        """Give the initialisers and the graph's input their values."""
        graph = self.proto.graph
        self.readers.update(name for node in graph.node for name in node.input if name)
        self.readers.update(item.name for item in graph.output)
        self.opset = max(
            (item.version for item in self.proto.opset_import if item.domain in ("", "ai.onnx")), default=1
        )
        for tensor in graph.initializer:
            self.network.spend(math.prod(tensor.dims))
            self.values[tensor.name] = numpy_helper.to_array(tensor)
        shape = tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)
        self.network.spend(math.prod(shape))
        self.input = re.sub(r"\W", "_", source.name, flags=re.ASCII)
        self.network.tensors[self.input] = Tensor(self.input, (math.prod(shape[:-1]), shape[-1]))
        self.values[source.name] = replace(fresh(self.input, shape), alone=False)

    def take(self, node: onnx.NodeProto) -> None:
        """Give the outputs of the node values."""
        if node.domain not in ("", "ai.onnx"):
            raise Refusal(f"operators of domain {node.domain!r} are not supported; export plain ONNX")
        values = [self._read(name) for name in node.input]
        first = values[0] if values else None
        results: Sequence[Value]
        if all(is_constant(value) for value in values):
            if node.op_type not in FOLDABLE:
                raise Refusal(
                    REFUSED.get(node.op_type, f"{node.op_type} of constants is not supported; simplify the export")
                )
            results = self._evaluate(node, values)
        elif node.op_type in ("Shape", "Size"):
            results = self._evaluate(node, [np.broadcast_to(np.int8(0), shape_of(first))])
        elif node.op_type in IDLE and first is not None:
            results = [first]
        elif node.op_type in MOVES and isinstance(first, View | Elementwise | Scores | Map):
            results = self._move(node, first, values[1:])
        else:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            results = [compute(self.network, Step(node.op_type, tuple(values), attributes, self.opset))]
        self._forget_absorbed()
        self.values.update(zip(node.output, results, strict=False))

    def finish(self, name: str) -> Model:
        """The model of the graph's output."""
        (output,) = self.proto.graph.output
        value = self.values.get(output.name)
        try:
            if value is None or isinstance(value, np.ndarray):
                raise Refusal("it does not depend on the input; check the export")
            return self.network.model(name, self.input, self.network.materialise(value))
        except Refusal as refusal:
            raise Refusal(f"output {output.name!r}: {refusal}") from refusal

    def _read(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.values:
            raise Refusal(
                f"reads {name!r}, a sparse tensor or a second output that is not supported; export without it"
            )
        value = self.values[name]
        if isinstance(value, View) and self.readers[name] > 1:
            return replace(value, alone=False)
        return value

    def _forget_absorbed(self) -> None:
        """Mark the values that are no longer what their op computes."""
        absorbed = self.network.absorbed
        if absorbed:
            views = ((name, value) for name, value in self.values.items() if isinstance(value, View))
            self.stale |= {name for name, view in views if view.tensor in absorbed}
            absorbed.clear()

    def _move(
        self, node: onnx.NodeProto, value: View | Elementwise | Scores | Map, rest: Sequence[Value | None]
    ) -> list[Value]:
        """Data movement, run on the index array. Scores and maps may be reshaped as long as heads and tokens stay put."""
        if isinstance(value, Elementwise):
            return [replace(value, view=view) for view in self._move(node, value.view, rest) if isinstance(view, View)]
        if isinstance(value, View):
            return [replace(value, index=np.asarray(moved)) for moved in self._evaluate(node, [value.index, *rest])]
        size = math.prod(value.shape)
        self.network.spend(size)
        index = np.arange(size).reshape(value.shape)
        results: list[Value] = []
        for moved in self._evaluate(node, [index, *rest]):
            if moved.shape[-2:] != value.shape[-2:] or not np.array_equal(moved.reshape(-1), index.reshape(-1)):
                raise Refusal("moves heads or tokens of an attention map; allowed is a map used as it is")
            results.append(replace(value, shape=moved.shape))
        return results

    def _evaluate(self, node: onnx.NodeProto, values: Sequence[Value | None]) -> list[Array]:
        """The outputs of one node on constants; Refusal when they would be too large."""
        if not all(value is None or isinstance(value, np.ndarray) for value in values):
            raise Refusal("its shape or indices depend on the data; export with fixed shapes")
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        if node.op_type not in ("Shape", "Size"):
            self.network.spend(_output_elements(node, arrays))
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


def _output_elements(node: onnx.NodeProto, arrays: Sequence[Array]) -> float:
    """An upper bound of the elements a foldable node makes, without making them."""
    sizes = [float(array.size) for array in arrays]
    if node.op_type == "Constant":
        if any(
            a.name not in ("value", "value_float", "value_floats", "value_int", "value_ints") for a in node.attribute
        ):
            raise Refusal("a constant of text or of sparse values is not supported; simplify the export")
        return float(sum(math.prod(a.t.dims) for a in node.attribute))
    if node.op_type == "ConstantOfShape":
        return float(math.prod(max(0, int(size)) for size in arrays[0].reshape(-1)))
    if node.op_type == "Expand":
        return float(math.prod(np.broadcast_shapes(arrays[0].shape, tuple(arrays[1].reshape(-1).tolist()))))
    if node.op_type == "Tile":
        return sizes[0] * float(math.prod(max(0, int(times)) for times in arrays[1].reshape(-1)))
    if node.op_type == "Range":
        start, limit, delta = (float(array.reshape(())) for array in arrays)
        return abs(limit - start) / max(abs(delta), 1e-30) + 1.0
    if node.op_type in ("MatMul", "Gemm"):
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        depth = arrays[0].shape[0 if transposed else -1]
        return sizes[0] * sizes[1] / float(max(1, depth)) ** 2
    if node.op_type == "Gather":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return sizes[0] * sizes[1] / float(max(1, arrays[0].shape[axis]))
    if node.op_type in BROADCASTS:
        return float(math.prod(np.broadcast_shapes(*(array.shape for array in arrays))))
    return float(sum(sizes))
