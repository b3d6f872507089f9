"""Operand layouts of the kernels (tileformer.h): int8 matrices <-> the bytes of `pairs` and `panels`."""

from __future__ import annotations

import numpy as np

from dse.ir import Array

PANEL_ROWS = 4


def even(n: int) -> int:
    """`n` rounded up to a multiple of two."""
    return n + n % 2


def pairs_stride_bytes(depth: int) -> int:
    """Bytes from one column pair to the next of a dense `pairs` matrix of that depth."""
    return 2 * even(depth)


def pairs_bytes(columns: int, depth: int) -> int:
    """Bytes of a dense `pairs` matrix."""
    return (even(columns) // 2) * pairs_stride_bytes(depth)


def pack_pairs(matrix: Array) -> Array:
    """(columns, depth) int8 -> the bytes of its dense `pairs` layout, as a flat int8 array; odd edges are zero."""
    columns, depth = matrix.shape
    padded = np.zeros((even(columns), even(depth)), np.int8)
    padded[:columns, :depth] = matrix
    blocks = padded.reshape(even(columns) // 2, 2, even(depth) // 2, 2)
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1)).reshape(-1)


def unpack_pairs(words: Array, columns: int, depth: int) -> Array:
    """(ceil(columns/2), 4*ceil(depth/2)) int8 rows of column pairs -> (columns, depth) int8."""
    blocks = words.reshape(even(columns) // 2, even(depth) // 2, 2, 2)
    return blocks.transpose(0, 3, 1, 2).reshape(even(columns), even(depth))[:columns, :depth]


def panels_bytes(rows: int, depth: int) -> int:
    """Bytes of an (rows, depth) matrix as int16 panels."""
    return rows * even(depth) * 2


def pack_panels(matrix: Array) -> Array:
    """(rows, depth) uint8 -> its panels, as a flat int16 array; odd depth is padded with zero."""
    rows, depth = matrix.shape
    padded = np.zeros((rows, even(depth)), np.int16)
    padded[:, :depth] = matrix
    groups = [padded[r : r + PANEL_ROWS] for r in range(0, rows, PANEL_ROWS)]
    return np.concatenate([g.reshape(len(g), -1, 2).transpose(1, 0, 2).reshape(-1) for g in groups])


def unpack_panels(halfwords: Array, rows: int, depth: int) -> Array:
    """The flat int16 panels of an (rows, depth) matrix -> (rows, depth) int16."""
    out = np.empty((rows, even(depth)), np.int16)
    width = even(depth)
    for r in range(0, rows, PANEL_ROWS):
        height = min(PANEL_ROWS, rows - r)
        group = halfwords[r * width : (r + height) * width].reshape(width // 2, height, 2)
        out[r : r + height] = group.transpose(1, 0, 2).reshape(height, width)
    return out[:, :depth]
