"""Stalls in closed form against the event-level caches of the emulated device, and the sums they take part in."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

import networks
import pytest

from codegen.names import stage_symbols
from cost_models.calibrate import MARGIN, fit_errors, loop_shapes, shape_text, shapes
from cost_models.calibration import load_calibration
from cost_models.code_fetch import CodeFetch
from cost_models.code_stalls import ENTRIES, entry, fill_cycles, four_row_counts, loop_counts
from cost_models.counts import count_calls
from cost_models.sets import Piece, lost_share, reach
from cost_models.stalls import stage_stalls
from dse import accuracy, pipeline
from dse.bench_calls import bench_call, bench_program
from dse.bench_runs import build_bench
from dse.cost import Cost
from dse.execute import open_device
from dse.kernel import load_kernels
from dse.lattice import build_sheet, structures
from dse.prices import HousePrices
from dse.schedule import Schedule
from dse.target import load_target

KERNELS = load_kernels()
WEIGHTS = (
    (2, 8, 16),
    (6, 8, 48),
    (6, 8, 96),
    (40, 8, 32),
    (9, 12, 80),
    (6, 24, 48),
    (21, 16, 64),
)  # m, n, k: weights that stay in 256 B and that do not


@functools.cache
def _house(target):
    return pipeline.prepare("tr_hgr", target, scope="mhsa")


@pytest.mark.parametrize(
    "name", ["linear_rows_smlad2x4", "linear_keys_smlad4x2", "linear_add_smlad4x2", "linear_rows_ref"]
)
@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
def test_weights_miss_as_often_as_in_the_emulated_cache(target, name, tmp_path):
    """Data misses of one cold call, within a tenth: what else a kernel reads from flash are its own constants."""
    board, kernel = load_target(target), KERNELS[name]
    calls = [bench_call(kernel, i, {"m": m, "n": n, "k": k, "x_panels": 1}) for i, (m, n, k) in enumerate(WEIGHTS)]
    program = bench_program(calls, board, repeats=1)
    device = open_device(build_bench(program, board, KERNELS, tmp_path), board, board.max_wait_states)
    device.boot()
    fill = fill_cycles(next(r for r in board.regions if r.kind == "flash"), board.max_wait_states)
    for symbol, stage in zip(stage_symbols([s.name for s in program.stages]), program.stages, strict=True):
        (stalled,) = stage_stalls(program, stage, board, board.max_wait_states, KERNELS, load_calibration(target))
        missed = stalled.data_cycles / fill
        assert device.call(symbol).data_misses == pytest.approx(missed, rel=0.1, abs=6), stalled.item.sizes


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_with_wait_states_runs_as_predicted(target, seed):
    house = _house(target)
    schedule = networks.random_schedule(house.space, seed)
    rows = accuracy.prove(accuracy.Case(target, "tr_hgr", "mhsa", schedule), (0, house.target.max_wait_states))
    still, slow = rows
    assert slow["executed_cycles"] > 1.02 * still["executed_cycles"]
    assert abs(slow["error_percent"]) < 4
    assert abs(slow["predicted_cycles"] - slow["executed_cycles"]) < slow["high_cycles"] - slow["low_cycles"]


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


def _simulated(pieces, cache, rng):
    """Shares that miss again when pieces at random addresses are gone over in turns, line by line, least recently used."""
    sets = cache.size_bytes // cache.line_bytes // cache.ways
    first = [rng.randrange(1 << 20) for _ in pieces]
    lines = [[at + i for i in range(round(p.bytes) // cache.line_bytes)] for at, p in zip(first, pieces, strict=True)]
    held: dict[int, list[int]] = {}
    for _ in range(3):
        missed = [0] * len(pieces)
        for index, own in enumerate(lines):
            for line in own:
                ways = held.setdefault(line % sets, [])
                missed[index] += line not in ways
                if line in ways:
                    ways.remove(line)
                ways.append(line)
                del ways[: -cache.ways]
    return [count / len(own) for count, own in zip(missed, lines, strict=True)]


@pytest.mark.parametrize("sizes", [(16384, 2048), (6144, 8192, 4096), (12288, 3072), (20480, 512), (8192, 4096)])
def test_lines_stay_in_the_sets_as_in_a_cache_line_by_line(sizes):
    cache = load_target("stm32h743").data_cache
    pieces = tuple(Piece(size) for size in sizes)
    rng = random.Random(0)
    runs = [_simulated(pieces, cache, rng) for _ in range(60)]
    mean = [sum(run[i] for run in runs) / len(runs) for i in range(len(sizes))]
    found = [lost_share(own, [p for p in pieces if p is not own], cache) for own in pieces]
    assert found == pytest.approx(mean, abs=0.12)


def test_chunks_at_a_long_stride_share_few_sets():
    cache = load_target("stm32h743").data_cache
    assert reach(128, 1024, cache) == 1 / 8
    assert reach(128, 128, cache) == 1.0
    assert lost_share(Piece(2624, 1 / 8), (), cache) == 1.0  # 82 lines in 16 sets of 4
    assert lost_share(Piece(2624), (), cache) == 0.0


def test_the_depth_enters_an_unrolled_loop_at_the_same_place_after_whole_turns():
    at = [entry({"k": 2 * pairs}) for pairs in range(1, 200)]
    assert at[:ENTRIES] == list(range(ENTRIES))
    assert all(at[i] == at[i - 16] for i in range(ENTRIES, len(at)))


def test_every_loop_of_a_product_is_counted():
    counts = loop_counts({"m": 21, "n": 14, "k": 8, "x_panels": 0})
    assert (counts["pair four"], counts["last four"], counts["block four"]) == (30, 3, 6)
    assert (counts["pair narrow"], counts["only"], counts["pair once"], counts["only once"]) == (10, 0, 1, 0)


def test_every_loop_over_panels_of_four_rows_is_counted():
    counts = four_row_counts({"m": 81, "n": 7, "k": 8, "x_panels": 0})  # 64 rows and 17: 12, then 2 and 3
    assert (counts["block"], counts["full pair"], counts["5 pair"], counts["5 odd"]) == (5, 16, 4, 1)
    few = [four_row_counts({"m": m, "n": 4, "k": 8}) for m in (1, 3, 5, 16, 18)]
    behind = [next((row for row in ("1", "2", "3", "5") if c[row] or c[f"{row} alone"]), "") for c in few]
    assert behind == ["1", "3", "5", "", "2"]
    assert [c[f"{row} alone"] for row, c in zip(behind, few, strict=True) if row] == [1, 1, 1, 1]
    assert (few[3]["full"], few[4]["full"], few[3]["block pair once"]) == (1, 1, 1)


def test_stalls_of_code_fall_where_a_tile_fits_the_cache_again():
    """A pair of rows by four columns loses much where its depth enters the unrolled loop early only."""
    prices = load_calibration("stm32l476").kernels["linear_values_smlad2x4u16"].loop_stalls["pair four"]
    assert max(prices[:12]) < 0.1 * min(prices[15:20])


def test_kernels_push_one_another_out_of_a_code_cache_only_when_they_exceed_it():
    house = _house("stm32h743")
    cache = replace(house.target.code_cache, size_bytes=8192)  # half of it: few networks need more than all
    target = replace(house.target, code_cache=cache)
    lost: dict[tuple[bool, bool], list[float]] = {}
    for seed in range(100):
        program = house.program(networks.random_schedule(house.space, seed))
        fetch = CodeFetch(program, target, 4, house.kernels, house.calibration)
        fits = [house.calibration.kernels[call.kernel] for call in program.calls()]
        size = sum({name: size for fit in fits for name, size in fit.functions.items()}.values())
        kind = program.code == "flash", size > cache.size_bytes
        lost.setdefault(kind, []).append(sum(map(fetch.again, program.stages)))
    assert max(max(found) for (slow, _), found in lost.items() if not slow) == 0
    assert max(lost[True, True]) > 1000


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


@pytest.mark.parametrize("target", ["stm32l476", "stm32h743"])
def test_the_calibration_names_the_shapes_it_measured(target):
    for name, fit in load_calibration(target).kernels.items():
        texts = [shape_text(sizes) for sizes in shapes(KERNELS[name])]
        assert fit.calls.split() == texts, name
        assert fit.cold_calls.split()[: len(texts)] == texts, name


def test_errors_of_executed_schedules_are_shares_of_the_prices():
    found = fit_errors([[100.0, 200.0]] * 3, [[101, 210], [98, 200], [100, 220]])
    assert found == pytest.approx((0.019 * MARGIN, 0.095 * MARGIN))
    assert fit_errors([], []) == ()


def test_no_calibration_shape_is_a_call_of_a_built_in_network():
    """Calls of random schedules of all built-in networks and the shapes of the calibration have no sizes in common."""
    measured = {
        (kernel.op, *(z.get(key, 0) for key in "mnk"))
        for kernel in KERNELS.values()
        if kernel.op.startswith(("linear", "probs", "attend"))
        for z in (*shapes(kernel), *loop_shapes(kernel, keeps=False), *loop_shapes(kernel, keeps=True))
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


def test_rows_of_the_search_bound_prices_with_a_large_code_cache_from_below():
    """On the H7 a row leaves out code, and data in RAM, whose stalls depend on the whole program; it has all constants."""
    house = _house("stm32h743")

    def whole(schedule: Schedule) -> Cost:
        return house.price(schedule, wait_states=4)

    prices = HousePrices(house.models, house.target, house.kernels, house.calibration, 4, whole)
    rng = random.Random(0)
    for seed in range(3):
        space = house.space.thinned(300, seed)
        sheet = build_sheet(space, rng.choice(structures(space)), prices)
        for row in rng.sample(range(sheet.rows), min(20, sheet.rows)):
            for schedule in sheet.schedules(row):
                assert whole(schedule).cycles >= sheet.cycles[row] * (1 - 1e-9)
