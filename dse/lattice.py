"""Space + prices of parts -> the whole space as arrays: one row a schedule, priced by adding the prices of its parts.

A network falls into parts that share one tensor with their neighbours (dse/blocks.py). Cycles and code add up over parts;
the fullest moment is the fullest of any part. Parts with an attention depend on the attention's knobs, parts with a
feed-forward pair on its rows, all of them on the common knobs (kernels, operand layouts): a few thousand prices of parts
span millions of schedules. Cycles, energy and flash of a row are exact; `floor_bytes` bounds the arena from below under any
placement. A `Sheet` holds the rows of one structure: one form and one setting of the common knobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dse.blocks import Part
from dse.cost import Cost, PartCost
from dse.ir import Array
from dse.knobs import Choice
from dse.schedule import Schedule
from dse.space import Space

Setting = dict[str, Choice]


class Prices(Protocol):
    """What the exact search asks of a cost model."""

    def parts(self, form: str) -> Sequence[tuple[Part, int]]:
        """The distinct parts of the network in that form, each with how often it occurs."""

    def part(self, part: Part, schedule: Schedule) -> PartCost:
        """The price of a part under a schedule."""

    def code_bytes(self, form: str, kernels: frozenset[str], calls: int, loops: int) -> int:
        """Code of a firmware made of these kernels, calls and loops."""

    def energy_joules(self, cycles: Array) -> Array:
        """Energy of runs of that many cycles."""

    def whole(self, schedule: Schedule) -> Cost:
        """The price of a whole schedule, buffers placed."""


def structures(space: Space) -> tuple[Setting, ...]:
    """Every form with every setting of the common knobs that means something with some attention setting."""
    attentions = space.settings("attention")
    return tuple(
        structure
        for form in space.settings("form")
        for common in space.settings("common")
        if any(space.decode(space.plain() | (structure := form | common) | a) for a in attentions)
    )


@dataclass(frozen=True, eq=False)
class Sheet:
    """All schedules of one structure but for what only the whole feels; rows = attentions x feed-forwards, C order.

    cycles, energy_joules: float64; floor_bytes, flash_bytes: int64; all flat.
    """

    space: Space
    structure: Setting
    attentions: tuple[Setting, ...]
    feed_forwards: tuple[Setting, ...]
    cycles: Array
    energy_joules: Array
    floor_bytes: Array
    flash_bytes: Array

    @property
    def rows(self) -> int:
        """Schedules of the structure, placement aside."""
        return len(self.cycles)

    def schedules(self, row: int) -> Iterator[Schedule]:
        """The schedules of a row: one for each setting of the knobs only the whole feels."""
        a, f = divmod(row, len(self.feed_forwards))
        point = self.space.plain() | self.structure | self.attentions[a] | self.feed_forwards[f]
        for whole in self.space.settings("whole"):
            schedule = self.space.decode(point | whole)
            if schedule is not None:
                yield schedule


def build_sheet(space: Space, structure: Setting, prices: Prices) -> Sheet:
    """Every part priced under every setting it feels, and the sums over parts."""
    base = space.plain() | structure
    legal: dict[Schedule, Setting] = {}
    for a in space.settings("attention"):
        schedule = space.decode(base | a)
        if schedule is not None:
            legal.setdefault(schedule, a)
    attentions, feed_forwards = tuple(legal.values()), space.settings("feed_forward")
    total = Sums((len(attentions), len(feed_forwards)))
    for part, times in prices.parts(str(structure["form"])):
        total.add(part, times, part_costs(space, base, part, attentions, feed_forwards, prices))
    cycles = total.cycles.reshape(-1)
    return Sheet(
        space=space,
        structure=structure,
        attentions=attentions,
        feed_forwards=feed_forwards,
        cycles=cycles,
        energy_joules=prices.energy_joules(cycles),
        floor_bytes=total.floor_bytes.reshape(-1),
        flash_bytes=total.flash_bytes(str(structure["form"]), prices).reshape(-1),
    )


def part_costs(
    space: Space,
    base: Setting,
    part: Part,
    attentions: Sequence[Setting],
    feed_forwards: Sequence[Setting],
    prices: Prices,
) -> list[list[PartCost]]:
    """The prices of a part, one row an attention, one column a feed-forward setting; one only where it feels none."""
    costs = []
    for a in attentions if part.attention else attentions[:1]:
        points = [base | a | f for f in (feed_forwards if part.feed_forward else feed_forwards[:1])]
        schedules = [space.decode(point) for point in points]
        costs.append([prices.part(part, schedule) for schedule in schedules if schedule is not None])
    return costs


class Sums:
    """Running totals over parts, each (attentions, feed-forwards)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.cycles = np.zeros(shape)
        self.floor_bytes, self.weight_bytes, self.calls, self.loops, self.kernels = np.zeros((5, *shape), np.int64)
        self._bits: dict[str, int] = {}

    def add(self, part: Part, times: int, costs: Sequence[Sequence[PartCost]]) -> None:
        """Add a part that occurs that often."""
        self.cycles += times * np.array([[c.cycles for c in row] for row in costs])
        np.maximum(self.floor_bytes, np.array([[c.floor_bytes for c in row] for row in costs]), out=self.floor_bytes)
        self.weight_bytes += times * np.array([[c.weight_bytes for c in row] for row in costs])
        self.calls += times * np.array([[c.calls for c in row] for row in costs])
        self.loops += times * np.array([[c.loops for c in row] for row in costs])
        self.kernels |= np.array([[self._mask(c.kernels) for c in row] for row in costs])

    def _mask(self, kernels: frozenset[str]) -> int:
        return sum(1 << self._bits.setdefault(name, len(self._bits)) for name in kernels)

    def flash_bytes(self, form: str, prices: Prices) -> Array:
        """Weights and code; each distinct set of kernels, calls and loops is asked for once."""
        columns = np.stack([self.kernels.reshape(-1), self.calls.reshape(-1), self.loops.reshape(-1)], axis=1)
        distinct, where = np.unique(columns, axis=0, return_inverse=True)
        code = [
            prices.code_bytes(form, frozenset(n for n, bit in self._bits.items() if mask >> bit & 1), calls, loops)
            for mask, calls, loops in distinct.tolist()
        ]
        found: Array = self.weight_bytes + np.array(code, np.int64)[where.reshape(-1)].reshape(self.calls.shape)
        return found
