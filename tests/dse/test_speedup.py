"""The study of a cluster: a row a budget and number of cores, everything executed."""

from __future__ import annotations

import pytest

from dse import speedup
from dse.target import load_target


def test_rows_hold_what_was_executed():
    plan = {"target": "gap9", "seed": 0, "trials": 8, "form": "none", "cores": [1, 4], "near_bytes": [16384]}
    rows = speedup.run(plan | {"models": [["tr_hgr", "mhsa", 2.5]]}, lambda *_: None)
    assert [row["cores"] for row in rows] == [1, 4]
    assert all(row["bit_exact"] and row["arena_bytes"] <= 16384 for row in rows)
    assert rows[1]["speedup"] == round(rows[0]["executed_cycles"] / rows[1]["executed_cycles"], 2) > 2.5
    page = speedup.markdown(rows, "# study")
    assert f"| {rows[1]['executed_cycles']} |" in page


def test_a_budget_too_small_for_every_schedule_is_named():
    plan = {"target": "gap9", "seed": 0, "trials": 8, "form": "none", "cores": [8], "near_bytes": [512]}
    with pytest.raises(ValueError, match="tr_hgr on 8 cores with 512 B near them: no schedule fits"):
        speedup.run(plan | {"models": [["tr_hgr", "mhsa", 1.0]]}, lambda *_: None)


@pytest.mark.parametrize("count", [0, 9])
def test_cores_that_do_not_exist_are_named(count):
    with pytest.raises(ValueError, match=f"--cores {count}: gap9 has 8"):
        load_target("gap9").on_cores(count)
