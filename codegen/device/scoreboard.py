"""Instructions as what they need and make -> the cycles of a two-wide in-order pipeline, and what its ends leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import capstone.arm as arm

from codegen.device.timing import NEVER

FLAGS = arm.ARM_REG_CPSR
_ENTRIES = {getattr(arm, f"ARM_REG_R{index}"): index for index in range(13)}
_ENTRIES |= {arm.ARM_REG_SP: 13, arm.ARM_REG_LR: 14, FLAGS: 15}
_FACTOR = 16  # entries of `late` and `early` from here on: the same registers as factors of a product


@dataclass(frozen=True)
class Step:
    """One instruction. `reads`: register -> cycles after issue at which it is needed; `writes`: register -> latency.

    `factors` are needed at issue and come a cycle later from a load. `bank`: (base register, bit 2 of the offset).
    """

    cycles: int = 1
    units: frozenset[str] = frozenset()
    is_older: bool = False
    is_alone: bool = False
    reads: Mapping[int, int] = field(default_factory=dict)
    factors: frozenset[int] = frozenset()
    writes: Mapping[int, int] = field(default_factory=dict)
    bank: tuple[int, int] | None = None
    traps_unaligned: bool = False


class Scoreboard:
    """The issue of a sequence: its length in `cycles`, and when values are ready and needed."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._now = 0
        self._pair: list[Step] = []  # what issues in the cycle `_now`
        self._ready: dict[int, int] = {}
        self._factor_ready: dict[int, int] = {}
        self.early: dict[int, int] = {}
        for step in steps:
            self._issue(step)

    @property
    def cycles(self) -> int:
        """Cycles until the next block may issue."""
        return self._now + 1

    def late(self) -> dict[int, int]:
        """Entry -> cycles from the end until the value is ready."""
        found = {_ENTRIES[r]: at - self.cycles for r, at in self._ready.items() if r in _ENTRIES}
        factors = {_ENTRIES[r] + _FACTOR: at - self.cycles for r, at in self._factor_ready.items() if r in _ENTRIES}
        return found | factors

    def _issue(self, step: Step) -> None:
        at = max([self._now, *(self._ready[r] - stage for r, stage in step.reads.items() if r in self._ready)])
        at = max([at, *(self._factor_ready[r] for r in step.factors if r in self._factor_ready)])
        if at == self._now and not _fits(self._pair, step):
            at += 1
        if at > self._now:
            self._pair = []
        for registers, ready, offset in (
            (step.reads, self._ready, 0),
            (dict.fromkeys(step.factors, 0), self._factor_ready, _FACTOR),
        ):
            for register, stage in registers.items():
                if register in _ENTRIES and register not in ready:
                    entry = _ENTRIES[register] + offset
                    self.early[entry] = min(at + stage, self.early.get(entry, NEVER))
        self._now = at + step.cycles - 1
        self._pair.append(step)
        for register, latency in step.writes.items():
            self._ready[register] = self._now + latency
            self._factor_ready[register] = self._now + (max(2, latency) if "load" in step.units else latency)


def _fits(pair: Sequence[Step], step: Step) -> bool:
    """True when the step issues in the same cycle as what `pair` holds, operands aside."""
    if not pair:
        return True
    older = pair[0]
    if len(pair) == 2 or older.is_alone or step.is_alone or step.is_older:
        return False
    shared = older.units & step.units
    if shared == {"load"} and older.bank and step.bank:
        return older.bank[0] == step.bank[0] and older.bank[1] != step.bank[1]
    return not shared and not {"store", "multiplier"} <= older.units | step.units
