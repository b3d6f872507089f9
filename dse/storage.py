"""A search that outlives its process: structures solved by any number of workers, kept as trials of an Optuna study.

One trial is one structure (dse/lattice.py), solved exactly; its whole front travels with it. It is written finished, in one
transaction, after it was solved: a search never waits for storage more than once a structure, and a worker killed at any
moment loses what it was solving and nothing else, since what is not stored is somebody else's next. No trial depends on
another, so any number of workers, in any order, killed or not, end with the same trials and the same answer.
"""

from __future__ import annotations

import importlib.util
import json
import random
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from dse.exact import Certificate, Exact, Limits
from dse.knobs import Choice
from dse.lattice import Prices, Setting, build_sheet, choices, structures
from dse.pareto import Point, front
from dse.schedule import Schedule, parse_schedule
from dse.search import Found, Progress, baseline
from dse.space import Space


@dataclass(frozen=True)
class Task:
    """What is searched. `title` names the study together with a digest of everything the answer depends on."""

    title: str
    space: Space
    objectives: tuple[str, ...]
    limits: Limits
    facts: str

    @property
    def study(self) -> str:
        """The name of the study in the storage."""
        text = repr((self.space.choices, self.objectives, self.limits, self.facts))
        return f"{self.title} {','.join(self.objectives)} {sha256(text.encode()).hexdigest()[:8]}"


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage of an address: `sqlite:///file.db`, `journal:file.log` or `postgresql://user@host/database`.

    ValueError when it is none of these or cannot be opened.
    """
    kind, _, rest = url.partition(":")
    path = Path(rest.removeprefix("///")) if kind in ("sqlite", "journal") else None
    if kind not in ("sqlite", "journal", "postgresql") or not rest:
        raise ValueError(f"--storage {url}: write sqlite:///FILE, journal:FILE or postgresql://USER@HOST/DATABASE")
    if kind == "postgresql" and importlib.util.find_spec("psycopg") is not None:
        url = f"postgresql+psycopg:{rest}"
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            if kind == "journal":
                return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            options = {"connect_args": {"timeout": 60}} if kind == "sqlite" else {"pool_pre_ping": True}
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy, driver and file errors have no common base
        raise ValueError(f"--storage {url}: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def work(
    task: Task, prices: Prices, url: str, seed: int = 0, join: bool = False, progress: Progress | None = None
) -> Found:
    """Solves what the study still lacks and returns the answer of all its trials.

    join: continue a study that exists (resume, or one worker of many); without, ValueError when it has trials already.
    """
    study = _open_study(task, url, join)
    every = {_key(structure): structure for structure in structures(task.space)}
    order = list(every)
    random.Random(seed).shuffle(order)
    options = choices(list(every.values()))
    while pending := [key for key in order if key not in (done := _done(study))]:
        study.add_trial(_solve(task, prices, every[pending[0]], options))
        if progress is not None:
            progress(len(done) + 1, len(every), min(t.values[0] for t in study.get_trials(deepcopy=False)))
    return _answer(task, prices, study, len(every))


def _open_study(task: Task, url: str, join: bool) -> optuna.Study:
    storage = open_storage(url)
    study = optuna.create_study(
        storage=storage,
        study_name=task.study,
        directions=["minimize"] * len(task.objectives),
        load_if_exists=True,
    )
    if not join and study.get_trials(deepcopy=False):
        raise ValueError(
            f"study {task.study!r} exists in {url} with {len(study.trials)} structures solved; "
            "continue it with --resume, or give another --storage"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(task.objectives))
    return study


def _key(structure: Mapping[str, Choice]) -> str:
    return json.dumps(structure, sort_keys=True)


def _done(study: optuna.Study) -> set[str]:
    return {trial.user_attrs["structure"] for trial in study.get_trials(deepcopy=False)}


def _solve(
    task: Task, prices: Prices, structure: Setting, options: Mapping[str, Sequence[Choice]]
) -> optuna.trial.FrozenTrial:
    """The finished trial of one structure: its best values, its front as schedules, and what is proved about it."""
    exact = Exact([build_sheet(task.space, structure, prices)], prices, task.limits)
    best, bound = exact.best(task.objectives)
    complete = best is None or len(task.objectives) == 1 or exact.front(task.objectives)
    fitting = [point for point in exact.points.values() if exact.fits(point)]
    shown = best or exact.nearest()
    kept = front(fitting, task.objectives) if best else (shown,)
    proof = {
        "structure": _key(structure),
        "fits": best is not None,
        "bound": (bound if best else None) if complete and exact.honest else 0.0,
        "schedules": exact.schedules,
        "priced": len(exact.points),
        "best": shown.schedule.to_toml(),
        "front": [point.schedule.to_toml() for point in kept],
    }
    return optuna.trial.create_trial(
        params=dict(structure),
        distributions={n: optuna.distributions.CategoricalDistribution(options[n]) for n in structure},
        values=list(shown.values(task.objectives)),
        user_attrs=proof,
    )


def _answer(task: Task, prices: Prices, study: optuna.Study, count: int) -> Found:
    """Best and front over all trials; a structure that two workers solved counts once."""
    trials = {trial.user_attrs["structure"]: trial for trial in study.get_trials(deepcopy=False)}
    proofs = [trials[key].user_attrs for key in sorted(trials)]
    points = [_point(text, prices) for p in proofs for text in dict.fromkeys([p["best"], *p["front"]])]
    fitting = [point for point in points if point.cost.fits]
    order = (*task.objectives, "latency", "memory", "flash")
    best = min(fitting, key=lambda point: point.values(order), default=None)
    nearest = min(points, key=lambda p: (sum(o.excess_bytes for o in p.cost.overruns), p.cost.cycles))
    certificate = None
    if best is not None:
        bounds = [p["bound"] for p in proofs if p["bound"] is not None]
        certificate = Certificate(
            objective=task.objectives[0],
            value=best.values(task.objectives)[0],
            lower_bound=min(bounds) if len(trials) == count else 0.0,
            schedules=sum(p["schedules"] for p in proofs),
            priced=sum(p["priced"] for p in proofs),
        )
    kept = front(fitting, task.objectives)
    priced = sum(p["priced"] for p in proofs)
    return Found(best, kept, best or nearest, priced, len(trials), baseline(task.space, prices.whole), certificate)


def _point(text: str, prices: Prices) -> Point:
    schedule: Schedule = parse_schedule(tomllib.loads(text), "study")
    return Point(schedule, prices.whole(schedule))
