"""The STM32H743 end to end: bit-exact firmware, cycles as predicted, buffers and code where the schedule wants them."""

from __future__ import annotations

from dataclasses import replace

import networks
import pytest

from codegen.build import find_toolchains
from cost_models.model import Budget
from dse import execute, pipeline
from dse.pareto import Point
from dse.target import load_target, parse_target

H743 = load_target("stm32h743")


@pytest.fixture(scope="module")
def house():
    return pipeline.prepare("eegformer", "stm32h743", scope="mhsa", form="none")


def best(house):
    return house.space.decode(house.space.baselines()[-2])


@pytest.mark.parametrize("seed", range(4))
def test_random_schedules_run_as_predicted(house, seed, tmp_path):
    schedule = networks.random_schedule(house.space, seed)
    point = Point(schedule, house.price(schedule))
    assert point.cost.fits
    result = execute.prove(house, point, tmp_path)
    assert result.bit_exact
    assert result.canaries_intact
    assert point.cost.cycles == pytest.approx(result.cycles, rel=0.10)
    arenas = house.program(schedule).arena_bytes()
    assert {region: result.arena_bytes[region] for region in arenas} == arenas


@pytest.mark.parametrize("toolchain", [t.name for t in find_toolchains("armv7em-m7")])
def test_code_runs_from_the_itcm_and_counts_there(house, toolchain, tmp_path):
    flash, itcm = best(house), replace(best(house), code="itcm")
    prices = {schedule.code: house.price(schedule) for schedule in (flash, itcm)}
    moved = dict(prices["itcm"].peak_bytes)["itcm"]
    assert prices["itcm"].arena_bytes == prices["flash"].arena_bytes + moved
    assert prices["itcm"].flash_bytes == prices["flash"].flash_bytes
    execute.write_run_folder(house, Point(itcm, prices["itcm"]), tmp_path)
    execute.build_firmware(tmp_path, house.target, toolchain)
    result, _ = execute.execute_folder(tmp_path)
    assert result.bit_exact
    if toolchain == "zig":  # which the calibration was made with
        assert result.arena_bytes["itcm"] == pytest.approx(moved, rel=0.15)
    assert 0 < result.arena_bytes["itcm"] <= house.target.code().size_bytes


def test_the_emitted_main_checks_itself_from_the_itcm(house, tmp_path):
    schedule = replace(best(house), code="itcm", place="all:axi")
    execute.prove(house, Point(schedule, house.price(schedule)), tmp_path)
    device = execute.open_device(tmp_path / "firmware.elf", house.target)
    device.boot()
    assert device.symbol("main").address < 64 * 1024
    assert device.call("main").value == 0


def test_without_wait_states_it_does_not_matter_where_code_runs(house, tmp_path):
    cycles = set()
    for code in house.space.context.code:
        schedule = replace(best(house), code=code)
        cycles.add(execute.prove(house, Point(schedule, house.price(schedule)), tmp_path).cycles)
    assert len(cycles) == 1


def test_buffers_go_to_the_region_asked_for(house):
    place = {name: house.program(replace(best(house), place=name)) for name in ("first", "map:axi", "all:sram4")}
    assert set(place["first"].arena_bytes()) == {"dtcm"}
    regions = {buffer.role: buffer.region for buffer in place["map:axi"].buffers}
    assert regions["map"] == "axi"
    assert regions["input"] == "dtcm"
    assert {buffer.region for buffer in place["all:sram4"].buffers} == {"sram4"}


@pytest.mark.parametrize("change", [{"code": "sram4"}, {"place": "all:itcm"}, {"place": "some:axi"}])
def test_unknown_places_are_refused_with_what_is_allowed(house, change):
    with pytest.raises(ValueError, match=r"allowed: (flash, itcm|first, keys_values:axi)"):
        pipeline.point_of(house, replace(best(house), **change), Budget())


def test_code_that_does_not_fit_its_region_is_an_overrun(house):
    small = tuple(replace(r, size_bytes=1024) if r.kind == "code" else r for r in house.target.regions)
    cramped = replace(house, target=replace(house.target, regions=small))
    (overrun,) = cramped.price(replace(best(house), code="itcm")).overruns
    assert (overrun.region, overrun.capacity_bytes) == ("itcm", 1024)
    assert cramped.price(best(house)).fits


def test_the_board_without_code_memory_offers_flash_only():
    models, _ = networks.quantised(networks.HyperParameters("n", s=5, e=4, p=2, h=2), "mhsa")
    choices = dict(networks.space_of(models).choices)
    assert choices["code"] == ("flash",)
    assert choices["place"] == ("first", "keys_values:sram2", "map:sram2", "all:sram2")


def test_a_code_region_is_not_ram_for_buffers():
    assert [region.name for region in H743.ram()] == ["dtcm", "axi", "sram1", "sram2", "sram3", "sram4"]
    assert H743.code().name == "itcm"
    table = target_table()
    assert parse_target(table, "x") == H743
    with pytest.raises(ValueError, match="must be ram, flash, code or external"):
        parse_target(table | {"region": [{**vars(H743.regions[0]), "kind": "rom"}]}, "x")


def target_table():
    """The target file of the H743 as a table."""
    table = {f: getattr(H743, f) for f in ("name", "description", "isa", "cpu", "port", "cores", "clock_hz")}
    table |= {f: getattr(H743, f) for f in ("supply_volts", "active_amps_per_hz", "wait_states", "max_wait_states")}
    table |= {"stack_bytes": H743.stack_bytes, "region": [dict(vars(region)) for region in H743.regions]}
    table |= {"point": [dict(vars(point)) for point in H743.points]}
    return table | {"cache": {"code": dict(vars(H743.code_cache)), "data": dict(vars(H743.data_cache))}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ways": 3}, "powers of two"),
        ({"size_bytes": 1 << 20}, "lines <= 1024"),
        ({"fill_bytes": 64}, "fills a line"),
        ({"ways": 0}, "powers of two"),
        ({"prefetch": 1}, "must be of type bool"),
        ({"banks": 2}, "exactly the keys"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(change, message):
    table = target_table()
    table["cache"]["data"] |= change
    with pytest.raises(ValueError, match=f"x: cache.data.*{message}"):
        parse_target(table, "x")


@pytest.mark.parametrize("change", [{"fill_cycles": -1}, {"store_cycles": 1.5}, {"latency": 3}])
def test_a_region_with_impossible_times_is_refused(change):
    table = target_table()
    table["region"][0] |= change
    with pytest.raises(ValueError, match=r"x: region 0.*(store_cycles|latency)"):
        parse_target(table, "x")
