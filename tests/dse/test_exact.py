"""The search against the whole space: sums over parts are the price of the whole, and what is called optimal is."""

from __future__ import annotations

import itertools
import os
import random
from dataclasses import replace

import networks
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_models.calibration import load_calibration
from cost_models.model import Budget, evaluate
from dse import pipeline
from dse.blocks import parts
from dse.kernel import comparisons_in, parse_expression
from dse.lattice import build_sheet, structures
from dse.lower import lower
from dse.pareto import OBJECTIVES, Point, front
from dse.prices import HousePrices
from dse.space import build_space

CALIBRATION = load_calibration("stm32l476")
SMALL = {"s": 3, "e": 4, "p": 4, "h": 2, "f": 6}
TARGETS = ["stm32l476", "stm32h743", "esp32c3", "gap9"]
BUILT_IN = ["eegformer", "ecgformer", "tr_hgr", "tr_hgr_e64", "coins2021"]


def _many_kernels():
    """(kernels, calibration) with three variants a family that differ in layout, scratch and price: one is missing where
    another must stand in, one reads panels. Only priced, never built."""
    kernels, fits = dict(networks.KERNELS), dict(CALIBRATION.kernels)
    for kernel in [k for k in networks.KERNELS.values() if k.name in fits]:
        fit, product = CALIBRATION.kernels[kernel.name], kernel.layout != ""
        for number, variant in enumerate(("twin", "wide", "wider")):
            if (kernel.op, variant) == ("linear_add", "twin"):
                continue
            quads = product and variant != "twin"
            kinds = {kernel.op, kernel.op.replace("rows", "panels")} if quads else {kernel.op}
            for op in kinds if not kernel.op.startswith("linear") else {kernel.op}:
                name = f"{op}_{variant}"
                scratch = parse_expression(f"{8 * number + 4}*k" if product and op != "pack_keys" else "0")
                layout = "quads" if quads else kernel.layout
                kernels[name] = replace(kernel, name=name, op=op, scratch=scratch, layout=layout)
                factor = 0.5 + 0.2 * ((len(op) * (number + 3)) % 5)
                cycles = {term: factor * value for term, value in fit.cycles.items()}
                fits[name] = replace(fit, cycles=cycles, functions={name: 100 + 10 * number, "shared": 40})
    return kernels, replace(CALIBRATION, kernels=fits)


def _prices(models, wait_states, kernels=networks.KERNELS, calibration=CALIBRATION):
    def whole(schedule):
        program = lower(models[schedule.form], schedule, networks.TARGET, kernels)
        return evaluate(program, networks.TARGET, calibration, kernels, wait_states=wait_states)

    return HousePrices(models, networks.TARGET, kernels, calibration, wait_states, whole)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks.hypers(), networks.scopes, networks.seeds, st.booleans())
def test_the_sums_over_parts_are_the_price_of_the_whole(hyper, scope, seed, many):
    models, _ = networks.quantised(hyper, scope)
    kernels, calibration = _many_kernels() if many else (networks.KERNELS, CALIBRATION)
    rng, whole = random.Random(seed), build_space(models, networks.TARGET, kernels)
    prices, space = (
        _prices(models, max(0, seed % 4 - 2), kernels, calibration),
        whole.thinned(1000, seed),
    )
    sheet = build_sheet(space, rng.choice(structures(space)), prices)
    for row in rng.sample(range(sheet.rows), min(4, sheet.rows)):
        for schedule in sheet.schedules(row):
            cost = prices.whole(schedule)
            assert cost.cycles == pytest.approx(sheet.cycles[row], rel=1e-12)
            assert cost.energy_joules == pytest.approx(sheet.energy_joules[row], rel=1e-12)
            assert cost.flash_bytes == sheet.flash_bytes[row]
            assert cost.arena_bytes >= max(stage.peak_bytes for stage in cost.stages) >= sheet.floor_bytes[row]


@pytest.mark.parametrize(("target", "wait_states"), [("stm32l476", 4), ("stm32h743", 2)])
@pytest.mark.parametrize(
    "hyper", [{"s": 24, "e": 4, "p": 2, "h": 2, "f": 4}, {"s": 9, "e": 12, "p": 6, "h": 4, "f": 20}]
)
def test_rivals_lowered_once_have_the_prices_of_those_lowered_each_on_its_own(monkeypatch, target, wait_states, hyper):
    house = pipeline.prepare(None, target, scope="block", hyper=hyper)
    hungry = {n: replace(k, scratch=parse_expression(f"50*({k.scratch.text})")) for n, k in house.kernels.items()}
    house, space = replace(house, kernels=hungry), house.space.thinned(3000, 3)  # so that scratch decides the floors
    lowered = {True: 0, False: 0}

    def sheets(together):
        lower_together = HousePrices._lower

        def lower_part(self, part, schedule, rivals):
            found = lower_together(self, part, schedule, rivals)
            lowered[found.alike and together] += rivals is not None and max(map(len, rivals.values())) > 1
            return found if together else replace(found, alike=False)

        with monkeypatch.context() as patch:
            patch.setattr(HousePrices, "_lower", lower_part)
            prices = pipeline.prices_of(replace(house, priced_parts={}), wait_states=wait_states)
            return [build_sheet(space, structure, prices) for structure in structures(space)]

    for one, other in zip(sheets(True), sheets(False), strict=True):
        for field in ("cycles", "floor_bytes", "flash_bytes"):
            assert getattr(one, field).tolist() == getattr(other, field).tolist()
    assert min(lowered.values()) > 0


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks.hypers(), networks.scopes, networks.seeds)
def test_sheets_hold_every_schedule_once(hyper, scope, seed):
    models, _ = networks.quantised(hyper, scope)
    space, prices = networks.space_of(models).thinned(1000, seed), _prices(models, 0)
    sheets = [build_sheet(space, structure, prices) for structure in structures(space)]
    held = [schedule for sheet in sheets for row in range(sheet.rows) for schedule in sheet.schedules(row)]
    assert len(held) == len(set(held))
    assert set(held) == set(space.schedules())


def test_kernels_can_tell_what_they_compare_and_what_they_use_bare():
    kernel = replace(networks.KERNELS["add_ref"], when=parse_expression("(shift == 14)*(max(mult_a, 3) < 9)"))
    kernel = replace(kernel, terms=(("each", parse_expression("m*(n % 4 > 0) + min(k, 7)")),))
    assert [test.text for test in comparisons_in([kernel])] == [
        "k",
        "m",
        "max(mult_a, 3) < 9",
        "n % 4 > 0",
        "shift == 14",
    ]


def test_parts_cover_the_network_and_blocks_alike_are_priced_once():
    house = pipeline.prepare(None, "stm32l476", scope="encoder", hyper={**SMALL, "layers": 4})
    model = house.models["none"]
    assert [op for part in parts(model) for op in part.ops] == list(model.ops)
    assert all(a.output == b.input for a, b in itertools.pairwise(parts(model)))
    found = pipeline.prices_of(house).parts("none")
    assert sum(times for _, times in found) == len(parts(model))
    assert sum(times for part, times in found if part.attention) == 4
    assert len(found) < len(parts(model)) / 2


@pytest.fixture(scope="module", params=["mhsa", "block"])
def house(request):
    """A small network, four panels of six and two places of four (and two forms of four where there is a feed-forward)."""
    whole = pipeline.prepare(None, "stm32l476", scope=request.param, hyper=SMALL)
    kept = {"panels": ("none", "map", "map+query+context", "map+query+context+input"), "place": ("first", "map:sram2")}
    if request.param == "block":
        kept["form"] = ("none", "vo")
    return replace(whole, space=whole.space.restricted(kept))


@pytest.fixture(scope="module")
def every(house):
    """Every schedule of the space, lowered, placed and priced as a whole."""
    return [Point(schedule, house.price(schedule)) for schedule in house.space.schedules()]


def _best(points, objectives):
    order = (*objectives, "latency", "memory", "flash")
    return min(point.values(order) for point in points)[: len(objectives)]


def _same_values(ours, theirs, objectives):
    a, b = (sorted(point.values(objectives) for point in points) for points in (ours, theirs))
    assert a == [pytest.approx(value, rel=1e-9) for value in b]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_front_and_best_equal_the_exhaustive_ones(house, every, count):
    for objectives in itertools.combinations(OBJECTIVES, count):
        found = pipeline.find(house, objectives)
        assert found.certificate.describe() == "optimal"
        assert found.certificate.schedules == len(every)
        assert found.certificate.priced < len(every) / 2
        assert found.best.values(objectives) == pytest.approx(_best(every, objectives), rel=1e-9)
        _same_values(found.front, front(every, objectives), objectives)


def test_limits_are_met_as_exhaustively(house, every):
    free = front(every, ("latency", "memory", "flash"))
    for point in free[:: max(1, len(free) // 6)]:
        cycles, arena, flash = round(point.cost.cycles) + 1, point.cost.arena_bytes, point.cost.flash_bytes
        for objective in ("latency", "memory", "flash"):
            budget = Budget(ram_bytes=arena, flash_bytes=flash, cycles=cycles)
            within = [
                p
                for p in every
                if p.cost.cycles <= cycles and p.cost.arena_bytes <= arena and p.cost.flash_bytes <= flash
            ]
            found = pipeline.find(house, (objective,), budget)
            assert found.best.values((objective,)) == pytest.approx(_best(within, (objective,)), rel=1e-9)
            assert found.certificate.describe() == "optimal"


def test_when_nothing_fits_the_bytes_too_many_are_the_fewest(house, every):
    smallest = min(point.cost.arena_bytes for point in every)
    found = pipeline.find(house, ("latency",), Budget(ram_bytes=smallest - 1))
    assert found.best is None
    assert found.certificate is None
    assert [over.demand_bytes for over in found.nearest.cost.overruns] == [smallest]


def test_a_region_of_its_own_size_is_respected():
    free = pipeline.prepare(None, "stm32l476", scope="mhsa", hyper=SMALL)
    need = pipeline.find(free, ("memory",)).best.cost.arena_bytes
    tight = {"sram1": need // 2, "sram2": need}
    house = pipeline.prepare(None, "stm32l476", scope="mhsa", hyper=SMALL, regions=tight)
    best = pipeline.find(house, ("latency",)).best
    assert all(size <= tight[region] for region, size in best.cost.peak_bytes)
    with pytest.raises(ValueError, match="no RAM region 'dtcm'"):
        pipeline.limit_regions(free.target, {"dtcm": 1})


def test_same_seed_same_answer_when_optuna_chooses_the_structures(house):
    a, b = (pipeline.find(house, ("latency", "memory"), trials=3, seed=5) for _ in range(2))
    assert a.trials <= 3
    assert [p.schedule for p in a.front] == [p.schedule for p in b.front]
    assert a.certificate.gap > 0 or a.trials == len(structures(house.space))


def _same_as_exhaustive(house):
    """The search proves what pricing every schedule finds: best and front of each objective, and the front of all."""
    every = [Point(schedule, house.price(schedule)) for schedule in house.space.schedules()]
    fitting = [point for point in every if point.cost.fits]
    for objectives in (*((name,) for name in OBJECTIVES), ("latency", "memory"), tuple(OBJECTIVES)):
        found = pipeline.find(house, objectives)
        assert found.certificate.describe() == "optimal"
        assert found.certificate.schedules == len(every)
        assert found.best.values(objectives) == pytest.approx(_best(fitting, objectives), rel=1e-9)
        _same_values(found.front, front(fitting, objectives), objectives)
    return len(every)


def _built_in(name, target, scope, most, seed):
    house = pipeline.prepare(name, target, scope=scope)
    return replace(house, space=house.space.thinned(most, seed))


@pytest.mark.parametrize("scope", ["mhsa", "block"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_random_subspaces_of_built_in_networks_are_solved_as_exhaustively(name, scope):
    assert _same_as_exhaustive(_built_in(name, "stm32l476", scope, 800, seed=len(name))) > 100


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scope", ["mhsa", "block"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_networks_are_solved_as_exhaustively(name, scope, target):
    """The whole space where it holds at most TLF_EXHAUSTIVE schedules (10^6 unless set), a subspace of that size else."""
    house = _built_in(name, target, scope, int(os.environ.get("TLF_EXHAUSTIVE", "1000000")), seed=1)
    print(name, scope, target, _same_as_exhaustive(house), "schedules of", pipeline.find(house).certificate.schedules)


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scope", ["mhsa", "block"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_whole_space_is_certified(name, scope, target):
    assert pipeline.find(pipeline.prepare(name, target, scope=scope)).certificate.describe() == "optimal"
