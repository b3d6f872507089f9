"""Operand layouts of the kernels (tileformer.h): int8 matrices <-> the bytes of `panels`, `columns`, `quads`, `pairs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dse.ir import Array

HIGH_SHIFTS = range(17, 25)  # shifts the high-word requantisation is promised for


def even(n: int) -> int:
    """`n` rounded up to a multiple of two."""
    return n + n % 2


def pitch(stride_bytes: int, align: int, dense: bool = False) -> int:
    """A stride as a kernel likes it: a multiple of `align` and, if that is above 1 (words, read by several cores), not of
    32 bytes, unless it is to be dense: neighbouring rows or columns then begin in different ones of 16 banks."""
    aligned = -(-stride_bytes // align) * align
    return aligned + align if align > 1 and not dense and aligned % 32 == 0 else aligned


# ---- panels: the left-hand operand as int16, two rows side by side ---------------------------------------------------


def panels_stride_bytes(depth: int) -> int:
    """Bytes from one group of two rows to the next of dense panels."""
    return 4 * even(depth)


def panels_bytes(rows: int, depth: int) -> int:
    """Bytes of an (rows, depth) matrix as dense panels."""
    return even(rows) // 2 * panels_stride_bytes(depth)


def panel_index(offset: int, rows: int, depth: int, stride: int) -> Array:
    """(rows, 2 * even(depth)) byte indices of the words of panels, row by row."""
    row = np.arange(rows)[:, None]
    byte = np.arange(2 * even(depth))[None, :]
    return np.asarray(offset + row // 2 * stride + row % 2 * 4 + byte // 4 * 8 + byte % 4)


# ---- the right-hand operand of a matrix product -------------------------------------------------------------------------


@dataclass(frozen=True)
class Right:
    """A right-hand operand layout: columns are stored in groups of `group`, depths in multiples of `depth_multiple`.

    written: the layout of the right-hand operands that kernels with weights in this one write for others to read.
    """

    name: str
    group: int
    depth_multiple: int
    written: str
    reads_panels: bool = False  # its kernels multiply with int16 panels
    half_bytes: int = 0  # offset of the second half of a column group
    element_bytes: int = 1

    def depth(self, depth: int) -> int:
        """`depth` rounded up to what the layout stores."""
        return -(-depth // self.depth_multiple) * self.depth_multiple

    def stride_bytes(self, depth: int) -> int:
        """Bytes from one group of columns to the next of a dense operand."""
        return self.group * self.element_bytes * self.depth(depth)

    def size_bytes(self, columns: int, depth: int) -> int:
        """Bytes of a dense operand."""
        return -(-columns // self.group) * self.stride_bytes(depth)

    def depth_bytes(self, depth: int) -> int:
        """Offset of a slice that starts at that depth (a multiple of `depth_multiple`)."""
        return self.group * self.element_bytes * depth

    def column_bytes(self, columns: int, stride: int) -> int:
        """Offset of a slice that starts at that column (a multiple of `group`)."""
        return columns * stride // self.group

    def index(self, offset: int, columns: int, depth: int, stride: int) -> Array:
        """Byte indices of the stored units that hold (columns, depth), in the order of `encode`."""
        raise NotImplementedError

    def encode(self, matrix: Array) -> Array:
        """(columns, depth) int8 -> its stored units as int8, shaped like `index`."""
        raise NotImplementedError

    def decode(self, units: Array, columns: int, depth: int) -> Array:
        """The inverse of `encode`: (columns, depth) int8."""
        raise NotImplementedError

    def pack(self, matrix: Array, stride: int) -> Array:
        """(columns, depth) int8 -> its bytes with that stride, flat int8; padding is zero."""
        columns, depth = matrix.shape
        out = np.zeros(-(-columns // self.group) * stride, np.int8)
        out[self.index(0, columns, depth, stride)] = self.encode(matrix)
        return out

    def pack_channel(self, bias: Array, mult: Array, high: bool, shift: int) -> Array:
        """(n,) bias and mult -> the flat int32 channel parameters."""
        raise NotImplementedError

    def unpack_channel(self, words: Array, columns: int, high: bool, shift: int) -> tuple[Array, Array]:
        """(bias, mult) (n,) int64 of flat int32 channel parameters."""
        raise NotImplementedError

    def channel_index(self, columns: int) -> Array:
        """(2, columns) word indices of bias and mult."""
        raise NotImplementedError


class Columns(Right):
    """Each column contiguous."""

    def index(self, offset: int, columns: int, depth: int, stride: int) -> Array:
        return np.asarray(offset + np.arange(columns)[:, None] * stride + np.arange(depth)[None, :])

    def encode(self, matrix: Array) -> Array:
        return matrix

    def decode(self, units: Array, columns: int, depth: int) -> Array:
        return units

    def channel_index(self, columns: int) -> Array:
        return np.asarray(np.arange(columns) * 2 + np.array([[0], [1]]))

    def pack_channel(self, bias: Array, mult: Array, high: bool, shift: int) -> Array:
        return np.stack([bias, mult], axis=1).astype(np.int32).reshape(-1)

    def unpack_channel(self, words: Array, columns: int, high: bool, shift: int) -> tuple[Array, Array]:
        bias, mult = words.astype(np.int64)[self.channel_index(columns)]
        return bias, mult


class Fours(Right):
    """Four columns a group, of channel parameters too."""

    def channel_index(self, columns: int) -> Array:
        c = np.arange(columns)
        return np.asarray(c // 4 * 8 + c % 4 + np.array([[0], [4]]))

    def _words(self, wide: Array) -> Array:
        """(2, columns) int64 bias and mult -> flat int32, modulo 2^32."""
        words = np.zeros(wide.size, np.int64)
        words[self.channel_index(wide.shape[1])] = wide
        return np.asarray((words & 0xFFFFFFFF).astype(np.uint32).view(np.int32))


class Quads(Fours):
    """Four columns a group; a word holds a depth pair of two columns, a halfword `even + 256 · odd`."""

    def index(self, offset: int, columns: int, depth: int, stride: int) -> Array:
        pair = np.arange(even(columns) // 2)[:, None]
        byte = np.arange(2 * even(depth))[None, :]
        return np.asarray(offset + pair // 2 * stride + pair % 2 * 4 + byte // 4 * 8 + byte % 4)

    def encode(self, matrix: Array) -> Array:
        columns, depth = matrix.shape
        padded = np.zeros((even(columns), even(depth)), np.int32)
        padded[:columns, :depth] = matrix
        if padded.min() < -127:
            raise OverflowError("quads: a right-hand operand holds -128; allowed are -127..127")
        halfwords = (padded[0::2] + 256 * padded[1::2]).astype("<i2")
        return np.asarray(halfwords.view(np.int8))

    def decode(self, units: Array, columns: int, depth: int) -> Array:
        halfwords = np.ascontiguousarray(units).view("<i2").astype(np.int32)
        low = halfwords.astype(np.int8).astype(np.int32)
        both = np.stack([low, (halfwords - low) >> 8], axis=1).reshape(even(columns), even(depth))
        return both[:columns, :depth].astype(np.int8)

    def pack_channel(self, bias: Array, mult: Array, high: bool, shift: int) -> Array:
        wide = np.zeros((2, -(-len(bias) // 4) * 4), np.int64)
        wide[:, : len(bias)] = bias, mult
        wide[0, 1::2] = 256 * wide[0, 1::2] + wide[0, 0::2]
        if high:
            wide[1] <<= np.where(np.arange(wide.shape[1]) % 2, 24 - shift, 32 - shift)
        return self._words(wide)

    def unpack_channel(self, words: Array, columns: int, high: bool, shift: int) -> tuple[Array, Array]:
        bias, mult = words.astype(np.int64)[self.channel_index(columns)]
        odd = bias[1::2] - bias[: len(bias) - len(bias) % 2 : 2]
        bias[1::2] = ((odd + (1 << 31)) % (1 << 32) - (1 << 31)) >> 8
        if high:
            mult >>= np.where(np.arange(columns) % 2, 24 - shift, 32 - shift)
        return bias, mult


class Pairs(Fours):
    """Four columns a group, widened to int16: a word holds a depth pair of one column. For weights only."""

    def index(self, offset: int, columns: int, depth: int, stride: int) -> Array:
        column = np.arange(columns)[:, None]
        byte = np.arange(2 * even(depth))[None, :]
        return np.asarray(offset + column // 4 * stride + column % 4 * 4 + byte // 4 * 16 + byte % 4)

    def encode(self, matrix: Array) -> Array:
        columns, depth = matrix.shape
        wide = np.zeros((columns, even(depth)), "<i2")
        wide[:, :depth] = matrix
        return np.asarray(wide.view(np.int8))

    def decode(self, units: Array, columns: int, depth: int) -> Array:
        return np.ascontiguousarray(units).view("<i2")[:, :depth].astype(np.int8)

    def pack_channel(self, bias: Array, mult: Array, high: bool, shift: int) -> Array:
        wide = np.zeros((2, -(-len(bias) // 4) * 4), np.int64)
        wide[:, : len(bias)] = bias, mult << (32 - shift) if high else mult
        return self._words(wide)

    def unpack_channel(self, words: Array, columns: int, high: bool, shift: int) -> tuple[Array, Array]:
        bias, mult = words.astype(np.int64)[self.channel_index(columns)]
        return bias, mult >> (32 - shift) if high else mult


class Blocks(Columns):
    """Four columns a group, a word of four depths of each in turn: 16 bytes a block. For weights only."""

    def index(self, offset: int, columns: int, depth: int, stride: int) -> Array:
        column = np.arange(columns)[:, None]
        byte = np.arange(depth)[None, :]
        return np.asarray(offset + column // 4 * stride + column % 4 * 4 + byte // 4 * 16 + byte % 4)

    def pack_channel(self, bias: Array, mult: Array, high: bool, shift: int) -> Array:
        rest = -len(bias) % 4  # a tile reads four
        return super().pack_channel(np.pad(bias, (0, rest)), np.pad(mult, (0, rest)), high, shift)


RIGHT: Mapping[str, Right] = {
    "columns": Columns("columns", 1, 1, "columns"),
    "quads": Quads("quads", 4, 2, "quads", True, 4),
    "pairs": Pairs("pairs", 4, 2, "quads", True, 8, 2),
    "blocks": Blocks("blocks", 4, 4, "columns"),
}


def written_as(layout: str) -> str:
    """The layout of the right-hand operands that kernels of this layout write, or read when they are none of weights."""
    return RIGHT[layout].written if layout else ""


def is_high(mult: Array, rounding: int, preshift: int, shift: int) -> bool:
    """True when the requantisation may be taken from the high word of a 32 x 32 product (`high` in tileformer.h)."""
    half = 1 << shift >> 1
    return preshift == 0 and shift in HIGH_SHIFTS and int(mult.max()) < half and (rounding - half) % (1 << shift) == 0
