"""Two prices in pieces -> a waterfall from one to the other whose steps sum to the difference, to the last byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What one piece adds (negative: saves) on the way from the first schedule to the second."""

    name: str
    change: int


@dataclass(frozen=True)
class Waterfall:
    """`first + sum of the steps = last`, all whole numbers."""

    title: str
    first: int
    steps: tuple[Step, ...]
    last: int


def waterfall(title: str, first: Mapping[str, float], last: Mapping[str, float]) -> Waterfall:
    """The way from the pieces of one total to those of another; pieces that do not change are left out.

    Running totals are rounded, not the steps, so that no cycle is lost on the way.
    """
    start = total = sum(first.values())
    steps = []
    for name in dict.fromkeys((*first, *last)):
        reached = total + last.get(name, 0.0) - first.get(name, 0.0)
        if round(reached) != round(total):
            steps.append(Step(name, round(reached) - round(total)))
        total = reached
    return Waterfall(title, round(start), tuple(steps), round(total))


def memory_pieces(alive: Sequence[tuple[str, int]], arena_bytes: int) -> dict[str, float]:
    """An arena in pieces: the buffers alive at the fullest moment, and what alignment and placement add."""
    pieces = {name: float(size) for name, size in alive}
    return pieces | {"placement": arena_bytes - sum(pieces.values())}
