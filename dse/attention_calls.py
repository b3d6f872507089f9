"""The kernel calls of one attention block: projections, scores and softmax, softmax·V, output side. No loops.

lower_attention.py arranges them in the order the schedule asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd

import numpy as np

from dse.blocks import AttentionBlock
from dse.builder import Builder, Matrix
from dse.facts import facts_of
from dse.ir import Op
from dse.kernel import Kernels, align_of
from dse.layout import RIGHT, Right, panels_bytes, panels_stride_bytes, pitch
from dse.linear_calls import Weights, call_linear, call_output_rows, output_home, weights_of
from dse.program import Affine, Pointer, affine, symbol
from dse.schedule import Attention


@dataclass(frozen=True)
class Shape:
    """Sizes of the block: tokens s, embedding e, outputs; heads and their widths, plain and as the layout stores them."""

    s: int
    e: int
    out: int
    heads: int
    score_width: int
    value_width: int
    score_pad: int
    value_pad: int


class AttentionCalls:
    """The buffers of one block and the calls on them; `head` counts in the model, `local` inside the head tile."""

    def __init__(self, build: Builder, block: AttentionBlock) -> None:
        self.build, self.block = build, block
        self.choice: Attention = build.schedule.attention
        self.name, self.tile = block.probs.name, self.choice.heads
        self.right = self._right()
        self.align = align_of((*self._probs_kernel(self.right.name), *self._attend_kernel(self.right.name)))
        self.shape = self._shape()
        s = self.shape.s
        self.rows = min(self.choice.rows, s) or s
        self.map_rows = min(self.choice.map_rows, self.rows) or self.rows
        self._check_panels()
        build.open_steps({"row": self.rows, "sub": self.map_rows})
        self.x = build.rows(block.input)
        self.operand = self._tokens()
        self.result = self._result_home()
        self.keys = self.new("keys", -(-s // self.right.group) * self._right_stride(self._key_depth()), "keys")
        self.values = self.new("values", self.tile * self._value_bytes(), "values")
        rows = self.step_rows() if self.choice.query == "rows" else s
        width = self.tile * self.shape.score_pad
        self.queries = build.new_matrix(
            f"{self.name}.queries", rows, width, "queries", self._panels("query"), self._pitch(width)
        )

    # ---- what the schedule and the kernels decide -------------------------------------------------------------------

    def _panels(self, operand: str) -> bool:
        return operand in self.build.schedule.panels

    def _tokens(self) -> Matrix:
        """What the projections read: x, or its copy as panels or with rows apart."""
        s, e = self.shape.s, self.shape.e
        if self._panels("input"):
            return self.build.new_matrix(f"{self.name}.tokens", s, e, "activation", panels=True)
        if self.build.schedule.strides == "tokens":
            return self.build.new_matrix(f"{self.name}.tokens", s, e, "tokens", False, self._pitch(e))
        return self.x

    def _result_home(self) -> Pointer:
        """Where the block writes: the fused sum may overwrite its operand only when no loop still reads it."""
        if self.block.output is None or self.choice.output == "accumulate":
            return self.build.new_tensor(self.block.result)
        return output_home(self.build, self.block.output, self.choice.rows == 0 or self.choice.output == "after")

    def _right(self) -> Right:
        """The layout of K and V: of the schedule's probs variant if every call can be served with it, else another."""
        rivals = [self.build.variants.named(f"probs_{self._map()}", name) for name in self.build.rivals["probs"]]
        self.build.apart |= len({rival.layout if rival else None for rival in rivals}) > 1
        wanted = rivals[0]
        names = sorted(RIGHT, key=lambda name: wanted is None or name != wanted.layout)
        for name in names:
            try:
                self._probs_kernel(name), self._attend_kernel(name)
                self._side_kernel("linear_values", self.block.value, name)
                if self.block.key is not None:
                    self._side_kernel("linear_keys", self.block.key, name)
            except ValueError:
                continue
            return RIGHT[name]
        raise ValueError(f"{self.name}: no kernels serve this attention in any layout")

    def _map(self) -> str:
        return "panels" if self._panels("map") else "rows"

    def _probs_kernel(self, layout: str) -> Kernels:
        facts = facts_of(self.build.model, self.block.probs)
        return self.build.choose(f"probs_{self._map()}", "probs", layout, **facts)

    def _attend_kernel(self, layout: str) -> Kernels:
        facts = facts_of(self.build.model, self.block.attend)
        kind = "add" if self.block.output is None else "panels" if self._panels("context") else "rows"
        return self.build.choose(f"attend_{kind}", "attend", layout, **facts)

    def _side_kernel(self, kind: str, op: Op, layout: str | None = None) -> Kernels:
        return self.build.choose(kind, "linear", layout, bound=self.build.bound(op))

    def _shape(self) -> Shape:
        build, block = self.build, self.block
        heads = block.probs.integer("heads")
        s, e = build.shape(block.input)
        score, value = (build.shape(op.outputs[0])[1] // heads for op in (block.query, block.value))
        out = build.shape(block.result)[1]
        return Shape(s, e, out, heads, score, value, self.right.depth(score), self._value_pad(value))

    def _value_pad(self, width: int) -> int:
        """The width V and the context of a head are stored in. Where W_O is read in slices of head tiles, a tile starts at
        a depth that the layout of the weights can be cut at."""
        pad = self.right.depth(width)
        if self.choice.output != "accumulate" or self.block.output is None:
            return pad
        unit = RIGHT[self._side_kernel("linear_add", self.block.output)[0].layout].depth_multiple
        unit //= gcd(unit, self.tile)
        return -(-pad // unit) * unit

    def _check_panels(self) -> None:
        steps = {self.rows, self.map_rows} - {self.shape.s}
        if self.build.schedule.panels and any(step % 2 for step in steps):
            raise ValueError(f"{self.name}: row steps {sorted(steps)} must be even where operands are panels")

    # ---- buffers ------------------------------------------------------------------------------------------------------

    def step_rows(self) -> Affine | int:
        """Rows of a step of the row loop where there is one, as a symbol; else all."""
        return symbol("row_n") if self.rows < self.shape.s else self.shape.s

    def step_map_rows(self) -> Affine | int:
        """Rows of the innermost map, as a symbol where a loop takes them in steps."""
        return symbol("sub_n") if min(self.rows, self.map_rows) < self.shape.s else self.shape.s

    def new(self, name: str, size_bytes: Affine | int, role: str, dtype: str = "s8") -> Pointer:
        """A buffer of this block."""
        return self.build.new(f"{self.name}.{name}", size_bytes, role, dtype)

    def new_context(self, rows: Affine | int, heads: int) -> Matrix:
        """A buffer for context rows of `heads` heads."""
        width = heads * self.shape.value_pad
        panels = self._panels("context")
        return self.build.new_matrix(f"{self.name}.context", rows, width, "context", panels, self._pitch(width))

    def new_accumulators(self, rows: Affine | int) -> Pointer:
        """A buffer of int32 sums of output rows."""
        return self.new("accumulators", rows * (4 * self.shape.out), "accumulators", "s32")

    def step_map_bytes(self) -> Affine | int:
        """Bytes of the innermost map."""
        rows = self.step_map_rows()
        if isinstance(rows, int):
            return self.map_bytes(rows)
        return rows * (self._map_stride() // 2 if self._panels("map") else self._map_stride())

    def map_bytes(self, rows: int) -> int:
        """Bytes of `rows` rows of one head's attention map."""
        return panels_bytes(rows, self.shape.s) if self._panels("map") else rows * self._map_stride()

    def _pitch(self, dense_bytes: int) -> int:
        return pitch(dense_bytes, self.align, self.build.schedule.strides == "dense")

    def _right_stride(self, depth: int) -> int:
        """Bytes from one group of columns of K or V to the next: as dense as the kernels like."""
        return self._pitch(self.right.stride_bytes(depth))

    def _key_depth(self) -> int:
        return self.shape.e if self.block.key is None else self.tile * self.shape.score_pad

    def _pairs(self) -> bool:
        """Whether V of two heads shares a column group of the layout."""
        return 2 * self.shape.value_pad == self.right.group and self.tile % 2 == 0

    def _value_bytes(self) -> int:
        """Bytes of V of a head."""
        stride = self._right_stride(self.shape.s)
        return stride // 2 if self._pairs() else -(-self.shape.value_pad // self.right.group) * stride

    @contextmanager
    def each_head(self, count: Affine) -> Iterator[tuple[Affine, Pointer]]:
        """A loop over `count` heads of a tile: yields (head inside the tile, its V)."""
        loop, size = self.build.loop, self._value_bytes()
        if self._pairs():
            with loop("pair", count, 2) as (pair, _), loop("half", 2, 1) as (half, _):
                yield pair + half, self.build.at(self.values, pair * size + half * self.right.half_bytes)
            return
        with loop("one", count, 1) as (one, _):
            yield one, self.build.at(self.values, one * size)

    # ---- projections --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Record the stages that bring the input into the layouts the block reads."""
        if self.operand is not self.x:
            with self.build.stage(f"{self.name}.tokens", self.block.probs):
                kind = "pack_panels" if self.operand.panels else "pack_rows"
                self._pack(kind, self.operand.at(), self.operand.stride)
        if self.block.key is None:
            with self.build.stage(f"{self.name}.keys", self.block.probs):
                self._pack("pack_keys", self.keys, self._right_stride(self.shape.e))

    def _pack(self, kind: str, y: Pointer, stride: int) -> None:
        s, e = self.shape.s, self.shape.e
        kernel = self.build.choose(kind, "vector", self.right.name if kind == "pack_keys" else None)
        self.build.call(kernel, self.block.probs, x=self.x.at(), y=y, m=s, k=e, x_stride=e, y_stride=stride)

    def project_keys(self, head: Affine, head_n: Affine) -> None:
        """K of a head tile, as the right-hand operand of the scores."""
        if self.block.key is not None:
            weights = self._weights("linear_keys", self.block.key, self.shape.score_pad, self.tile)
            self._project(self.block.key, weights, self.keys, self._right_stride(self._key_depth()), head, head_n)

    def project_values(self, head: Affine, head_n: Affine) -> None:
        """V (or U = X·VO) of a head tile, as the right-hand operand of softmax·V.

        A head whose width is no multiple of the layout's column group is projected on its own, unless two heads make one;
        so is each of a tile that the layout of the weights cannot be cut at.
        """
        stride = self._right_stride(self.shape.s)
        group = RIGHT[self._side_kernel("linear_values", self.block.value, self.right.name)[0].layout].group
        cut = self.tile == self.shape.heads or self.tile * self.shape.value_pad % group == 0
        if cut and (self.shape.value_pad % self.right.group == 0 or self._pairs()):
            weights = self._weights("linear_values", self.block.value, self.shape.value_pad, self.tile)
            self._project(self.block.value, weights, self.values, stride, head, head_n)
            return
        weights = self._weights("linear_values", self.block.value, self.shape.value_pad, 1)
        with self.build.loop("each", head_n, 1) as (each, _):
            y = self.build.at(self.values, each * self._value_bytes())
            self._project(self.block.value, weights, y, stride, head + each, affine(1))

    def project_queries(self, head: Affine, head_n: Affine, row: Affine, row_n: Affine) -> None:
        """Q (or G = X·A) of a head tile for some rows, dense over the tile."""
        kind = "linear_panels" if self.queries.panels else "linear_rows"
        weights = self._weights(kind, self.block.query, self.shape.score_pad, self.tile)
        y = self.queries.at(0 if self.choice.query == "rows" else row)
        call_linear(
            self.build,
            self.block.query,
            weights,
            self.operand.at(row),
            self.operand,
            y,
            row_n,
            self.queries.stride,
            head,
            head_n,
        )

    def _weights(self, kind: str, op: Op, head_width: int, tile: int) -> Weights:
        layout = None if kind in ("linear_rows", "linear_panels") else self.right.name
        return weights_of(self.build, op, self._side_kernel(kind, op, layout), self.shape.heads, tile, head_width)

    def _project(self, op: Op, weights: Weights, y: Pointer, stride: int, head: Affine, head_n: Affine) -> None:
        x = self.operand
        call_linear(self.build, op, weights, x.at(), x, y, self.shape.s, stride, head, head_n)

    # ---- scores, softmax, softmax·V -------------------------------------------------------------------------------------

    def probs(self, e: Pointer, sums: Pointer, row: Affine, head: Affine, local: Affine, rows: Affine) -> None:
        """Unnormalised softmax of `rows` query rows from `row` (in the query buffer) on."""
        op, shape = self.block.probs, self.shape
        keys = self.keys
        if self.block.key is not None:
            keys = self.build.at(keys, local * self.right.depth_bytes(shape.score_pad))
        self.build.call(
            self._probs_kernel(self.right.name),
            op,
            q=self.queries.at(row, local * shape.score_pad),
            keys=keys,
            mult=self.build.at(self._constant(op, "mult"), head * 4),
            table=self._constant(op, "table"),
            e=e,
            sum=sums,
            m=rows,
            n=shape.s,
            k=shape.score_width,
            q_stride=self.queries.stride,
            keys_stride=self._right_stride(self._key_depth()),
            e_stride=self._map_stride(),
            shift=op.integer("shift"),
            q_panels=int(self.queries.panels),
        )

    def _map_stride(self) -> int:
        return panels_stride_bytes(self.shape.s) if self._panels("map") else self._pitch(self.shape.s)

    def attend(
        self, e: Pointer, sums: Pointer, values: Pointer, y: Pointer, stride: int, head: Affine, rows: Affine
    ) -> None:
        """softmax·V of one head into the context, or (fused VO) added to the int32 accumulators."""
        op, shape = self.block.attend, self.shape
        added = self.block.output is None
        self.build.call(
            self._attend_kernel(self.right.name),
            op,
            e=e,
            values=values,
            sum=sums,
            scale=self.build.at(self._constant(op, "scale"), head * 4),
            y=y,
            m=rows,
            n=shape.value_width if added else shape.value_pad,
            k=shape.s,
            e_stride=self._map_stride(),
            values_stride=self._right_stride(shape.s),
            y_stride=stride,
            round=0 if added else op.integer("round"),
            preshift=op.integer("preshift"),
            shift=op.integer("shift"),
            e_panels=int(self._panels("map")),
        )

    def _constant(self, op: Op, role: str) -> Pointer:
        return self.build.constant(f"{op.name}.{role}", self.build.model.constants[op.constant(role)])

    # ---- output side ---------------------------------------------------------------------------------------------------

    def zero(self, accumulators: Pointer, rows: Affine) -> None:
        """Clear `rows` rows of accumulators."""
        self.build.call(self.build.choose("zero", "vector"), self.block.attend, y=accumulators, n=rows * self.shape.out)

    def project_output(self, context: Matrix, context_row: Affine | int, row: Affine, rows: Affine) -> None:
        """The output projection (and its fused residual) of rows whose context holds every head."""
        assert self.block.output is not None
        depth = self.shape.heads, self.shape.value_pad
        call_output_rows(self.build, self.block.output, context, rows, row, self.result, context_row, depth)

    def accumulate_output(self, context: Matrix, accumulators: Pointer, head: Affine, rows: Affine) -> None:
        """A head tile's share of the output projection, added to int32 accumulators."""
        op, shape = self.block.output, self.shape
        assert op is not None
        kernel = self._side_kernel("linear_add", op)
        weights = weights_of(self.build, op, kernel, shape.heads, depth_width=shape.value_pad)
        self.build.call(
            kernel,
            op,
            x=context.at(),
            w=self.build.at(weights.data, head * weights.layout.depth_bytes(shape.value_pad)),
            channel=None,
            y=accumulators,
            m=rows,
            n=shape.out,
            k=context.width,
            x_stride=context.stride,
            w_stride=weights.stride,
            y_stride=4 * shape.out,
            round=0,
            preshift=0,
            shift=0,
            high=0,
            x_panels=int(context.panels),
        )

    def narrow(self, accumulators: Pointer, row: Affine, rows: Affine) -> None:
        """int32 accumulators -> the int8 result rows."""
        shape, op = self.shape, self.block.output or self.block.attend
        bias = self.build.model.constants[op.constant("bias")].astype(np.int32)
        if self.block.output is None:  # fused VO: the shares are already scaled; bias carries offset and rounding
            mult = np.ones_like(bias)
            numbers = {"round": 0, "preshift": 0, "shift": op.integer("shift")}
        else:
            mult = self.build.model.constants[op.constant("mult")].astype(np.int32)
            numbers = {name: op.integer(name) for name in ("round", "preshift", "shift")}
        channel = self.build.constant(f"{op.name}.records", np.stack([bias, mult], axis=1).reshape(-1))
        self.build.call(
            self.build.choose("narrow", "vector"),
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
