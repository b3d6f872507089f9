"""Space + prices of parts -> the whole space as arrays: one row a schedule, priced by adding the prices of its parts.

A network falls into parts that only share one tensor with their neighbours (dse/blocks.py). Cycles and code add up over
parts; the fullest moment is the fullest of any part. Parts with an attention depend on the attention's knobs, parts with a
feed-forward pair on its rows, all of them on the kernel variants: a few thousand prices of parts span millions of
schedules. Cycles, energy and flash of a row are exact; its `floor_bytes` bounds the arena from below under any placement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dse.blocks import Part
from dse.cost import Cost, PartCost
from dse.ir import Array
from dse.knobs import AXES, Choice
from dse.schedule import Schedule
from dse.space import Space

Setting = Mapping[str, Choice]


class Prices(Protocol):
    """What the exact search asks of a cost model."""

    def parts(self, form: str) -> Sequence[tuple[Part, int]]:
        """The distinct parts of the network in that form, each with how often it occurs."""

    def part(self, part: Part, schedule: Schedule) -> PartCost:
        """The price of a part under a schedule and every kernel variant of `Space.families()`."""

    def code_bytes(self, form: str, ops: Sequence[str], kernels: Mapping[str, str], arguments: int) -> int:
        """Code of a firmware that calls these kernel ops in these variants."""

    def energy_joules(self, cycles: Array) -> Array:
        """Energy of runs of that many cycles."""

    def whole(self, schedule: Schedule) -> Cost:
        """The price of a whole schedule, buffers placed."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """All schedules of one form but for their placement; `shape` = settings along attention, feed-forward, kernels.

    cycles, energy_joules: float64, floor_bytes, flash_bytes: int64, all flat over `shape` in C order.
    """

    space: Space
    form: str
    settings: tuple[tuple[Setting, ...], ...]
    cycles: Array
    energy_joules: Array
    floor_bytes: Array
    flash_bytes: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Settings along the three axes."""
        return tuple(len(settings) for settings in self.settings[:3])

    def schedules(self, row: int) -> Iterator[Schedule]:
        """The schedules of a row: one a placement."""
        point: dict[str, Choice] = {"form": self.form}
        for settings, index in zip(self.settings, np.unravel_index(row, self.shape), strict=False):
            point |= settings[index]
        for place in self.settings[3]:
            schedule = self.space.decode(point | dict(place))
            if schedule is not None:
                yield schedule

    def values(self, objective: str) -> Array:
        """That objective of every row; the arena as its lower bound."""
        by_name = {"latency": self.cycles, "memory": self.floor_bytes, "energy": self.energy_joules}
        return by_name.get(objective, self.flash_bytes).astype(np.float64)


def lattice_size(space: Space, form: str) -> int:
    """Rows of a lattice before it is made."""
    return int(np.prod([len(space.axis(form, axis)) for axis in AXES[:3]], dtype=np.int64))


def build_lattice(space: Space, form: str, prices: Prices) -> Lattice:
    """Every part priced under every setting it feels, and the sums over parts."""
    settings = tuple(space.axis(form, axis) for axis in AXES)
    kernels = _Kernels(space, form, settings[2])
    tables = [_table(space, form, part, times, settings, kernels, prices) for part, times in prices.parts(form)]
    shape = np.broadcast_shapes(*(table.cycles.shape for table in tables), tuple(len(s) for s in settings[:3]))
    cycles, floor, weights = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape[:2], np.int64)
    arguments, called = np.zeros(shape[:2], np.int64), np.zeros(shape[:2], np.int64)
    for table in tables:
        cycles += table.times * table.cycles
        np.maximum(floor, table.floor_bytes, out=floor)
        weights += table.times * table.weight_bytes
        arguments += table.times * table.arguments
        called |= table.called
    flash = weights[:, :, None] + kernels.code_bytes(called, arguments, prices)
    return Lattice(
        space=space,
        form=form,
        settings=settings,
        cycles=cycles.reshape(-1),
        energy_joules=prices.energy_joules(cycles.reshape(-1)),
        floor_bytes=floor.reshape(-1),
        flash_bytes=flash.reshape(-1),
    )


class _Kernels:
    """The kernel settings as indices into each family's variants, and which kernel ops have been met (as bits)."""

    def __init__(self, space: Space, form: str, settings: Sequence[Setting]) -> None:
        plain = {name: values[0] for name, values in space.choices} | {"form": form}
        chosen = [space.decode(plain | dict(setting)) for setting in settings]
        self.form = form
        self.choices = [dict(schedule.kernels) for schedule in chosen if schedule is not None]
        self.families = space.families()
        self.index = np.array([[v.index(choice[f]) for f, v in self.families] for choice in self.choices], np.intp)
        self._bits: dict[str, int] = {}

    def mask(self, ops: frozenset[str]) -> int:
        """The set of ops as bits."""
        return sum(1 << self._bits.setdefault(op, len(self._bits)) for op in ops)

    def code_bytes(self, called: Array, arguments: Array, prices: Prices) -> Array:
        """(attention, feed-forward, kernels) int64: code bytes; each distinct set of calls is asked for once."""
        pairs = np.stack([called.reshape(-1), arguments.reshape(-1)], axis=1)
        distinct, where = np.unique(pairs, axis=0, return_inverse=True)
        found = np.empty((len(distinct), len(self.choices)), np.int64)
        for i, (mask, count) in enumerate(distinct):
            ops = [op for op, bit in self._bits.items() if mask >> bit & 1]
            found[i] = [prices.code_bytes(self.form, ops, choice, int(count)) for choice in self.choices]
        return found[where.reshape(-1)].reshape(*called.shape, -1)


@dataclass(frozen=True, eq=False)
class _Table:
    """One part under its settings, broadcast over (attention, feed-forward, kernels); `times` it occurs."""

    times: int
    cycles: Array
    floor_bytes: Array
    weight_bytes: Array
    arguments: Array
    called: Array


def _table(
    space: Space,
    form: str,
    part: Part,
    times: int,
    settings: Sequence[Sequence[Setting]],
    kernels: _Kernels,
    prices: Prices,
) -> _Table:
    plain: dict[str, Choice] = {name: values[0] for name, values in space.choices} | {"form": form}
    attention = settings[0] if part.attention else settings[0][:1]
    feed_forward = settings[1] if part.feed_forward else settings[1][:1]
    costs = []
    for a in attention:
        for f in feed_forward:
            schedule = space.decode(plain | dict(a) | dict(f))
            if schedule is None:
                raise ValueError(f"space: the axes are not independent at {a} {f}")
            costs.append(prices.part(part, schedule))
    shape = len(attention), len(feed_forward)
    flat = [(c.weight_bytes, c.arguments, kernels.mask(c.ops)) for c in costs]
    weights, arguments, called = (np.array(column, np.int64).reshape(shape) for column in zip(*flat, strict=True))
    cycles, floor = _by_kernels(costs, kernels.index)
    return _Table(times, cycles.reshape(*shape, -1), floor.reshape(*shape, -1), weights, arguments, called)


def _by_kernels(costs: Sequence[PartCost], index: Array) -> tuple[Array, Array]:
    """(cycles, floor bytes), each (costs, kernel settings): the variants of every family picked by `index`."""
    families, most = index.shape[1], max((len(v) for v in costs[0].cycles), default=0)
    leaves = max(len(cost.leaves) for cost in costs)
    by_variant = np.zeros((len(costs), families, most))
    plain = np.zeros((len(costs), leaves), np.int64)
    scratch = np.zeros((len(costs), leaves, families, most), np.int64)
    for i, cost in enumerate(costs):
        for family, variants in enumerate(cost.cycles):
            by_variant[i, family, : len(variants)] = variants
        plain[i, : len(cost.leaves)] = [leaf.plain_bytes for leaf in cost.leaves]
        for j, leaf in enumerate(cost.leaves):
            for family, sizes in enumerate(leaf.scratch_bytes):
                scratch[i, j, family, : len(sizes)] = sizes
    cycles = np.empty((len(costs), len(index)))
    floor = np.empty((len(costs), len(index)), np.int64)
    fixed, every = np.array([cost.fixed_cycles for cost in costs]), np.arange(families)
    for k, picked in enumerate(index):
        cycles[:, k] = fixed + by_variant[:, every, picked].sum(axis=1)
        floor[:, k] = (plain + scratch[:, :, every, picked].sum(axis=2)).max(axis=1)
    return cycles, floor
