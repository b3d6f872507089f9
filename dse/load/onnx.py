"""fp32 ONNX -> float Model, by execution: what a node means is found by running it, not by matching exporters' templates.

This room reads the file, refuses what is no encoder in fp32, and proves the model that the walk over the nodes (`trace`)
has found: in the end model and graph are run next to each other and compared tensor by tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx.reference import ReferenceEvaluator

from dse import ops
from dse.ir import Array, Model
from dse.load.network import MAX_ELEMENTS
from dse.load.operators import REFUSED
from dse.load.trace import Trace
from dse.load.values import Map, Refusal, View

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_NODES = 20_000
TOLERANCE = 1e-4  # of a tensor's largest magnitude, between the graph (float32) and the model (float64)


def load_onnx(path: Path) -> Model:
    """The float Model of an fp32 .onnx file (batch 1); ValueError names the file, the node, the cause and the remedy."""
    try:
        proto = _read(path)
        with np.errstate(all="ignore"):
            trace = _walk(proto)
            model = trace.finish(path.stem)
            _prove(proto, trace, model)
    except Refusal as refusal:
        raise ValueError(f"{path}: {refusal}") from refusal
    return model


def _walk(proto: onnx.ModelProto) -> Trace:
    trace = Trace(proto)
    (source,) = _graph_inputs(proto)
    try:
        trace.start(source)
    except Exception as error:  # of numpy and protobuf, whose tensors may contradict themselves
        raise Refusal(f"an initialiser cannot be read ({_first_line(error)}); export it again") from error
    for node in proto.graph.node:
        label = f"node {node.name or next(iter(node.output), '?')!r} ({node.op_type})"
        try:
            trace.take(node)
        except Refusal as refusal:
            raise Refusal(f"{label}: {refusal}") from refusal
        except Exception as error:  # whatever a reference implementation raises on a strange node
            raise Refusal(f"{label} cannot be evaluated ({_first_line(error)}); check the export") from error
    return trace


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


# ---- reading the file


def _read(path: Path) -> onnx.ModelProto:
    """The checked graph with local functions inlined and batch 1."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise Refusal(f"{what}; give the path of an .onnx file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Refusal(f"{path.stat().st_size} bytes; allowed are {MAX_FILE_BYTES}; export a smaller network")
        proto = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise Refusal(f"cannot be opened ({error.strerror}); check its permissions") from error
    except Refusal:
        raise
    except Exception as error:  # protobuf raises a type of its own, which differs between its versions
        raise Refusal(f"not a readable ONNX file ({_first_line(error)}); export it again") from error
    if not proto.graph.node:
        raise Refusal("not a readable ONNX file (the graph has no node); export it again")
    _refuse_dangers(proto)
    try:
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
    except Exception as error:  # the checker and the inliner are C++ and raise what they like
        raise Refusal(f"not a valid ONNX model ({_first_line(error)}); export it again") from error
    _fix_batch(proto)
    return proto


def _all_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from proto.graph.node
    for function in proto.functions:
        yield from function.node


def _refuse_dangers(proto: onnx.ModelProto) -> None:
    """Refusal of what would read other files, run loops, or grow without bounds before a node is looked at."""
    attributes = [a for node in _all_nodes(proto) for a in node.attribute]
    tensors = [*proto.graph.initializer, *(tensor for a in attributes for tensor in (a.t, *a.tensors))]
    away = next((tensor.name for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL), None)
    if away is not None:
        raise Refusal(f"weights such as {away!r} are in another file (external data); export with external_data=False")
    for node in _all_nodes(proto):
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise Refusal(f"node {node.name!r} ({node.op_type}): {REFUSED['If']}")
    count = _count_inlined(proto)
    if count > MAX_NODES:
        raise Refusal(f"{count} nodes; allowed are {MAX_NODES}; export a smaller network")


def _count_inlined(proto: onnx.ModelProto) -> int:
    """The nodes of the graph when every local function is written out; a function may only call ones counted before."""
    sizes: dict[tuple[str, str], int] = {}
    waiting = {(function.domain, function.name): function for function in proto.functions}
    while waiting:
        ready = [
            key for key, f in waiting.items() if not any((node.domain, node.op_type) in waiting for node in f.node)
        ]
        if not ready:
            raise Refusal(f"function {next(iter(waiting))[1]!r} calls itself; export without recursion")
        for key in ready:
            calls = waiting.pop(key).node
            sizes[key] = sum(sizes.get((node.domain, node.op_type), 1) for node in calls)
    return sum(sizes.get((node.domain, node.op_type), 1) for node in proto.graph.node)


def _graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    initialised = {tensor.name for tensor in proto.graph.initializer}
    return [item for item in proto.graph.input if item.name not in initialised]


def _fix_batch(proto: onnx.ModelProto) -> None:
    """Set the one batch dimension to 1, in place; Refusal when the input is not one float tensor of known shape."""
    inputs = _graph_inputs(proto)
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs) or "none"
        raise Refusal(
            f"{len(inputs)} inputs ({names}); allowed is one, the tokens; masks and other inputs (cross-attention) "
            "must be constants folded into the export"
        )
    if len(proto.graph.output) != 1:
        names = ", ".join(item.name for item in proto.graph.output)
        raise Refusal(f"{len(proto.graph.output)} outputs ({names}); allowed is one; export only that one")
    kind, name = inputs[0].type.tensor_type, inputs[0].name
    if kind.elem_type != onnx.TensorProto.FLOAT:
        known = kind.elem_type in onnx.TensorProto.DataType.values()
        got = onnx.TensorProto.DataType.Name(kind.elem_type) if known else f"type {kind.elem_type}"
        raise Refusal(
            f"input {name!r} is {got}; allowed is FLOAT; token ids need their embedding outside the model: "
            "export the encoder from the embedded tokens on"
        )
    shape = [dim.dim_value if dim.dim_value > 0 else 0 for dim in kind.shape.dim]
    if _batch_axis(shape) is not None:
        kind.shape.dim[shape.index(0)].dim_value = 1
        shape[shape.index(0)] = 1
    if 0 in shape:
        raise Refusal(
            f"input {name!r} has {shape.count(0)} dynamic dimensions, {_written(shape)}; allowed is one, the batch; "
            "export with a fixed number of tokens"
        )
    if len(shape) not in (2, 3) or (len(shape) == 3 and 1 not in shape[:2]) or math.prod(shape) > MAX_ELEMENTS:
        raise Refusal(
            f"input {name!r} has shape {_written(shape)}; allowed is (1, tokens, channels), (tokens, 1, channels) or "
            f"(tokens, channels), at most {MAX_ELEMENTS} numbers; export the encoder from its tokens on, with batch 1"
        )


def _batch_axis(shape: list[int]) -> int | None:
    """The axis of the only unknown size (0), when it can only be the batch: the tokens beside it are known."""
    if len(shape) != 3 or shape.count(0) != 1 or shape[2] == 0:
        return None
    axis = shape.index(0)
    return axis if shape[1 - axis] > 1 else None


def _written(shape: list[int]) -> str:
    return "(" + ", ".join(str(size or "?") for size in shape) + ")"


# ---- the proof


def _prove(proto: onnx.ModelProto, trace: Trace, model: Model) -> None:
    """Run graph and model on noise and compare every tensor both have; Refusal names the first that differs."""
    (source,) = _graph_inputs(proto)
    shape = tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        traced: Any = ReferenceEvaluator(proto).run(None, {source.name: x}, intermediate=True)
        ours = ops.run(model, x.reshape(model.tensors[model.input].shape))
    except Exception as error:  # whatever a reference implementation raises on a strange graph
        raise Refusal(f"the graph cannot be run ({_first_line(error)}); check the export") from error
    for name, value in trace.values.items():
        if name in trace.stale or name not in traced:
            continue
        if isinstance(value, View) and value.tensor in ours:
            _compare(name, value.factor * ours[value.tensor].reshape(-1)[value.index], traced[name])
        elif isinstance(value, Map) and value.tensor in ours:
            _compare(name, ours[value.tensor].reshape(value.shape), traced[name])
    (output,) = proto.graph.output
    _compare(output.name, ours[model.output].reshape(-1), np.asarray(traced[output.name]).reshape(-1))


def _compare(name: str, mine: Array, theirs: Any) -> None:
    wanted = np.asarray(theirs, np.float64)
    difference = np.max(np.abs(mine - wanted), initial=0.0) if mine.shape == wanted.shape else np.inf
    if not difference <= TOLERANCE * np.max(np.abs(wanted), initial=1.0):  # not a number is not close either
        raise Refusal(
            f"tensor {name!r} differs from the model read from it: a graph Tileformer does not understand; "
            "please report it with the file"
        )
