"""Space + price function -> the best schedules. Optuna lives behind `search`; `exhaust` enumerates instead.

The search knows no cost model: it receives `evaluate`. Baselines are enqueued, so the result is never worse than the
naive schedule; every constraint is `demand - capacity` by memory region, feasible when not positive.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import optuna

from dse.cost import Cost
from dse.knobs import Choice
from dse.pareto import Point, front
from dse.schedule import Schedule
from dse.space import Space

Evaluate = Callable[[Schedule], Cost]
Progress = Callable[[int, int, float], None]
ILLEGAL = 1.0  # violation reported for a point that means no schedule


@dataclass(frozen=True)
class Found:
    """`best` by the first objective among the fitting; `front` over all objectives; `nearest` the best, fitting or not."""

    best: Point | None
    front: tuple[Point, ...]
    nearest: Point
    priced: int
    trials: int
    baseline: Point


@dataclass
class _Log:
    """Every distinct schedule priced so far; identical schedules are priced once."""

    evaluate: Evaluate
    points: dict[Schedule, Point] = field(default_factory=dict)

    def price(self, schedule: Schedule) -> Point:
        if schedule not in self.points:
            self.points[schedule] = Point(schedule, self.evaluate(schedule))
        return self.points[schedule]


def search(
    space: Space,
    evaluate: Evaluate,
    objectives: Sequence[str] = ("latency",),
    trials: int = 400,
    seed: int = 0,
    progress: Progress | None = None,
) -> Found:
    """The best schedules within `trials` trials (Optuna: NSGA-II over the knobs, then a local polish)."""
    log = _Log(evaluate)
    study = _study(len(objectives), seed)
    for point in space.baselines():
        study.enqueue_trial(dict(point))

    def objective(trial: optuna.Trial) -> Sequence[float]:
        point: dict[str, Choice] = {}
        for name, options in space.choices:
            point[name] = cast("Choice", trial.suggest_categorical(name, options))
        schedule = space.decode(point)
        if schedule is None:
            trial.set_constraint("legal", ILLEGAL)
            return [1e18] * len(objectives)
        priced = log.price(schedule)
        trial.set_constraint("legal", 0.0)
        trial.set_constraint("memory", float(_excess(priced)))
        if progress is not None:
            progress(trial.number + 1, trials, _best_value(log, objectives))
        return priced.values(objectives)

    study.optimize(objective, n_trials=trials)
    _polish(space, log, objectives)
    return _found(space, log, objectives, trials)


def _study(objectives: int, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=40, mutation_prob=0.15)
        return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


def _polish(space: Space, log: _Log, objectives: Sequence[str]) -> None:
    """Steepest descent from the best point of each objective: change one or two knobs until nothing improves.

    While nothing fits, what descends is the bytes too many: a budget is called too small only where no step helps.
    """
    reach = _points_by_schedule(space, log)
    for index in range(len(objectives)):
        current = _best_point(log, objectives, index)
        while current.schedule in reach:
            for point in _neighbours(space, reach[current.schedule]):
                schedule = space.decode(point)
                if schedule is not None:
                    reach.setdefault(schedule, point)
                    log.price(schedule)
            better = _best_point(log, objectives, index)
            if _rank(better, objectives, index)[:2] >= _rank(current, objectives, index)[:2]:
                break
            current = better


def _points_by_schedule(space: Space, log: _Log) -> dict[Schedule, dict[str, str | int]]:
    return {schedule: space.encode(schedule) for schedule in log.points}


def _neighbours(space: Space, point: dict[str, str | int]) -> list[dict[str, str | int]]:
    found = []
    options = dict(space.choices)
    for first in options:
        for a in options[first]:
            found.append(point | {first: a})
            if first in ("nest", "rows"):
                for second in (name for name in options if name != first):
                    found += [point | {first: a, second: b} for b in options[second]]
    return found


def _best_point(log: _Log, objectives: Sequence[str], index: int) -> Point:
    return min(log.points.values(), key=lambda p: _rank(p, objectives, index))


def _rank(point: Point, objectives: Sequence[str], index: int) -> tuple[float, ...]:
    """Bytes too many, then the objective; the others and memory break ties: equal latency takes the smaller arena."""
    values = point.values(objectives)
    return (_excess(point), values[index], *values, point.cost.arena_bytes, point.cost.flash_bytes)


def _excess(point: Point) -> int:
    return sum(over.excess_bytes for over in point.cost.overruns)


def _best_value(log: _Log, objectives: Sequence[str]) -> float:
    best = _best_point(log, objectives, 0)
    return best.values(objectives)[0] if best.cost.fits else float("nan")


def exhaust(space: Space, evaluate: Evaluate, objectives: Sequence[str] = ("latency",)) -> Found:
    """The best schedules of the whole space, every legal schedule priced."""
    log = _Log(evaluate)
    for schedule in space.schedules():
        log.price(schedule)
    return _found(space, log, objectives, len(log.points))


def _found(space: Space, log: _Log, objectives: Sequence[str], trials: int) -> Found:
    points = list(log.points.values())
    first = space.decode(space.baselines()[0])
    if first is None:
        raise ValueError("space: the first baseline is not a legal schedule")
    best = _best_point(log, objectives, 0)
    fitting = best if best.cost.fits else None
    return Found(fitting, front(points, objectives), best, len(points), trials, log.price(first))
