"""Code in a cache that holds the kernels of a network: fetched once, and again where kernels push one another out.

The linker lays all code in one row, so every set of the cache gets as many lines as the row is ways long, of which a loop
runs its share. A set of which more lines run than it has ways keeps none of them until the next turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cost_models.calibration import Calibration
from cost_models.code_stalls import code_cycles, exact, fill_cycles, keeps_code
from cost_models.counts import CallCount, Sizes
from dse.kernel import Kernel
from dse.program import Affine, Call, Loop, Node, Program, Stage, loops
from dse.target import Target

Cold = dict[str, float]  # kernel -> cycles until all code that it runs is fetched


class CodeFetch:
    """What a program loses on code, stage by stage in its order; with a small cache each call its cold start."""

    def __init__(
        self,
        program: Program,
        target: Target,
        wait_states: int,
        kernels: Mapping[str, Kernel],
        calibration: Calibration,
    ) -> None:
        self._kernels, self._calibration, self._wait_states = kernels, calibration, wait_states
        self._paid: Cold = {}
        self._seen: set[str] = set()
        self._before: list[Cold] = []  # of the stages until now
        flash = next((r for r in target.regions if r.kind == "flash"), None)
        self._fill = fill_cycles(flash, wait_states) if flash and program.code == "flash" else 0
        self._cache = target.code_cache
        self._keeps = keeps_code(target) and self._fill > 0
        line = target.code_cache.fill_bytes if target.code_cache else 1
        self._site = calibration.call_code_bytes / line * self._fill
        used = {call.kernel for call in program.calls()}
        self._row: float = sum({k: v for name in used for k, v in calibration.kernels[name].functions.items()}.values())
        self._row += calibration.call_code_bytes * sum(1 for _ in program.calls())
        self._row += calibration.loop_code_bytes * sum(1 for stage in program.stages for _ in loops(stage.body))

    def cycles(self, item: CallCount, cold_cycles: float) -> float:
        """Cycles these calls lose on code, of which all together lose `cold_cycles` if each starts cold. With a cache that
        keeps it: what no call before has fetched, of functions that kernels share only once, and the code around a call."""
        if not self._keeps:
            return cold_cycles
        kernel, cold = item.call.kernel, cold_cycles / item.times
        paid = self._paid.get(kernel)
        if paid is None:
            self._paid[kernel] = cold
            return cold * self._new(kernel, self._seen)
        self._paid[kernel] = max(paid, cold)
        return self._paid[kernel] - paid + (self._site if cold else 0.0)

    def again(self, stage: Stage) -> float:
        """Cycles a stage loses on code fetched before that was pushed out since: in the turns of its loops, and of the
        kernels that stages before have called."""
        if not self._keeps:
            return 0.0
        cold, lost = self._pass(stage.body, {})
        for kernel, cycles in cold.items():
            last = next((i for i in reversed(range(len(self._before))) if kernel in self._before[i]), None)
            if last is not None:
                since = cold.copy()
                for stage_cold in self._before[last:]:
                    since |= stage_cold
                lost += cycles * self._lost_share(self._cycles_of(since), since)
        self._before.append(cold)
        return exact(lost)

    def _pass(self, body: tuple[Node, ...], sizes: Sizes) -> tuple[Cold, float]:
        """(what a body runs, what its loops lose in their further turns) of one pass over it."""
        cold: Cold = {}
        lost = 0.0
        for node in body:
            if isinstance(node, Call):
                values = {
                    k: v.evaluate(sizes) if v.terms else v.const for k, v in node.arguments if isinstance(v, Affine)
                }
                item = CallCount(node, values, 1)
                cycles = code_cycles(item, self._wait_states, self._fill, self._kernels, self._calibration)
                cold[node.kernel] = max(cold.get(node.kernel, 0.0), cycles)
            elif isinstance(node, Loop):
                turns = -(-node.extent.evaluate(sizes) // node.step)
                inner, further = self._pass(node.body, dict(sizes) | {f"{node.var}_n": node.step})
                once = self._cycles_of(inner)
                lost += turns * further + (turns - 1) * once * self._lost_share(once, inner)
                cold = {name: max(cold.get(name, 0.0), inner.get(name, 0.0)) for name in cold | inner}
        return cold, lost

    def _cycles_of(self, cold: Cold) -> float:
        """Cycles until all these kernels are fetched, with the code around them."""
        seen: set[str] = set()
        return sum(cycles * self._new(kernel, seen) + self._site for kernel, cycles in cold.items())

    def _new(self, kernel: str, seen: set[str]) -> float:
        """The share of a kernel's code that is not in these functions; they are added to them."""
        functions = self._calibration.kernels[kernel].functions
        known = sum(size for name, size in functions.items() if name in seen)
        seen |= set(functions)
        return 1 - known / max(1, sum(functions.values()))

    def _lost_share(self, cycles: float, cold: Cold) -> float:
        """Of the code of these kernels, which takes so long to fetch, the share that does not stay while it runs again and
        again. They lie among the others, half-way between one after another and evenly over the row of all; a kernel is
        shorter than a way and has one line in a set at most."""
        if self._cache is None or not cold:
            return 0.0
        way = self._cache.size_bytes / self._cache.ways
        fits = [self._calibration.kernels[name] for name in cold]
        row = sum({name: size for fit in fits for name, size in fit.functions.items()}.values())
        own = row + self._calibration.call_code_bytes * len(cold)
        layers = min((own + self._row) / 2 / way, float(len(cold)))
        runs = min(1.0, cycles / self._fill * self._cache.line_bytes / way / layers)
        least = math.floor(layers)
        over = [_beyond(lines, self._cache.ways, runs) for lines in (least, least + 1)]
        return ((least + 1 - layers) * over[0] + (layers - least) * over[1]) / (layers * runs) if runs else 0.0


def _beyond(lines: int, ways: int, runs: float) -> float:
    """How many of that many lines of a set run and exceed its ways, when each runs with that chance."""
    return sum(n * math.comb(lines, n) * runs**n * (1 - runs) ** (lines - n) for n in range(ways + 1, lines + 1))
