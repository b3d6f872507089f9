"""One lowered part of a network -> its price: the rows of the search's tables. The sums over parts equal `evaluate` of the
whole program (a test holds them together on random schedules), but for the time a cluster waits for its DMA: the whole
program alone knows what runs beside a copy, so that parts bound its cycles from below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cost_models.calibration import Calibration
from cost_models.cluster import copy_waits, critical_path
from cost_models.code_fetch import CodeFetch
from cost_models.code_stalls import fill_cycles, keeps_code
from cost_models.counts import CallCount, count_calls, moved_bytes
from cost_models.model import call_cycles, stage_cycles
from cost_models.operands import Walk, walk
from cost_models.stalls import Stalled, cold_code_cycles, slow_regions, stage_stalls
from dse.alloc import live_spans
from dse.builder import Asked
from dse.cost import PartCost
from dse.kernel import Kernel
from dse.program import Call, Loop, Node, Parallel, Pointer, Program, calls_in, loops
from dse.schedule import FAMILIES, family_of
from dse.target import Target

Asking = Mapping[tuple[str, str], Asked]  # (kernel op, model op) -> the rival kernels of its calls


def price_part(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, target: Target, wait_states: int = 0
) -> PartCost:
    """The price of a part that `lower_part` made; its buffers need no place. Code that is fetched once is left out."""
    return price_rivals(program, {}, 1, kernels, calibration, target, wait_states)[0]


def price_rivals(
    program: Program,
    asked: Asking,
    turns: int,
    kernels: Mapping[str, Kernel],
    calibration: Calibration,
    target: Target,
    wait_states: int = 0,
) -> list[PartCost]:
    """The same of a part whose rival kernels are lowered alike: turn by turn, each call made by its kernel of that turn.

    What does not depend on the kernels is found once: how often calls happen, data that misses, buffers alive together.
    """
    paths = [critical_path(stage) for stage in program.stages]
    lost = _Stalls(asked, kernels, target, wait_states, calibration)
    flash = slow_regions(target, wait_states).get("flash")
    fill = 0 if flash is None or program.code != "flash" or keeps_code(target) else fill_cycles(flash, wait_states)
    calls = tuple(program.calls())
    moments, weights = _moments(program, calls), _weights(program, calls)
    costs = []
    for turn in range(turns):
        cycles = dict.fromkeys(("", *FAMILIES), 0.0)
        for path, stalls in zip(paths, lost.of(program, turn), strict=True):
            path = replace(path, calls=tuple(_by(item, asked, turn) for item in path.calls))
            cycles[""] += stage_cycles((), path.iterations, kernels, calibration) + path.overhead_cycles(target.cluster)
            for family, cold in path.cold_cycles(calibration).items():
                cycles[family] += cold
            for item in path.calls:
                cycles[family_of(item.call.op)] += item.times * call_cycles(item, kernels, calibration)
            for stalled in stalls:
                cycles[family_of(stalled.item.call.op)] += stalled.data_cycles
                if fill:
                    code = cold_code_cycles(_by(stalled.item, asked, turn), wait_states, fill, kernels, calibration)
                    cycles[family_of(stalled.item.call.op)] += code
        costs.append(_cost(program, calls, cycles, _floors(moments, asked, turn), weights, asked, turn))
    return costs


@dataclass(frozen=True)
class _Stalls:
    """What the calls of a part lose on data, found once for all turns whose kernels go over their operands alike."""

    asked: Asking
    kernels: Mapping[str, Kernel]
    target: Target
    wait_states: int
    calibration: Calibration
    known: dict[tuple[object, ...], tuple[Stalled, ...]] = field(default_factory=dict)
    walks: dict[str, Walk] = field(default_factory=dict)

    def of(self, program: Program, turn: int) -> list[tuple[Stalled, ...]]:
        """Stage by stage, as `stage_stalls`."""
        if not slow_regions(self.target, self.wait_states):
            return [()] * len(program.stages)
        return [self._stage(program, index, turn) for index in range(len(program.stages))]

    def _stage(self, program: Program, index: int, turn: int) -> tuple[Stalled, ...]:
        stage = program.stages[index]
        key = (index, *(self._walk(_kernel(call, self.asked, turn)) for call in calls_in(stage.body)))
        if key not in self.known:
            called = replace(stage, body=_called(stage.body, self.asked, turn))
            facts = self.target, self.wait_states, self.kernels, self.calibration
            self.known[key] = stage_stalls(program, called, *facts)
        return self.known[key]

    def _walk(self, kernel: str) -> Walk:
        if kernel not in self.walks:
            self.walks[kernel] = walk(self.kernels[kernel])
        return self.walks[kernel]


def _called(body: tuple[Node, ...], asked: Asking, turn: int) -> tuple[Node, ...]:
    """The body with its calls made by their kernels of that turn."""
    return tuple(
        _made(node, asked, turn)
        if isinstance(node, Call)
        else replace(node, body=_called(node.body, asked, turn))
        if isinstance(node, Loop | Parallel)
        else node
        for node in body
    )


def _cost(
    program: Program,
    calls: Sequence[Call],
    cycles: Mapping[str, float],
    floors: Mapping[str, int],
    weights: Mapping[str, int],
    asked: Asking,
    turn: int,
) -> PartCost:
    used: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for call in calls:
        used[family_of(call.op)].add(_kernel(call, asked, turn))
    return PartCost(
        cycles=cycles,
        floor_bytes=floors,
        kernels={family: frozenset(names) for family, names in used.items()},
        weight_bytes=weights,
        calls=len(calls) + sum(len(stage.load) for stage in program.stages),
        loops=sum(1 for stage in program.stages for _ in loops(stage.body)),
    )


def _kernel(call: Call, asked: Asking, turn: int) -> str:
    rivals = asked.get((call.op, call.source))
    return call.kernel if rivals is None else rivals.kernels[min(turn, len(rivals.kernels) - 1)].name


def _by(item: CallCount, asked: Asking, turn: int) -> CallCount:
    """The same call made by its kernel of that turn."""
    call = _made(item.call, asked, turn)
    return item if call is item.call else CallCount(call, item.sizes, item.times, item.cores)


def _made(call: Call, asked: Asking, turn: int) -> Call:
    name = _kernel(call, asked, turn)
    return call if name == call.kernel else Call(name, call.op, call.source, call.arguments, call.layout)


def _weights(program: Program, calls: Sequence[Call]) -> dict[str, int]:
    """Family -> bytes of constants in flash that its calls read."""
    readers = {value.base: family_of(c.op) for c in calls for _, value in c.arguments if isinstance(value, Pointer)}
    weights = dict.fromkeys(FAMILIES, 0)
    for constant in program.constants:  # what nobody reads came with the weights of a linear op
        weights[readers.get(constant.name, "linear")] += constant.size_bytes if constant.region == "flash" else 0
    return weights


@dataclass(frozen=True)
class _Scratch:
    """Scratch of the calls of a kernel op for a model op."""

    call: Call
    size_bytes: int

    def bytes(self, asked: Asking, turn: int) -> int:
        """Its bytes, as much as the kernel of that turn wants."""
        rivals = asked.get((self.call.op, self.call.source))
        return self.size_bytes if rivals is None else rivals.wanted[min(turn, len(rivals.wanted) - 1)]


_Moment = tuple[int, tuple[_Scratch, ...]]  # bytes alive but for scratch, and the scratch


def _moments(program: Program, calls: Sequence[Call]) -> list[_Moment]:
    """What lies near the cores whenever a buffer comes to life."""
    sizes = {buffer.name: buffer.size_bytes for buffer in program.buffers if not buffer.region}
    scratch: dict[str, _Scratch] = {}
    for call in calls:
        for name, value in call.arguments:
            if name == "scratch" and isinstance(value, Pointer):
                scratch[value.base] = _Scratch(call, sizes[value.base])
    spans = live_spans(program.stages, program.input.base, program.output.base)
    moments = []
    for leaf in {spans[name].first for name in sizes}:
        alive = [name for name in sizes if spans[name].first <= leaf <= spans[name].last]
        rest = sum(sizes[name] for name in alive if name not in scratch)
        moments.append((rest, tuple(scratch[name] for name in alive if name in scratch)))
    return moments


def _floors(moments: Sequence[_Moment], asked: Asking, turn: int) -> dict[str, int]:
    """Family -> most bytes alive near the cores at any call, scratch of other families left out."""
    floors = dict.fromkeys(FAMILIES, 0)
    for rest, scratch in moments:
        alive = dict.fromkeys(FAMILIES, rest)
        for own in scratch:
            alive[family_of(own.call.op)] += own.bytes(asked, turn)
        for family, most in floors.items():
            floors[family] = max(most, alive[family])
    return floors


def price_ops(
    program: Program, kernels: Mapping[str, Kernel], calibration: Calibration, target: Target, wait_states: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """(cycles, bytes moved) of a whole program by the model op its calls work for; loops and stages are on their own, with
    what a cluster adds to them."""
    cycles: dict[str, float] = {}
    moved: dict[str, float] = {}
    price = partial(call_cycles, kernels=kernels, calibration=calibration)
    rest = sum(copy_waits(program, target.cluster, price).values())
    fetch, recent = CodeFetch(program, target, wait_states, kernels, calibration), dict[str, float]()
    for stage in program.stages:
        path = critical_path(stage)
        rest += stage_cycles((), path.iterations, kernels, calibration)
        rest += path.cluster_cycles(target.cluster, calibration)
        for item in path.calls:
            cycles[item.call.source] = cycles.get(item.call.source, 0.0) + item.times * price(item)
        for stalled in stage_stalls(program, stage, target, wait_states, kernels, calibration, recent):
            cycles[stalled.item.call.source] += stalled.data_cycles + fetch.cycles(stalled.item, stalled.code_cycles)
        for item in count_calls(stage)[0]:
            op = item.call.source
            moved[op] = moved.get(op, 0.0) + sum(moved_bytes(program, (item,)).values())
    return cycles | {"loops and stages": rest}, moved
