"""Energy of accesses: charged where a target states the figure, and nowhere else."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import networks
import pytest

from cost_models.model import evaluate
from dse import pipeline
from dse.target import TARGETS, load_target, parse_target, target_names


def test_bytes_of_a_region_with_a_figure_are_charged_on_top():
    house = pipeline.prepare("tr_hgr", "stm32l476", scope="mhsa")
    schedule = networks.random_schedule(house.space, 4)
    regions = tuple(
        replace(r, pj_per_byte={"flash": 20.0, "sram1": 2.0}.get(r.name, 0.0)) for r in house.target.regions
    )
    target = replace(house.target, regions=regions)
    program = house.program(schedule)
    plain, charged = (evaluate(program, t, house.calibration, house.kernels) for t in (house.target, target))
    moved = {region: sum(n for r, _, n in plain.moved_bytes if r == region) for region in ("flash", "sram1")}
    assert moved["flash"] > 0
    assert charged.access_joules == pytest.approx(1e-12 * (20 * moved["flash"] + 2 * moved["sram1"]))
    assert charged.energy_joules == pytest.approx(plain.energy_joules + charged.access_joules)
    assert (plain.access_joules, charged.cycles) == (0.0, plain.cycles)


def test_no_built_in_target_has_an_invented_figure():
    assert all(region.pj_per_byte == 0 for name in target_names() for region in load_target(name).regions)


def test_a_negative_figure_is_refused():
    table = tomllib.loads((TARGETS / "stm32l476.toml").read_text(encoding="utf-8"))
    table["region"][0]["pj_per_byte"] = -1
    with pytest.raises(ValueError, match="pj_per_byte"):
        parse_target(table, "here")
