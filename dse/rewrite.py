"""float Model + form -> float Model with fused attention weights: the only code that changes a network's numbers.

QK: scores = (X·A + c)·Xᵀ with A_h = W_Q,hᵀ·W_K,h and c_h = b_Q,h·W_K,h; terms constant along a row vanish in the softmax, so
b_K drops and b_Q survives. VO: out = Σ_h softmax_h·(X·VO_h) + b_O + Σ_h W_O,h·b_V,h, since softmax rows sum to one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dse.blocks import AttentionBlock, attention_blocks
from dse.ir import Array, Model, Op, Tensor

FORMS = ("none", "qk", "vo", "qkvo")



def forms(model: Model) -> tuple[str, ...]:
    """The forms a float model can take."""
    return FORMS if attention_blocks(model) else FORMS[:1]


def rewrite(model: Model, form: str) -> Model:
    """The model with every attention in that form; the float output is the same up to rounding."""
    if form not in forms(model):
        raise ValueError(f"{model.name}: form {form!r} is not possible; allowed: {', '.join(forms(model))}")
    for block in attention_blocks(model):
        if form in ("qk", "qkvo"):
            model = _fuse_qk(model, block)
        if form in ("vo", "qkvo"):
            model = _fuse_vo(model, next(b for b in attention_blocks(model) if b.probs.name == block.probs.name))
    return replace(model, form=form)


def _weights(model: Model, op: Op, heads: int) -> tuple[Array, Array]:
    """(w (h, p, k), b (h, p)) of a projection."""
    w = model.constants[op.constant("w")].astype(np.float64)
    b = model.constants[op.constant("b")] if "b" in dict(op.constants) else np.zeros(len(w))
    return w.reshape(heads, -1, w.shape[1]), b.astype(np.float64).reshape(heads, -1)


def _sibling(name: str, last: str) -> str:
    return f"{name.rsplit('.', 1)[0]}.{last}" if "." in name else last


def _fuse_qk(model: Model, block: AttentionBlock) -> Model:
    if block.key is None:
        return model
    heads = block.probs.integer("heads")
    (wq, bq), (wk, _) = _weights(model, block.query, heads), _weights(model, block.key, heads)
    a = np.einsum("hpk,hpe->hek", wq, wk)  # G_h = X·A_h: output channel e, input channel k
    c = np.einsum("hp,hpe->he", bq, wk)
    name = _sibling(block.query.name, "g")
    g = Op("linear", name, block.query.inputs, (name,), (("w", f"{name}.w"), ("b", f"{name}.b")))
    attributes = tuple((k, 1 if k == "shared_keys" else v) for k, v in block.probs.attributes)
    probs = replace(block.probs, inputs=(name, block.input), attributes=attributes)
    s = model.tensors[block.input].shape[0]
    constants = {f"{name}.w": a.reshape(-1, a.shape[2]), f"{name}.b": c.reshape(-1)}
    return _replace(model, {block.query: g, block.key: None, block.probs: probs}, (s, len(c.reshape(-1))), constants)


def _fuse_vo(model: Model, block: AttentionBlock) -> Model:
    if block.output is None:
        return model
    heads = block.probs.integer("heads")
    wv, bv = _weights(model, block.value, heads)
    wo = model.constants[block.output.constant("w")].astype(np.float64)
    split = wo.reshape(len(wo), heads, -1)
    roles = dict(block.output.constants)
    bias = model.constants[roles["b"]].astype(np.float64) if "b" in roles else np.zeros(len(wo))
    name, total = _sibling(block.value.name, "u"), _sibling(block.attend.name, "attend_sum")
    u = Op("linear", name, block.value.inputs, (name,), (("w", f"{name}.w"),))
    merged = Op(
        "attend_sum",
        total,
        (block.attend.inputs[0], name),
        block.output.outputs,
        (("b", f"{total}.b"),),
        (("heads", heads),),
    )
    vo = np.einsum("ohp,hpk->hok", split, wv)
    constants = {f"{name}.w": vo.reshape(-1, vo.shape[2]), f"{total}.b": bias + np.einsum("ohp,hp->o", split, bv)}
    s = model.tensors[block.input].shape[0]
    return _replace(
        model, {block.value: u, block.attend: None, block.output: merged}, (s, heads * len(wo)), constants
    )


def _replace(
    model: Model, changes: dict[Op, Op | None], shape: tuple[int, int], constants: dict[str, Array]
) -> Model:
    """The model with ops exchanged or (None) removed; tensors and constants nobody uses any more are dropped."""
    ops = tuple(new for op in model.ops if (new := changes.get(op, op)) is not None)
    tensors = dict(model.tensors)
    for op in changes.values():
        if op is not None and op.kind == "linear":
            tensors[op.outputs[0]] = Tensor(op.outputs[0], shape)
    kept = {model.input, *(name for op in ops for name in op.outputs)}
    every = dict(model.constants) | constants
    used = {name for op in ops for _, name in op.constants}
    return replace(
        model,
        ops=ops,
        tensors={name: tensor for name, tensor in tensors.items() if name in kept},
        constants={name: array for name, array in every.items() if name in used},
    )
