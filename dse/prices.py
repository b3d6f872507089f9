"""Lowering and the cost model -> what the exact search asks for: prices of parts and of whole schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cost_models.calibration import Calibration
from cost_models.model import flash_code_bytes
from cost_models.parts import price_part, price_rivals
from cost_models.tables import Tables, from_turns, join, price_steps
from dse.blocks import Part, parts
from dse.cost import Cost, PartCosts
from dse.facts import likeness
from dse.ir import Array, Model
from dse.kernel import Kernel, Variants, comparisons_in, runs_on, variants_by_op
from dse.lattice import Sheet, SheetKey
from dse.lower import LoweredPart, lower_part
from dse.schedule import Schedule
from dse.target import Target

Rivals = Mapping[str, Sequence[str]]  # family -> variants of one layout


@dataclass(frozen=True, eq=False)
class HousePrices:
    """`dse.lattice.Prices` of the int8 forms of a network on a target; `whole` prices a schedule buffers and all.

    sheets: those built so far. known: the parts priced so far, by wait states, first op, schedules and rivals. Searches of
    other budgets share both.
    """

    models: Mapping[str, Model]
    target: Target
    kernels: Mapping[str, Kernel]
    calibration: Calibration
    wait_states: int
    whole: Callable[[Schedule], Cost]
    sheets: dict[SheetKey, Sheet] = field(default_factory=dict)
    known: dict[tuple[object, ...], PartCosts] = field(default_factory=dict)
    _variants: Variants = field(init=False)
    _tables: Tables = field(init=False)
    _parts: dict[str, Sequence[tuple[Part, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_variants", variants_by_op(self.kernels, self.target.isa))
        most = max(max(t.shape[0] for t in m.tensors.values()) for m in self.models.values())
        object.__setattr__(self, "_tables", Tables(self.kernels, self.calibration, most))

    def parts(self, form: str) -> Sequence[tuple[Part, int]]:
        """The distinct parts of a form, each with how often it occurs: parts that look alike are priced once."""
        if form not in self._parts:
            model = self.models[form]
            tests = comparisons_in(kernel for kernel in self.kernels.values() if runs_on(kernel, self.target.isa))
            alike: dict[tuple[object, ...], list[Part]] = {}
            for part in parts(model):
                alike.setdefault(likeness(model, part, tests), []).append(part)
            self._parts[form] = [(same[0], len(same)) for same in alike.values()]
        return self._parts[form]

    def part(self, part: Part, schedules: Sequence[Schedule], rivals: Rivals) -> PartCosts:
        """The prices of a part under schedules of one structure, each with every rival kernel."""
        key = (self.wait_states, part.ops[0].name, *schedules, *((f, *names) for f, names in rivals.items()))
        if key not in self.known:
            together: dict[object, list[int]] = {}
            for index, schedule in enumerate(schedules):
                together.setdefault(self._alike(part, schedule, index), []).append(index)
            found = [self._price(part, [schedules[i] for i in group], rivals) for group in together.values()]
            self.known[key] = join(found, [index for group in together.values() for index in group])
        return self.known[key]

    def _alike(self, part: Part, schedule: Schedule, index: int) -> object:
        """Equal for schedules whose programs of the part differ in nothing but the steps of their row loops."""
        if not part.attention or part.feed_forward or self._one_by_one():
            return index
        tokens, a = self.models[schedule.form].tensors[part.input].shape[0], schedule.attention
        steps = tuple((step > 0, step >= tokens, step % 2) for step in (a.rows, a.map_rows))
        rest = schedule.kernels, schedule.panels, schedule.residual, schedule.feed_forward
        return schedule.form, steps, a.heads, a.outer, a.query, a.output, *rest

    def _price(self, part: Part, alike: Sequence[Schedule], rivals: Rivals) -> PartCosts:
        if self._one_by_one():
            return self._price_turns(part, alike, rivals)
        lowered = self._lower(part, alike[0], rivals)
        if not lowered.alike:
            return self._price_turns(part, alike, rivals)
        steps = {}
        if alike[0].attention.rows and part.attention:
            steps["row"] = np.array([schedule.attention.rows for schedule in alike])
            steps["sub"] = np.array([schedule.attention.map_rows for schedule in alike])
        counts = {family: len(names) for family, names in rivals.items()}
        return price_steps(lowered, len(alike), steps, counts, self._tables)

    def _one_by_one(self) -> bool:
        """True where cycles are more than those of the calls one after the other: cores share them, or memories stall."""
        return self.target.is_cluster or self.target.far() is not None or self.wait_states > 0

    def _price_turns(self, part: Part, alike: Sequence[Schedule], rivals: Rivals) -> PartCosts:
        """The same, every schedule lowered on its own: once where all rivals are lowered alike, else as often as the
        largest family has rivals.

        A variant changes the calls of its own family and nothing else; on a cluster also the scratch that the calls of a
        region share, so that there each is lowered.
        """
        costs, count = [], max(len(names) for names in rivals.values())
        facts = self.kernels, self.calibration, self.target, self.wait_states
        for schedule in alike:
            lowered = None if self.target.is_cluster else self._lower(part, schedule, rivals)
            if lowered is not None and lowered.alike:
                costs.append(price_rivals(lowered.program, lowered.asked, count, *facts))
                continue
            turns = []
            for turn in range(count):
                named = {family: names[min(turn, len(names) - 1)] for family, names in rivals.items()}
                own = self._lower(part, replace(schedule, kernels=tuple(named.items())), None)
                turns.append(price_part(own.program, *facts))
            costs.append(turns)
        return from_turns(costs, {family: len(names) for family, names in rivals.items()})

    def _lower(self, part: Part, schedule: Schedule, rivals: Rivals | None) -> LoweredPart:
        return lower_part(self.models[schedule.form], part, schedule, self.target, self._variants, rivals)

    def code_bytes(self, form: str, kernels: frozenset[str], calls: int, loops: int) -> int:
        """Code of a firmware made of these kernels, calls and loops."""
        model = self.models[form]
        sample = model.tensors[model.input].size_bytes + model.tensors[model.output].size_bytes
        return flash_code_bytes(kernels, calls, loops, sample, self.calibration)

    def energy_joules(self, cycles: Array) -> Array:
        """Energy of runs of that many cycles."""
        return self.target.energy_joules(1.0) * cycles
