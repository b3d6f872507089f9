"""The search against the whole space: it must not call a budget too small that one schedule meets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cost_models.model import Budget
from dse import pipeline

TRIALS = 40


@pytest.fixture(scope="module")
def house():
    whole = pipeline.prepare(None, "stm32l476", scope="mhsa", hyper={"s": 6, "e": 8, "p": 6, "h": 2})
    kept = {"panels": ("none", "map", "map+query+context+input"), "place": ("first", "map:sram2")}
    return replace(whole, space=whole.space.restricted(kept).thinned(4000, 0))


@pytest.fixture(scope="module")
def front(house):
    return pipeline.find(house, ("latency", "memory"), everything=True).front


@pytest.fixture(scope="module")
def smallest(front):
    return front[-1].cost.arena_bytes


@pytest.mark.parametrize("seed", range(4))
def test_the_tightest_budget_is_met(house, smallest, seed):
    found = pipeline.find(house, ("latency",), Budget(ram_bytes=smallest), TRIALS, seed)
    assert found.best is not None
    assert found.best.cost.arena_bytes == smallest


@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_named_as_needed_are_the_fewest_there_are(house, smallest, seed):
    found = pipeline.find(house, ("latency",), Budget(ram_bytes=1), TRIALS, seed)
    assert found.best is None
    (overrun,) = found.nearest.cost.overruns
    assert overrun.demand_bytes == smallest


def test_the_search_finds_the_fastest_of_the_whole_space(house, front):
    found = pipeline.find(house, ("latency",), trials=TRIALS).best
    assert found is not None
    assert found.cost.cycles == pytest.approx(front[0].cost.cycles, rel=0.02)
