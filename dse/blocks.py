"""The two repeated patterns of an encoder, found in a model: attention blocks and feed-forward pairs; and its parts.

A part is a run of ops with one tensor alive before it and one after it: nothing else crosses, so parts are lowered and
priced one by one, and parts that look alike are priced once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

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


Groups = tuple[Mapping[str, AttentionBlock], Mapping[str, FeedForwardBlock]]
_GROUPS: WeakKeyDictionary[Model, Groups] = WeakKeyDictionary()


def group_heads(model: Model) -> Groups:
    """The attention blocks and the feed-forward pairs of a model by the name of their first op; found once a model."""
    if model not in _GROUPS:
        attentions = {block.ops()[0].name: block for block in attention_blocks(model)}
        _GROUPS[model] = attentions, {block.up.name: block for block in feed_forward_blocks(model)}
    return _GROUPS[model]


@dataclass(frozen=True)
class Part:
    """Consecutive ops; `input` and `output` are the only tensors that cross its borders."""

    ops: tuple[Op, ...]
    input: str
    output: str
    attention: bool
    feed_forward: bool


def parts(model: Model) -> tuple[Part, ...]:
    """The model cut wherever one single tensor is alive, except inside an attention block or a feed-forward pair."""
    last = {name: index for index, op in enumerate(model.ops) for name in op.inputs} | {model.output: len(model.ops)}
    ends = _group_ends(model)
    found: list[Part] = []
    first, entry, alive, closed = 0, model.input, {model.input}, -1
    for index, op in enumerate(model.ops):
        closed = max(closed, ends.get(op.name, -1))
        alive = {name for name in (*alive, *op.outputs) if last.get(name, -1) > index}
        if len(alive) == 1 and index >= closed:
            (leave,) = alive
            found.append(_part(model, model.ops[first : index + 1], entry, leave))
            first, entry = index + 1, leave
    return tuple(found)


def _group_ends(model: Model) -> dict[str, int]:
    """First op of a group -> the position of its last op."""
    position = {op.name: index for index, op in enumerate(model.ops)}
    return {
        name: max(position[op.name] for op in block.ops())
        for group in group_heads(model)
        for name, block in group.items()
    }


def _part(model: Model, ops: tuple[Op, ...], entry: str, leave: str) -> Part:
    names = {op.name for op in ops}
    attentions, pairs = group_heads(model)
    return Part(ops, entry, leave, bool(names & attentions.keys()), bool(names & pairs.keys()))
