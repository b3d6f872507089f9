"""A lowered part whose row steps are left open -> its prices under many steps and of every rival kernel, as arrays.

The loop tree is walked once, with one number a schedule where a single program has one: what a loop leaves over, how often
a call happens and its rows are arrays. The cycles of a call are looked up in a table over the one integer that changes,
made once for all structures that make the same call. Without wait states: stalls depend on what a call finds in the caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cost_models.calibration import Calibration
from cost_models.code_stalls import FRACTIONS
from dse.alloc import live_spans
from dse.builder import Asked
from dse.cost import PartCost, PartCosts
from dse.ir import Array
from dse.kernel import Kernel, Kernels
from dse.lower import LoweredPart
from dse.program import Affine, Call, Loop, Node, Pointer, loops
from dse.schedule import FAMILIES, family_of

Values = Mapping[str, Any]  # symbol -> int, or int64 array (cases, schedules)


@dataclass(frozen=True, eq=False)
class Tables:
    """Cycles and scratch of calls over the one symbol that changes, `most` at the largest."""

    kernels: Mapping[str, Kernel]
    calibration: Calibration
    most: int
    cycles: dict[tuple[object, ...], Array] = field(default_factory=dict)
    scratch: dict[tuple[object, ...], Array] = field(default_factory=dict)

    def call_cycles(self, call: Call, rivals: Kernels) -> tuple[str, Array]:
        """(the symbol, (rivals, most + 1) cycles of one call at its values); "" and one column where none changes."""
        integers = tuple((k, v) for k, v in call.arguments if isinstance(v, Affine))
        key = (*(kernel.name for kernel in rivals), integers)
        name = _symbol(v for _, v in integers)
        if key not in self.cycles:
            sizes = self._sizes(integers, name)
            self.cycles[key] = np.zeros((len(rivals), self.most + 1 if name else 1))
            for row, kernel in enumerate(rivals):
                fit = self.calibration.kernels[kernel.name].cycles
                cycles = sum(fit[term] * part.evaluate_many(sizes) for term, part in kernel.terms)
                self.cycles[key][row] = np.rint(cycles * FRACTIONS) / FRACTIONS
        return name, self.cycles[key]

    def call_scratch(self, integers: tuple[tuple[str, Affine], ...], rivals: Kernels) -> tuple[str, Array]:
        """The same of the scratch bytes: int64."""
        key = (*(kernel.name for kernel in rivals), integers)
        name = _symbol(v for _, v in integers)
        if key not in self.scratch:
            sizes, shape = self._sizes(integers, name), (len(rivals), self.most + 1 if name else 1)
            self.scratch[key] = np.zeros(shape, np.int64)
            for row, kernel in enumerate(rivals):
                self.scratch[key][row] += kernel.scratch.evaluate_many(sizes)
        return name, self.scratch[key]

    def _sizes(self, integers: tuple[tuple[str, Affine], ...], name: str) -> dict[str, Any]:
        values = {name: np.arange(self.most + 1)} if name else {}
        return {k: _value(v, values) for k, v in integers}


def _symbol(expressions: Iterator[Affine]) -> str:
    names = {name for expression in expressions for name, _ in expression.terms}
    if len(names) > 1:
        raise ValueError(f"call: its integers change with more than one loop: {', '.join(sorted(names))}")
    return next(iter(names), "")


def _value(expression: Affine, values: Values) -> Any:
    total: Any = expression.const
    for name, factor in expression.terms:
        total = total + values[name] * factor
    return total


def price_steps(
    part: LoweredPart, count: int, steps: Mapping[str, Array], variants: Mapping[str, int], tables: Tables
) -> PartCosts:
    """The prices of a part under `count` schedules that differ in the steps of these loops: variable -> (count,).

    variants: family -> how many rivals were asked for.
    """
    cycles = {family: np.zeros((variants[family], count)) for family in FAMILIES}
    constants = {constant.name: constant.size_bytes for constant in part.program.constants}
    loop_cycles = np.zeros(count)
    for stage in part.program.stages:
        loop_cycles += tables.calibration.stage_cycles
        for node, values, times in _walk(stage.body, {}, np.ones((1, count), np.int64), steps):
            if isinstance(node, Loop):
                loop_cycles += tables.calibration.loop_cycles * times.sum(axis=0)
                continue
            name, table = tables.call_cycles(node, part.asked[node.op, node.source].kernels)
            cycles[family_of(node.op)] += _summed(table, name, values, times)
    return PartCosts(
        loop_cycles=loop_cycles,
        cycles={family: found.T for family, found in cycles.items()},
        floor_bytes=_floors(part, count, steps, variants, tables),
        **_code(part, constants, variants, count),
    )


def _summed(table: Array, name: str, values: Values, times: Array) -> Array:
    """(rivals, n): cycles of a call over all its cases."""
    if not name or np.ndim(values[name]) == 0:
        column: Array = table[:, [values[name] if name else 0]] * times.sum(axis=0)
        return column
    found: Array = np.einsum("vcn,cn->vn", table[:, values[name]], times)
    return found


def _walk(
    body: Sequence[Node], values: Values, times: Array, steps: Mapping[str, Array]
) -> Iterator[tuple[Call | Loop, Values, Array]]:
    """Every call and loop with its symbols and how often it happens, (cases, n) int64: a case a full or ragged step."""
    for node in body:
        if isinstance(node, Call):
            yield node, values, times
            continue
        assert isinstance(node, Loop)
        extent, step = _value(node.extent, values), steps.get(node.var, node.step)
        full, rest = np.divmod(extent, step)
        yield node, values, times * (full + (rest > 0))
        symbol, shape = f"{node.var}_n", times.shape
        if not np.any(rest):
            same = step if np.ndim(step) == 0 else np.broadcast_to(step, shape)
            yield from _walk(node.body, {**values, symbol: same}, times * full, steps)
            continue
        twice = {k: np.concatenate([v, v]) if np.ndim(v) == 2 else v for k, v in values.items()}
        twice[symbol] = np.concatenate([np.broadcast_to(step, shape), np.broadcast_to(rest, shape)])
        yield from _walk(node.body, twice, np.concatenate([times * full, times * (rest > 0)]), steps)


def _floors(
    part: LoweredPart, count: int, steps: Mapping[str, Array], variants: Mapping[str, int], tables: Tables
) -> dict[str, Array]:
    """Family -> (n, v) most bytes alive at any call, scratch of other families left out."""
    program = part.program
    largest: dict[str, Any] = {f"{var}_n": step for var, step in steps.items()}
    largest |= {
        f"{loop.var}_n": loop.step for stage in program.stages for loop in loops(stage.body) if loop.var not in steps
    }
    spans = live_spans(program.stages, program.input.base, program.output.base)
    scratch = {asked.scratch: (family_of(op), asked) for (op, _), asked in part.asked.items() if asked.scratch}
    first, last = np.array([(spans[b.name].first, spans[b.name].last) for b in program.buffers]).T
    leaves = np.unique(first)[:, None]
    there = ((leaves >= first) & (leaves <= last)).astype(np.int64)
    sizes = np.zeros((len(program.buffers), count), np.int64)
    extra = {family: np.zeros((variants[family], len(leaves), count), np.int64) for family in FAMILIES}
    for row, buffer in enumerate(program.buffers):
        if buffer.name in scratch:
            family, asked = scratch[buffer.name]
            extra[family] += there[:, row, None] * _scratch(asked, largest, count, tables)[:, None, :]
        else:
            sizes[row] = _value(part.sizes[buffer.name], largest) if buffer.name in part.sizes else buffer.size_bytes
    alive = there @ sizes
    return {family: (alive + more).max(axis=1).T for family, more in extra.items()}


def _scratch(asked: Asked, largest: Values, count: int, tables: Tables) -> Array:
    """(rivals, n): the scratch of a call, as much as the hungriest of its places wants."""
    most = np.zeros((len(asked.kernels), count), np.int64)
    for integers in asked.arguments:
        name, table = tables.call_scratch(integers, asked.kernels)
        np.maximum(most, table[:, np.broadcast_to(largest[name] if name else 0, count)], out=most)
    return most


def _code(part: LoweredPart, constants: Mapping[str, int], variants: Mapping[str, int], count: int) -> dict[str, Any]:
    """What does not change with the steps: weight bytes, kernels, calls and loops of `PartCosts`."""
    program, calls = part.program, tuple(part.program.calls())
    readers = {  # constant -> the family that reads it
        value.base: family_of(call.op)
        for call in calls
        for _, value in call.arguments
        if isinstance(value, Pointer) and value.base in constants
    }
    weights = dict.fromkeys(FAMILIES, 0)
    for name, size in constants.items():  # what nobody reads came with the weights of a linear op
        weights[readers.get(name, "linear")] += size
    used: dict[str, list[set[str]]] = {family: [set() for _ in range(variants[family])] for family in FAMILIES}
    for call in calls:
        for names, kernel in zip(used[family_of(call.op)], part.asked[call.op, call.source].kernels, strict=True):
            names.add(kernel.name)
    turns = sum(1 for stage in program.stages for _ in loops(stage.body))
    return {
        "weight_bytes": {family: np.full((count, variants[family]), size) for family, size in weights.items()},
        "kernels": {family: [tuple(map(frozenset, sets))] for family, sets in used.items()},
        "which": np.zeros(count, np.intp),
        "calls": np.full(count, len(calls)),
        "loops": np.full(count, turns),
    }


def from_turns(costs: Sequence[Sequence[PartCost]], variants: Mapping[str, int]) -> PartCosts:
    """The prices of n schedules, each with as many turns as the largest family has variants; see `join`."""

    def table(field: str, dtype: type) -> dict[str, Array]:
        return {
            family: np.array([[getattr(price, field)[family] for price in turns[:count]] for turns in costs], dtype)
            for family, count in variants.items()
        }

    return PartCosts(
        loop_cycles=np.array([turns[0].cycles[""] for turns in costs]),
        cycles=table("cycles", float),
        floor_bytes=table("floor_bytes", int),
        weight_bytes=table("weight_bytes", int),
        kernels={f: [tuple(price.kernels[f] for price in turns[:n]) for turns in costs] for f, n in variants.items()},
        which=np.arange(len(costs)),
        calls=np.array([turns[0].calls for turns in costs]),
        loops=np.array([turns[0].loops for turns in costs]),
    )


def join(costs: Sequence[PartCosts], order: Sequence[int]) -> PartCosts:
    """The prices of several lots of schedules as one; row i of the joined lots belongs to schedule `order[i]`."""
    back = np.argsort(order)

    def rows(pieces: Sequence[Array]) -> Array:
        found: Array = np.concatenate(pieces)[back]
        return found

    def table(field: str) -> dict[str, Array]:
        return {family: rows([getattr(c, field)[family] for c in costs]) for family in FAMILIES}

    starts = np.cumsum([0, *(len(c.kernels[FAMILIES[0]]) for c in costs)])
    return PartCosts(
        loop_cycles=rows([c.loop_cycles for c in costs]),
        cycles=table("cycles"),
        floor_bytes=table("floor_bytes"),
        weight_bytes=table("weight_bytes"),
        kernels={family: [sets for c in costs for sets in c.kernels[family]] for family in FAMILIES},
        which=rows([c.which + start for c, start in zip(costs, starts, strict=False)]),
        calls=rows([c.calls for c in costs]),
        loops=rows([c.loops for c in costs]),
    )
