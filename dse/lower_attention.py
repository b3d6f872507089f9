"""One attention block -> loops: layer by layer, or depth-first over query rows, in any of the four fused forms."""

from __future__ import annotations

from dataclasses import dataclass

from dse.attention_calls import AttentionCalls
from dse.blocks import AttentionBlock
from dse.builder import Builder, Matrix
from dse.ir import Op
from dse.linear_calls import output_ops
from dse.program import Affine, Pointer, affine


def lower_attention(build: Builder, block: AttentionBlock) -> None:
    """Record the stages of one attention block."""
    heads, tile = block.probs.integer("heads"), build.schedule.attention.heads
    if tile < 1 or heads % tile:
        raise ValueError(f"{block.probs.name}: head tile {tile} must divide the {heads} heads")
    calls = AttentionCalls(build, block)
    calls.prepare()
    if calls.choice.outer == "rows":
        _rows_outer(calls)
    elif tile == heads:
        _all_heads(calls)
    else:
        _heads_outer(calls)


@dataclass(frozen=True)
class _Sink:
    """Where softmax·V of a row step goes: a context (rows or panels), or int32 accumulators of output rows."""

    calls: AttentionCalls
    context: Matrix | None
    accumulators: Pointer | None

    @property
    def stride(self) -> int:
        return 4 * self.calls.shape.out if self.context is None else self.context.stride

    def at(self, row: Affine, local: Affine) -> Pointer:
        """The place of a head (counted in the context) and row."""
        if self.context is not None:
            return self.context.at(row, local * self.calls.shape.value_pad)
        assert self.accumulators is not None
        return self.calls.build.at(self.accumulators, row * self.stride)


def _output_ops(calls: AttentionCalls) -> tuple[Op, ...]:
    """The ops of the output side: none in the VO form, the residual add too when the projection takes it over."""
    if calls.block.output is None:
        return ()
    fused = calls.choice.output != "accumulate"
    return output_ops(calls.build, calls.block.output) if fused else (calls.block.output,)


def _all_heads(calls: AttentionCalls) -> None:
    """All heads alive: projections are stages of their own; the attention is layer-wise or one depth-first group."""
    build, block, choice, shape = calls.build, calls.block, calls.choice, calls.shape
    every, zero = affine(shape.heads), affine(0)
    if choice.query == "ahead":
        with build.stage(block.query.name, block.query):
            calls.project_queries(zero, every, zero, affine(shape.s))
    if block.key is not None:
        with build.stage(block.key.name, block.key):
            calls.project_keys(zero, every)
    if choice.rows == 0:
        _layer_wise(calls)
        return
    with build.stage(block.value.name, block.value):
        calls.project_values(zero, every)
    output_inside = choice.output == "rows" or block.output is None
    query = (block.query,) if choice.query == "rows" else ()
    outputs = _output_ops(calls)
    with build.stage(f"{calls.name}.group", *query, block.probs, block.attend, *(outputs if output_inside else ())):
        sink = _sink(calls, shape.s if choice.output == "after" and block.output else calls.step_rows())
        with build.loop("row", shape.s, calls.rows) as (row, row_n):
            if query:
                calls.project_queries(zero, every, row, row_n)
            _row_step(calls, sink, row, row_n)
    if not output_inside and sink.context is not None:
        with build.stage(outputs[0].name, *outputs):
            calls.project_output(sink.context, 0, zero, affine(shape.s))


def _sink(calls: AttentionCalls, rows: Affine | int) -> _Sink:
    """The context of every head of the block or, fused VO, accumulators."""
    if calls.block.output is None:
        return _Sink(calls, None, calls.new_accumulators(rows))
    return _Sink(calls, calls.new_context(rows, calls.shape.heads), None)


def _row_step(calls: AttentionCalls, sink: _Sink, row: Affine, row_n: Affine) -> None:
    """All heads of one row step, then what of the output side belongs to the step."""
    if sink.accumulators is not None:
        calls.zero(sink.accumulators, row_n)
    whole = calls.choice.output == "after" and sink.context is not None
    _map_heads(calls, sink, row if whole else affine(0), row, row_n, affine(0), affine(calls.shape.heads), affine(0))
    if sink.accumulators is not None:
        calls.narrow(sink.accumulators, row, row_n)
    elif not whole and sink.context is not None:
        calls.project_output(sink.context, 0, row, row_n)


def _map_heads(
    calls: AttentionCalls,
    sink: _Sink,
    sink_row: Affine,
    row: Affine,
    row_n: Affine,
    head: Affine,
    head_n: Affine,
    sink_head: Affine,
) -> None:
    """Scores–softmax–AV of a head tile, map_rows query rows at a time.

    sink_row, sink_head: where in the sink the step's first row and the tile's first head lie.
    """
    build = calls.build
    name = f"{calls.name}.map"
    if name not in build.buffers:
        calls.new("map", calls.step_map_bytes(), "map", "u8")
        calls.new("sum", calls.step_map_rows() * 4, "sum", "s32")
    e, sums = Pointer(name), Pointer(f"{calls.name}.sum")
    with build.loop("sub", row_n, calls.map_rows) as (sub, sub_n), calls.each_head(head_n) as (one, values):
        first = sub if calls.choice.query == "rows" else row + sub
        calls.probs(e, sums, first, head + one, one, sub_n)
        calls.attend(e, sums, values, sink.at(sink_row + sub, sink_head + one), sink.stride, head + one, sub_n)


def _layer_wise(calls: AttentionCalls) -> None:
    """Scores and softmax of all heads, then V, then softmax·V: the whole map of every head in memory."""
    build, block, shape = calls.build, calls.block, calls.shape
    every, zero, tokens = affine(shape.heads), affine(0), affine(shape.s)
    e = calls.new("map", shape.heads * calls.map_bytes(shape.s), "map", "u8")
    sums = calls.new("sum", 4 * shape.heads * shape.s, "sum", "s32")
    with build.stage(block.probs.name, block.probs), build.loop("one", shape.heads, 1) as (one, _):
        at = build.at(e, one * calls.map_bytes(shape.s)), build.at(sums, one * (4 * shape.s))
        calls.probs(*at, zero, one, one, tokens)
    with build.stage(block.value.name, block.value):
        calls.project_values(zero, every)
    sink = _sink(calls, shape.s)
    with build.stage(block.attend.name, block.attend):
        if sink.accumulators is not None:
            calls.zero(sink.accumulators, tokens)
        with calls.each_head(every) as (one, values):
            at = build.at(e, one * calls.map_bytes(shape.s)), build.at(sums, one * (4 * shape.s))
            calls.attend(*at, values, sink.at(zero, one), sink.stride, one, tokens)
        if sink.accumulators is not None:
            calls.narrow(sink.accumulators, zero, tokens)
    if sink.context is not None:
        outputs = _output_ops(calls)
        with build.stage(outputs[0].name, *outputs):
            calls.project_output(sink.context, 0, zero, tokens)


def _heads_outer(calls: AttentionCalls) -> None:
    """A tile of heads at a time over all rows; the output is accumulated, or the context kept for all heads."""
    build, block, choice, shape = calls.build, calls.block, calls.choice, calls.shape
    zero, tokens, outputs = affine(0), affine(shape.s), _output_ops(calls)
    accumulate = choice.output == "accumulate" or block.output is None
    if accumulate:
        sink = _Sink(calls, None, calls.new_accumulators(shape.s))
        slab = None if block.output is None else calls.new_context(calls.step_rows(), calls.tile)
    else:
        sink, slab = _sink(calls, shape.s), None
    ops = [op for op in block.ops() if op is not block.output]
    with build.stage(f"{calls.name}.group", *ops, *(outputs if accumulate else ())):
        if sink.accumulators is not None:
            calls.zero(sink.accumulators, tokens)
        with build.loop("head", shape.heads, calls.tile) as (head, _):
            head_n = affine(calls.tile)
            calls.project_keys(head, head_n)
            calls.project_values(head, head_n)
            if choice.query == "ahead":
                calls.project_queries(head, head_n, zero, tokens)
            with build.loop("row", tokens, calls.rows) as (row, row_n):
                if choice.query == "rows":
                    calls.project_queries(head, head_n, row, row_n)
                _tile_rows(calls, sink, slab, row, row_n, head, head_n)
        if sink.accumulators is not None:
            calls.narrow(sink.accumulators, zero, tokens)
    if sink.context is not None:
        with build.stage(outputs[0].name, *outputs):
            calls.project_output(sink.context, 0, zero, tokens)


def _tile_rows(
    calls: AttentionCalls, sink: _Sink, slab: Matrix | None, row: Affine, row_n: Affine, head: Affine, head_n: Affine
) -> None:
    """One row step of a head tile: into a slab that is projected at once, or straight to where the heads collect."""
    zero = affine(0)
    if slab is not None:
        _map_heads(calls, _Sink(calls, slab, None), zero, row, row_n, head, head_n, zero)
        calls.accumulate_output(slab, sink.at(row, zero), head, row_n)
    else:
        _map_heads(calls, sink, row, row, row_n, head, head_n, head)


def _rows_outer(calls: AttentionCalls) -> None:
    """A row step at a time over all head tiles; K and V of a tile are projected again in every step."""
    build, block, choice, shape = calls.build, calls.block, calls.choice, calls.shape
    zero, fused = affine(0), block.output is None
    slab = calls.new_context(calls.step_rows(), calls.tile) if choice.output == "accumulate" and not fused else None
    sums = calls.new_accumulators(calls.step_rows()) if fused or slab is not None else None
    sink = _Sink(calls, None if sums else calls.new_context(calls.step_rows(), shape.heads), sums)
    ops = [op for op in block.ops() if op is not block.output]
    with (
        build.stage(f"{calls.name}.group", *ops, *_output_ops(calls)),
        build.loop("row", shape.s, calls.rows) as (row, row_n),
    ):
        if sums is not None:
            calls.zero(sums, row_n)
        with build.loop("head", shape.heads, calls.tile) as (head, _):
            head_n = affine(calls.tile)
            calls.project_keys(head, head_n)
            calls.project_values(head, head_n)
            calls.project_queries(head, head_n, row, row_n)
            target = _Sink(calls, slab, None) if slab is not None else sink
            _map_heads(calls, target, zero, row, row_n, head, head_n, zero if slab is not None else head)
            if slab is not None and sums is not None:
                calls.accumulate_output(slab, sums, head, row_n)
        if sums is not None:
            calls.narrow(sums, row, row_n)
        elif sink.context is not None:
            calls.project_output(sink.context, 0, row, row_n)
