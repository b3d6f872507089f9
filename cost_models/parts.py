"""One part of a network, lowered once -> its price under every kernel variant: the rows of the search's tables.

Kernel variants of a family compute the same calls with the same arguments but for the scratch buffer, so one lowering
prices them all. A test holds the composed price equal to `evaluate` of the whole program on random schedules.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cost_models.calibration import Calibration
from cost_models.counts import CallCount, count_calls
from cost_models.model import call_cycles, flash_code_bytes, overhead_cycles, stall_cycles
from dse.alloc import live_spans
from dse.cost import Leaf, PartCost
from dse.kernel import Kernel, family_of, variant_of
from dse.program import Pointer, Program

Families = Sequence[tuple[str, Sequence[str]]]
_Scratch = dict[str, tuple[int, tuple[int, ...]]]  # buffer -> (family index, bytes under each variant)


@dataclass(frozen=True)
class PartPricer:
    """Prices parts of one network on one target. `families`: every kernel family with the variants it may take."""

    families: Families
    kernels: Mapping[str, Kernel]
    calibration: Calibration
    wait_states: int = 0

    def price(self, program: Program) -> PartCost:
        """The price of a lowered part; the variants it was lowered with only say which scratch buffers exist."""
        index = {family: i for i, (family, _) in enumerate(self.families)}
        cycles = [[0.0] * len(variants) for _, variants in self.families]
        scratch: _Scratch = {}
        fixed, arguments = 0.0, 0
        for stage in program.stages:
            items, iterations = count_calls(stage)
            fixed += overhead_cycles(self.calibration, iterations)
            fixed += stall_cycles(program, items, self.calibration, self.wait_states)
            for item in items:
                number = index.get(family_of(item.call.op))
                if number is None:
                    fixed += item.times * call_cycles(item.call.kernel, item.sizes, self.kernels, self.calibration)
                else:
                    self._variants(item, number, cycles[number], scratch)
        calls = tuple(program.calls())
        arguments = sum(len(call.arguments) for call in calls)
        return PartCost(
            fixed_cycles=fixed,
            cycles=tuple(map(tuple, cycles)),
            leaves=_leaves(program, scratch, len(self.families)),
            weight_bytes=program.weight_bytes(),
            arguments=arguments,
            ops=frozenset(call.op for call in calls),
        )

    def _variants(self, item: CallCount, number: int, cycles: list[float], scratch: _Scratch) -> None:
        """Add one call to the cycles of each variant of its family, and note what scratch each asks for."""
        kernels = [variant_of(item.call.op, variant, self.kernels) for variant in self.families[number][1]]
        for i, kernel in enumerate(kernels):
            cycles[i] += item.times * call_cycles(kernel.name, item.sizes, self.kernels, self.calibration)
        pointer = dict(item.call.arguments).get("scratch")
        if isinstance(pointer, Pointer):
            sizes = [kernel.scratch.evaluate(item.sizes) for kernel in kernels]
            _, known = scratch.get(pointer.base, (number, (0,) * len(sizes)))
            scratch[pointer.base] = number, tuple(map(max, known, sizes))

    def flash_bytes(self, ops: Iterable[str], kernels: Mapping[str, str], arguments: int, sample_bytes: int) -> int:
        """Code bytes of a firmware that calls these kernel ops in these variants (family -> variant)."""
        names = {variant_of(op, kernels.get(family_of(op), "ref"), self.kernels).name for op in ops}
        return flash_code_bytes(names, arguments, sample_bytes, self.calibration)


def _leaves(program: Program, scratch: _Scratch, families: int) -> tuple[Leaf, ...]:
    """What is alive at every call: plain bytes, and scratch bytes by family and variant; repeats dropped."""
    spans = live_spans(program.stages, program.input.base, program.output.base)
    sizes = {b.name: b.size_bytes for b in program.buffers}
    alive = [(span.first, span.last, name) for name, span in spans.items() if name in sizes]
    found: dict[Leaf, None] = {}
    for leaf in {first for first, _, _ in alive}:
        plain = 0
        wanted: list[tuple[int, ...]] = [()] * families
        for first, last, name in alive:
            if first <= leaf <= last:
                if name not in scratch:
                    plain += sizes[name]
                    continue
                family, asked = scratch[name]
                known = wanted[family]
                wanted[family] = tuple(map(operator.add, known, asked)) if known else asked
        found[Leaf(plain, tuple(wanted))] = None
    return tuple(found)
