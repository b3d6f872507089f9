"""A trained encoder -> its first attention or first encoder block alone, with the samples that reach it."""

from __future__ import annotations

from dataclasses import replace

from dse import ops
from dse.blocks import attention_blocks, feed_forward_blocks
from dse.ir import Array, Model, Op


def cut(model: Model, samples: Array, scope: str) -> tuple[Model, Array]:
    """(part of the float model, its inputs (count, s, e) float32 computed from `samples`); ValueError when it has none.

    scope: "mhsa" = the first attention with its projections; "block" = from the residual around that attention to the
    end of the feed-forward residual, LayerNorms included.
    """
    attentions = attention_blocks(model)
    if not attentions:
        raise ValueError(f"--scope {scope}: {model.name} has no attention; leave --scope away")
    first = attentions[0]
    source, result = (first.input, first.result) if scope == "mhsa" else _block(model, first.input, first.result)
    kept = _between(model, source, result)
    tensors = {name: model.tensors[name] for name in (source, *(name for op in kept for name in op.outputs))}
    constants = {name: model.constants[name] for op in kept for _, name in op.constants}
    part = Model(f"{model.name}-{scope}", source, result, kept, tensors, constants)
    inputs = ops.run_batch(replace(model, output=source), samples) if source != model.input else samples
    return part, inputs.astype("float32")


def _block(model: Model, read: str, result: str) -> tuple[str, str]:
    """(input, output) of the encoder block around an attention that reads `read` and writes `result`."""
    around = _residual(model, result)
    source = next(name for name in around.inputs if name != result)
    pair = next((pair for pair in feed_forward_blocks(model) if _after(model, around, pair.up)), None)
    if pair is None:
        raise ValueError(f"--scope block: no feed-forward pair follows {around.name}; take --scope mhsa or encoder")
    end = _residual(model, pair.down.outputs[0]).outputs[0]
    readers = model.consumers(end)
    if read == source and len(readers) == 1 and readers[0].kind == "layernorm":  # post-norm: the norm closes the block
        end = readers[0].outputs[0]
    return source, end


def _residual(model: Model, tensor: str) -> Op:
    readers = model.consumers(tensor)
    if len(readers) != 1 or readers[0].kind != "add":
        raise ValueError(f"--scope block: no residual adds {tensor}; take --scope mhsa or encoder")
    return readers[0]


def _after(model: Model, first: Op, second: Op) -> bool:
    return model.ops.index(first) < model.ops.index(second)


def _between(model: Model, source: str, result: str) -> tuple[Op, ...]:
    """The ops that lead from one tensor to the other, in order."""
    wanted, kept = {result}, []
    for op in reversed(model.ops):
        if wanted.intersection(op.outputs) and source not in op.outputs:
            kept.append(op)
            wanted.update(op.inputs)
    return tuple(reversed(kept))
