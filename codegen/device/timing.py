"""What every core's timing says about a basic block, and what it may say about its two ends.

Blocks are priced alone, from a pipeline without hazards, so three things are left for the moment they run: whether the
last branch was taken, whether it was predicted, and whether the block before left a register too late (see `carry`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

CARRIED = 32  # entries of `late` and `early`
NEVER = 127


class TimingError(Exception):
    """An instruction without a known cost."""


@dataclass(frozen=True)
class BlockCost:
    """Cycles of a block whose last branch falls through, what a taken branch adds, and its instructions.

    `unaligned_faults` holds the addresses of the LDM/STM/LDRD/STRD-like ones, which trap on an unaligned address.
    `mispredict_cycles` is added when the block is left for another address than predicted; `predicted` is the first
    guess (0: none). `late` and `early`, if given, are CARRIED signed bytes: how many cycles after the end of the block
    a value is ready, and how many cycles after its start a block needs it.
    """

    instructions: int
    cycles: int
    taken_cycles: int
    unaligned_faults: tuple[int, ...] = ()
    mispredict_cycles: int = 0
    predicted: int = 0
    late: bytes = b""
    early: bytes = b""


def pack_carried(values: Mapping[int, int], otherwise: int) -> bytes:
    """CARRIED signed bytes, `otherwise` where `values` has no entry."""
    return struct.pack(f"{CARRIED}b", *(max(-128, min(127, values.get(i, otherwise))) for i in range(CARRIED)))


def carry(before: BlockCost, after: BlockCost) -> int:
    """Cycles that `after` waits for values of `before` when it directly follows: hook.c adds the same."""
    if not before.late or not after.early:
        return 0
    late, early = (struct.unpack(f"{CARRIED}b", values) for values in (before.late, after.early))
    return max(0, *(int(ready) - int(needed) for ready, needed in zip(late, early, strict=True)))
