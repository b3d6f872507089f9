"""float Model + form -> float Model with fused attention weights: the only code that changes a network's numbers.

QK: scores = (X·A + c)·Xᵀ with A_h = W_Q,hᵀ·W_K,h and c_h = b_Q,h·W_K,h; what is constant along a row vanishes in the
softmax, so b_K drops and b_Q survives. VO: out = Σ_h softmax_h·(X·VO_h) + b_O + Σ_h W_O,h·b_V,h, since rows of the
softmax sum to one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dse.blocks import AttentionBlock, attention_blocks
from dse.ir import Array, Model, Op, Tensor

FORMS = ("none", "qk", "vo", "qkvo")


def forms(model: Model) -> tuple[str, ...]:
    """The forms the model can take: a subset of FORMS for a plain float model, else just the form it has.

    A side is legal when every attention allows it: its projections read one tensor and have no other reader.
    """
    if model.quantised or model.form != "none":
        return (model.form,)
    try:
        blocks = attention_blocks(model)
    except ValueError:  # an attention that is no projection–softmax–projection pattern stays as it is
        return ("none",)
    qk = bool(blocks) and all(_allows_qk(model, block) for block in blocks)
    vo = bool(blocks) and all(_allows_vo(model, block) for block in blocks)
    legal = {"none": True, "qk": qk, "vo": vo, "qkvo": qk and vo}
    return tuple(form for form in FORMS if legal[form])


def rewrite(model: Model, form: str) -> Model:
    """The model with every attention in that form; the float output is the same up to rounding."""
    if form == model.form:
        return model
    allowed = forms(model)
    if form not in allowed:
        why = "an int8 model" if model.quantised else f"form {model.form!r}"
        raise ValueError(
            f"{model.name}: form {form!r} is not possible from {why}; allowed: {', '.join(allowed)} "
            "(rewrite the float model, before quantisation)"
        )
    names = [block.probs.name for block in attention_blocks(model)]
    for name in names:
        if form in ("qk", "qkvo"):
            model = _fuse_qk(model, _block(model, name))
        if form in ("vo", "qkvo"):
            model = _fuse_vo(model, _block(model, name))
    return replace(model, form=form)


def _block(model: Model, probs: str) -> AttentionBlock:
    return next(block for block in attention_blocks(model) if block.probs.name == probs)


def _private(model: Model, op: Op, reader: Op) -> bool:
    """True when `reader` alone reads what `op` writes, so that both can be replaced together."""
    (tensor,) = op.outputs[:1]
    return model.consumers(tensor) == (reader,) and tensor != model.output


def _allows_qk(model: Model, block: AttentionBlock) -> bool:
    query, key = block.query, block.key
    if key is None or key == query or key.inputs != query.inputs:
        return False
    return _private(model, query, block.probs) and _private(model, key, block.probs)


def _allows_vo(model: Model, block: AttentionBlock) -> bool:
    if block.output is None or block.value.inputs != block.query.inputs:
        return False
    return _private(model, block.value, block.attend) and _private(model, block.attend, block.output)


def _weights(model: Model, op: Op, heads: int) -> tuple[Array, Array]:
    """(w (h, p, k), b (h, p)) of a projection, float64."""
    w = model.constants[op.constant("w")].astype(np.float64)
    return w.reshape(heads, -1, w.shape[1]), _bias(model, op, len(w)).reshape(heads, -1)


def _bias(model: Model, op: Op, width: int) -> Array:
    """The bias (n,) of a linear op, zeros when it has none, float64."""
    roles = dict(op.constants)
    return model.constants[roles["b"]].astype(np.float64) if "b" in roles else np.zeros(width)


def _sibling(model: Model, name: str, last: str) -> str:
    """`name` with its last part exchanged, numbered when something of that name exists."""
    wanted = f"{name.rsplit('.', 1)[0]}.{last}" if "." in name else last
    taken = {op.name for op in model.ops} | set(model.tensors)
    return next(n for n in (wanted, *(f"{wanted}{i}" for i in range(len(taken)))) if n not in taken)


def _fuse_qk(model: Model, block: AttentionBlock) -> Model:
    """Query and key projections become G = X·A + c of (h·e) columns; X itself serves as the keys of every head."""
    assert block.key is not None
    heads = block.probs.integer("heads")
    (wq, bq), (wk, _) = _weights(model, block.query, heads), _weights(model, block.key, heads)
    a = np.einsum("hpk,hpe->hek", wq, wk)  # column (h, e) of G, depth k
    c = np.einsum("hp,hpe->he", bq, wk)
    name = _sibling(model, block.query.name, "g")
    g = Op("linear", name, block.query.inputs, (name,), (("w", f"{name}.w"), ("b", f"{name}.b")))
    attributes = tuple((key, 1 if key == "shared_keys" else value) for key, value in block.probs.attributes)
    probs = replace(block.probs, inputs=(name, block.input), attributes=attributes)
    constants = {f"{name}.w": a.reshape(-1, a.shape[2]), f"{name}.b": c.reshape(-1)}
    return _replace(model, {block.query: g, block.key: None, block.probs: probs}, constants)


def _fuse_vo(model: Model, block: AttentionBlock) -> Model:
    """The value projection becomes U = X·VO of (h·n) columns; attend_sum replaces attend and the output projection."""
    assert block.output is not None
    heads = block.probs.integer("heads")
    wv, bv = _weights(model, block.value, heads)
    wo = model.constants[block.output.constant("w")].astype(np.float64)
    shares = wo.reshape(len(wo), heads, -1)
    vo = np.einsum("ohp,hpk->hok", shares, wv)
    b = _bias(model, block.output, len(wo)) + np.einsum("ohp,hp->o", shares, bv)
    name = _sibling(model, block.value.name, "u")
    total = _sibling(model, block.attend.name, "attend_sum")
    u = Op("linear", name, block.value.inputs, (name,), (("w", f"{name}.w"),))
    merged = Op(
        kind="attend_sum",
        name=total,
        inputs=(block.attend.inputs[0], name),
        outputs=block.output.outputs,
        constants=(("b", f"{total}.b"),),
        attributes=(("heads", heads),),
    )
    constants = {f"{name}.w": vo.reshape(-1, vo.shape[2]), f"{total}.b": b}
    return _replace(model, {block.value: u, block.attend: None, block.output: merged}, constants)


def _replace(model: Model, changes: dict[Op, Op | None], constants: dict[str, Array]) -> Model:
    """The model with ops exchanged or (None) removed; tensors and constants nobody uses any more are dropped."""
    ops = tuple(new for op in model.ops if (new := changes.get(op, op)) is not None)
    every = dict(model.constants) | constants
    tensors = dict(model.tensors)
    for op in changes.values():
        if op is not None and op.kind == "linear":
            rows = tensors[op.inputs[0]].shape[0]
            tensors[op.outputs[0]] = Tensor(op.outputs[0], (rows, len(every[op.constant("w")])))
    kept = {model.input, *(name for op in ops for name in op.outputs)}
    used = {name for op in ops for _, name in op.constants}
    return replace(
        model,
        ops=ops,
        tensors={name: tensor for name, tensor in tensors.items() if name in kept},
        constants={name: array for name, array in every.items() if name in used},
    )
