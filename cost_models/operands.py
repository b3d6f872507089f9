"""How a kernel goes over its operands: bytes that a call touches, how often it goes over them, which it reads again.

A matrix product of a layout by four columns takes four columns at a time for every tile of rows; one on panels of four rows
takes two of them. Rows that are not panels are unpacked by blocks of 16, each of which goes over all weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from cost_models.code_stalls import BLOCK_ROWS, four_row_blocks, has_four_rows
from cost_models.counts import Sizes
from cost_models.sets import Piece, lost_share, reach
from dse.kernel import Kernel
from dse.layout import RIGHT, even
from dse.target import Cache

SPARE_BYTES = 32  # of a data cache: what else a kernel reads from flash between two passes over an operand
TILE_BYTES = 16  # the same between two tiles of four columns
PAIR_BYTES = 80  # the same from the first two of four columns to the others: the lines of their records


@dataclass(frozen=True)
class Walk:
    """What of a kernel decides how often it goes over its operands: its op and layout, whether its tiles have four rows,
    whether it takes rows one by one."""

    op: str
    layout: str
    four_rows: bool
    one_by_one: bool


def walk(kernel: Kernel) -> Walk:
    """How a kernel goes over its operands."""
    return Walk(kernel.op, kernel.layout, has_four_rows(kernel), kernel.isa == "any" or kernel.op == "layernorm")


def chunks(field: str, layout: str, z: Sizes) -> tuple[float, int]:
    """(bytes, stride) of the chunks of an operand: columns by four, or rows, of the depth; (0, 0) where all is one."""
    if f"{field}_stride" not in z or "k" not in z or field in ("y", "r"):
        return 0.0, 0
    depth = even(z["k"]) * (RIGHT[layout].element_bytes if field == "w" else 1)
    return 4 * depth if z.get(f"{field}_panels", 1) else z["k"], z[f"{field}_stride"]


def touched_bytes(field: str, z: Sizes, size: float) -> float:
    """Bytes of an operand that a call touches: all of it, or the share of a table that so many random look-ups meet."""
    if field != "table":
        return size
    lookups = z["n"] * z.get("m", 1)
    return size * (1 - (1 - 8 / size) ** lookups)


def again_bytes(way: Walk, z: Sizes, cache: Cache, beside: float) -> float:
    """Bytes of weights and channel records that a call reads again: for every further tile of rows, when the four columns
    that tiles read do not stay in the cache until the next, or until the other two of them; else for every further block
    of rows. beside: bytes of its other operands in slow memories."""
    if not way.op.startswith("linear_") or way.layout not in ("columns", "quads", "pairs"):
        return 0.0
    right = RIGHT[way.layout]
    depth_bytes = right.depth(z["k"]) * right.element_bytes
    weights = (z["n"] if right.group == 1 else even(z["n"])) * depth_bytes
    records = 8 * z["n"] * (way.op != "linear_add")
    blocks, tiles = blocks_and_tiles(way, z)
    if right.group > 1 and 4 * depth_bytes > cache.size_bytes - TILE_BYTES:
        return weights * (tiles - 1) + records * (blocks - 1)
    if way.four_rows and records and 4 * depth_bytes > cache.size_bytes - PAIR_BYTES:
        return weights * (2 * blocks - 1) + records * (blocks - 1)
    own = Piece(weights, reach(right.group * depth_bytes, z["w_stride"], cache))
    return (weights + records) * (blocks - 1) * lost_share(own, (Piece(records + TILE_BYTES + beside / blocks),), cache)


def blocks_and_tiles(way: Walk, z: Sizes) -> tuple[int, int]:
    """How often a linear call goes over all of its weights, and over the four columns that lie side by side: for every row
    (columns), for every pair of rows, or for every panel of up to four rows twice, two columns at a time."""
    m = z["m"]
    if RIGHT[way.layout].group == 1:
        return m, m
    if way.four_rows:
        return four_row_blocks(m), 2 * ((m + 3) // 4)
    return 1 if z["x_panels"] else -(-m // BLOCK_ROWS), (m + 1) // 2


def passes_over(way: Walk, field: str, z: Sizes) -> float:
    """How often a call goes over an operand: rows in panels, unpacked or not, for every four columns (two where they are
    panels of four rows), keys, values and records of narrow for every pair of rows, other records for every row."""
    if way.op.startswith("linear_") and field in ("x", "scratch"):
        if way.four_rows:
            return four_row_blocks(z["m"]) * ((z["n"] + 1) // 2) if field == "scratch" else 1
        blocks = -(-z["m"] // BLOCK_ROWS) if field == "scratch" else int(z["x_panels"])
        return max(1, blocks * ((z["n"] + 3) // 4))
    if field in ("keys", "values") or (field == "channel" and way.op in ("narrow", "layernorm")):
        return z["m"] if way.one_by_one else (z["m"] + 1) // 2
    return 1
