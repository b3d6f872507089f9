"""Stalls in closed form against the event-level caches of the emulated device, and the sums they take part in."""

from __future__ import annotations

import functools

import networks
import pytest

from codegen.names import stage_symbols
from cost_models.calibrate import shapes
from cost_models.calibration import load_calibration
from cost_models.counts import count_calls
from cost_models.stalls import call_bytes, stage_stalls
from dse import accuracy, pipeline
from dse.bench_calls import bench_call, bench_program
from dse.bench_runs import build_bench, flash_operands
from dse.execute import open_device
from dse.kernel import load_kernels
from dse.program import Affine
from dse.schedule import Schedule
from dse.target import load_target

KERNELS = load_kernels()
WEIGHTS = (
    (2, 8, 16),
    (6, 8, 48),
    (6, 8, 96),
    (40, 8, 32),
    (9, 12, 80),
)  # m, n, k: weights that stay in 256 B and that do not


@functools.cache
def _house(target):
    return pipeline.prepare("tr_hgr", target, scope="mhsa")


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
def test_weights_miss_as_often_as_in_the_emulated_cache(target, tmp_path):
    """Data misses of one cold call, within a tenth: what else a kernel reads from flash are its own constants."""
    board, kernel = load_target(target), KERNELS["linear_rows_smlad2x4"]
    calls = [bench_call(kernel, i, {"m": m, "n": n, "k": k, "x_panels": 1}) for i, (m, n, k) in enumerate(WEIGHTS)]
    program = bench_program(calls, board, repeats=1)
    device = open_device(build_bench(program, board, KERNELS, tmp_path), board, board.max_wait_states)
    device.boot()
    for symbol, (call, items) in zip(stage_symbols([s.name for s in program.stages]), calls, strict=True):
        sizes = {name: value.const for name, value in call.arguments if isinstance(value, Affine)}
        flash = flash_operands(call, sizes, items)
        missed = call_bytes(kernel.op, kernel.layout, sizes, board.data_cache, flash) / board.data_cache.fill_bytes
        assert device.call(symbol).data_misses == pytest.approx(missed, rel=0.1, abs=6), sizes


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_with_wait_states_runs_as_predicted(target, seed):
    house = _house(target)
    schedule = networks.random_schedule(house.space, seed)
    rows = accuracy.prove(accuracy.Case(target, "tr_hgr", "mhsa", schedule), (0, house.target.max_wait_states))
    still, slow = rows
    assert slow["executed_cycles"] > 1.02 * still["executed_cycles"]
    assert abs(slow["error_percent"]) < 8
    assert slow["low_cycles"] <= slow["executed_cycles"] <= slow["high_cycles"]


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
def test_more_wait_states_never_cost_less(target):
    house = _house(target)
    schedule = networks.random_schedule(house.space, 5)
    prices = [house.price(schedule, wait_states=states).cycles for states in range(house.target.max_wait_states + 1)]
    assert prices == sorted(prices)
    assert prices[-1] > prices[0]


def test_every_call_of_a_stage_is_told_its_stalls():
    """The walk over cached operands meets the calls that the plain count meets, as often."""
    house = _house("stm32h743")
    program = house.program(networks.random_schedule(house.space, 7))
    for stage in program.stages:
        args = (program, stage, house.target, 4, house.kernels, house.calibration)
        stalled = [(s.item.call, s.item.times) for s in stage_stalls(*args)]
        assert sorted(map(str, stalled)) == sorted(str((item.call, item.times)) for item in count_calls(stage)[0])


def _one_call_schedule() -> Schedule:
    house = _house("stm32h743")
    return networks.random_schedule(house.space, 1)


def test_code_in_fast_memory_stalls_on_data_only():
    house = _house("stm32h743")
    program = house.program(_one_call_schedule())
    for stage in program.stages:
        found = stage_stalls(program, stage, house.target, 4, house.kernels, house.calibration)
        assert all(s.data_cycles >= 0 for s in found)
        assert all(
            (s.code_cycles == 0) == (program.code != "flash") for s in found if s.item.call.op.startswith("linear")
        )


def test_buffers_that_are_still_cached_do_not_miss_again():
    """Networks in AXI memory: data never stalls more, and in some less, when stages know what those before have touched."""
    house = _house("stm32h743")
    schedules = (networks.random_schedule(house.space, seed) for seed in range(60))
    programs = [p for p in map(house.program, schedules) if p.arena_bytes().get("axi")]
    saved = []
    for program in programs:
        recent: dict[str, float] = {}
        args = [(program, stage, house.target, 4, house.kernels, house.calibration) for stage in program.stages]
        cold = sum(s.data_cycles for stage in args for s in stage_stalls(*stage))
        saved.append(cold - sum(s.data_cycles for stage in args for s in stage_stalls(*stage, recent)))
    assert all(cycles >= 0 for cycles in saved)
    assert any(cycles > 0 for cycles in saved)


def test_calls_beyond_the_calibration_are_named():
    house = _house("stm32l476")
    assert house.price(networks.random_schedule(house.space, 0)).outside == ()
    large = pipeline.prepare(None, "stm32l476", scope="block", hyper={"s": 2, "e": 8, "p": 4, "h": 1, "f": 2400})
    cost = large.price(networks.random_schedule(large.space, 0))
    assert any("k = 2400, measured" in text for text in cost.outside)
    assert cost.cycles_low < cost.cycles < cost.cycles_high


def test_no_calibration_shape_is_a_call_of_a_built_in_network():
    """Calls of random schedules of all built-in networks and the shapes of the calibration have no sizes in common."""
    measured = {
        (kernel.op, *(z.get(key, 0) for key in "mnk"))
        for kernel in KERNELS.values()
        if kernel.op.startswith(("linear", "probs", "attend"))
        for z in shapes(kernel)
    }
    assert len(measured) > 300
    seen = set()
    for model, scope in (("eegformer", "mhsa"), ("ecgformer", "block"), ("tr_hgr", "encoder"), ("digits", "encoder")):
        house = pipeline.prepare(model, "stm32l476", scope=scope)
        for seed in range(20):
            program = house.program(networks.random_schedule(house.space, seed))
            for item in (item for stage in program.stages for item in count_calls(stage)[0]):
                seen.add((item.call.op, *(item.sizes.get(key, 0) for key in "mnk")))
    assert len(seen) > 50
    assert not measured & seen


def test_calibrations_know_what_they_cost_with_wait_states():
    for target in ("stm32l476", "stm32h743"):
        calibration, board = load_calibration(target), load_target(target)
        for name, fit in calibration.kernels.items():
            assert len(fit.stall_shares) == board.max_wait_states + 1, name
            assert fit.stall_shares[0] == 0
            assert all(value >= 0 for value in fit.stalls.values())
