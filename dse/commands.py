"""What each command does: Options -> Answer (data for --json, renderables for people). No printing here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cost_models.model import Budget, peak_buffers
from cost_models.parts import price_ops
from dse import execute, figures, pipeline, report
from dse.exact import Certificate
from dse.explain import memory_pieces, waterfall
from dse.folders import RUN_ENTRIES, check_run_folder, staged, write_files
from dse.page import html_page
from dse.pareto import OBJECTIVES, Point
from dse.pipeline import Prepared
from dse.schedule import read_schedule
from dse.search import Found
from dse.whatif import answer_budgets

DEFAULT_STORAGE = "sqlite:///runs/studies.db"


@dataclass(frozen=True)
class Answer:
    """What a command says."""

    data: Any
    shown: tuple[Any, ...] = ()
    exit_code: int = 0


def _silent(label: str, done: int, total: int, note: str = "") -> None:
    return None


@dataclass(frozen=True)
class Options:
    """Every option of every command; a command reads those it declares."""

    model: str | None = None
    target: str = "stm32l476"
    scope: str | None = None
    form: str | None = None
    calib: Path | None = None
    labels: Path | None = None
    max_sqnr_loss: float = 1.0
    s: int | None = None
    e: int | None = None
    p: int | None = None
    h: int | None = None
    f: int | None = None
    layers: int | None = None
    ram: int | Mapping[str, int] | None = None
    flash: int | None = None
    max_latency: float | None = None
    budgets: tuple[int, ...] = ()
    objective: str = "latency"
    trials: int = 300
    seed: int = 0
    wait_states: int | None = None
    clock: int | None = None
    cores: int | None = None
    deadline: float | None = None
    exhaustive: bool = False
    what: str = ""
    explain: tuple[Path, ...] = ()
    storage: str | None = None
    resume: bool = False
    worker: bool = False
    schedule: Path | None = None
    out: Path | None = None
    measured: Path | None = None
    project: Path | None = None
    toolchain: str = "auto"
    folder: Path = Path()
    action: str = "list"
    name: str | None = None
    progress: Callable[..., None] = field(default=_silent)

    def objectives(self) -> tuple[str, ...]:
        """The objectives asked for; ValueError for an unknown one."""
        names = tuple(part.strip() for part in self.objective.split(","))
        for name in names:
            if name not in OBJECTIVES:
                raise ValueError(f"--objective {name!r} is unknown; allowed: {', '.join(OBJECTIVES)}, or several: a,b")
        return names

    def budget(self) -> Budget:
        """The budgets asked for."""
        return Budget(self.ram if isinstance(self.ram, int) else None, self.flash)


def _prepare(options: Options) -> Prepared:
    options.progress("load and quantise", 0, 1)
    sizes = {key: getattr(options, key) for key in ("s", "e", "p", "h", "f", "layers")}
    prepared = pipeline.prepare(
        options.model,
        options.target,
        scope=options.scope,
        form=options.form,
        calib=options.calib,
        labels=options.labels,
        hyper={key: value for key, value in sizes.items() if value is not None},
        max_sqnr_loss_db=options.max_sqnr_loss,
        regions=options.ram if isinstance(options.ram, Mapping) else None,
        cores=options.cores,
        flash=options.flash,
    )
    options.progress("load and quantise", 1, 1)
    if options.clock is not None and options.deadline is not None:
        raise ValueError("--clock and --deadline: give one of them; --deadline chooses the clock")
    if options.clock is not None:
        prepared = replace(prepared, target=prepared.target.at(options.clock))
    elif options.deadline is not None:
        prepared = _slowest(options, prepared, options.deadline)
    return replace(prepared, target=replace(prepared.target, wait_states=_wait_states(options, prepared)))


def _slowest(options: Options, prepared: Prepared, deadline: float) -> Prepared:
    """At the slowest operating point whose fastest schedule ends within `deadline` seconds; ValueError when none does."""
    seconds = 0.0
    for operating in prepared.target.points:
        trial = replace(prepared, target=prepared.target.at(operating.clock_hz))
        point, *_ = _choose(replace(options, objective="latency", deadline=None), trial)
        seconds = point.cost.cycles / operating.clock_hz
        if seconds <= deadline:
            return trial
    clock = f"{prepared.target.points[-1].clock_hz / 1e6:g} MHz"
    raise ValueError(
        f"--deadline {1e3 * deadline:g}ms: the best schedule found takes {1e3 * seconds:.3f} ms at {clock}"
    )


def _wait_states(options: Options, prepared: Prepared) -> int:
    most = prepared.target.max_wait_states
    asked = prepared.target.wait_states if options.wait_states is None else options.wait_states
    if not 0 <= asked <= most:
        raise ValueError(f"--wait-states {asked}: {prepared.target.name} takes 0..{most}")
    return asked


def _search(options: Options, prepared: Prepared, budget: Budget) -> Found:
    def bar(done: int, total: int, best: float) -> None:
        options.progress("search", done, total, f"best {best:,.4g}")

    if options.storage or options.resume or options.worker:
        url = options.storage or DEFAULT_STORAGE
        join, states = options.resume or options.worker, _wait_states(options, prepared)
        return pipeline.find_shared(prepared, url, options.objectives(), budget, options.seed, states, join, bar)
    return pipeline.find(
        prepared,
        options.objectives(),
        budget,
        options.trials,
        options.seed,
        _wait_states(options, prepared),
        bar,
        options.exhaustive,
    )


def _budget(options: Options, prepared: Prepared) -> Budget:
    """The budgets asked for, the latency in cycles of this target."""
    asked = (None if options.max_latency is None else options.max_latency * 1e-3, options.deadline)
    seconds = [limit for limit in asked if limit is not None]
    if not seconds:
        return options.budget()
    return replace(options.budget(), cycles=math.floor(min(seconds) * prepared.target.clock_hz))


def _choose(options: Options, prepared: Prepared) -> tuple[Point, tuple[Point, ...], Certificate | None]:
    """The schedule to emit (given by hand, or the best found), the front around it and how good it is; the Point may not
    fit."""
    if options.schedule is not None:
        schedule = read_schedule(options.schedule)
        point = pipeline.point_of(prepared, schedule, _budget(options, prepared), _wait_states(options, prepared))
        return point, (point,), None
    found = _search(options, prepared, _budget(options, prepared))
    return found.best or found.nearest, found.front, found.certificate


def _overrun(options: Options, prepared: Prepared, point: Point) -> Answer:
    stage, alive = peak_buffers(prepared.program(point.schedule))
    lines = report.overrun_lines(
        prepared.loaded.model.name, point.cost.overruns, point, stage, alive, options.form is not None
    )
    overruns = [
        {"region": o.region, "demand_bytes": o.demand_bytes, "capacity_bytes": o.capacity_bytes, "unit": o.unit}
        for o in point.cost.overruns
    ]
    data = {"fits": False, "overruns": overruns, "alive": dict(alive), "schedule": point.schedule.describe()}
    return Answer(data, tuple(lines), exit_code=2)


def explain(options: Options) -> Answer:
    """Where two schedules (files or run folders) differ: cycles, bytes moved and arena, step by step."""
    prepared = _prepare(options)
    states = _wait_states(options, prepared)
    pieces: list[tuple[dict[str, float], ...]] = []
    for path in options.explain:
        schedule = read_schedule(path / "schedule.toml" if path.is_dir() else path)
        point = pipeline.point_of(prepared, schedule, Budget(), states)
        program = prepared.program(schedule)
        cycles, moved = price_ops(program, prepared.kernels, prepared.calibration, prepared.target, states)
        pieces.append((cycles, moved, memory_pieces(peak_buffers(program)[1], point.cost.arena_bytes)))
    titles = ("cycles by op", "bytes moved by op", "arena bytes by buffer alive at the fullest moment")
    falls = [waterfall(title, a, b) for title, a, b in zip(titles, *pieces, strict=True)]
    page = options.out or Path("explain.html")
    write_files(page.parent, {page.name: report.waterfall_page("What changes from the first to the second", falls)})
    data = {fall.title: asdict(fall) for fall in falls}
    return Answer(data | {"page": str(page)}, (*map(report.waterfall_table, falls), f"charts in {page}"))


def find(options: Options) -> Answer:
    """Search the schedule space and show the Pareto front; or explain the difference of two schedules."""
    if options.explain:
        return explain(options)
    prepared = _prepare(options)
    found = _search(options, prepared, _budget(options, prepared))
    if found.best is None:
        return _overrun(options, prepared, found.nearest)
    rows = [_point_data(point) for point in found.front]
    title = f"{prepared.loaded.model.name} on {prepared.target.name}: front over {', '.join(options.objectives())}"
    note = (
        f"baseline (portable kernels, layer by layer) {report.count(found.baseline.cost.cycles)} cycles, "
        f"{found.baseline.cost.arena_bytes} B"
    )
    proof = figures.certificate(found.certificate) if found.certificate else None
    shown = (report.front_table(found.front, title), *([report.certificate_line(proof)] if proof else []), note)
    return Answer({"front": rows, "priced": found.priced, "certificate": proof}, shown)


def _point_data(point: Point) -> dict[str, Any]:
    cost = point.cost
    return {
        "cycles": round(cost.cycles),
        "arena_bytes": cost.arena_bytes,
        "flash_bytes": cost.flash_bytes,
        "energy_uj": round(1e6 * cost.energy_joules, 3),
        "schedule": point.schedule.describe(),
        "toml": point.schedule.to_toml(),
    }


def _run_folder(options: Options, prepared: Prepared) -> Path:
    return options.out or Path("runs") / f"{prepared.loaded.model.name}-{prepared.target.name}".replace("/", "_")


def export(options: Options) -> Answer:
    """Emit the best (or the given) schedule as a C project."""
    prepared = _prepare(options)
    folder = _run_folder(options, prepared)
    check_run_folder(folder)
    point, _, certificate = _choose(options, prepared)
    if not point.cost.fits:
        return _overrun(options, prepared, point)
    with staged(folder, RUN_ENTRIES) as work:
        files = execute.write_run_folder(prepared, point, work, certificate)
    return Answer({"folder": str(folder), "files": sorted(files)}, (f"{len(files)} files written to {folder}",))


def deploy(options: Options) -> Answer:
    """Search, emit, build, run on the emulated device, and compare with the prediction."""
    prepared = _prepare(options)
    folder = _run_folder(options, prepared)
    check_run_folder(folder)
    point, front, certificate = _choose(options, prepared)
    if not point.cost.fits:
        return _overrun(options, prepared, point)
    with staged(folder, RUN_ENTRIES) as work:
        predicted, outcome = _prove(options, prepared, point, front, certificate, work)
    forms = [{"form": f.form, "sqnr_db": f.sqnr_db, "admitted": f.admitted} for f in prepared.forms]
    shown = (
        report.stage_table(predicted, outcome),
        report.totals_table(predicted, outcome, forms),
        f"schedule: {point.schedule.describe()}",
        f"device: {outcome['device']}; toolchain: {outcome['toolchain']}; everything is in {folder}",
    )
    data = {"predicted": predicted, "executed": outcome, "schedule": point.schedule.to_toml(), "forms": forms}
    return Answer(data | {"folder": str(folder)}, shown, exit_code=0 if outcome["bit_exact"] else 1)


def _prove(
    options: Options,
    prepared: Prepared,
    point: Point,
    front: Sequence[Point],
    certificate: Certificate | None,
    folder: Path,
) -> tuple[figures.Figures, figures.Figures]:
    """Fill a run folder: C, firmware, prediction, run and report. Returns the figures predicted and executed."""
    files = execute.write_run_folder(prepared, point, folder, certificate)
    options.progress("build", 0, 1)
    toolchain = execute.build_firmware(folder, prepared.target, options.toolchain)
    options.progress("build", 1, 1)
    predicted = json.loads(str(files["cost.json"]))
    options.progress("execute", 0, 1)
    result, _ = execute.execute_folder(folder, _wait_states(options, prepared), toolchain)
    options.progress("execute", 1, 1)
    scores = pipeline.accuracy(prepared, point.schedule.form, result.outputs)
    outcome = figures.executed(result, predicted, prepared.target, scores)
    page = html_page(f"{prepared.loaded.model.name} on {prepared.target.name}", predicted, outcome, front)
    write_files(folder, {"run.json": json.dumps(outcome, indent=2) + "\n", "report.html": page})
    return predicted, outcome


def run(options: Options) -> Answer:
    """Run the firmware of a run folder again on the emulated device."""
    outcome, prediction = execute.execute_folder(options.folder, options.wait_states)
    target = execute.target_of(prediction)
    if options.wait_states is not None:
        target = replace(target, wait_states=options.wait_states)
    try:
        data = figures.executed(outcome, prediction, target, {})
        shown = (report.stage_table(prediction, data), report.totals_table(prediction, data, ()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{options.folder}/cost.json: {error} is missing or wrong; deploy again") from error
    return Answer({"executed": data}, shown, exit_code=0 if outcome.bit_exact else 1)


def whatif(options: Options) -> Answer:
    """Latency and peak memory for a list of RAM budgets."""
    prepared = _prepare(options)
    smallest = _search(_with_objective(options, "memory"), prepared, Budget())
    floor = smallest.best

    def find_best(ram_bytes: int) -> list[Point]:
        found = _search(_with_objective(options, "latency"), prepared, Budget(ram_bytes=ram_bytes))
        return [*found.front, *([floor] if floor and floor.cost.arena_bytes <= ram_bytes else [])]

    answers = answer_budgets(options.budgets, find_best)
    rows = [
        {"ram_bytes": a.ram_bytes, **(_point_data(a.point) if a.point else {"cycles": None, "arena_bytes": None})}
        for a in answers
    ]
    table = report.budget_table(rows, prepared.target.clock_hz, f"{prepared.loaded.model.name}: what if RAM were …")
    least = report.count(floor.cost.arena_bytes if floor else None)
    return Answer({"answers": rows}, (table, f"smallest arena found: {least} B"))


def _with_objective(options: Options, objective: str) -> Options:
    return replace(options, objective=objective)
