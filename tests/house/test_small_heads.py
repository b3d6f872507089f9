"""Heads of few features on the L476: the scores kernel for 3 to 8 of them, in whole schedules."""

from dataclasses import replace
from pathlib import Path

import pytest

from cost_models.model import Budget
from dse import execute, pipeline
from dse.schedule import Attention, Schedule

LAYER_BY_LAYER = Attention(heads=2)
DEPTH_FIRST = Attention(heads=1, rows=8, map_rows=8)
KERNELS = {"attend": "smlad2x4", "linear": "smlad2x4", "probs": "small", "vector": "packed"}


def _run(house, schedule, folder: Path):
    point = pipeline.point_of(house, schedule, Budget())
    result = execute.prove(house, point, folder)
    assert result.bit_exact
    assert result.canaries_intact
    assert point.cost.cycles == pytest.approx(result.cycles, rel=0.05)
    return result.cycles


@pytest.mark.parametrize("panels", [(), ("map", "query")], ids=["rows", "panels"])
@pytest.mark.parametrize("attention", [LAYER_BY_LAYER, DEPTH_FIRST], ids=["layers", "depth-first"])
@pytest.mark.parametrize("features", [3, 6, 8])
def test_small_heads_are_bit_exact_and_faster(tmp_path: Path, features: int, attention: Attention, panels) -> None:
    sizes = {"s": 33, "e": 16, "p": features, "h": 2}
    house = pipeline.prepare(None, "stm32l476", scope="mhsa", form="none", hyper=sizes)
    schedule = Schedule("none", attention, kernels=tuple(KERNELS.items()), panels=panels)
    general = replace(schedule, kernels=tuple({**KERNELS, "probs": "smlad2x4"}.items()))
    assert _run(house, schedule, tmp_path / "small") < _run(house, general, tmp_path / "general")


def test_a_search_takes_them(tmp_path: Path) -> None:
    house = pipeline.prepare(None, "stm32l476", scope="mhsa", form="none", hyper={"s": 33, "e": 16, "p": 8, "h": 2})
    found = pipeline.find(house, trials=40)
    fastest = min(found.front, key=lambda point: point.cost.cycles)
    assert fastest.schedule.variant("probs") == "small"
    assert execute.prove(house, fastest, tmp_path).bit_exact
