"""The composition root: model -> int8 forms -> search -> Program -> C project -> emulated run. Each step one function."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.emit import IoScale, Sample, emit
from cost_models.calibration import Calibration, load_calibration
from cost_models.model import Budget, evaluate
from dse import ops, ptq
from dse.cost import Cost
from dse.interpret import interpret
from dse.ir import Array, Model
from dse.kernel import Kernel, load_kernels
from dse.load import LoadedModel, load_model
from dse.lower import lower
from dse.pareto import Point
from dse.program import Program
from dse.rewrite import forms, rewrite
from dse.schedule import Schedule
from dse.search import Found, Progress, exhaust, search
from dse.space import Space, build_space, check_schedule
from dse.target import Target, load_target

DEVICE_SAMPLES = 50


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
) -> Prepared:
    """Load, quantise every form, admit those within `max_sqnr_loss_db` of the unfused one; ValueError says why not."""
    board = load_target(target)
    loaded = load_model(model, scope, calib, labels, hyper)
    wanted = (form,) if form else forms(loaded.model)
    if form and form not in forms(loaded.model):
        raise ValueError(f"--form {form}: {loaded.model.name} allows only {', '.join(forms(loaded.model))}")
    quantised, reports = _admit(loaded, wanted, max_sqnr_loss_db, pinned=form is not None)
    kernels = load_kernels()
    calibration = load_calibration(board.name)
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
    return search(prepared.space, price, objectives, trials, seed, progress)


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
    return emit(program, prepared.target, prepared.kernels, scale, sample)


def reference_output(model: Model, x: Array) -> Array:
    """The numpy reference's output for one (s, e) int8 input, flat int8."""
    return ops.run(model, x)[model.output].astype(np.int8).reshape(-1)


def sample_file(prepared: Prepared, form: str) -> bytes:
    """`samples.npz` of a run folder: int8 inputs (n, s, e) and the reference's int8 outputs (n, bytes)."""
    model, loaded = prepared.models[form], prepared.loaded
    floats = loaded.samples[:1] if loaded.labels is None else loaded.test[device_samples(loaded)]
    inputs = ops.quantise_input(model, floats).astype(np.int8)
    expected = ops.run_batch(model, inputs).reshape(len(inputs), -1).astype(np.int8)
    stream = io.BytesIO()
    np.savez(stream, inputs=inputs, expected=expected)
    return stream.getvalue()


def device_samples(loaded: LoadedModel) -> Array:
    """Indices of the labelled test samples that the device runs: DEVICE_SAMPLES of them, evenly spread."""
    count = len(loaded.test)
    return np.unique(np.linspace(0, count - 1, min(count, DEVICE_SAMPLES)).astype(int))


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
        f"device ({len(outputs)})": (outputs, loaded.labels[device_samples(loaded)]),
    }
    return {
        name: float(np.mean(values.reshape(len(values), -1).argmax(axis=1) == labels))
        for name, (values, labels) in results.items()
    }


def check_interpreter(prepared: Prepared, program: Program) -> bool:
    """True when the interpreted program gives the reference's bytes for the first sample."""
    model = prepared.models[program.form]
    first = ops.quantise_input(model, prepared.loaded.samples[:1])[0]
    return bool(np.array_equal(interpret(program, first).output, reference_output(model, first)))


def write_tree(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files under a folder, all or none: into a sibling first, then renamed into place.

    ValueError when the folder cannot be written. Files of an earlier run in the folder that are not replaced stay.
    """
    staging = folder.with_name(f".{folder.name}.partial")
    try:
        _clear(staging)
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(target)
    except OSError as error:
        raise ValueError(f"output folder {folder}: {error.strerror or error}; give another with --out") from error
    finally:
        _clear(staging)


def check_writable(folder: Path) -> None:
    """ValueError when `folder` cannot be made or written to; leaves nothing behind."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        Path(tempfile.mkdtemp(prefix=".tileformer-", dir=existing)).rmdir()
    except OSError as error:
        raise ValueError(f"output folder {folder}: {error.strerror or error}; give another with --out") from error


def _clear(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
