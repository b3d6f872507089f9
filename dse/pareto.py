"""Operations on sets of priced schedules: dominance and the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dse.cost import Cost
from dse.schedule import Schedule

DECIMALS = {"latency": 6, "memory": 0, "energy": 16, "flash": 0}
"""Places that count: sums of the same floats in another order are the same cycles (and joules)."""
OBJECTIVES: dict[str, Callable[[Cost], float]] = {
    "latency": lambda cost: round(cost.cycles, DECIMALS["latency"]),
    "memory": lambda cost: float(cost.arena_bytes),
    "energy": lambda cost: round(cost.energy_joules, DECIMALS["energy"]),
    "flash": lambda cost: float(cost.flash_bytes),
}


@dataclass(frozen=True)
class Point:
    """A schedule and its price."""

    schedule: Schedule
    cost: Cost

    def values(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """The objective values, all to be minimised."""
        return tuple(OBJECTIVES[name](self.cost) for name in objectives)


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """True when `a` is no worse anywhere and better somewhere."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Point], objectives: Sequence[str]) -> tuple[Point, ...]:
    """The fitting points no other fitting point dominates, ordered by the first objective; equals kept once."""
    unique: dict[tuple[float, ...], Point] = {}
    for point in points:
        if point.cost.fits:
            unique.setdefault(point.values(objectives), point)
    ordered = sorted(unique)
    if len(objectives) <= 2:
        return tuple(unique[v] for v in _staircase(ordered))
    return tuple(unique[v] for v in ordered if not any(dominates(w, v) for w in ordered))


def _staircase(ordered: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    kept: list[tuple[float, ...]] = []
    for value in ordered:
        if not kept or value[-1] < kept[-1][-1]:
            kept.append(value)
    return kept[:1] if ordered and len(ordered[0]) == 1 else kept
