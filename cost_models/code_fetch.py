"""Code in a cache that holds the kernels of a network: fetched once, and again where kernels push one another out.

Where every function lies is known (cost_models/code_row.py), which of its lines run only as a share: what a call fetches.
A set of which more lines run than it has ways keeps none of them until the next turn.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from cost_models.calibration import Calibration
from cost_models.code_row import CodeRow, Span, body_bytes, code_row
from cost_models.code_stalls import code_parts, exact, fill_cycles, keeps_code, miss_scale
from cost_models.counts import CallCount, Sizes
from dse.kernel import Kernel
from dse.program import Affine, Call, Loop, Node, Program, Stage
from dse.target import Cache, Target

Parts = Mapping[str, float]  # piece of a kernel's work -> cycles until its code is fetched
Cold = dict[str, Parts]  # kernel -> what of it runs


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
        self._row = code_row(program, calibration) if self._keeps else CodeRow({}, ())

    def cycles(self, item: CallCount, cold_cycles: float) -> float:
        """Cycles these calls lose on code, of which all together lose `cold_cycles` if each starts cold. With a cache that
        keeps it: what no call before has fetched, of functions that kernels share only once, and the code around a call."""
        if not self._keeps:
            return cold_cycles
        kernel, parts = item.call.kernel, self._parts(item)
        paid = self._paid.get(kernel)
        if paid is None:
            self._paid[kernel] = parts
            return sum(parts.values()) * self._new(kernel, self._seen)
        self._paid[kernel] = _union(paid, parts)
        return sum(self._paid[kernel].values()) - sum(paid.values()) + (self._site if parts else 0.0)

    def _parts(self, item: CallCount) -> Parts:
        scale = miss_scale(item.call.kernel, self._wait_states, self._fill, self._calibration)
        return {k: v * scale for k, v in code_parts(item, self._kernels, self._calibration).items()}

    def again(self, stage: Stage) -> float:
        """Cycles a stage loses on code fetched before that was pushed out since: in the turns of its loops, and of the
        kernels that stages before have called. Stages are asked for in their order."""
        if not self._keeps:
            return 0.0
        own = self._row.stages[len(self._before)]
        cold, lost = self._pass(stage.body, {}, own[0])
        for kernel, parts in cold.items():
            before = next((i for i in reversed(range(len(self._before))) if kernel in self._before[i]), None)
            if before is not None:
                since = functools.reduce(_most, self._before[before:], cold)
                lost += sum(parts.values()) * self._lost_share(since, self._row.stages[before : len(self._before) + 1])
        self._before.append(cold)
        return exact(lost)

    def _pass(self, body: tuple[Node, ...], sizes: Sizes, begin: float) -> tuple[Cold, float]:
        """(what a body runs, what its loops lose in their further turns) of one pass over it; its own code begins there."""
        cold: Cold = {}
        lost = 0.0
        for node in body:
            end = begin + body_bytes((node,), self._calibration)
            if isinstance(node, Call):
                values = {
                    k: v.evaluate(sizes) if v.terms else v.const for k, v in node.arguments if isinstance(v, Affine)
                }
                cold = _most(cold, {node.kernel: self._parts(CallCount(node, values, 1))})
            elif isinstance(node, Loop):
                full, rest = divmod(node.extent.evaluate(sizes), node.step)
                first = 1
                for count, turns in ((node.step, full), (rest, 1)):
                    if count and turns:
                        inner, further = self._pass(node.body, {**sizes, f"{node.var}_n": count}, begin)
                        lost += turns * further
                        if turns > first:
                            once = self._cycles_of(inner) * self._lost_share(inner, ((begin, end),))
                            lost += (turns - first) * once
                        cold, first = _most(cold, inner), 0
            begin = end
        return cold, lost

    def _cycles_of(self, cold: Cold) -> float:
        """Cycles until all these kernels are fetched, with the code around them."""
        seen: set[str] = set()
        return sum(sum(parts.values()) * self._new(kernel, seen) + self._site for kernel, parts in cold.items())

    def _new(self, kernel: str, seen: set[str]) -> float:
        """The share of what a kernel runs that is not in these functions; its own are added to them."""
        shares = self._shares(kernel)
        new = sum(share for name, share in shares.items() if name not in seen)
        seen |= set(shares)
        return new

    def _shares(self, kernel: str) -> Mapping[str, float]:
        """Function -> its share of what a kernel runs, by its size where that was not measured."""
        fit = self._calibration.kernels[kernel]
        size = max(1, sum(fit.functions.values()))
        return fit.code_shares or {name: bytes / size for name, bytes in fit.functions.items()}

    def _lost_share(self, cold: Cold, around: Iterable[Span]) -> float:
        """Of the code of these kernels and around calls the share that does not stay while it runs again and again."""
        if self._cache is None or not cold:
            return 0.0
        run: dict[str, float] = {}  # bytes
        for kernel, parts in cold.items():
            lines = sum(parts.values()) / self._fill
            for name, share in self._shares(kernel).items():
                run[name] = max(run.get(name, 0.0), share * lines * self._cache.line_bytes)
        spans = {name: self._row.functions[name] for name in run if name in self._row.functions}
        pieces = [(begin, end, min(1.0, run[name] / (end - begin))) for name, (begin, end) in spans.items()]
        pieces += [(*span, 1.0) for span in around]
        return overfilled(tuple(pieces), self._cache)


def _union(one: Parts, other: Parts) -> Parts:
    """What two calls of a kernel run: calls of other sizes run other pieces of it."""
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {**one, **other}}


def _most(one: Cold, other: Cold) -> Cold:
    return {name: _union(one.get(name, {}), other.get(name, {})) for name in one | other}


def overfilled(pieces: tuple[tuple[float, float, float], ...], cache: Cache) -> float:
    """The share of the lines that lie in sets with more lines than ways. pieces: bytes where code begins and ends, and the
    share of its lines that runs, each line on its own."""
    line, sets = cache.line_bytes, cache.size_bytes // cache.line_bytes // cache.ways
    if max(end for _, end, _ in pieces) - min(begin for begin, _, _ in pieces) <= cache.size_bytes:
        return 0.0  # no set has more
    likely = np.zeros((cache.ways + 1, sets))  # that a set has 0, 1, ... lines
    likely[0] = 1.0
    mean = 0.0
    for begin, end, share in pieces:
        first, last = round(begin / line), round(end / line)
        mean += share * (last - first)
        for at in range(first - first % sets, last, sets):
            part = likely[:, max(first - at, 0) : last - at]
            part[1:] += share * (part[:-1] - part[1:])
            part[0] *= 1 - share
    kept = float(np.arange(cache.ways + 1) @ likely.sum(axis=1))
    return (mean - kept) / mean if mean else 0.0
