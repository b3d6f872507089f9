"""A study of the search's proof: every schedule of a space lowered, placed and priced as a whole, beside what is found.

Nothing of the search is used: no part prices, no bounds. Spaces with more schedules than the plan allows are thinned first,
for both alike.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dse import pipeline
from dse.ir import Array
from dse.pareto import OBJECTIVES, Point
from dse.pipeline import Prepared
from dse.space import Space
from dse.spread import cores, spread

Row = dict[str, Any]
COLUMNS: tuple[str, ...] = (
    "target",
    "model",
    "scope",
    "whole_space",
    "schedules",
    "fitting",
    "seconds",
    "search_seconds",
)
COLUMNS += ("best_cycles", "best_arena_bytes", "front", "bests_equal", "front_equal", "verdict")
SPLIT = ("form", "nest", "panels", "linear")  # knobs whose every combination is a piece of work


def run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    """A row a target and network. Of the plan: targets; models, each (name, scope, most schedules); seed."""
    rows: list[Row] = []
    for target, (model, scope, most) in itertools.product(plan["targets"], plan["models"]):
        progress("exhaustive", len(rows), len(plan["targets"]) * len(plan["models"]), f"{model} {scope} on {target}")
        rows.append(_row(target, model, scope, most, plan["seed"]))
    return rows


def _row(target: str, model: str, scope: str, most: int, seed: int) -> Row:
    whole = pipeline.prepare(model, target, scope=scope)
    house = replace(whole, space=whole.space.thinned(most, seed))
    begun = time.perf_counter()
    values, fits = price_all(house)
    priced = time.perf_counter()
    found = {objective: pipeline.find(house, (objective,)) for objective in OBJECTIVES}
    both = pipeline.find(house, ("latency", "memory"))
    kept = values[fits]
    best = {name: kept[:, index].min() for index, name in enumerate(OBJECTIVES)}
    front = staircase(kept[:, :2])
    ends = {name: answer.best.values((name,))[0] if answer.best else np.inf for name, answer in found.items()}
    ours = np.array(sorted(point.values(("latency", "memory")) for point in both.front))
    verdicts = {answer.certificate.describe() if answer.certificate else "none" for answer in (*found.values(), both)}
    return {
        "target": target,
        "model": model,
        "scope": scope,
        "whole_space": house.space.choices == whole.space.choices,
        "schedules": len(values),
        "fitting": len(kept),
        "seconds": round(priced - begun),
        "search_seconds": round(time.perf_counter() - priced, 1),
        "best_cycles": round(float(best["latency"])),
        "best_arena_bytes": round(float(best["memory"])),
        "front": len(front),
        "bests_equal": all(bool(np.isclose(ends[name], best[name], rtol=1e-9)) for name in OBJECTIVES),
        "front_equal": ours.shape == front.shape and bool(np.allclose(ours, front, rtol=1e-9)),
        "verdict": ", ".join(sorted(verdicts)),
    }


def price_all(house: Prepared) -> tuple[Array, Array]:
    """((n, objectives) values, (n,) fits) of every schedule of the space, each priced as a whole."""
    options = dict(house.space.choices)
    settings = itertools.product(*(options[name] for name in SPLIT))
    pieces = [house.space.restricted({n: (v,) for n, v in zip(SPLIT, s, strict=True)}) for s in settings]
    found = list(spread(functools.partial(_price_piece, house), pieces, cores()))
    return np.concatenate([values for values, _ in found]), np.concatenate([fits for _, fits in found])


def _price_piece(house: Prepared, piece: Space) -> tuple[Array, Array]:
    values, fits = [], []
    for schedule in piece.schedules():
        point = Point(schedule, house.price(schedule))
        values.append(point.values(tuple(OBJECTIVES)))
        fits.append(point.cost.fits)
    return np.array(values, float).reshape(-1, len(OBJECTIVES)), np.array(fits, bool)


def staircase(pairs: Array) -> Array:
    """The Pareto front of (n, 2) values, ascending in the first."""
    ordered = np.unique(pairs, axis=0)
    least = np.minimum.accumulate(ordered[:, 1])
    front: Array = ordered[np.concatenate([[True], ordered[1:, 1] < least[:-1]])]
    return front


def markdown(rows: Sequence[Mapping[str, Any]], header: str) -> str:
    """Provenance and the table."""
    lines = ["| " + " | ".join(name.replace("_", " ") for name in COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in rows]
    return header.replace("# ", "Provenance: ") + "\n\n" + "\n".join(lines) + "\n"
