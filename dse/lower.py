"""int8 Model + Schedule + Target -> Program: the one place where a schedule becomes loops, buffers and offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dse.alloc import live_spans, place_buffers
from dse.blocks import Part, group_heads
from dse.builder import Asked, Builder
from dse.cluster import share_work
from dse.fetch import fetch_constants, head_start, load_constants, walk_columns
from dse.ir import Model, Op
from dse.kernel import Kernel, Variants, variants_by_op
from dse.knobs import place
from dse.linear_calls import call_linear, call_output_rows, output_home, output_ops, weights_of
from dse.lower_attention import lower_attention
from dse.program import Affine, Buffer, Pointer, Program, affine
from dse.schedule import Schedule
from dse.target import Target
from dse.tiles import tile_stages

CODE_BYTES = 1 << 16  # of the flash, about, for everything but constants


def lower(model: Model, schedule: Schedule, target: Target, kernels: Mapping[str, Kernel]) -> Program:
    """The program that runs `model` as `schedule` says, buffers placed in the RAM of `target`.

    ValueError when model and schedule are of different forms or a kernel variant does not exist.
    """
    variants = variants_by_op(kernels, target.isa)
    build = _lower_ops(model, model.ops, model.input, schedule, target, variants)
    spans = live_spans(build.stages, build.tensor(model.input).base, build.tensor(model.output).base)
    roles = {buffer.name: buffer.role for buffer in build.buffers.values()}
    wanted = place.preferences(schedule.place, roles, [region.name for region in target.near()])
    near = tuple(buffer for buffer in build.buffers.values() if not buffer.region)
    buffers = place_buffers(near, spans, target.near(), wanted)
    if (region := target.far()) is not None:
        buffers += place_buffers(tuple(b for b in build.buffers.values() if b.region), spans, (region,), {})
    return _program(build, model.input, model.output, buffers, target.name, schedule.digest())


def fits_flash(model: Model, target: Target) -> bool:
    """Whether the flash holds all constants of the whole model beside the code."""
    return sum(values.nbytes for values in model.constants.values()) + CODE_BYTES <= target.flash_bytes()


@dataclass(frozen=True)
class LoweredPart:
    """The stages that `lower` makes of one part, as a program from the part's input to its output.

    Nothing is placed: no buffer has a region or an offset. The program carries no digest. sizes: bytes of the buffers that
    grow with the row steps, in terms of the symbols of their loops. asked: (kernel op, model op) -> the rival kernels.
    alike: every rival's program is this one, but for the names of the kernels and the size of their scratch.
    """

    program: Program
    sizes: Mapping[str, Affine]
    asked: Mapping[tuple[str, str], Asked]
    alike: bool


def lower_part(
    model: Model,
    part: Part,
    schedule: Schedule,
    target: Target,
    variants: Variants,
    rivals: Mapping[str, Sequence[str]] | None = None,
) -> LoweredPart:
    """One part under a schedule; rivals: family -> variants to be priced beside the schedule's own, which is the first."""
    build = _lower_ops(model, part.ops, part.input, schedule, target, variants, rivals)
    program = _program(build, part.input, part.output, tuple(build.buffers.values()), target.name, "")
    return LoweredPart(program, build.sizes, build.asked, not build.apart)


def _lower_ops(
    model: Model,
    ops: Sequence[Op],
    entry: str,
    schedule: Schedule,
    target: Target,
    variants: Variants,
    rivals: Mapping[str, Sequence[str]] | None = None,
) -> Builder:
    if model.form != schedule.form:
        raise ValueError(f"schedule of form {schedule.form!r} for a model of form {model.form!r}")
    build = Builder(model, schedule, variants, entry, rivals)
    attentions, pairs = group_heads(model)
    for op in ops:
        if op.name in build.done:
            continue
        if op.name in attentions:
            lower_attention(build, attentions[op.name])
        elif op.name in pairs and schedule.feed_forward.rows:
            block = pairs[op.name]
            _feed_forward(build, block.up, block.activation, block.down)
        else:
            _LOWER[op.kind](build, op)
    far = target.far()
    if schedule.tiles and far is not None:
        build.stages = tile_stages(build.stages, build.buffers, schedule.tiles, far.name, build.scratch_bytes)
    if target.is_cluster:
        build.stages = build.stages if schedule.tiles else walk_columns(build.stages)
        if entry == model.input and not schedule.tiles:
            build.stages, build.constants = head_start(build.stages, build.constants, target.cores)
        build.stages = share_work(build.stages, build.buffers, target.cores, schedule.split, build.scratch_bytes)
        limits = target.cluster.most_copy_bytes, target.cluster.most_copies
        build.stages, build.constants = fetch_constants(build.stages, build.buffers, build.constants, *limits)
        if (external := target.external()) is not None and far is not None and not fits_flash(model, target):
            moved = load_constants(build.stages, build.buffers, build.constants, external.name, far.name)
            build.stages, build.constants = moved
    return build


def _program(build: Builder, entry: str, leave: str, buffers: Sequence[Buffer], target: str, digest: str) -> Program:
    model, source, result = build.model, build.tensor(entry), build.tensor(leave)
    ends = {source.base: "input", result.base: "output"}
    return Program(
        model=model.name,
        form=model.form,
        target=target,
        schedule_digest=digest,
        input=source,
        input_bytes=model.tensors[entry].size_bytes,
        output=result,
        output_bytes=model.tensors[leave].size_bytes,
        buffers=tuple(replace(b, role=ends[b.name]) if b.name in ends else b for b in buffers),
        constants=tuple(build.constants.values()),
        stages=tuple(build.stages),
        code=build.schedule.code,
    )


def _linear(build: Builder, op: Op) -> None:
    with build.stage(op.name, *output_ops(build, op)):
        call_output_rows(
            build, op, build.rows(op.inputs[0]), build.shape(op.outputs[0])[0], affine(0), output_home(build, op)
        )


def _call_lut(build: Builder, op: Op, x: Pointer, y: Pointer, count: Affine) -> None:
    table = build.constant(f"{op.name}.table", build.model.constants[op.constant("table")])
    build.call(build.choose("lut", "vector"), op, x=x, table=table, y=y, n=count)


def _feed_forward(build: Builder, up: Op, act: Op, down: Op) -> None:
    """The depth-first pair: the hidden tensor exists for one row step at a time."""
    tokens, hidden = build.shape(up.outputs[0])
    step = min(build.schedule.feed_forward.rows, tokens)
    source, target = build.rows(up.inputs[0]), output_home(build, down)
    slab = build.new_matrix(f"{up.outputs[0]}.rows", step, hidden, "hidden", panels=False)
    weights = weights_of(build, up, build.choose("linear_rows", "linear", bound=build.bound(up)))
    ops = up, act, *output_ops(build, down)
    with build.stage(f"{up.name}+{down.name}", *ops), build.loop("row", tokens, step) as (row, row_n):
        call_linear(build, up, weights, source.at(row), source, slab.at(), row_n, hidden)
        _call_lut(build, act, slab.at(), slab.at(), row_n * hidden)
        call_output_rows(build, down, slab, row_n, row, target)


def _layernorm(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.inputs[0])
    source = build.tensor(op.inputs[0])
    target = build.overwrite_or_new(op, op.inputs[0])
    with build.stage(op.name, op):
        build.call(
            build.choose("layernorm", "vector"),
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
        _call_lut(build, op, source, target, affine(tokens * width))


def _add(build: Builder, op: Op) -> None:
    tokens, width = build.shape(op.outputs[0])
    left = build.tensor(op.inputs[0])
    if len(op.inputs) == 2:
        right = build.tensor(op.inputs[1])
    else:
        right = build.constant(op.constant("b"), build.model.constants[op.constant("b")])
    target = build.overwrite_or_new(op, *op.inputs)
    with build.stage(op.name, op):
        build.call(
            build.choose("add", "vector"),
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
            build.choose("mean", "vector"),
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
