"""The ONNX importer: what both torch exporters write, what must be refused and how, and files that mean harm."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from onnx.helper import make_function, make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from dse import ops
from dse.ir import Model
from dse.load.onnx import MAX_FILE_BYTES, load_onnx

ZOO = Path(__file__).resolve().parent / "zoo"
MHSA = "linear linear probs linear attend linear"
FEED_FORWARD = "linear activation linear add"
POST = f"{MHSA} add layernorm {FEED_FORWARD} layernorm"
PRE = f"layernorm {MHSA} add layernorm {FEED_FORWARD}"

# network: (op kinds, heads, activation)
ACCEPTED: dict[str, tuple[str, int, str]] = {
    "post_gelu": (POST, 3, "gelu"),
    "pre_relu": (f"{PRE} {PRE} layernorm", 3, "relu"),
    "tokens_first": (POST, 3, "gelu"),
    "dynamic_batch": (POST, 3, "gelu"),
    "mha": (MHSA, 3, ""),
    "mha_weights": (MHSA, 3, ""),
    "hand_layer": (POST, 3, "gelu"),
    "hand_div": (MHSA, 3, ""),
    "hand_no_bias": (MHSA, 3, ""),
    "hand_quarter": (MHSA, 3, ""),
    "head_dim": (MHSA, 2, ""),
    "one_head": (MHSA, 1, ""),
    "one_key_head": (MHSA, 3, ""),
    "key_head_pairs": (MHSA, 4, ""),
    "sdpa": (MHSA, 3, ""),
    "einsum": (MHSA, 3, ""),
    "einsum_heads": (MHSA, 3, ""),
    "packed": (MHSA, 3, ""),
    "mask_zero": (MHSA, 3, ""),
    "mask_true": (MHSA, 3, ""),
    "mask_fill": (MHSA, 3, ""),
    "gelu_tanh": (FEED_FORWARD, 0, "gelu_tanh"),
    "gelu_erf": (FEED_FORWARD, 0, "gelu"),
    "classifier": (f"linear add {PRE} layernorm mean linear", 3, "gelu"),
    "classifier_batch": (f"linear add {PRE} layernorm mean linear", 3, "gelu"),
}
# network: (operator of the node that is named, or "" where the file is refused as a whole; cause; remedy)
REFUSED: dict[str, tuple[str, str, str]] = {
    "mask_causal": ("Add", "attention is masked", "export without the mask"),
    "mask_constant": ("Add", "attention is masked", "export without the mask"),
    "mask_fill_causal": ("Where", "attention is masked", "export without the mask"),
    "mask_input": ("", r"2 inputs \(x, mask\)", "must be constants folded into the export"),
    "crossed": ("Softmax", r"different tensors \(cross-attention\)", "allowed is self-attention"),
    "rope": ("Mul", "rotary positions", "allowed are constants a channel.*train without this step"),
    "qk_norm": ("LayerNormalization", "query/key norm", "train without this norm"),
    "ids": ("", "'x' is INT64; allowed is FLOAT", "export the encoder from the embedded tokens on"),
    "two_outputs": ("", "2 outputs", "export only that one"),
    "dynamic_tokens": ("", r"2 dynamic dimensions, \(\?, \?, 12\)", "export with a fixed number of tokens"),
    "patches": ("", r"shape \(1, 1, 8, 8\)", "export the encoder from its tokens on"),
    "class_token": ("Concat", "class token", "pool with a mean"),
    "flat": ("Gemm", "mixes tokens", "pool with a mean"),
}


def files(networks: dict[str, tuple]) -> list[Path]:
    return sorted(path for path in ZOO.glob("*.onnx") if path.name.split(".")[0] in networks)


def same_output(model: Model, path: Path) -> None:
    saved = np.load(ZOO / f"{path.name.split('.')[0]}.npz")
    y = ops.run(model, saved["x"].reshape(model.tensors[model.input].shape))[model.output]
    wanted = saved["y"].reshape(y.shape)
    assert np.abs(y - wanted).max() <= 1e-4 * np.abs(wanted).max()


def refuse(path: Path, *patterns: str) -> None:
    """The file is refused by one ValueError in which the patterns occur in this order."""
    with pytest.raises(
        ValueError, match=".*".join([re.escape(f"{path}: "), *(f"(?:{p})" for p in patterns)])
    ) as caught:
        load_onnx(path)
    assert caught.type is ValueError
    assert "\n" not in str(caught.value)


# ---- what torch writes


def test_the_zoo_is_all_here():
    found = {(path.name.split(".")[0], path.name.split(".")[1][:6]) for path in ZOO.glob("*.onnx")}
    assert found == {(name, exporter) for name in (*ACCEPTED, *REFUSED) for exporter in ("legacy", "dynamo")}
    assert sum(path.stat().st_size for path in ZOO.iterdir()) < 1_000_000


@pytest.mark.parametrize("path", files(ACCEPTED), ids=lambda path: path.stem)
def test_accepted(path):
    kinds, heads, function = ACCEPTED[path.name.split(".")[0]]
    model = load_onnx(path)
    assert [op.kind for op in model.ops] == kinds.split()
    assert {op.integer("heads") for op in model.ops if op.kind in ("probs", "attend")} <= {heads}
    assert {op.text("function") for op in model.ops if op.kind == "activation"} <= {function}
    assert model.input == "x"
    same_output(model, path)


@pytest.mark.parametrize("path", files(REFUSED), ids=lambda path: path.stem)
def test_refused(path):
    operator, cause, remedy = REFUSED[path.name.split(".")[0]]
    refuse(path, rf"node '.+' \({operator}\)" if operator else "", cause, remedy)


@pytest.mark.parametrize(
    ("network", "sizes", "accepted"),
    [
        ("post_gelu.dynamo18", ("batch", 5, 12), True),
        ("tokens_first.dynamo18", (5, "batch", 12), True),
        ("post_gelu.dynamo18", (1, "tokens", 12), False),
        ("tokens_first.dynamo18", ("tokens", 1, 12), False),
        ("post_gelu.dynamo18", (1, 5, "channels"), False),
        ("post_gelu.dynamo18", (2, 5, 12), False),
        ("post_gelu.dynamo18", ("batch", 1 << 40, 1 << 40), False),
        ("post_gelu.dynamo18", (5,), False),
    ],
)
def test_only_the_batch_may_be_open(tmp_path, network, sizes, accepted):
    proto = onnx.load(ZOO / f"{network}.onnx")
    proto.graph.input[0].CopyFrom(make_tensor_value_info("x", TensorProto.FLOAT, sizes))
    onnx.save(proto, tmp_path / "x.onnx")
    if accepted:
        same_output(load_onnx(tmp_path / "x.onnx"), ZOO / f"{network}.onnx")
    else:
        refuse(tmp_path / "x.onnx", "input 'x' has", "allowed is", "export")


# ---- graphs written here


def save(folder: Path, nodes, constants=None, shape=(1, 4, 6), functions=(), opset=20, domains=()) -> Path:
    """A graph x -> y of the nodes, as a file."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    x, y = (
        make_tensor_value_info("x", TensorProto.FLOAT, shape),
        make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3),
    )
    graph = make_graph(nodes, "g", [x], [y], initializers)
    opsets = [make_opsetid("", opset), *(make_opsetid(domain, 1) for domain in domains)]
    onnx.save(make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9), folder / "g.onnx")
    return folder / "g.onnx"


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


LINEAR = make_node("MatMul", ["x", "w"], ["l"], "project")


def projections(width: int, *names: str):
    """Nodes and constants that project x to tensors of these names."""
    nodes = [make_node("MatMul", ["x", f"w{name}"], [name]) for name in names]
    return nodes, {f"w{name}": normal(6, width) + i for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("attributes", "widths", "heads"),
    [({"q_num_heads": 2, "kv_num_heads": 2}, 4, 2), ({"q_num_heads": 4, "kv_num_heads": 2, "scale": 0.7}, 4, 4)],
)
def test_the_attention_operator_with_packed_heads(tmp_path, attributes, widths, heads):
    nodes, constants = projections(widths, "k", "v")
    constants["wq"] = normal(6, widths * attributes["q_num_heads"] // attributes["kv_num_heads"])
    nodes = [
        make_node("MatMul", ["x", "wq"], ["q"]),
        *nodes,
        make_node("Attention", ["q", "k", "v"], ["y"], **attributes),
    ]
    model = load_onnx(save(tmp_path, nodes, constants, opset=23))  # which compares with the reference implementation
    assert [op.kind for op in model.ops] == ["linear", "linear", "probs", "linear", "attend"]
    assert model.ops[-1].integer("heads") == heads


@pytest.mark.parametrize("attributes", [{"is_causal": 1}, {"softcap": 2.0}])
def test_the_attention_operator_with_more_is_refused(tmp_path, attributes):
    nodes, constants = projections(4, "q", "k", "v")
    nodes.append(make_node("Attention", ["q", "k", "v"], ["y"], "mix", q_num_heads=2, kv_num_heads=2, **attributes))
    refuse(save(tmp_path, nodes, constants, opset=23), r"'mix' \(Attention\)", "masked|softcap", "export without")


@pytest.mark.parametrize(
    ("equations", "accepted"),
    [
        (("bsd,dhp->bhsp", "bhip,bhjp->bhij", "bhij,bhjp->bihp", "bihp,hpe->bie"), True),
        (("bsd,dhp->bshp", "bjhp,bihp->bhij", "bhij,bjhp->bihp", "bihp,hpe->bie"), True),
        (("bsd,dhp->bshp", "bihp,bjhp->bijh", "bijh,bjhp->bihp", "bihp,hpe->bie"), False),
        (("bsd,dhp->bshp", "bihp,bjgp->bhgij", "bhij,bjhp->bihp", "bihp,hpe->bie"), False),
        (("...d,dhp->...hp", "bihp,bjhp->bhij", "bhij,bjhp->bihp", "bihp,hpe->bie"), False),
        (("bsd,dhp->bhsp", "bhip,bhjp->hij", "bhij,bhjp->bihp", "bihp,hpe->bie"), False),
    ],
)
def test_einsum(tmp_path, equations, accepted):
    project, score, mix, join = equations
    constants = {f"w{name}": normal(6, 2, 3) + i for i, name in enumerate("qkv")} | {"wo": normal(2, 3, 6)}
    swapped = score.startswith("bj")
    nodes = [
        *(make_node("Einsum", ["x", f"w{name}"], [name], equation=project) for name in "qkv"),
        make_node("Einsum", ["k", "q"] if swapped else ["q", "k"], ["s"], equation=score),
        make_node("Softmax", ["s"], ["m"]),
        make_node("Einsum", ["m", "v"], ["o"], equation=mix),
        make_node("Einsum", ["o", "wo"], ["y"], equation=join),
    ]
    path = save(tmp_path, nodes, constants)
    if accepted:
        assert [op.kind for op in load_onnx(path).ops] == MHSA.split()
    else:
        refuse(path, r"\(Einsum\)", "einsum", "allowed")


def test_a_function_spelled_out_is_named_and_computed_once(tmp_path):
    nodes = [
        LINEAR,
        make_node("Neg", ["l"], ["n"]),
        make_node("Exp", ["n"], ["e"]),
        make_node("Add", ["e", "one"], ["d"]),
        make_node("Div", ["one", "d"], ["s"]),
        make_node("MatMul", ["s", "w"], ["t"]),
        make_node("Add", ["s", "t"], ["y"]),
    ]
    model = load_onnx(save(tmp_path, nodes, {"w": normal(6, 6), "one": np.float32(1)}))
    assert [op.kind for op in model.ops] == ["linear", "activation", "linear", "add"]
    assert model.ops[1].text("function") == "sigmoid"


def test_parts_that_nothing_reads_do_not_matter(tmp_path):
    nodes = [LINEAR, make_node("Slice", ["l", "one", "one", "one"], ["empty"]), make_node("Relu", ["l"], ["y"])]
    model = load_onnx(save(tmp_path, nodes, {"w": normal(6, 6), "one": [1]}))
    assert [op.kind for op in model.ops] == ["linear", "activation"]


def test_softmax_of_old_opsets_needs_its_axis(tmp_path):
    nodes, constants = projections(4, "q", "k", "v")
    nodes += [make_node("Transpose", ["k"], ["t"], perm=[0, 2, 1]), make_node("MatMul", ["q", "t"], ["s"])]
    nodes += [make_node("Softmax", ["s"], ["m"]), make_node("MatMul", ["m", "v"], ["y"])]
    refuse(save(tmp_path, nodes, constants, opset=12), r"\(Softmax\)", "axis 1 of 3", "allowed is the last one")
    nodes[-2] = make_node("Softmax", ["s"], ["m"], axis=2)
    assert [op.kind for op in load_onnx(save(tmp_path, nodes, constants, opset=12)).ops][-1] == "attend"


NAN = np.full((6, 6), np.nan, np.float32)
SCALE = {"scale": np.float32(0.1), "zero": np.int8(0)}


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        pytest.param(
            [
                make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantise"),
                make_node("Identity", ["q"], ["y"]),
            ],
            SCALE,
            (r"'quantise' \(QuantizeLinear\)", "quantised already", "give the fp32 export"),
            id="QDQ data",
        ),
        pytest.param(
            [
                make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], "weight"),
                make_node("MatMul", ["x", "w"], ["y"]),
            ],
            {**SCALE, "w8": np.ones((6, 6), np.int8)},
            (r"'weight' \(DequantizeLinear\)", "quantised already", "give the fp32 export"),
            id="QDQ weight",
        ),
        pytest.param(
            [make_node("Conv", ["x", "w"], ["y"], "embed")],
            {"w": normal(3, 4, 1)},
            (r"'embed' \(Conv\)", "convolution", "export the encoder from its tokens on"),
            id="signal embedding",
        ),
        pytest.param(
            [make_node("MatMul", ["x", "w"], ["y"])], {"w": NAN}, ("not a number", "train or export again"), id="NaN"
        ),
        pytest.param(
            [make_node("MatMul", ["x", "w"], ["l"]), make_node("Dropout", ["l", "half", "on"], ["y"])],
            {"w": normal(6, 6), "half": np.float32(0.5), "on": np.bool_(True)},
            ("tensor 'y' differs", "please report it with the file"),
            id="proof",
        ),
        pytest.param(
            [make_node("MatMul", ["x", "w"], ["l"]), make_node("Softmax", ["l"], ["y"], "last")],
            {"w": normal(6, 6)},
            (r"'last' \(Softmax\)", "export logits"),
            id="softmax of logits",
        ),
        pytest.param(
            [make_node("Elu", ["x"], ["e"]), make_node("MatMul", ["e", "w"], ["y"])],
            {"w": normal(6, 6)},
            (r"'e' \(Elu\)", "not supported", "allowed are linear layers", "export an encoder"),
            id="unknown operator",
        ),
        pytest.param(
            [make_node("Abs", ["x"], ["a"]), make_node("MatMul", ["a", "w"], ["y"], "next")],
            {"w": normal(6, 6)},
            (r"'next' \(MatMul\)", "elementwise function", "use one of them"),
            id="unknown function",
        ),
        pytest.param(
            [make_node("MatMul", ["x", "w"], ["y"], "narrow")],
            {"w": normal(5, 6)},
            (r"'narrow' \(MatMul\)", r"\(5, 6\)", "allowed is"),
            id="weight of another depth",
        ),
        pytest.param([make_node("Identity", ["x"], ["y"])], {}, ("output 'y'", "nothing to deploy"), id="nothing"),
        pytest.param(
            [make_node("Identity", ["w"], ["y"])], {"w": normal(2)}, ("output 'y'", "does not depend"), id="constant"
        ),
        pytest.param(
            [make_node("MatMul", ["x", "w"], ["l"]), make_node("Gather", ["l", "first"], ["y"], axis=1)],
            {"w": normal(6, 6), "first": np.int64(0)},
            ("output 'y'", "a part", "export the whole tensor"),
            id="first token",
        ),
    ],
)
def test_graphs_that_are_refused(tmp_path, nodes, constants, words):
    refuse(save(tmp_path, nodes, constants), *words)


def test_foreign_domain_and_control_flow_are_refused(tmp_path):
    node = make_node("BiasGelu", ["x", "b"], ["y"], "fused", domain="com.microsoft")
    path = save(tmp_path, [node], {"b": normal(6)}, domains=["com.microsoft"])
    refuse(path, r"'fused' \(BiasGelu\)", "com.microsoft", "export plain ONNX")
    branch = make_graph([make_node("Identity", ["x"], ["z"])], "b", [], [make_tensor_value_info("z", 1, [None] * 3)])
    node = make_node("If", ["yes"], ["y"], "choose", then_branch=branch, else_branch=branch)
    path = save(tmp_path, [node], {"yes": np.bool_(True)})
    refuse(path, r"'choose' \(If\)", "control flow", "export with fixed shapes")


# ---- files that are broken or mean harm


def test_unreadable_files(tmp_path):
    path = tmp_path / "x.onnx"
    refuse(path, "no such file", "give the path")
    refuse(tmp_path, "is a folder", "give the path")
    for content in (b"", b"hello", np.random.default_rng(0).bytes(5000)):
        path.write_bytes(content)
        refuse(path, "not a readable ONNX file", "export it again")
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    refuse(path, "bytes", "allowed are", "export a smaller network")


def test_external_weights_are_refused(tmp_path):
    proto = onnx.load(ZOO / "post_gelu.dynamo18.onnx")
    onnx.save(proto, tmp_path / "x.onnx", save_as_external_data=True, size_threshold=0, location="x.data")
    refuse(tmp_path / "x.onnx", "are in another file", "external_data=False")


def test_a_constant_that_names_another_file_is_not_read(tmp_path):
    secret = numpy_helper.from_array(normal(6, 6), "w")
    secret.ClearField("raw_data")
    secret.data_location = TensorProto.EXTERNAL
    secret.external_data.add(key="location", value="/etc/passwd")
    nodes = [make_node("Constant", [], ["w"], value=secret), make_node("MatMul", ["x", "w"], ["y"])]
    refuse(save(tmp_path, nodes), "are in another file", "external_data=False")


HUGE = 1 << 40
BOMBS = {
    "ConstantOfShape": ([make_node("ConstantOfShape", ["n"], ["b"])], {"n": [HUGE]}),
    "ConstantOfShape product": ([make_node("ConstantOfShape", ["n"], ["b"])], {"n": [1 << 20, 1 << 20]}),
    "Expand": ([make_node("Expand", ["v", "n"], ["b"])], {"v": normal(1), "n": [HUGE]}),
    "Expand data": ([make_node("Expand", ["x", "n"], ["b"])], {"n": [HUGE, 4, 6]}),
    "Range": ([make_node("Range", ["i", "n", "j"], ["b"])], {"i": 0, "n": HUGE, "j": 1}),
    "Range of small steps": ([make_node("Range", ["i", "n", "j"], ["b"])], {"i": 0.0, "n": 1.0, "j": 1e-12}),
    "Tile": ([make_node("Tile", ["v", "n"], ["b"])], {"v": normal(1), "n": [HUGE]}),
    "Tile data": ([make_node("Tile", ["x", "n"], ["b"])], {"n": [HUGE, 1, 1]}),
    "outer sum": ([make_node("Add", ["v", "w"], ["b"])], {"v": normal(50_000), "w": normal(50_000, 1)}),
    "outer minimum": ([make_node("Min", ["v", "w"], ["b"])], {"v": normal(50_000), "w": normal(50_000, 1)}),
    "outer product": ([make_node("MatMul", ["v", "w"], ["b"])], {"v": normal(50_000, 1), "w": normal(1, 50_000)}),
    "Gather": ([make_node("Gather", ["v", "i"], ["b"])], {"v": normal(1, 50_000), "i": np.zeros(50_000, np.int64)}),
    "Gather data": ([make_node("Gather", ["x", "i"], ["b"], axis=0)], {"i": np.zeros(1 << 20, np.int64)}),
    "many large ones": (
        [make_node("ConstantOfShape", ["n"], ["b" if i == 0 else f"b{i}"]) for i in range(2000)],
        {"n": [1 << 20]},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_bombs_are_refused_before_they_are_made(tmp_path, name):
    nodes, constants = BOMBS[name]
    path = save(tmp_path, [*nodes, make_node("MatMul", ["x", "b"], ["y"])], constants)
    tracemalloc.start()
    try:
        refuse(path, "node ", "elements", "allowed are", "check the export|export a smaller network")
        assert tracemalloc.get_traced_memory()[1] < 1 << 30
    finally:
        tracemalloc.stop()


def test_wide_attention_and_wide_weights_are_bounded(tmp_path):
    nodes, constants = projections(1, "q", "k", "v")
    nodes += [make_node("Transpose", ["k"], ["t"], perm=[0, 2, 1]), make_node("MatMul", ["q", "t"], ["y"], "scores")]
    refuse(save(tmp_path, nodes, constants, (1, 1 << 20, 6)), "'scores'", "elements", "check the export")
    nodes = [make_node("Gather", ["x", "i"], ["c"], axis=2), make_node("MatMul", ["c", "w"], ["y"], "wide")]
    path = save(tmp_path, nodes, {"i": np.zeros(1, np.int64), "w": normal(1, 1 << 16)}, (1, 1, 1 << 16))
    refuse(path, "'wide'", "elements", "check the export")


def test_an_initialiser_that_lies_about_its_size(tmp_path):
    proto = onnx.load(ZOO / "gelu_erf.dynamo18.onnx")
    for dims in ([HUGE], [HUGE, HUGE], [-1, 4], [3]):
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        onnx.save(proto, tmp_path / "x.onnx")
        refuse(tmp_path / "x.onnx", "initialiser|not a valid", "export it again")


def test_function_bombs_are_refused_before_they_are_inlined(tmp_path):
    def function(name: str, calls: str):
        nodes = [make_node(calls, ["a"], ["b"], domain="f"), make_node(calls, ["b"], ["c"], domain="f")]
        return make_function("f", name, ["a"], ["c"], nodes, [make_opsetid("", 20), make_opsetid("f", 1)])

    leaf = make_function("f", "f0", ["a"], ["b"], [make_node("Relu", ["a"], ["b"])], [make_opsetid("", 20)])
    doubling = [leaf, *(function(f"f{i}", f"f{i - 1}") for i in range(1, 41))]
    call = [make_node("f40", ["x"], ["y"], domain="f")]
    refuse(save(tmp_path, call, functions=doubling, domains=["f"]), "nodes; allowed are", "export a smaller network")
    circle = [function("f40", "f41"), function("f41", "f40")]
    refuse(save(tmp_path, call, functions=circle, domains=["f"]), "calls itself", "export without recursion")


def test_local_functions_are_inlined(tmp_path):
    leaf = make_function("f", "act", ["a"], ["b"], [make_node("Relu", ["a"], ["b"])], [make_opsetid("", 20)])
    path = save(
        tmp_path, [LINEAR, make_node("act", ["l"], ["y"], domain="f")], {"w": normal(6, 6)}, (1, 4, 6), [leaf], 20, "f"
    )
    assert [op.kind for op in load_onnx(path).ops] == ["linear", "activation"]


VICTIMS = [
    (ZOO / f"{name}.onnx").read_bytes() for name in ("gelu_tanh.dynamo18", "einsum.legacy17", "classifier.dynamo18")
]


def loads_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        load_onnx(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017, most files are refused and some still load


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(VICTIMS), st.floats(0, 1, exclude_max=True))
def test_cut_files_load_or_are_refused(tmp_path, content, where):
    loads_or_refuses(tmp_path / "x.onnx", content[: int(where * len(content))])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(VICTIMS), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1)
)
def test_flipped_bits_load_or_are_refused(tmp_path, content, flips):
    broken = bytearray(content)
    for where, bits in flips:
        broken[int(where * len(broken))] ^= bits
    loads_or_refuses(tmp_path / "x.onnx", bytes(broken))
