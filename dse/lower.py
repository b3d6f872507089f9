"""int8 Model + Schedule + Target -> Program: the one place where a schedule becomes loops, buffers and offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dse.alloc import live_spans, place_buffers
from dse.blocks import Part, group_heads
from dse.builder import Builder
from dse.ir import Model, Op
from dse.kernel import Kernel
from dse.knobs import place
from dse.lower_attention import lower_attention
from dse.program import Buffer, Program, affine
from dse.schedule import Schedule
from dse.target import Target


def lower(model: Model, schedule: Schedule, target: Target, kernels: Mapping[str, Kernel]) -> Program:
    """The program that runs `model` as `schedule` says, buffers placed in the RAM of `target`.

    ValueError when model and schedule are of different forms or a kernel variant does not exist.
    """
    build = _lower_ops(model, model.ops, model.input, schedule, kernels)
    source, result = build.tensor(model.input), build.tensor(model.output)
    spans = live_spans(build.stages, source.base, result.base)
    wanted = _preferences(schedule, target, build.buffers)
    buffers = place_buffers(tuple(build.buffers.values()), spans, target.ram(), wanted)
    return _program(build, model.input, model.output, buffers, target.name, schedule.digest())


def lower_part(model: Model, part: Part, schedule: Schedule, kernels: Mapping[str, Kernel], region: str) -> Program:
    """The stages that `lower` makes of one part, as a program from the part's input to its output.

    Nothing is placed: every buffer names `region` and has no offset. The program carries no target and no digest.
    """
    build = _lower_ops(model, part.ops, part.input, schedule, kernels)
    buffers = [Buffer(b.name, b.size_bytes, b.role, b.dtype, region) for b in build.buffers.values()]
    return _program(build, part.input, part.output, buffers, "", "")


def _lower_ops(
    model: Model, ops: Sequence[Op], entry: str, schedule: Schedule, kernels: Mapping[str, Kernel]
) -> Builder:
    if model.form != schedule.form:
        raise ValueError(f"schedule of form {schedule.form!r} for a model of form {model.form!r}")
    build = Builder(model, schedule, kernels, entry)
    attentions, pairs = group_heads(model)
    done: set[str] = set()
    for op in ops:
        if op.name in done:
            continue
        if op.name in attentions:
            lower_attention(build, attentions[op.name])
            done.update(part.name for part in attentions[op.name].ops())
        elif op.name in pairs and schedule.feed_forward.rows:
            block = pairs[op.name]
            _feed_forward(build, block.up, block.activation, block.down)
            done.update(part.name for part in block.ops())
        else:
            _LOWER[op.kind](build, op)
    return build


def _program(
    build: Builder, entry: str, leave: str, buffers: Sequence[Buffer], target: str, digest: str
) -> Program:
    model, source, result = build.model, build.tensor(entry), build.tensor(leave)
    roles = {source.base: "input", result.base: "output"}
    return Program(
        model=model.name,
        form=model.form,
        target=target,
        schedule_digest=digest,
        input=source,
        input_bytes=model.tensors[entry].size_bytes,
        output=result,
        output_bytes=model.tensors[leave].size_bytes,
        buffers=tuple(replace(b, role=roles[b.name]) if b.name in roles else b for b in buffers),
        constants=tuple(build.constants.values()),
        stages=tuple(build.stages),
    )


def _preferences(schedule: Schedule, target: Target, buffers: Mapping[str, Buffer]) -> dict[str, str]:
    ram = target.ram()
    if len(ram) < 2:
        return {}
    roles = place.PLACES[schedule.place]
    return {name: ram[1].name for name, b in buffers.items() if "*" in roles or b.role in roles}


def _linear(build: Builder, op: Op) -> None:
    tokens, columns = build.shape(op.outputs[0])
    target = build.new_tensor(op.outputs[0])
    with build.stage(op.name, op):
        build.linear("rows", op, build.tensor(op.inputs[0]), target, rows=tokens, out_stride=columns)


def _feed_forward(build: Builder, up: Op, act: Op, down: Op) -> None:
    """The depth-first pair: the hidden tensor exists for one row step at a time."""
    (tokens, width), hidden = build.shape(up.inputs[0]), build.shape(up.outputs[0])[1]
    step = min(build.schedule.feed_forward.rows, tokens)
    source, target = build.tensor(up.inputs[0]), build.new_tensor(down.outputs[0])
    out_width = build.shape(down.outputs[0])[1]
    slab = build.new(f"{up.outputs[0]}.rows", step * hidden, "hidden")
    with build.stage(f"{up.name}+{down.name}", up, act, down), build.loop("row", tokens, step) as (row, row_n):
        build.linear("rows", up, build.at(source, row * width), slab, rows=row_n, out_stride=hidden)
        build.lut(act, slab, slab, row_n * hidden)
        build.linear("rows", down, slab, build.at(target, row * out_width), rows=row_n, out_stride=out_width)


def _layernorm(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.inputs[0])
    source = build.tensor(op.inputs[0])
    target = build.overwrite_or_new(op, op.inputs[0])
    with build.stage(op.name, op):
        build.call(
            "layernorm",
            op,
            x=source,
            channel=build.records(op.name, op, ("mult", "round"), width),
            y=target,
            m=tokens,
            n=width,
            x_stride=width,
            y_stride=width,
            epsilon=op.integer("epsilon"),
            guard=op.integer("guard"),
            shift=op.integer("shift"),
        )


def _activation(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.inputs[0])
    source = build.tensor(op.inputs[0])
    target = build.overwrite_or_new(op, op.inputs[0])
    with build.stage(op.name, op):
        build.lut(op, source, target, affine(tokens * width))


def _add(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.outputs[0])
    left = build.tensor(op.inputs[0])
    if len(op.inputs) == 2:
        right = build.tensor(op.inputs[1])
    else:
        right = build.constant(op.constant("b"), lambda: build.model.constants[op.constant("b")])
    target = build.overwrite_or_new(op, *op.inputs)
    with build.stage(op.name, op):
        build.call(
            "add",
            op,
            a=left,
            b=right,
            y=target,
            n=tokens * width,
            mult_a=op.integer("mult_a"),
            mult_b=op.integer("mult_b"),
            round=op.integer("round"),
            shift=op.integer("shift"),
        )


def _mean(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.inputs[0])
    source, target = build.tensor(op.inputs[0]), build.new_tensor(op.outputs[0])
    with build.stage(op.name, op):
        build.call(
            "mean",
            op,
            x=source,
            y=target,
            m=tokens,
            n=width,
            x_stride=width,
            mult=op.integer("mult"),
            round=op.integer("round"),
            shift=op.integer("shift"),
        )


_LOWER = {"linear": _linear, "layernorm": _layernorm, "activation": _activation, "add": _add, "mean": _mean}
