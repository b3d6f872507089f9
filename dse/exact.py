"""Sheets of a space -> the best schedule and the front, with a certificate: nothing left unseen can be better.

A sheet bounds every objective of its rows from below; all but the arena are exact unless cycles depend on placement. Rows
are taken in ascending order of what is asked, lowered and placed as a whole, until the bound of the next row is no better
than the best whole price: then no row left can win. Every whole price is compared with its row: one below its bound takes
the certificate away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dse.ir import Array
from dse.lattice import Prices, Sheet
from dse.pareto import DECIMALS, OBJECTIVES, Point
from dse.schedule import Schedule

SAME = 1e-9  # relative: sums of the same floats in another order
MOST_WHOLE = 20_000  # whole prices before a proof is given up and the gap reported


@dataclass(frozen=True)
class Limits:
    """What fits: most bytes of all arenas and of flash, most cycles; None = no limit."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    cycles: float | None = None


@dataclass(frozen=True)
class Certificate:
    """How good the answer is. `value`: of `objective`; no schedule of the space is below `lower_bound`.

    schedules: how many the space holds; priced: how many of them were lowered and placed as a whole.
    """

    objective: str
    value: float
    lower_bound: float
    schedules: int
    priced: int

    @property
    def gap(self) -> float:
        """(value - lower bound) / value: how much better an unseen schedule could be; 0 = optimal."""
        return max(0.0, (self.value - self.lower_bound) / self.value) if self.value else 0.0

    def describe(self) -> str:
        """`optimal`, or the gap in percent."""
        return "optimal" if self.gap <= SAME else f"gap {100 * self.gap:.2f} %"


@dataclass(eq=False)
class Exact:
    """The rows of all sheets side by side, and every whole schedule priced so far."""

    sheets: Sequence[Sheet]
    prices: Prices
    limits: Limits
    points: dict[Schedule, Point] = field(default_factory=dict)
    honest: bool = True

    def __post_init__(self) -> None:
        self.cycles = np.concatenate([s.cycles for s in self.sheets])
        self.energy = np.concatenate([s.energy_joules for s in self.sheets])
        self.floor = np.concatenate([s.floor_bytes for s in self.sheets]).astype(np.float64)
        self.flash = np.concatenate([s.flash_bytes for s in self.sheets]).astype(np.float64)
        rows = {"latency": self.cycles, "memory": self.floor, "energy": self.energy, "flash": self.flash}
        self._bounds: dict[str, Array] = {name: np.round(values, DECIMALS[name]) for name, values in rows.items()}
        self._starts = np.cumsum([0, *(s.rows for s in self.sheets)])
        self._seen: dict[int, tuple[Point, ...]] = {}

    # ---- rows and whole prices -------------------------------------------------------------------------------------

    @property
    def schedules(self) -> int:
        """How many schedules the sheets hold."""
        return len(self.cycles) * len(self.sheets[0].space.settings("whole"))

    def bounds(self, objective: str) -> Array:
        """float64: the objective of every row, exact or (memory) from below."""
        return self._bounds[objective]

    def possible(self) -> Array:
        """Rows that may fit the limits."""
        limits, kept = self.limits, np.ones(len(self.cycles), bool)
        for values, limit in (
            (self.floor, limits.ram_bytes),
            (self.flash, limits.flash_bytes),
            (self.cycles, limits.cycles),
        ):
            if limit is not None:
                kept &= values <= limit
        return np.flatnonzero(kept)

    def whole(self, row: int) -> tuple[Point, ...]:
        """The schedules of a row, lowered, placed and priced."""
        if row not in self._seen:
            sheet = int(np.searchsorted(self._starts, row, side="right")) - 1
            found = []
            for schedule in self.sheets[sheet].schedules(row - int(self._starts[sheet])):
                if schedule not in self.points:
                    self.points[schedule] = Point(schedule, self.prices.whole(schedule))
                found.append(self.points[schedule])
                self.honest &= self._agrees(row, found[-1])
            self._seen[row] = tuple(found)
        return self._seen[row]

    def _agrees(self, row: int, point: Point) -> bool:
        return all(
            value >= self.bounds(name)[row] * (1 - SAME)
            for name, value in zip(OBJECTIVES, point.values(tuple(OBJECTIVES)), strict=True)
        )

    def fits(self, point: Point) -> bool:
        """True when no memory is overrun and the latency limit holds."""
        return point.cost.fits and (self.limits.cycles is None or point.cost.cycles <= self.limits.cycles)

    # ---- the best ----------------------------------------------------------------------------------------------------

    def best(self, objectives: Sequence[str]) -> tuple[Point | None, float]:
        """(the best fitting schedule, a bound no schedule of the sheets is below) of the first objective.

        The other objectives, then cycles, arena and flash break ties.
        """
        order = tuple(dict.fromkeys((*objectives, "latency", "memory", "flash")))
        keys = [self.bounds(name) for name in order]
        best: Point | None = None
        for row in _ascending(keys, self.possible()):
            bound = tuple(float(key[row]) for key in keys)
            if best is not None and _beyond(bound, best.values(order)):
                return best, best.values(objectives)[0]
            if len(self.points) >= MOST_WHOLE:
                return best, bound[0]
            for point in self.whole(row):
                if self.fits(point) and (best is None or point.values(order) < best.values(order)):
                    best = point
        return best, best.values(objectives)[0] if best else float("inf")

    def nearest(self) -> Point:
        """The schedule with the fewest bytes (and cycles, where they are limited) too many, the fastest of them."""
        limits, over = self.limits, np.zeros(len(self.cycles))
        for values, limit in ((self.floor, limits.ram_bytes), (self.flash, limits.flash_bytes)):
            if limit is not None:
                over += np.maximum(0.0, values - limit)
        best: tuple[tuple[float, ...], Point] | None = None
        for row in _ascending([over, self.cycles], np.arange(len(over))):
            if (best is not None and _beyond((over[row], self.cycles[row]), best[0])) or len(self.points) >= MOST_WHOLE:
                break
            for point in self.whole(row):
                rank = float(sum(o.excess_bytes for o in point.cost.overruns)), point.cost.cycles
                best = (rank, point) if best is None or rank < best[0] else best
        assert best is not None
        return best[1]

    # ---- the front -----------------------------------------------------------------------------------------------------

    def front(self, objectives: Sequence[str]) -> bool:
        """Prices rows until `points` hold the whole front over these objectives; False when it was given up.

        A row is left out only when a fitting point is no worse than its bounds in every objective.
        """
        left = self.possible()
        values = np.stack([self.bounds(name)[left] for name in objectives], axis=1)
        for point in list(self.points.values()):
            left, values = self._prune(left, values, point, objectives)
        while len(left):
            if len(self.points) >= MOST_WHOLE:
                return False
            pick = _first(values)
            row = int(left[pick])
            left, values = np.delete(left, pick), np.delete(values, pick, axis=0)
            for point in self.whole(row):
                left, values = self._prune(left, values, point, objectives)
        return True

    def _prune(self, left: Array, values: Array, point: Point, objectives: Sequence[str]) -> tuple[Array, Array]:
        if not self.fits(point):
            return left, values
        real = np.array(point.values(objectives)) * (1 - SAME)
        kept = ~(values >= real).all(axis=1)
        return left[kept], values[kept]


def _beyond(bound: Sequence[float], best: Sequence[float]) -> bool:
    """True when `bound` comes after `best` in lexicographic order, differences of rounding aside."""
    for low, value in zip(bound, best, strict=True):
        if abs(low - value) > SAME * abs(value):
            return low > value
    return True


def _first(values: Array) -> int:
    """The row of (n, d) values that is first in lexicographic order."""
    rows = np.arange(len(values))
    for column in values.T:
        rows = rows[column[rows] == column[rows].min()]
    return int(rows[0])


def _ascending(keys: Sequence[Array], rows: Array) -> Iterator[int]:
    """The rows in lexicographic order of the keys, sorted a thousand at a time."""
    step = 1000
    while len(rows):
        first = keys[0][rows]
        edge = np.partition(first, min(step, len(rows)) - 1)[min(step, len(rows)) - 1]
        chunk = rows[first <= edge]
        yield from (int(row) for row in chunk[np.lexsort([key[chunk] for key in reversed(keys)])])
        rows = rows[first > edge]
