"""The price of a Program: types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dse.ir import Array


@dataclass(frozen=True)
class Overrun:
    """A memory the program does not fit, or the latency limit (region "latency", unit "cycles"): infeasible is data."""

    region: str
    demand_bytes: int
    capacity_bytes: int
    unit: str = "B"

    @property
    def excess_bytes(self) -> int:
        """How many bytes too many."""
        return self.demand_bytes - self.capacity_bytes


@dataclass(frozen=True)
class StageCost:
    """The price of one stage. `tile`: loop variable -> step, outer loop first."""

    name: str
    ops: tuple[str, ...]
    kernels: tuple[str, ...]
    cycles: float
    macs: int
    moved_bytes: int
    peak_bytes: int
    tile: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Cost:
    """Cycles at the target's clock, joules, and bytes; `overruns` is empty when the program fits.

    access_joules: of the energy, that of reading and writing memories whose figure the target gives. spread_cycles: how far
    off the cycles are if they err as 95 % of the schedules executed for the calibration, calls outside the sizes it
    measured by twice their kernel's worst error besides; without such schedules all by the worst. outside: those calls.
    external_bytes: constants in external memory, which are no part of the weights here.
    """

    cycles: float
    energy_joules: float
    macs: int
    moved_bytes: tuple[tuple[str, str, int], ...]
    peak_bytes: tuple[tuple[str, int], ...]
    weight_bytes: int
    code_bytes: int
    stages: tuple[StageCost, ...]
    overruns: tuple[Overrun, ...] = ()
    spread_cycles: float = 0.0
    outside: tuple[str, ...] = ()
    external_bytes: int = 0
    access_joules: float = 0.0

    @property
    def cycles_low(self) -> float:
        """The least cycles the calibration's errors allow."""
        return self.cycles - self.spread_cycles

    @property
    def cycles_high(self) -> float:
        """The most cycles the calibration's errors allow."""
        return self.cycles + self.spread_cycles

    @property
    def arena_bytes(self) -> int:
        """Bytes of all arenas, and of functions that run from RAM."""
        return sum(size for _, size in self.peak_bytes)

    @property
    def flash_bytes(self) -> int:
        """Weights and code."""
        return self.weight_bytes + self.code_bytes

    @property
    def fits(self) -> bool:
        """True when no memory is overrun."""
        return not self.overruns


@dataclass(frozen=True)
class PartCost:
    """The price of one part of a network, by kernel family where a variant of it decides.

    cycles: family -> cycles of its calls, "" -> those of loops and stages. floor_bytes: family -> most bytes alive at a
    call, of scratch only the family's own. kernels: family -> those called. weight_bytes: family -> constants it reads.
    Then calls, and loops around them.
    """

    cycles: Mapping[str, float]
    floor_bytes: Mapping[str, int]
    kernels: Mapping[str, frozenset[str]]
    weight_bytes: Mapping[str, int]
    calls: int
    loops: int


@dataclass(frozen=True)
class PartCosts:
    """The prices of one part of a network under n schedules, by kernel family where a variant of it decides: (n, v) for
    the v variants of the family asked for.

    cycles: family -> cycles of its calls; loop_cycles: (n,) of loops and stages. floor_bytes: family -> most bytes alive at
    a call, of scratch only the family's own. weight_bytes: family -> constants it reads. kernels: family -> lists of v
    sets of those called, `which` (n,) of the lists is a schedule's. calls, loops: (n,) calls, and loops around them.
    """

    loop_cycles: Array
    cycles: Mapping[str, Array]
    floor_bytes: Mapping[str, Array]
    weight_bytes: Mapping[str, Array]
    kernels: Mapping[str, Sequence[Sequence[frozenset[str]]]]
    which: Array
    calls: Array
    loops: Array
