"""The committed study: complete, bit-exact, predicted, and the source of the README's table."""

from __future__ import annotations

import tomllib

import networks
import pytest

from cost_models.model import kernel_code_bytes
from dse import pipeline
from dse.studies import read_rows, studies_root, summary

ROWS = read_rows(studies_root() / "results" / "l476_networks.csv")
PLAN = tomllib.loads((studies_root() / "l476_networks.toml").read_text(encoding="utf-8"))


def test_every_case_of_the_plan_has_a_row():
    assert len(ROWS) == len(PLAN["models"]) * len(PLAN["forms"]) * len(PLAN["ram_bytes"])


def test_every_winner_is_bit_exact_within_its_budget_and_as_predicted():
    ran = [row for row in ROWS if row["fits"] == "True"]
    assert len(ran) > len(ROWS) / 2
    for row in ran:
        assert row["bit_exact"] == "True", row
        assert abs(float(row["error_percent"])) < 15, row
        if row["ram_budget_bytes"] != "all":
            assert int(row["arena_bytes"]) <= int(row["ram_budget_bytes"]), row


def test_the_readme_shows_this_study():
    readme = (studies_root().parent / "README.md").read_text(encoding="utf-8")
    assert summary(ROWS) in readme


def test_the_kernels_of_a_winner_stay_under_24_kilobytes():
    for row in ROWS:
        assert 0 < int(row["kernel_bytes"]) < 24 * 1024, row


@pytest.mark.parametrize("target", ["stm32l476", "esp32c3", "gap9"])
def test_the_kernels_of_any_schedule_stay_under_24_kilobytes(target):
    house = pipeline.prepare("ecgformer", target, scope="block", form="none")
    for schedule in [networks.random_schedule(house.space, seed) for seed in range(8)]:
        kernels = {call.kernel for call in house.program(schedule).calls()}
        assert 0 < kernel_code_bytes(kernels, house.calibration) < 24 * 1024, (kernels, schedule.describe())
