"""Space + prices of parts -> the whole space as arrays: one row a schedule, priced by adding the prices of its parts.

A network falls into parts that share one tensor with their neighbours (dse/blocks.py). Cycles and code add up over parts;
the fullest moment is the fullest of any part. Parts with an attention depend on the attention's knobs, parts with a
feed-forward pair on its rows, all of them on the common knobs and the kernels: a few thousand prices of parts
span millions of schedules. Cycles, energy and flash of a row are exact; `floor_bytes` bounds the arena from below under any
placement. A `Sheet` holds the rows of one structure: one form, one setting of the common knobs, one layout of the kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dse.blocks import Part
from dse.cost import Cost, PartCosts
from dse.ir import Array
from dse.knobs import Choice
from dse.schedule import FeedForward, Schedule
from dse.space import Space

Setting = dict[str, Choice]
WORD = 62  # kernels a mask of int64 holds


SheetKey = tuple[tuple[str, Choice], ...]


def key_of(structure: Setting) -> SheetKey:
    """What a structure's sheet is kept under."""
    return tuple(structure.items())


class Prices(Protocol):
    """What the exact search asks of a cost model."""

    @property
    def sheets(self) -> dict[SheetKey, Sheet]:
        """Those built so far; searches of other limits share them."""

    def parts(self, form: str) -> Sequence[tuple[Part, int]]:
        """The distinct parts of the network in that form, each with how often it occurs."""

    def part(self, part: Part, schedules: Sequence[Schedule], rivals: Mapping[str, Sequence[str]]) -> PartCosts:
        """The prices of a part under schedules of one structure, with every rival kernel. rivals: family -> variants."""

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
    rivals, picks = rivals_of(kernels)
    total = Sums((len(attentions), len(feed_forwards)), picks)
    for part, times in prices.parts(form):
        total.add(times, part_costs(part, tuple(legal), feed_forwards, rivals, prices))
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


def rivals_of(kernels: Sequence[Setting]) -> tuple[dict[str, list[str]], dict[str, Array]]:
    """(family -> its variants, family -> (kernels,) which of them each setting takes).

    A variant changes the calls of its own family and nothing else, so the variants of every family price every combination.
    """
    rivals = {family: list(dict.fromkeys(str(k[family]) for k in kernels)) for family in kernels[0]}
    picks = {
        family: np.array([names.index(str(k[family])) for k in kernels], np.intp) for family, names in rivals.items()
    }
    return rivals, picks


def part_costs(
    part: Part,
    attentions: Sequence[Schedule],
    feed_forwards: Sequence[Setting],
    rivals: Mapping[str, Sequence[str]],
    prices: Prices,
) -> tuple[tuple[int, int], PartCosts]:
    """((attentions, feed-forwards), the prices of a part under each pair, row by row): one only where it feels none.

    attentions: a schedule for each.
    """
    felt = attentions if part.attention else attentions[:1], feed_forwards if part.feed_forward else feed_forwards[:1]
    rows = [FeedForward(int(setting["feed_forward"])) for setting in felt[1]]
    schedules = [replace(schedule, feed_forward=pair) for schedule in felt[0] for pair in rows]
    return (len(felt[0]), len(felt[1])), prices.part(part, schedules, rivals)


class Sums:
    """Running totals over parts, each (attentions, feed-forwards, kernels).

    picks: family -> (kernels,) the variant that each kernels setting takes.
    """

    def __init__(self, shape: tuple[int, int], picks: Mapping[str, Array]) -> None:
        self.picks = picks
        shape3 = (*shape, len(next(iter(picks.values()))))
        self.cycles = np.zeros(shape3)
        self.floor_bytes, self.weight_bytes = np.zeros((2, *shape3), np.int64)
        self.kernels = [np.zeros(shape3, np.int64)]  # a bit a kernel, WORD bits each
        self.calls, self.loops = np.zeros((2, *shape, 1), np.int64)
        self._bits: dict[str, int] = {}
        self._masks: dict[frozenset[str], int] = {}

    def add(self, times: int, priced: tuple[tuple[int, int], PartCosts]) -> None:
        """Add a part that occurs that often: `part_costs`."""
        shape, costs = priced
        self.cycles += times * costs.loop_cycles.reshape(*shape, 1)
        self.calls += times * costs.calls.reshape(*shape, 1)
        self.loops += times * costs.loops.reshape(*shape, 1)
        for family, pick in self.picks.items():
            self.cycles += times * costs.cycles[family][:, pick].reshape(*shape, -1)
            self.weight_bytes += times * costs.weight_bytes[family][:, pick].reshape(*shape, -1)
            floors = costs.floor_bytes[family][:, pick].reshape(*shape, -1)
            np.maximum(self.floor_bytes, floors, out=self.floor_bytes)
            masks = [[self._mask(names) for names in sets] for sets in costs.kernels[family]]
            for word, kernels in enumerate(self.kernels):
                bits = np.array([[mask >> WORD * word & (1 << WORD) - 1 for mask in row] for row in masks], np.int64)
                kernels |= bits[costs.which][:, pick].reshape(*shape, -1)

    def _mask(self, kernels: frozenset[str]) -> int:
        if kernels not in self._masks:
            self._masks[kernels] = self._new_mask(kernels)
        return self._masks[kernels]

    def _new_mask(self, kernels: frozenset[str]) -> int:
        mask = sum(1 << self._bits.setdefault(name, len(self._bits)) for name in kernels)
        if len(self._bits) > WORD * len(self.kernels):
            self.kernels.append(np.zeros_like(self.kernels[0]))
        return mask

    def flash_bytes(self, form: str, prices: Prices) -> Array:
        """Weights and code; each distinct set of kernels, calls and loops is asked for once."""
        shape = self.kernels[0].shape
        key = np.zeros(shape, np.int64)
        for part in (*self.kernels, self.calls, self.loops):
            values, place = np.unique(part, return_inverse=True)
            key = key * len(values) + place.reshape(part.shape)
        _, first, where = np.unique(key, return_index=True, return_inverse=True)
        code = []
        for row, column, turn in zip(*np.unravel_index(first, shape), strict=True):
            words = [int(word[row, column, turn]) for word in self.kernels]
            used = frozenset(name for name, bit in self._bits.items() if words[bit // WORD] >> bit % WORD & 1)
            code.append(prices.code_bytes(form, used, int(self.calls[row, column, 0]), int(self.loops[row, column, 0])))
        found: Array = self.weight_bytes + np.array(code, np.int64)[where.reshape(shape)]
        return found
