"""Weights in external memory: loaded two stages ahead to where the DMA fetches them from, interpreted and executed."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import networks
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse import execute, ops, pipeline
from dse.interpret import interpret
from dse.load.hyper import HyperParameters
from dse.lower import lower
from dse.memory import CopyError, OverlapError
from dse.pareto import Point
from dse.schedule import FAMILIES
from dse.space import build_space
from dse.target import load_target

GAP9 = load_target("gap9").with_image(1024)  # holds no constants at all


def _lowered(hyper, scope, seed, tiles=0, target=GAP9):
    models, samples = networks.quantised(hyper, scope)
    schedule = networks.random_schedule(build_space(models, target, networks.KERNELS), seed)
    model = models[schedule.form]
    program = lower(model, replace(schedule, tiles=tiles), target, networks.KERNELS)
    x = ops.quantise_input(model, samples[:1])[0]
    return ops.run(model, x)[model.output].reshape(-1), x, program


@given(networks.hypers(), networks.scopes, st.sampled_from([0, 0, 8]), networks.seeds)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_loads_change_no_byte_and_all_is_counted(hyper, scope, tiles, seed):
    want, x, program = _lowered(hyper, scope, seed, tiles)
    ran = interpret(program, x, GAP9.cluster)
    assert np.array_equal(ran.output, want)
    assert networks.count(program) == ran.counters
    assert program.weight_bytes() == 0 < program.constant_bytes()["l3"]
    loaded = {load.src.base: load.size_bytes.const for stage in program.stages for load in stage.load}
    assert loaded == {constant.name: constant.size_bytes for constant in program.constants}


SMALL = HyperParameters(name="net", s=13, e=32, p=8, h=4, f=20, layers=1)


def _changed(program, change):
    return replace(program, stages=tuple(change(stage) for stage in program.stages))


def test_what_is_not_loaded_is_missed():
    want, x, program = _lowered(SMALL, "mhsa", 3)
    assert np.array_equal(interpret(program, x, GAP9.cluster).output, want)
    with pytest.raises(OverlapError, match=r"a copy reads bytes it does not own in l2_data"):
        interpret(_changed(program, lambda stage: replace(stage, load=())), x)
    with pytest.raises(CopyError, match="to be loaded from external memory"):
        interpret(_changed(program, lambda stage: replace(stage, load=(), fetch=stage.load)), x)


def test_constants_move_only_when_flash_is_too_small():
    _, _, roomy = _lowered(SMALL, "mhsa", 3, target=load_target("gap9"))
    assert set(roomy.constant_bytes()) == {"flash"}
    assert not any(stage.load for stage in roomy.stages)
    assert networks.TARGET.with_image(1024) == networks.TARGET  # nothing behind its flash


def test_a_smaller_image_leaves_more_for_data():
    whole = load_target("gap9")
    sizes = [{r.name: (r.base, r.size_bytes) for r in target.regions} for target in (whole, GAP9)]
    assert sizes[0]["l1"] == sizes[1]["l1"]
    assert sizes[1]["l2"] == (sizes[0]["l2"][0], 1024)
    assert sizes[1]["l2_data"][0] == sizes[1]["l2"][0] + 1024
    assert sum(sizes[1]["l2_data"]) == sum(sizes[0]["l2_data"])


@pytest.mark.parametrize(("l1", "scope"), [(None, "encoder"), (16384, "block")])
def test_the_device_loads_and_runs_bit_exact(tmp_path, l1, scope):
    """At about the predicted cycles: a byte of external memory takes one."""
    house = pipeline.prepare("tr_hgr", "gap9", scope=scope, regions={"l1": l1} if l1 else None, flash=65536)
    tried = (networks.random_schedule(house.space, seed) for seed in itertools.count())
    found = next(point for point in (Point(s, house.price(s)) for s in tried) if point.cost.fits)
    assert found.cost.external_bytes > 20000
    execute.write_run_folder(house, found, tmp_path)
    execute.build_firmware(tmp_path, house.target)
    result, prediction = execute.execute_folder(tmp_path)
    assert result.bit_exact
    assert result.canaries_intact
    assert result.cycles == pytest.approx(prediction["cycles"], rel=0.04)
    assert result.cycles > prediction["external_bytes"]
    assert result.arena_bytes == prediction["peak_bytes"]
    text = (tmp_path / "src" / "network.c").read_text()
    assert len(re.findall(r"= tlf_port_load\(", text)) == sum(
        len(stage.load) for stage in house.program(found.schedule).stages
    )


def test_a_network_too_large_for_external_memory_is_an_overrun():
    region = replace(GAP9.external(), size_bytes=512)
    target = replace(GAP9, regions=tuple(region if r.kind == "external" else r for r in GAP9.regions))
    house = replace(pipeline.prepare("tr_hgr", "gap9", scope="mhsa"), target=target)
    schedule = next(iter(house.space.schedules()))
    (overrun,) = [o for o in house.price(schedule).overruns if o.region == "l3"]
    assert overrun.capacity_bytes == 512 < overrun.demand_bytes


def test_the_sums_over_parts_count_the_loads():
    """Bytes as the whole, cycles from below: the whole alone knows the waits."""
    house = pipeline.prepare("tr_hgr", "gap9", scope="block", flash=65536)
    prices = pipeline.prices_of(house)
    rng = random.Random(0)
    for _ in range(4):
        schedule = networks.random_schedule(house.space, rng.randrange(1000))
        rivals = {family: (schedule.variant(family),) for family in FAMILIES}
        costs = [(prices.part(part, [schedule], rivals), times) for part, times in prices.parts(schedule.form)]
        whole = house.price(schedule)
        cycles = sum(times * float(table[0, 0]) for cost, times in costs for table in cost.cycles.values())
        assert 0.3 * whole.cycles < cycles <= whole.cycles
        assert sum(times * int(t[0, 0]) for cost, times in costs for t in cost.weight_bytes.values()) == 0
