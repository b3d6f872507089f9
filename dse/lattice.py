"""Space + prices of parts -> the whole space as arrays: one row a schedule, priced by adding the prices of its parts.

A network falls into parts that share one tensor with their neighbours (dse/blocks.py). Cycles and code add up over parts;
the fullest moment is the fullest of any part. Parts with an attention depend on the attention's knobs, parts with a
feed-forward pair on its rows, all of them on the common knobs and the kernels: a few thousand prices of parts
span millions of schedules. Cycles, energy and flash of a row are exact; `floor_bytes` bounds the arena from below under any
placement. A `Sheet` holds the rows of one structure: one form, one setting of the common knobs, one layout of the kernels.
"""

from __future__ import annotations

import itertools
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
    """Every form with every setting of the common knobs and every layout of the kernels that means something together."""
    found: dict[str, Setting] = {}
    seen = set[str]()
    ends = dict(space.choices)["rows"]  # no structure is legal only for row steps in between
    attentions = [a for a in space.settings("attention") if a["rows"] in (ends[0], ends[-1])]
    for form, common, kernels in itertools.product(*(space.settings(a) for a in ("form", "common", "kernels"))):
        point = space.plain() | form | common | kernels
        structure = structure_of(space, point)
        if repr(structure) not in seen and any(space.decode(point | a) for a in attentions):
            found[repr(structure)] = structure
        seen.add(repr(structure))
    return tuple(found.values())


def structure_of(space: Space, point: Setting) -> Setting:
    """The structure a point belongs to."""
    names = [*space.settings("form")[0], *space.settings("common")[0]]
    return {name: point[name] for name in names} | {"layouts": space.layouts(point)}


def choices(every: Sequence[Setting]) -> dict[str, tuple[Choice, ...]]:
    """What each name of these structures may be."""
    return {name: tuple(dict.fromkeys(structure[name] for structure in every)) for name in every[0]}


@dataclass(frozen=True, eq=False)
class Sheet:
    """All schedules of one structure but for what only the whole feels; rows = attentions x feed-forwards x kernels.

    cycles, energy_joules: float64; floor_bytes, flash_bytes: int64; all flat.
    """

    space: Space
    structure: Setting
    settings: tuple[tuple[Setting, ...], ...]
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
        point = self.space.plain() | {n: v for n, v in self.structure.items() if n != "layouts"}
        for options, index in zip(self.settings, np.unravel_index(row, [len(s) for s in self.settings]), strict=True):
            point |= options[index]
        for whole in self.space.settings("whole"):
            schedule = self.space.decode(point | whole)
            if schedule is not None:
                yield schedule


def build_sheet(space: Space, structure: Setting, prices: Prices) -> Sheet:
    """Every part priced under every setting it feels, and the sums over parts."""
    form = str(structure["form"])
    base = space.plain() | {n: v for n, v in structure.items() if n != "layouts"}
    kernels = tuple(k for k in space.settings("kernels") if space.layouts(base | k) == structure["layouts"])
    base |= kernels[0]
    legal: dict[Schedule, Setting] = {}
    for a in space.settings("attention"):
        schedule = space.decode(base | a)
        if schedule is not None:
            legal.setdefault(schedule, a)
    attentions, feed_forwards = tuple(legal.values()), space.settings("feed_forward")
    turns, picks = _turns(kernels)
    total = Sums((len(attentions), len(feed_forwards)), tuple(kernels[0]), picks)
    for part, times in prices.parts(form):
        costs = [part_costs(space, base | turn, part, attentions, feed_forwards, prices) for turn in turns]
        total.add(times, costs)
    cycles = total.cycles.reshape(-1)
    return Sheet(
        space=space,
        structure=structure,
        settings=(attentions, feed_forwards, kernels),
        cycles=cycles,
        energy_joules=prices.energy_joules(cycles),
        floor_bytes=total.floor_bytes.reshape(-1),
        flash_bytes=total.flash_bytes(form, prices).reshape(-1),
    )


def _turns(kernels: Sequence[Setting]) -> tuple[list[Setting], Array]:
    """(settings in which every variant of every family has its turn, (kernels, families) which turn shows the variant).

    A variant changes the calls of its own family and nothing else, so as many turns as the largest family has variants
    price every combination.
    """
    variants = {family: list(dict.fromkeys(k[family] for k in kernels)) for family in kernels[0]}
    most = max(len(found) for found in variants.values())
    turns = [{family: found[min(i, len(found) - 1)] for family, found in variants.items()} for i in range(most)]
    picks = np.array([[variants[family].index(k[family]) for family in variants] for k in kernels], np.intp)
    return turns, picks


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
    """Running totals over parts, each (attentions, feed-forwards, kernels).

    families, picks: (kernels, families) the turn of `add`'s costs that shows the variant of each kernels setting.
    """

    def __init__(self, shape: tuple[int, int], families: Sequence[str], picks: Array) -> None:
        self.families, self.picks = families, picks
        shape3 = (*shape, len(picks))
        self.cycles = np.zeros(shape3)
        self.floor_bytes, self.weight_bytes, self.kernels = np.zeros((3, *shape3), np.int64)
        self.calls, self.loops = np.zeros((2, *shape, 1), np.int64)
        self._bits: dict[str, int] = {}

    def add(self, times: int, turns: Sequence[Sequence[Sequence[PartCost]]]) -> None:
        """Add a part that occurs that often: its costs in every turn."""
        first = turns[0]
        self.cycles += times * np.array([[c.cycles[""] for c in row] for row in first])[:, :, None]
        self.calls += times * np.array([[c.calls for c in row] for row in first])[:, :, None]
        self.loops += times * np.array([[c.loops for c in row] for row in first])[:, :, None]
        for number, family in enumerate(self.families):
            picked = self.picks[:, number]
            cycles = np.array([[[c.cycles[family] for c in row] for row in rows] for rows in turns])
            floors = np.array([[[c.floor_bytes[family] for c in row] for row in rows] for rows in turns])
            masks = np.array([[[self._mask(c.kernels[family]) for c in row] for row in rows] for rows in turns])
            weights = np.array([[[c.weight_bytes[family] for c in row] for row in rows] for rows in turns])
            self.cycles += times * np.moveaxis(cycles[picked], 0, 2)
            self.weight_bytes += times * np.moveaxis(weights[picked], 0, 2)
            np.maximum(self.floor_bytes, np.moveaxis(floors[picked], 0, 2), out=self.floor_bytes)
            self.kernels |= np.moveaxis(masks[picked], 0, 2)

    def _mask(self, kernels: frozenset[str]) -> int:
        return sum(1 << self._bits.setdefault(name, len(self._bits)) for name in kernels)

    def flash_bytes(self, form: str, prices: Prices) -> Array:
        """Weights and code; each distinct set of kernels, calls and loops is asked for once."""
        shape = self.kernels.shape
        every = [np.broadcast_to(values, shape).reshape(-1) for values in (self.kernels, self.calls, self.loops)]
        distinct, where = np.unique(np.stack(every, axis=1), axis=0, return_inverse=True)
        code = [
            prices.code_bytes(form, frozenset(n for n, bit in self._bits.items() if mask >> bit & 1), calls, loops)
            for mask, calls, loops in distinct.tolist()
        ]
        found: Array = self.weight_bytes + np.array(code, np.int64)[where.reshape(-1)].reshape(shape)
        return found
