"""The accuracy study: what its summary says about rows whose errors are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dse import accuracy


def _rows(pairs: list[tuple[int, int]], exact: bool = True) -> list[dict[str, object]]:
    same = {"target": "t", "wait_states": 0, "model": "m", "scope": "mhsa", "bit_exact": True, "traffic_exact": True}
    return [
        same
        | {
            "predicted_cycles": predicted,
            "executed_cycles": executed,
            "low_cycles": predicted - 5,
            "high_cycles": predicted + 5,
            "error_percent": 100 * (predicted / executed - 1),
            "arena_exact": exact,
        }
        for predicted, executed in pairs
    ]


def test_summary_of_known_errors():
    (row,) = accuracy.summary(_rows([(100, 100), (103, 100), (110, 100), (120, 100)]))
    assert (row["median_percent"], row["max_percent"]) == (6.5, 20.0)
    assert row["in_interval_percent"] == 50.0
    assert row["bytes_exact"]
    assert not accuracy.summary(_rows([(100, 100), (101, 101)], exact=False))[0]["bytes_exact"]


def test_order_and_regret_of_the_choice():
    (right,) = accuracy.summary(_rows([(90, 100), (100, 110), (110, 120)]))
    assert (right["tau"], right["regret_percent"]) == (1.0, 0.0)
    (wrong,) = accuracy.summary(_rows([(90, 120), (100, 100), (110, 130)]))
    assert wrong["tau"] < 1.0
    assert wrong["regret_percent"] == 20.0


def test_a_draw_is_repeatable_and_distinct():
    plan = {"seed": 3, "schedules": 4}
    first, again = (accuracy.draw(plan, "stm32l476", "tr_hgr", "mhsa") for _ in range(2))
    assert first == again
    assert len({case.schedule for case in first}) == 4
    assert first != accuracy.draw(plan | {"seed": 4}, "stm32l476", "tr_hgr", "mhsa")


def _committed(study: str) -> list[dict[str, str]]:
    path = Path(accuracy.__file__).parents[1] / "studies" / "results" / f"{study}.csv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
@pytest.mark.parametrize("wait_states", [0, 4])
def test_intervals_of_the_committed_study_cover_and_are_narrow(target, wait_states):
    rows = [
        r for r in _committed("cost_model_accuracy") if (r["target"], r["wait_states"]) == (target, str(wait_states))
    ]
    low, high, executed, predicted = (
        np.array([float(r[f"{name}_cycles"]) for r in rows]) for name in ("low", "high", "executed", "predicted")
    )
    assert len(rows) >= 300
    assert np.mean((low <= executed) & (executed <= high)) >= 0.95
    assert np.median((high - low) / 2 / predicted) <= {0: 0.01, 4: 0.035}[wait_states]


def test_the_committed_study_of_the_cluster_keeps_its_bars():
    rows = _committed("gap9_accuracy")
    errors = np.abs([float(row["error_percent"]) for row in rows])
    assert len(rows) >= 200
    assert np.median(errors) <= 4
    assert np.percentile(errors, 95) <= 10
    assert all(row["bit_exact"] == row["arena_exact"] == row["traffic_exact"] == "True" for row in rows)
