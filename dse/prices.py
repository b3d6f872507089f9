"""Lowering and the cost model -> what the exact search asks for: prices of parts and of whole schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cost_models.calibration import Calibration
from cost_models.model import flash_code_bytes
from cost_models.parts import price_part
from dse.blocks import Part, likeness, parts
from dse.cost import Cost, PartCost
from dse.ir import Array, Model
from dse.kernel import Kernel, Variants, integers_used, runs_on, variants_by_op
from dse.lower import lower_part
from dse.schedule import Schedule
from dse.target import Target


@dataclass(frozen=True, eq=False)
class HousePrices:
    """`dse.lattice.Prices` of the int8 forms of a network on a target; `whole` prices a schedule buffers and all.

    known: the parts priced so far, by wait states, first op and schedule; searches under different budgets share it.
    """

    models: Mapping[str, Model]
    target: Target
    kernels: Mapping[str, Kernel]
    calibration: Calibration
    wait_states: int
    whole: Callable[[Schedule], Cost]
    known: dict[tuple[int, str, Schedule], PartCost] = field(default_factory=dict)
    _variants: Variants = field(init=False)
    _parts: dict[str, Sequence[tuple[Part, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_variants", variants_by_op(self.kernels, self.target.isa))

    def parts(self, form: str) -> Sequence[tuple[Part, int]]:
        """The distinct parts of a form, each with how often it occurs: parts that look alike are priced once."""
        if form not in self._parts:
            model = self.models[form]
            matters = integers_used({n: k for n, k in self.kernels.items() if runs_on(k, self.target.isa)})
            alike: dict[tuple[object, ...], list[Part]] = {}
            for part in parts(model):
                alike.setdefault(likeness(model, part, matters), []).append(part)
            self._parts[form] = [(same[0], len(same)) for same in alike.values()]
        return self._parts[form]

    def part(self, part: Part, schedule: Schedule) -> PartCost:
        """The price of a part under a schedule."""
        key = (self.wait_states, part.ops[0].name, schedule)
        if key not in self.known:
            program = lower_part(self.models[schedule.form], part, schedule, self.target, self._variants)
            self.known[key] = price_part(program, self.kernels, self.calibration, self.target.cluster, self.wait_states)
        return self.known[key]

    def code_bytes(self, form: str, kernels: frozenset[str], calls: int, loops: int) -> int:
        """Code of a firmware made of these kernels, calls and loops."""
        model = self.models[form]
        sample = model.tensors[model.input].size_bytes + model.tensors[model.output].size_bytes
        return flash_code_bytes(kernels, calls, loops, sample, self.calibration)

    def energy_joules(self, cycles: Array) -> Array:
        """Energy of runs of that many cycles."""
        return self.target.energy_joules(1.0) * cycles
