"""One attention block -> loops: layer by layer, or depth-first over query rows, in any of the four fused forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.blocks import AttentionBlock
from dse.builder import Builder
from dse.ir import Array, Op
from dse.layout import even, pairs_bytes, pairs_stride_bytes, panels_bytes
from dse.program import Affine, Pointer, affine
from dse.schedule import Attention


@dataclass(frozen=True)
class _Shape:
    """Sizes of the block: tokens s, embedding e, heads; head widths of scores and of values, plain and padded even."""

    s: int
    e: int
    out: int
    heads: int
    score_width: int
    value_width: int

    @property
    def score_pad(self) -> int:
        return even(self.score_width)

    @property
    def value_pad(self) -> int:
        return even(self.value_width)


class _Attention:
    """Lowering state of one block: its buffers, and which tile of heads and rows the loops stand at."""

    def __init__(self, build: Builder, block: AttentionBlock) -> None:
        self.build, self.block = build, block
        self.choice: Attention = build.schedule.attention
        heads = block.probs.integer("heads")
        s, e = build.shape(block.input)
        self.shape = _Shape(
            s,
            e,
            build.shape(block.result)[1],
            heads,
            build.shape(block.query.outputs[0])[1] // heads,
            build.shape(block.value.outputs[0])[1] // heads,
        )
        self.name = block.probs.name
        self.rows = min(self.choice.rows, s) or s
        self.map_rows = min(self.choice.map_rows, self.rows) or self.rows
        self.tile = self.choice.heads
        self.x = build.tensor(block.input)
        self.result = build.new_tensor(block.result)
        self.keys = self._new("keys", self._keys_bytes(), "keys")
        self.values = self._new("values", pairs_bytes(self.tile * self.shape.value_pad, s), "values")
        self.queries = self._new("queries", self._query_rows() * self.tile * self.shape.score_pad, "queries")

    def _new(self, name: str, size_bytes: int, role: str, dtype: str = "s8") -> Pointer:
        return self.build.new(f"{self.name}.{name}", size_bytes, role, dtype)

    def _keys_bytes(self) -> int:
        if self.block.key is None:
            return pairs_bytes(self.shape.s, self.shape.e)
        return pairs_bytes(self.shape.s, self.tile * self.shape.score_pad)

    def _query_rows(self) -> int:
        return self.rows if self.choice.query == "rows" else self.shape.s

    # ---- projections ---------------------------------------------------------------------------------------------

    def project_keys(self, head: Affine, head_n: Affine) -> None:
        """K of a head tile, as the right-hand operand of the scores."""
        if self.block.key is not None:
            stride = pairs_stride_bytes(self.tile * self.shape.score_pad)
            self._project("keys", self.block.key, self.keys, stride, head, head_n)

    def project_values(self, head: Affine, head_n: Affine) -> None:
        """V (or U = X·VO) of a head tile, as the right-hand operand of softmax·V."""
        self._project("values", self.block.value, self.values, pairs_stride_bytes(self.shape.s), head, head_n)

    def _project(self, layout: str, op: Op, y: Pointer, stride: int, head: Affine, head_n: Affine) -> None:
        heads = self.shape.heads
        self.build.linear(layout, op, self.x, y, self.shape.s, stride, heads=heads, head=head, head_n=head_n)

    def project_queries(self, head: Affine, head_n: Affine, row: Affine, row_n: Affine) -> None:
        """Q (or G = X·A) of a head tile for some rows, dense over the tile."""
        x = self.build.at(self.x, row * self.shape.e)
        stride = self.tile * self.shape.score_pad
        y = self.queries if self.choice.query == "rows" else self.build.at(self.queries, row * stride)
        op, heads = self.block.query, self.shape.heads
        self.build.linear("rows", op, x, y, row_n, stride, heads=heads, head=head, head_n=head_n)

    def pack_shared_keys(self) -> None:
        """X as the keys of every head (fused QK)."""
        self.build.call(
            "pack_keys",
            self.block.probs,
            x=self.x,
            y=self.keys,
            m=self.shape.s,
            k=self.shape.e,
            x_stride=self.shape.e,
            y_stride=pairs_stride_bytes(self.shape.e),
        )

    # ---- scores, softmax, softmax·V ----------------------------------------------------------------------------------

    def map_bytes(self, rows: int) -> int:
        """Bytes of `rows` rows of one head's attention map."""
        if self.build.schedule.map_layout == "panels":
            return panels_bytes(rows, self.shape.s)
        return rows * self.shape.s

    def probs(self, e: Pointer, sums: Pointer, q: Pointer, head: Affine, local: Affine, rows: Affine) -> None:
        """Unnormalised softmax rows: `head` counts in the model, `local` inside the head tile."""
        op, shape = self.block.probs, self.shape
        shared = self.block.key is None
        depth = shape.e if shared else self.tile * shape.score_pad
        keys = self.keys if shared else self.build.at(self.keys, local * (2 * shape.score_pad))
        self.build.call(
            f"probs_{self.build.schedule.map_layout}",
            op,
            "probs",
            q=self.build.at(q, local * shape.score_pad),
            keys=keys,
            mult=self.build.at(self._constant("mult"), head * 4),
            table=self._constant("table"),
            e=e,
            sum=sums,
            m=rows,
            n=shape.s,
            k=shape.score_width,
            q_stride=self.tile * shape.score_pad,
            keys_stride=pairs_stride_bytes(depth),
            e_stride=shape.s,
            round=op.integer("round"),
            shift=op.integer("shift"),
        )

    def attend(
        self, e: Pointer, sums: Pointer, y: Pointer, stride: int, head: Affine, local: Affine, rows: Affine
    ) -> None:
        """softmax·V of one head into the context, or (fused VO) added to the int32 accumulators."""
        op, shape = self.block.attend, self.shape
        layout = "rows" if self.block.output is not None else "add"
        suffix = "_panels" if self.build.schedule.map_layout == "panels" else ""
        values = self.build.at(self.values, local * (shape.value_pad // 2 * pairs_stride_bytes(shape.s)))
        self.build.call(
            f"attend_{layout}{suffix}",
            op,
            "attend",
            e=e,
            values=values,
            sum=sums,
            scale=self.build.at(self._constant("scale"), head * 4),
            y=y,
            m=rows,
            n=shape.value_pad if layout == "rows" else shape.value_width,
            k=shape.s,
            e_stride=shape.s,
            values_stride=pairs_stride_bytes(shape.s),
            y_stride=stride,
            round=op.integer("round") if layout == "rows" else 0,
            preshift=op.integer("preshift"),
            shift=op.integer("shift"),
        )

    def _constant(self, role: str) -> Pointer:
        op = self.block.attend if role == "scale" else self.block.probs
        return self.build.constant(f"{op.name}.{role}", lambda: self.build.model.constants[op.constant(role)])

    # ---- output side -----------------------------------------------------------------------------------------------

    def zero(self, accumulators: Pointer, rows: Affine) -> None:
        """Clear `rows` rows of accumulators."""
        self.build.call("zero", self.block.attend, y=accumulators, n=rows * self.shape.out)

    def project_output(self, context: Pointer, row: Affine, rows: Affine) -> None:
        """The output projection of rows whose context holds every head."""
        op, shape = self.block.output, self.shape
        assert op is not None
        weights, channel, columns, depth = self.build.weights(op, depth_heads=shape.heads)
        stride = pairs_stride_bytes(depth)
        y = self.build.at(self.result, row * shape.out)
        self.build.call(
            "linear_rows",
            op,
            "linear",
            x=context,
            w=weights,
            channel=channel,
            y=y,
            m=rows,
            n=columns,
            k=depth,
            x_stride=depth,
            w_stride=stride,
            y_stride=shape.out,
            **_requantisation(op),
        )

    def accumulate_output(self, context: Pointer, accumulators: Pointer, head: Affine, rows: Affine) -> None:
        """A head tile's share of the output projection, added to int32 accumulators."""
        op, shape = self.block.output, self.shape
        assert op is not None
        weights, _, columns, depth = self.build.weights(op, depth_heads=shape.heads)
        stride = pairs_stride_bytes(depth)
        share = self.tile * shape.value_pad
        self.build.call(
            "linear_add",
            op,
            "linear",
            x=context,
            w=self.build.at(weights, head * (2 * shape.value_pad)),
            channel=None,
            y=accumulators,
            m=rows,
            n=columns,
            k=share,
            x_stride=share,
            w_stride=stride,
            y_stride=4 * shape.out,
            round=0,
            preshift=0,
            shift=0,
        )

    def narrow(self, accumulators: Pointer, row: Affine, rows: Affine) -> None:
        """int32 accumulators -> the int8 result rows."""
        shape, op = self.shape, self.block.output or self.block.attend
        fused = self.block.output is None  # the shares are already scaled; bias carries offset and rounding
        numbers = {"round": 0, "preshift": 0, "shift": op.integer("shift")} if fused else _requantisation(op)

        def records() -> Array:
            bias = self.build.model.constants[op.constant("bias")].astype(np.int32)
            mult = np.ones_like(bias) if fused else self.build.model.constants[op.constant("mult")].astype(np.int32)
            return np.stack([bias, mult], axis=1).reshape(-1)

        channel = self.build.constant(f"{op.name}.channel", records)
        self.build.call(
            "narrow",
            op,
            x=accumulators,
            channel=channel,
            y=self.build.at(self.result, row * shape.out),
            m=rows,
            n=shape.out,
            x_stride=4 * shape.out,
            y_stride=shape.out,
            **numbers,
        )


def _requantisation(op: Op) -> dict[str, int]:
    return {name: op.integer(name) for name in ("round", "preshift", "shift")}


def lower_attention(build: Builder, block: AttentionBlock) -> None:
    """Record the stages of one attention block."""
    state = _Attention(build, block)
    choice, shape = state.choice, state.shape
    if choice.heads < 1 or shape.heads % choice.heads:
        raise ValueError(f"{state.name}: head tile {choice.heads} must divide the {shape.heads} heads")
    if block.key is None:
        with build.stage(f"{block.probs.name}.keys", block.probs):
            state.pack_shared_keys()
    if choice.outer == "rows":
        _rows_outer(state)
    elif choice.heads == shape.heads:
        _all_heads(state)
    else:
        _heads_outer(state)


def _all_heads(state: _Attention) -> None:
    """All heads alive: projections are stages of their own; the attention is layer-wise or one depth-first group."""
    build, block, choice, shape = state.build, state.block, state.choice, state.shape
    every, zero = affine(shape.heads), affine(0)
    if choice.query == "ahead":
        with build.stage(block.query.name, block.query):
            state.project_queries(zero, every, zero, affine(shape.s))
    if block.key is not None:
        with build.stage(block.key.name, block.key):
            state.project_keys(zero, every)
    if choice.rows == 0:
        _layer_wise(state)
        return
    with build.stage(block.value.name, block.value):
        state.project_values(zero, every)
    inside = choice.query == "rows", choice.output == "rows" or block.output is None
    ops = (*((block.query,) if inside[0] else ()), block.probs, block.attend)
    output = block.output if inside[1] else None
    with build.stage(f"{block.probs.name}.group", *ops, *((output,) if output else ())):
        context = _context(state, shape.s if choice.output == "after" and block.output else state.rows)
        with build.loop("row", shape.s, state.rows) as (row, row_n):
            if inside[0]:
                state.project_queries(zero, every, row, row_n)
            _row_step(state, context, row, row_n)
    if not inside[1]:
        with build.stage(block.output.name if block.output else "", *((block.output,) if block.output else ())):
            state.project_output(context, zero, affine(shape.s))


def _context(state: _Attention, rows: int) -> Pointer:
    """A buffer for the context rows (int8, every head of the tile) or, fused VO, for int32 accumulators."""
    if state.block.output is None:
        return state._new("accumulators", 4 * rows * state.shape.out, "accumulators", "s32")
    return state._new("context", rows * state.shape.heads * state.shape.value_pad, "context")


def _row_step(state: _Attention, context: Pointer, row: Affine, row_n: Affine) -> None:
    """All heads of one row step, then what of the output side belongs to the step."""
    choice, shape = state.choice, state.shape
    fused = state.block.output is None
    if fused:
        state.zero(context, row_n)
    stride = 4 * shape.out if fused else shape.heads * shape.value_pad
    whole = choice.output == "after" and not fused
    target = state.build.at(context, row * stride) if whole else context
    _map_heads(state, target, stride, row, row_n, affine(0), affine(shape.heads))
    if fused:
        state.narrow(context, row, row_n)
    elif not whole:
        state.project_output(context, row, row_n)


def _map_heads(
    state: _Attention, context: Pointer, stride: int, row: Affine, row_n: Affine, head: Affine, head_n: Affine
) -> None:
    """Scores–softmax–AV of a head tile, map_rows query rows at a time; `context` points at the step's first row."""
    build, shape = state.build, state.shape
    fused = state.block.output is None
    name = f"{state.name}.map"
    if name not in build.buffers:
        state._new("map", state.map_bytes(state.map_rows), "map", "u8")
        state._new("sum", 4 * state.map_rows, "sum", "s32")
    e, sums = Pointer(name), Pointer(f"{state.name}.sum")
    q_stride = state.tile * shape.score_pad
    with build.loop("sub", row_n, state.map_rows) as (sub, sub_n), build.loop("one", head_n, 1) as (one, _):
        first = sub if state.choice.query == "rows" else row + sub
        state.probs(e, sums, build.at(state.queries, first * q_stride), head + one, one, sub_n)
        column = affine(0) if fused else (one * shape.value_pad)
        y = build.at(context, sub * stride + column)
        state.attend(e, sums, y, stride, head + one, one, sub_n)


def _layer_wise(state: _Attention) -> None:
    """Scores and softmax of all heads, then V, then softmax·V: the whole map of every head in memory."""
    build, block, shape = state.build, state.block, state.shape
    fused = block.output is None
    every, zero, tokens = affine(shape.heads), affine(0), affine(shape.s)
    e = state._new("map", shape.heads * state.map_bytes(shape.s), "map", "u8")
    sums = state._new("sum", 4 * shape.heads * shape.s, "sum", "s32")
    with build.stage(block.probs.name, block.probs), build.loop("one", shape.heads, 1) as (one, _):
        at = build.at(e, one * state.map_bytes(shape.s)), build.at(sums, one * (4 * shape.s))
        state.probs(*at, state.queries, one, one, tokens)
    with build.stage(block.value.name, block.value):
        state.project_values(zero, every)
    context = _context(state, shape.s)
    stride = 4 * shape.out if fused else shape.heads * shape.value_pad
    with build.stage(block.attend.name, block.attend):
        if fused:
            state.zero(context, tokens)
        with build.loop("one", shape.heads, 1) as (one, _):
            at = build.at(e, one * state.map_bytes(shape.s)), build.at(sums, one * (4 * shape.s))
            y = context if fused else build.at(context, one * shape.value_pad)
            state.attend(*at, y, stride, one, one, tokens)
        if fused:
            state.narrow(context, zero, tokens)
    if block.output is not None:
        with build.stage(block.output.name, block.output):
            state.project_output(context, zero, tokens)


def _heads_outer(state: _Attention) -> None:
    """A tile of heads at a time over all rows; the output is accumulated, or the context kept for all heads."""
    build, block, choice, shape = state.build, state.block, state.choice, state.shape
    zero, tokens = affine(0), affine(shape.s)
    accumulate = choice.output == "accumulate" or block.output is None
    slab = None
    if not accumulate:
        context, stride = _context(state, shape.s), shape.heads * shape.value_pad
    else:
        context = state._new("accumulators", 4 * shape.s * shape.out, "accumulators", "s32")
        stride = 4 * shape.out
        if block.output is not None:
            slab = state._new("context", state.rows * state.tile * shape.value_pad, "context")
    ops = [op for op in block.ops() if op is not block.output or accumulate]
    with build.stage(f"{state.name}.group", *ops):
        if accumulate:
            state.zero(context, tokens)
        with build.loop("head", shape.heads, state.tile) as (head, _):
            head_n = affine(state.tile)
            state.project_keys(head, head_n)
            state.project_values(head, head_n)
            if choice.query == "ahead":
                state.project_queries(head, head_n, zero, tokens)
            with build.loop("row", tokens, state.rows) as (row, row_n):
                if choice.query == "rows":
                    state.project_queries(head, head_n, row, row_n)
                _tile_rows(state, context, slab, stride, row, row_n, head, head_n)
        if accumulate:
            state.narrow(context, zero, tokens)
    if not accumulate and block.output is not None:
        with build.stage(block.output.name, block.output):
            state.project_output(context, zero, tokens)


def _tile_rows(
    state: _Attention,
    context: Pointer,
    slab: Pointer | None,
    stride: int,
    row: Affine,
    row_n: Affine,
    head: Affine,
    head_n: Affine,
) -> None:
    """One row step of a head tile: into a slab that is projected at once, or straight to where the heads collect."""
    build, shape = state.build, state.shape
    target = build.at(context, row * stride)
    if slab is not None:
        _map_heads(state, slab, state.tile * shape.value_pad, row, row_n, head, head_n)
        state.accumulate_output(slab, target, head, row_n)
    elif state.block.output is None:
        _map_heads(state, target, stride, row, row_n, head, head_n)
    else:
        _map_heads(state, build.at(target, head * shape.value_pad), stride, row, row_n, head, head_n)


def _rows_outer(state: _Attention) -> None:
    """A row step at a time over all head tiles; K and V of a tile are projected again in every step."""
    build, block, choice, shape = state.build, state.block, state.choice, state.shape
    fused = block.output is None
    accumulate = choice.output == "accumulate" and not fused
    stride = 4 * shape.out if fused else (state.tile if accumulate else shape.heads) * shape.value_pad
    role, dtype = ("accumulators", "s32") if fused else ("context", "s8")
    context = state._new(role, state.rows * stride, role, dtype)
    totals = state._new("accumulators", 4 * state.rows * shape.out, "accumulators", "s32") if accumulate else context
    with build.stage(f"{state.name}.group", *block.ops()), build.loop("row", shape.s, state.rows) as (row, row_n):
        if fused or accumulate:
            state.zero(totals, row_n)
        with build.loop("head", shape.heads, state.tile) as (head, _):
            head_n = affine(state.tile)
            state.project_keys(head, head_n)
            state.project_values(head, head_n)
            state.project_queries(head, head_n, row, row_n)
            target = context if fused or accumulate else build.at(context, head * shape.value_pad)
            _map_heads(state, target, stride, row, row_n, head, head_n)
            if accumulate:
                state.accumulate_output(context, totals, head, row_n)
        if fused or accumulate:
            state.narrow(totals, row, row_n)
        else:
            state.project_output(context, row, row_n)
