"""Weights of 16 bits end to end: bit-exact on both Cortex-M, beside keys and values that stay 8 bits, twice the bytes of
weights in flash."""

from __future__ import annotations

import pytest

from dse import execute, pipeline
from dse.facts import facts_of
from dse.pareto import Point

RAGGED = {"s": 7, "e": 6, "p": 5, "h": 3, "f": 11}  # odd depths, columns that fill no group of four
OPS = {"linear_rows", "linear_panels", "linear_keys", "linear_values", "linear_add", "linear_residual"}
PLANS = {
    "rows": {"nest": "heads/rows/after", "heads": 3, "rows": "4/4", "panels": "none", "residual": "separate"},
    "panels": {"nest": "heads/ahead/after", "heads": 3, "rows": "4/4", "panels": "map+query+context"},
    "accumulate": {"nest": "heads/ahead/accumulate", "heads": 1, "rows": "4/4", "panels": "map+query+context+input"},
}


@pytest.fixture(scope="module", params=[("stm32l476", "smlad2x4"), ("stm32h743", "smlad2x4m7")], ids=lambda p: p[0])
def house(request):
    target, variant = request.param
    return pipeline.prepare(None, target, scope="block", hyper=RAGGED), variant


def _schedules(house, variant, form, plan):
    """The same schedule with weights of 16 and of 8 bits."""
    point = dict(house.space.baselines()[0]) | {"residual": "fused", "panels": "none"} | PLANS[plan]
    point |= {"form": form, "probs": variant, "attend": variant}
    return [house.space.decode(point | {"linear": linear}) for linear in (f"{variant}w16", variant)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("form", ["none", "qk"])
def test_a_network_with_weights_of_16_bits(house, form, plan, tmp_path):
    house, variant = house
    wide, narrow = _schedules(house, variant, form, plan)
    layouts = {call.op: call.layout for call in house.program(wide).calls()}
    assert {layouts[op] for op in OPS & set(layouts)} == {"pairs"}
    assert {layouts[op] for op in set(layouts) - OPS if op.startswith(("probs_", "attend_"))} == {"quads"}
    result = execute.prove(house, Point(wide, house.price(wide)), tmp_path)
    assert result.bit_exact
    assert result.canaries_intact
    assert result.arena_bytes == house.program(narrow).arena_bytes()


def test_every_linear_op_is_met(house):
    house, variant = house
    met = set()
    for plan in PLANS:
        met |= {call.op for call in house.program(_schedules(house, variant, "none", plan)[0]).calls()}
    assert met >= OPS


def test_weights_take_twice_the_bytes(house):
    house, variant = house
    wide, narrow = (
        {c.name: len(c.data) for c in house.program(schedule).constants}
        for schedule in _schedules(house, variant, "none", "panels")
    )
    assert wide.keys() == narrow.keys()
    for name, size in wide.items():
        assert size == narrow[name] * (2 if name.endswith(".w") else 1), name


@pytest.mark.parametrize(("target", "variant"), [("stm32l476", "smlad2x4u16"), ("stm32h743", "smlad2x4m7")])
def test_sums_beyond_23_bits_go_to_weights_of_16_bits(target, variant, tmp_path):
    house = pipeline.prepare(None, target, scope="block", hyper={"s": 3, "e": 4, "p": 2, "h": 2, "f": 2600})
    point = dict(house.space.baselines()[0]) | {"linear": variant, "probs": variant, "attend": variant}
    schedule = house.space.decode(point | {"residual": "separate"})
    kernels = {call.source: call.kernel for call in house.program(schedule).calls() if call.op == "linear_rows"}
    deep = {name for name, kernel in kernels.items() if kernel.endswith("w16")}
    bounds = {op.name: facts_of(house.models["none"], op).get("bound", 0) for op in house.models["none"].ops}
    assert deep == {name for name in kernels if bounds[name] >= 1 << 23} != set()
    assert execute.prove(house, Point(schedule, house.price(schedule)), tmp_path).bit_exact
