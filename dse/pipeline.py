"""The composition root: model -> int8 forms -> search -> Program -> C project -> emulated run. Each step one function."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from codegen.emit import IoScale, Sample, emit
from cost_models.calibration import Calibration, load_calibration
from cost_models.code_row import code_order
from cost_models.code_stalls import keeps_code
from cost_models.model import Budget, evaluate
from dse import ops, ptq
from dse.cost import Cost, PartCosts
from dse.exact import Limits
from dse.interpret import interpret
from dse.ir import Array, Model
from dse.kernel import Kernel, load_kernels
from dse.lattice import Sheet, SheetKey
from dse.load import LoadedModel, load_model
from dse.lower import fits_flash, lower
from dse.pareto import Point
from dse.prices import HousePrices
from dse.program import Program
from dse.rewrite import forms, rewrite
from dse.schedule import Schedule
from dse.search import Found, Progress, exhaust, search
from dse.space import Space, build_space, check_schedule
from dse.target import Target, load_target

DEVICE_CYCLES = 200_000_000  # what the emulated device may spend on labelled samples: about two seconds
LEAST_SAMPLES = 20  # of the labelled ones, however long they take
UNLABELLED_SAMPLES = 3

IMAGE_BYTES = 1 << 17  # of code and what else is left when the constants lie in external memory


@dataclass(frozen=True)
class FormReport:
    """What a fused form costs: its SQNR against fp32 in dB, and whether the search may use it."""

    form: str
    sqnr_db: float
    admitted: bool


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything the search needs: the loaded model, its admitted int8 forms, target, kernels and prices."""

    loaded: LoadedModel
    models: dict[str, Model]
    forms: tuple[FormReport, ...]
    target: Target
    kernels: Mapping[str, Kernel]
    calibration: Calibration
    space: Space
    priced_parts: dict[tuple[object, ...], PartCosts] = field(default_factory=dict)
    sheets: dict[tuple[object, ...], dict[SheetKey, Sheet]] = field(default_factory=dict)

    def program(self, schedule: Schedule) -> Program:
        """The lowered schedule."""
        return lower(self.models[schedule.form], schedule, self.target, self.kernels)

    def price(self, schedule: Schedule, budget: Budget = Budget(), wait_states: int = 0) -> Cost:
        """What the model says it costs."""
        return evaluate(self.program(schedule), self.target, self.calibration, self.kernels, budget, wait_states)


def prepare(
    model: str | None,
    target: str,
    scope: str | None = None,
    form: str | None = None,
    calib: Path | None = None,
    labels: Path | None = None,
    hyper: Mapping[str, int] | None = None,
    max_sqnr_loss_db: float = 1.0,
    regions: Mapping[str, int] | None = None,
    cores: int | None = None,
    flash: int | None = None,
) -> Prepared:
    """Load, quantise every form, admit those within `max_sqnr_loss_db` of the unfused one; ValueError says why not.

    flash: most bytes of the image, where constants can be loaded from external memory instead; a small one when they must.
    """
    if not max_sqnr_loss_db >= 0:  # false for NaN too
        raise ValueError(f"--max-sqnr-loss {max_sqnr_loss_db}: allowed is 0 dB or more")
    board = load_target(target)
    board = limit_regions(board if cores is None else board.on_cores(cores), regions or {})
    board = board if flash is None else board.with_image(flash)
    loaded = load_model(model, scope, calib, labels, hyper)
    wanted = (form,) if form else forms(loaded.model)
    if form and form not in forms(loaded.model):
        raise ValueError(f"--form {form}: {loaded.model.name} allows only {', '.join(forms(loaded.model))}")
    quantised, reports = _admit(loaded, wanted, max_sqnr_loss_db, pinned=form is not None)
    if not any(fits_flash(model, board) for model in quantised.values()):
        board = board.with_image(IMAGE_BYTES)
    kernels = load_kernels()
    calibration = load_calibration(board.calibrated_as)
    space = build_space(quantised, board, kernels)
    return Prepared(loaded, quantised, reports, board, kernels, calibration, space)


def _admit(
    loaded: LoadedModel, wanted: Sequence[str], max_loss_db: float, pinned: bool
) -> tuple[dict[str, Model], tuple[FormReport, ...]]:
    candidates = {name: ptq.quantise(rewrite(loaded.model, name), loaded.samples) for name in wanted}
    quality = {name: ptq.sqnr_db(loaded.model, model, loaded.samples) for name, model in candidates.items()}
    floor = quality.get("none", -np.inf) - max_loss_db
    reports = tuple(FormReport(name, q, pinned or q >= floor) for name, q in quality.items())
    return {r.form: candidates[r.form] for r in reports if r.admitted}, reports


def find(
    prepared: Prepared,
    objectives: Sequence[str] = ("latency",),
    budget: Budget = Budget(),
    trials: int = 400,
    seed: int = 0,
    wait_states: int = 0,
    progress: Progress | None = None,
    everything: bool = False,
) -> Found:
    """Search the space (or price all of it with `everything`)."""
    price = functools.partial(prepared.price, budget=budget, wait_states=wait_states)
    if everything:
        return exhaust(prepared.space, price, objectives)
    prices = prices_of(prepared, budget, wait_states)
    return search(prepared.space, prices, objectives, limits_of(prepared, budget), trials, seed, progress)


def find_shared(
    prepared: Prepared,
    url: str,
    objectives: Sequence[str] = ("latency",),
    budget: Budget = Budget(),
    seed: int = 0,
    wait_states: int = 0,
    join: bool = False,
    progress: Progress | None = None,
) -> Found:
    """The same search kept in a storage that outlives this process and that other workers share."""
    from dse import storage  # optuna takes half a second to start

    prices = prices_of(prepared, budget, wait_states)
    title = f"{prepared.loaded.model.name} on {prepared.target.name}"
    facts = repr((prepared.target, prepared.kernels, prepared.calibration, wait_states, budget))
    task = storage.Task(title, prepared.space, tuple(objectives), limits_of(prepared, budget), facts)
    return storage.work(task, prices, url, seed, join, progress)


def prices_of(prepared: Prepared, budget: Budget = Budget(), wait_states: int = 0) -> HousePrices:
    """What the exact search asks of lowering and cost model."""
    whole = functools.partial(prepared.price, budget=budget, wait_states=wait_states)
    return HousePrices(
        models=prepared.models,
        target=prepared.target,
        kernels=prepared.kernels,
        calibration=prepared.calibration,
        wait_states=wait_states,
        whole=whole,
        sheets=prepared.sheets.setdefault((prepared.target, wait_states, prepared.space.choices), {}),
        known=prepared.priced_parts,
    )


def limits_of(prepared: Prepared, budget: Budget) -> Limits:
    """The limits that the sums over a whole network must meet."""
    code = prepared.target.code()
    capacity = sum(region.size_bytes for region in (*prepared.target.near(), *((code,) if code else ())))
    flash = prepared.target.flash_bytes()
    return Limits(
        ram_bytes=capacity if budget.ram_bytes is None else min(capacity, budget.ram_bytes),
        flash_bytes=flash if budget.flash_bytes is None else min(flash, budget.flash_bytes),
        cycles=budget.cycles,
    )


def limit_regions(target: Target, most_bytes: Mapping[str, int]) -> Target:
    """The target with RAM regions cut down to what arenas may take of each; ValueError for an unknown region."""
    room = {region.name: region.size_bytes for region in target.ram()}
    for name in most_bytes:
        if name not in room:
            raise ValueError(f"--ram {name}=…: {target.name} has no RAM region {name!r}; it has {', '.join(room)}")
    cut = {name: max(0, room[name] - most) for name, most in most_bytes.items()}
    regions = tuple(replace(r, size_bytes=r.size_bytes - cut.get(r.name, 0)) for r in target.regions)
    return replace(target, regions=regions)


def point_of(prepared: Prepared, schedule: Schedule, budget: Budget, wait_states: int = 0) -> Point:
    """A hand-written schedule, checked and priced."""
    check_schedule(schedule, prepared.space)
    return Point(schedule, prepared.price(schedule, budget, wait_states))


def project_files(prepared: Prepared, program: Program) -> dict[str, str]:
    """The C project of a program; its main runs the first calibration sample against the reference output."""
    model = prepared.models[program.form]
    first = ops.quantise_input(model, prepared.loaded.samples[:1])[0]
    expected = reference_output(model, first)
    source, result = model.tensors[model.input], model.tensors[model.output]
    scale = IoScale(source.scale[0], source.zero, result.scale[0], result.zero)
    sample = Sample(first.astype(np.int8).tobytes(), expected.astype(np.int8).tobytes())
    functions = {name: fit.functions for name, fit in prepared.calibration.kernels.items()}
    order = code_order(program, functions) if keeps_code(prepared.target) else ()
    return emit(program, prepared.target, prepared.kernels, scale, sample, order)


def reference_output(model: Model, x: Array) -> Array:
    """The numpy reference's output for one (s, e) int8 input, flat int8."""
    return ops.run(model, x)[model.output].astype(np.int8).reshape(-1)


def sample_file(prepared: Prepared, form: str, cycles: float) -> bytes:
    """`samples.npz` of a run folder: int8 inputs (n, s, e) and the reference's int8 outputs (n, bytes).

    cycles: what the device takes for one of them.
    """
    model, loaded = prepared.models[form], prepared.loaded
    count = UNLABELLED_SAMPLES if loaded.labels is None else max(LEAST_SAMPLES, round(DEVICE_CYCLES / cycles))
    floats = loaded.test[evenly(len(loaded.test), min(len(loaded.test), count))]
    inputs = ops.quantise_input(model, floats).astype(np.int8)
    expected = ops.run_batch(model, inputs).reshape(len(inputs), -1).astype(np.int8)
    stream = io.BytesIO()
    np.savez(stream, inputs=inputs, expected=expected)
    return stream.getvalue()


def evenly(available: int, count: int) -> Array:
    """`count` different indices below `available`, evenly spread."""
    return np.arange(count) * available // count


def accuracy(prepared: Prepared, form: str, outputs: Array) -> dict[str, float]:
    """Share of right answers: fp32 and int8 reference on all labelled samples, the device on those it ran."""
    loaded, model = prepared.loaded, prepared.models[form]
    if loaded.labels is None:
        return {}
    reference = ops.run_batch(model, ops.quantise_input(model, loaded.test))
    count = len(loaded.labels)
    results = {
        f"fp32 ({count})": (ops.run_batch(loaded.model, loaded.test), loaded.labels),
        f"int8 reference ({count})": (reference, loaded.labels),
        f"device ({len(outputs)})": (outputs, loaded.labels[evenly(count, len(outputs))]),
    }
    return {
        name: float(np.mean(values.reshape(len(values), -1).argmax(axis=1) == labels))
        for name, (values, labels) in results.items()
    }


def check_interpreter(prepared: Prepared, program: Program) -> bool:
    """True when the interpreted program gives the reference's bytes for the first sample."""
    model = prepared.models[program.form]
    first = ops.quantise_input(model, prepared.loaded.samples[:1])[0]
    ran = interpret(program, first, prepared.target.cluster)
    return bool(np.array_equal(ran.output, reference_output(model, first)))
