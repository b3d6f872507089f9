"""What a cluster adds to the price of calls: the slowest core's share of the work, forks, copies and the waits for them.

Cores of a parallel region run at the same time: the region takes as long as the core with the largest share (all units of
a share are alike), and a fork. Copies run beside the calls; the controller starts them and waits only for what is then
left of one. On a single core all of this is zero and the slowest core is the only one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from cost_models.calibration import Calibration
from cost_models.counts import CallCount, CopyCount, walk
from dse.program import Fetch, Loop, Node, Program, Stage, copies_ahead, loops
from dse.schedule import family_of
from dse.target import Cluster

# Cycles a core alone takes to fetch what fills a byte of the shared cache: 1.1 by its lines (18 for 16 bytes), less because
# some of its sets overfill before others are full. From the executed schedules of gap9_accuracy with seed 3.
HELD_CYCLES_PER_BYTE = 0.9
Sizes = dict[str, int]


@dataclass(frozen=True)
class CriticalPath:
    """What the slowest core and the controller do: calls, loop iterations, forks, copies started and waited for."""

    calls: tuple[CallCount, ...]
    iterations: int
    forks: int
    copies: int
    moves: tuple[tuple[CopyCount, int], ...] = ()

    def overhead_cycles(self, cluster: Cluster) -> float:
        """Forks, and copies that never keep anybody waiting."""
        moved = sum(times * _move_cycles(move, cluster) for move, times in self.moves)
        return self.forks * cluster.fork_cycles + self.copies * (cluster.copy_cycles + cluster.wait_cycles) + moved

    def cold_cycles(self, calibration: Calibration) -> dict[str, float]:
        """Family -> cycles until the code of its kernels lies in the caches of the cores: once a stage, of kernels that
        share most of it one of them."""
        return self._fetches(calibration, lambda item: _fetch_cycles(item, calibration))

    def _fetches(self, calibration: Calibration, cycles: Callable[[CallCount], float]) -> dict[str, float]:
        """Family -> sum of these cycles over its kernels, of those that share most of their code the most."""
        fetched: dict[str, dict[str, float]] = {}
        for item in self.calls if self.forks else ():
            fit, family = calibration.kernels[item.call.kernel], fetched.setdefault(family_of(item.call.op), {})
            body = max(fit.functions, key=lambda name: fit.functions[name])
            family[body] = max(family.get(body, 0.0), cycles(item))
        return {name: sum(found.values()) for name, found in fetched.items()}

    def reload_cycles(self, cluster: Cluster, calibration: Calibration) -> float:
        """Cycles that kernels which call each other out of a shared code cache take to come back: none while all fit.

        Lines are replaced at random, so one is still there after all others came by with the chance exp(-m r), r the code
        that runs in parts of the cache; m = 1 - exp(-m r) of what a call runs is missing.
        """
        if len({item.call.kernel for item in self.calls}) < 2 or not self.forks:
            return 0.0
        code = sum(
            self._fetches(calibration, lambda item: calibration.kernels[item.call.kernel].fetch_cycles[0]).values()
        )
        missing = _missing_share(code / max(1.0, HELD_CYCLES_PER_BYTE * cluster.code_cache_bytes))
        return missing * sum((item.times - 1) * _fetch_cycles(item, calibration) for item in self.calls)

    def cluster_cycles(self, cluster: Cluster, calibration: Calibration) -> float:
        """Everything but calls, loops and waits; 0 where nothing forks and nothing is copied."""
        cold = sum(self.cold_cycles(calibration).values())
        return self.overhead_cycles(cluster) + cold + self.reload_cycles(cluster, calibration)


def critical_path(stage: Stage) -> CriticalPath:
    """The critical path of a stage; its own fetches and loads count here, though a stage before starts them."""
    return _path(stage.body, {}, len(stage.fetch) + len(stage.load))


def _path(body: tuple[Node, ...], sizes: Sizes, copies: int = 0) -> CriticalPath:
    calls: list[CallCount] = []
    moves: list[tuple[CopyCount, int]] = []
    iterations = forks = 0
    for item, times in walk(body, sizes, 1, slowest=True):
        if isinstance(item, CallCount):
            calls.append(item)
        elif isinstance(item, Loop):
            iterations += times
            copies += times * len(item.fetch)
        elif isinstance(item, CopyCount):
            moves.append((item, times))
        else:
            forks += times
    return CriticalPath(tuple(calls), iterations, forks, copies, tuple(moves))


def _fetch_cycles(item: CallCount, calibration: Calibration) -> float:
    """Cycles until what a call runs lies in the caches of the cores that make it at the same time: all read every line from
    the shared cache, and bring a part each into that."""
    alone, all_at_once = calibration.kernels[item.call.kernel].fetch_cycles
    rest = (1 / item.cores - 1 / calibration.cores) / max(1e-9, 1 - 1 / calibration.cores)
    return all_at_once + (alone - all_at_once) * rest


def _missing_share(ratio: float) -> float:
    """m > 0 with m = 1 - exp(-m ratio); 0 where there is none."""
    missing = float(ratio > 1.0)
    for _ in range(50 if missing else 0):
        missing = 1.0 - math.exp(-missing * ratio)
    return missing


def _move_cycles(move: CopyCount, cluster: Cluster) -> float:
    """Cycles of a copy that is waited for at once: a row takes whole beats."""
    beats = move.rows * -(-move.row_bytes // cluster.copy_bytes_per_cycle)
    return cluster.copy_cycles + cluster.copy_latency_cycles + beats + cluster.wait_cycles


# ---- waiting for copies ------------------------------------------------------------------------------------------------


def copy_waits(program: Program, cluster: Cluster, price: Callable[[CallCount], float]) -> dict[str, float]:
    """Stage -> cycles the controller waits for copies that have not ended; stages that wait for none are left out.

    price: cycles of one call. What loops themselves take hides no copy here.
    """
    if not any(stage.fetch or any(loop.fetch for loop in loops(stage.body)) for stage in program.stages):
        return {}
    clock = _Clock(cluster, price)
    fetches = loads = list[float]()
    before = 0.0
    for stage, fetched, loaded in copies_ahead(program.stages):
        for end in (*fetches, *loads):
            clock.wait(end)
        fetches = [clock.start(fetch, {}) for fetch in fetched.fetch] if fetched else []
        loads = [clock.load(load) for load in loaded.load] if loaded else []
        if stage is not None:  # the first one's waits before the run are its own
            clock.run(stage.body, {})
            clock.waits[stage.name], before = clock.waited - before, clock.waited
    return {name: cycles for name, cycles in clock.waits.items() if cycles}


def _fetches(loop: Loop) -> bool:
    return bool(loop.fetch) or any(inner.fetch for inner in loops(loop.body))


@dataclass
class _Clock:
    """The controller's time, and when the DMA will have ended all copies, and loads, started so far."""

    cluster: Cluster
    price: Callable[[CallCount], float]
    now: float = 0.0
    idle: float = 0.0
    waited: float = 0.0
    loaded: float = 0.0
    waits: dict[str, float] = field(default_factory=dict)

    def start(self, fetch: Fetch, sizes: Sizes) -> float:
        """When the copy ends that is started now."""
        self.now += self.cluster.copy_cycles
        moving = -(-fetch.size_bytes.evaluate(sizes) // self.cluster.copy_bytes_per_cycle)
        self.idle = max(self.now, self.idle) + moving
        return self.idle + self.cluster.copy_latency_cycles

    def load(self, load: Fetch) -> float:
        """The same for a load from external memory."""
        self.now += self.cluster.copy_cycles
        moving = load.size_bytes.evaluate({}) * self.cluster.load_cycles_per_byte + self.cluster.load_latency_cycles
        self.loaded = max(self.now, self.loaded) + moving
        return self.loaded

    def wait(self, end: float) -> None:
        """The copy that ends then has ended."""
        self.waited += max(0.0, end - self.now)
        self.now = max(self.now, end) + self.cluster.wait_cycles

    def run(self, body: tuple[Node, ...], sizes: Sizes) -> None:
        """A body whose loops may fetch."""
        for node in body:
            if isinstance(node, Loop) and _fetches(node):
                self._loop(node, sizes)
            else:
                self.now += self._cycles((node,), sizes)

    def _loop(self, loop: Loop, sizes: Sizes) -> None:
        extent = loop.extent.evaluate(sizes)
        steps = [sizes | {f"{loop.var}_n": min(loop.step, extent - at)} for at in range(0, extent, loop.step)]
        ends = [self.start(fetch, steps[0]) for fetch in loop.fetch]
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            for end in ends:
                self.wait(end)
            if following is not None:
                ends = [self.start(fetch, following) for fetch in loop.fetch]
            self.run(loop.body, step)

    def _cycles(self, body: tuple[Node, ...], sizes: Sizes) -> float:
        path = _path(body, sizes)
        calls = sum(item.times * self.price(item) for item in path.calls)
        return calls + path.overhead_cycles(self.cluster)
