"""Space + prices -> the best schedules, with a certificate. Optuna lives behind `search`; `exhaust` enumerates instead.

What is exact is not searched: the sizes inside a structure (one form, one setting of the kernels and operand layouts) are
one sheet of dse/lattice.py, solved exactly by dse/exact.py. When every structure fits the number of trials, all sheets are
made and the answer is proved; else Optuna chooses which structures to try, one a trial.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from dse.cost import Cost
from dse.exact import Certificate, Exact, Limits
from dse.knobs import Choice
from dse.lattice import Prices, Setting, Sheet, SheetKey, build_sheet, choices, key_of, structure_of, structures
from dse.pareto import Point, front
from dse.schedule import Schedule
from dse.space import Space
from dse.spread import cores, spread

if TYPE_CHECKING:
    import optuna

Evaluate = Callable[[Schedule], Cost]
Progress = Callable[[int, int, float], None]
ILLEGAL = 1.0  # violation reported for a structure that means nothing


@dataclass(frozen=True)
class Found:
    """`best` by the first objective among the fitting; `front` over all objectives; `nearest` when nothing fits.

    priced: whole schedules lowered, placed and priced; trials: structures solved.
    """

    best: Point | None
    front: tuple[Point, ...]
    nearest: Point
    priced: int
    trials: int
    baseline: Point
    certificate: Certificate | None = None


def search(
    space: Space,
    prices: Prices,
    objectives: Sequence[str] = ("latency",),
    limits: Limits = Limits(),
    trials: int = 400,
    seed: int = 0,
    progress: Progress | None = None,
) -> Found:
    """The best schedules: of the whole space when it has at most `trials` structures, else of those Optuna tries."""
    every = structures(space)
    sheets = _all(space, every, prices, progress) if len(every) <= trials else None
    if sheets is None:
        sheets = _explore(space, prices, objectives, limits, trials, seed, progress)
    return solve(space, sheets, len(every), prices, objectives, limits)


def solve(
    space: Space,
    sheets: Sequence[Sheet],
    structure_count: int,
    prices: Prices,
    objectives: Sequence[str],
    limits: Limits,
) -> Found:
    """The best schedules of these sheets; the certificate speaks of the whole space when they are all of its sheets."""
    exact = Exact(sheets, prices, limits)
    best, bound = exact.best(objectives)
    if len(objectives) > 1 and best is not None and not exact.front(objectives):
        bound = 0.0
    complete = len(sheets) == structure_count and exact.honest
    certificate = Certificate(
        objective=objectives[0],
        value=best.values(objectives)[0] if best else float("inf"),
        lower_bound=bound if complete else 0.0,
        schedules=exact.schedules,
        priced=len(exact.points),
    )
    fitting = [point for point in exact.points.values() if exact.fits(point)]
    return Found(
        best=best,
        front=front(fitting, objectives),
        nearest=best or exact.nearest(),
        priced=len(exact.points),
        trials=len(sheets),
        baseline=baseline(space, prices.whole),
        certificate=certificate if best else None,
    )


def _all(space: Space, every: Sequence[Setting], prices: Prices, progress: Progress | None) -> list[Sheet]:
    missing, fastest = [structure for structure in every if key_of(structure) not in prices.sheets], float("inf")
    build = functools.partial(build_sheet, space, prices=prices)
    for done, (structure, sheet) in enumerate(zip(missing, spread(build, missing, cores()), strict=True), 1):
        prices.sheets[key_of(structure)] = replace(sheet, space=space)  # that of a worker is a copy
        fastest = min(fastest, float(sheet.cycles.min()))
        if progress is not None:
            progress(done, len(missing), fastest)
    return [prices.sheets[key_of(structure)] for structure in every]


def _explore(
    space: Space,
    prices: Prices,
    objectives: Sequence[str],
    limits: Limits,
    trials: int,
    seed: int,
    progress: Progress | None,
) -> list[Sheet]:
    """The sheets of the structures that Optuna (NSGA-II over form and common knobs) finds worth a trial."""
    known = {key_of(structure): structure for structure in structures(space)}
    options = choices(list(known.values()))
    sheets: dict[SheetKey, Sheet] = {}
    best = float("inf")

    def objective(trial: optuna.Trial) -> Sequence[float]:
        nonlocal best
        key = tuple((n, cast("Choice", trial.suggest_categorical(n, values))) for n, values in options.items())
        if key not in known:
            trial.set_constraint("legal", ILLEGAL)
            return [1e18] * len(objectives)
        if key not in sheets:
            sheets[key] = build_sheet(space, known[key], prices)
        rows = Exact([sheets[key]], prices, limits)
        possible = rows.possible()
        trial.set_constraint("legal", 0.0 if len(possible) else ILLEGAL / 2)
        values = [float(rows.bounds(n)[possible if len(possible) else slice(None)].min()) for n in objectives]
        best = min(best, values[0])
        if progress is not None:
            progress(trial.number + 1, trials, best)
        return values

    study = _study(len(objectives), seed)
    for point in space.baselines():
        study.enqueue_trial(structure_of(space, point))
    study.optimize(objective, n_trials=trials)
    return list(sheets.values())


def _study(objectives: int, seed: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=40, mutation_prob=0.15)
        return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


@dataclass
class _Log:
    """Every distinct schedule priced so far; identical schedules are priced once."""

    evaluate: Evaluate
    points: dict[Schedule, Point] = field(default_factory=dict)

    def price(self, schedule: Schedule) -> Point:
        if schedule not in self.points:
            self.points[schedule] = Point(schedule, self.evaluate(schedule))
        return self.points[schedule]


def exhaust(space: Space, evaluate: Evaluate, objectives: Sequence[str] = ("latency",)) -> Found:
    """The best schedules of the whole space, every legal schedule lowered, placed and priced."""
    log = _Log(evaluate)
    for schedule in space.schedules():
        log.price(schedule)
    points = list(log.points.values())
    best = min(points, key=lambda p: _rank(p, objectives))
    count = len(points)
    certificate = None
    if best.cost.fits:
        value = best.values(objectives)[0]
        certificate = Certificate(objectives[0], value, value, count, count)
    fitting = best if best.cost.fits else None
    plainest = baseline(space, evaluate)
    return Found(fitting, front(points, objectives), best, count, count, plainest, certificate)


def _rank(point: Point, objectives: Sequence[str]) -> tuple[float, ...]:
    """What is too much, then the objectives; cycles and memory break ties: equal latency takes the smaller arena."""
    excess = sum(over.excess_bytes for over in point.cost.overruns)
    return (excess, *point.values((*objectives, "latency", "memory", "flash")))


def baseline(space: Space, evaluate: Evaluate) -> Point:
    """The plainest schedule: portable kernels, layer by layer."""
    first = space.decode(space.baselines()[0])
    if first is None:
        raise ValueError("space: the first baseline is not a legal schedule")
    return Point(first, evaluate(first))
