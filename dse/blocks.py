"""The two repeated patterns of an encoder, found in a model: attention blocks and feed-forward pairs."""

from __future__ import annotations

from dataclasses import dataclass

from dse.ir import Model, Op


@dataclass(frozen=True)
class AttentionBlock:
    """The ops of one attention. Fused forms lack `key` (QK: the layer input serves as keys) and `output` (VO)."""

    query: Op
    key: Op | None
    value: Op
    probs: Op
    attend: Op
    output: Op | None

    def ops(self) -> tuple[Op, ...]:
        """The ops present, in the order of the model."""
        parts = (self.query, self.key, self.value, self.probs, self.attend, self.output)
        return tuple(op for op in parts if op is not None)

    @property
    def input(self) -> str:
        """Tensor read by the projections."""
        return self.query.inputs[0]

    @property
    def result(self) -> str:
        """Tensor the block writes."""
        return (self.output or self.attend).outputs[0]


@dataclass(frozen=True)
class FeedForwardBlock:
    """linear → activation → linear, the hidden tensor read by nobody else."""

    up: Op
    activation: Op
    down: Op

    def ops(self) -> tuple[Op, ...]:
        """The three ops."""
        return (self.up, self.activation, self.down)


def attention_blocks(model: Model) -> tuple[AttentionBlock, ...]:
    """Every attention of the model, in order; ValueError when probs is not fed by a projection."""
    return tuple(_attention(model, op) for op in model.ops if op.kind == "probs")


def _attention(model: Model, probs: Op) -> AttentionBlock:
    query = _producer(model, probs, probs.inputs[0])
    key = None if probs.integer("shared_keys") else _producer(model, probs, probs.inputs[1])
    (attend,) = model.consumers(probs.outputs[0])
    value = _producer(model, attend, attend.inputs[-1])
    output = None
    if attend.kind == "attend":
        (output,) = model.consumers(attend.outputs[0])
        if output.kind != "linear":
            raise ValueError(f"{output.name}: {attend.name} must feed the output projection, a linear op")
    return AttentionBlock(query, key, value, probs, attend, output)


def _producer(model: Model, reader: Op, tensor: str) -> Op:
    op = model.producer(tensor)
    if op is None or op.kind != "linear":
        raise ValueError(f"{reader.name}: operand {tensor} must come from a linear op")
    return op


def feed_forward_blocks(model: Model) -> tuple[FeedForwardBlock, ...]:
    """Every linear → activation → linear of the model, in order."""
    found = []
    for act in model.ops:
        if act.kind != "activation":
            continue
        up, readers = model.producer(act.inputs[0]), model.consumers(act.outputs[0])
        if up is None or up.kind != "linear" or len(model.consumers(up.outputs[0])) != 1:
            continue
        if len(readers) == 1 and readers[0].kind == "linear" and act.outputs[0] != model.output:
            found.append(FeedForwardBlock(up, act, readers[0]))
    return tuple(found)
