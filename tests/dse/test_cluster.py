"""The laws on several cores: shared work, fetched constants, and what must be caught when either is wrong."""

from __future__ import annotations

import itertools
from dataclasses import replace

import networks
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_models.cluster import critical_path
from cost_models.counts import count_calls
from dse import cluster, execute, fetch, ops, pipeline
from dse.interpret import interpret
from dse.load.hyper import HyperParameters
from dse.lower import lower
from dse.memory import OverlapError
from dse.pareto import Point
from dse.program import Call, Loop, Parallel, Pointer, affine, loops, symbol
from dse.schedule import FAMILIES, Attention, Schedule
from dse.space import build_space
from dse.target import load_target

WIDE = HyperParameters(name="net", s=9, e=32, p=8, h=4, f=0, layers=1)
BROAD = replace(WIDE, e=64)
HEAD_BY_HEAD = Attention(heads=1, rows=4, map_rows=4, output="accumulate")


def _target(cores):
    return replace(networks.TARGET, cores=cores)


def _program(schedule, cores):
    """(reference output, input, program) of the wide network under a schedule."""
    models, samples = networks.quantised(WIDE, "mhsa")
    model = models[schedule.form]
    x = ops.quantise_input(model, samples[:1])[0]
    return ops.run(model, x)[model.output].reshape(-1), x, lower(model, schedule, _target(cores), networks.KERNELS)


def _random_program(hyper, scope, cores, seed):
    """(model, its lowering under a random legal schedule)."""
    models, _ = networks.quantised(hyper, scope)
    schedule = networks.random_schedule(build_space(models, _target(cores), networks.KERNELS), seed)
    model = models[schedule.form]
    return model, lower(model, schedule, _target(cores), networks.KERNELS)


def _law(test):
    drawn = given(
        st.sampled_from([WIDE, BROAD]) | networks.hypers(), networks.scopes, st.sampled_from([2, 3, 8]), networks.seeds
    )
    return settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))(drawn(test))


@_law
def test_interpreter_equals_reference_and_counts_equal_counters(hyper, scope, cores, seed):
    model, program = _random_program(hyper, scope, cores, seed)
    _, samples = networks.quantised(hyper, scope)
    x = ops.quantise_input(model, samples[:1])[0]
    ran = interpret(program, x)
    assert np.array_equal(ran.output, ops.run(model, x)[model.output].reshape(-1))
    assert networks.count(program) == ran.counters
    assert sum(ran.counters.fetched_bytes.values()) >= program.weight_bytes()


@_law
def test_large_weights_are_walked_through_without_changing_a_byte(hyper, scope, cores, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "WALKED_BYTES", 64)
        patch.setattr(fetch, "TILE_BYTES", 64)
        model, program = _random_program(hyper, scope, cores, seed)
    _, samples = networks.quantised(hyper, scope)
    x = ops.quantise_input(model, samples[:1])[0]
    ran = interpret(program, x)
    assert np.array_equal(ran.output, ops.run(model, x)[model.output].reshape(-1))
    assert networks.count(program) == ran.counters


def test_columns_of_large_weights_come_a_tile_ahead(monkeypatch):
    monkeypatch.setattr(fetch, "WALKED_BYTES", 64)
    monkeypatch.setattr(fetch, "TILE_BYTES", 256)
    program = _program(Schedule("none", Attention(heads=4)), 2)[2]
    walked = [loop for stage in program.stages for loop in loops(stage.body) if loop.var == "column"]
    assert walked
    assert all({f.src.base.split(".")[-1] for f in loop.fetch} == {"w", "channel"} for loop in walked)


@_law
def test_buffers_of_one_parallel_region_lie_apart(hyper, scope, cores, seed):
    _, program = _random_program(hyper, scope, cores, seed)
    places = {b.name: (b.region, b.offset_bytes, b.offset_bytes + b.size_bytes) for b in program.buffers}
    for region in _regions([node for stage in program.stages for node in stage.body]):
        names = {value.base for call in _calls(region) for _, value in call.arguments if isinstance(value, Pointer)}
        ordered = sorted(places[name] for name in names if name in places)
        for (where, _, end), (other, start, _) in itertools.pairwise(ordered):
            assert where != other or end <= start


def _regions(body):
    for node in body:
        if isinstance(node, Parallel):
            yield node
        elif isinstance(node, Loop):
            yield from _regions(node.body)


def _calls(node):
    return [node] if isinstance(node, Call) else [call for child in node.body for call in _calls(child)]


def test_heads_that_add_into_the_same_sums_are_not_split(monkeypatch):
    schedule = Schedule("vo", Attention(heads=4, rows=4, map_rows=4, query="rows", output="rows"), split="heads")
    want, x, program = _program(schedule, 4)
    assert np.array_equal(interpret(program, x).output, want)
    monkeypatch.setattr(cluster, "_heads_collide", lambda heads: False)
    with pytest.raises(OverlapError, match="accumulators: core 1"):
        interpret(_program(schedule, 4)[2], x)


@pytest.mark.parametrize(("split", "most"), [("heads", 9), ("rows", 8), ("both", 5)])
def test_some_rows_of_some_heads_balance_what_heads_or_rows_leave_idle(split, most):
    """4 heads x 9 rows on 8 cores: the core with most has a head, two rows of each head, or five rows of one."""
    schedule = Schedule("none", Attention(heads=4, rows=9, map_rows=5, query="rows", output="after"), split=split)
    want, x, program = _program(schedule, 8)
    assert np.array_equal(interpret(program, x).output, want)
    (group,) = (stage for stage in program.stages if stage.name.endswith("group"))
    scores = [item for item in critical_path(group).calls if item.call.op.startswith("probs")]
    assert sum(item.times * item.sizes["m"] for item in scores) == most


def test_a_stage_reads_its_constants_only_after_their_copy():
    want, x, program = _program(Schedule("none", Attention(heads=4)), 2)
    assert np.array_equal(interpret(program, x).output, want)
    first, second, third, *others = program.stages
    late = (first, replace(second, fetch=()), replace(third, fetch=second.fetch + third.fetch), *others)
    with pytest.raises(OverlapError, match="near: reads bytes it does not own"):
        interpret(replace(program, stages=late), x)


def test_a_loop_step_reads_its_own_half_of_a_double_buffer():
    want, x, program = _program(Schedule("none", HEAD_BY_HEAD), 2)
    ran = interpret(program, x)
    assert np.array_equal(ran.output, want)
    (walked,) = [loop for stage in program.stages for loop in loops(stage.body) if loop.fetch]
    other = {f"{walked.var}_slot": affine(1) + symbol(f"{walked.var}_slot") * -1}
    wrong = [replace(s, body=tuple(_swap(node, other) for node in s.body)) for s in program.stages]
    with pytest.raises(OverlapError, match="near: reads bytes it does not own"):
        interpret(replace(program, stages=tuple(wrong)), x)


def _swap(node, other):
    """The node with the symbols of `other` replaced in the pointers of its calls."""
    if not isinstance(node, Call):
        return replace(node, body=tuple(_swap(child, other) for child in node.body))
    values = (
        replace(v, offset_bytes=v.offset_bytes.substitute(other)) if isinstance(v, Pointer) else v
        for _, v in node.arguments
    )
    return replace(node, arguments=tuple(zip(dict(node.arguments), values, strict=True)))


def test_two_loops_of_a_stage_each_fetch_their_own_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "WALKED_BYTES", 12000)
    # G (form qk) and W_O of 64 features are both walked column by column, in steps of different bytes.
    house = pipeline.prepare("tr_hgr_e64", "gap9", scope="mhsa", form="qk")
    attention = Attention(heads=8, rows=5, map_rows=5, outer="heads", query="rows", output="rows")
    kernels = (("attend", "sdot4x4"), ("linear", "sdot5x4"), ("probs", "sdot4x4"), ("vector", "pulp"))
    schedule = Schedule("qk", attention, kernels=kernels)
    program = house.program(schedule)
    walks = [loop for stage in program.stages for loop in loops(stage.body) if loop.var == "column" and loop.fetch]
    assert len(walks) == 2
    assert {fetch.src.base for fetch in walks[0].fetch}.isdisjoint(fetch.src.base for fetch in walks[1].fetch)
    assert pipeline.check_interpreter(house, program)
    assert execute.prove(house, Point(schedule, house.price(schedule)), tmp_path).bit_exact


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_slices_of_the_output_weights_begin_where_blocks_do(heads):
    house = pipeline.prepare("ecgformer", "gap9", scope="mhsa", form="none")  # heads of two features, blocks of four
    attention = Attention(heads=heads, rows=8, map_rows=8, outer="heads", query="rows", output="accumulate")
    assert pipeline.check_interpreter(house, house.program(Schedule("none", attention)))


def test_the_first_op_waits_for_a_quarter_of_its_weights_and_a_head_projects_its_own_queries():
    house = pipeline.prepare("tr_hgr", "gap9", scope="mhsa", form="none")
    attention = Attention(heads=8, rows=5, map_rows=5, outer="heads", query="rows", output="rows")
    program = house.program(Schedule("none", attention))
    start, rest, *_, group = program.stages
    first, second = (sum(fetch.size_bytes.const for fetch in stage.fetch) for stage in (start, rest))
    assert (start.ops, first * 3) == (rest.ops, second)
    (region, output) = group.body
    assert [type(node).__name__ for node in region.body] == ["Call", "Loop"]
    assert region.body[0].op == "linear_rows"
    assert len(output.body) == 1
    assert pipeline.check_interpreter(house, program)


@pytest.mark.parametrize("split", ["rows", "heads", "both"])
def test_queries_are_joined_to_heads_only(split):
    hyper = HyperParameters(name="net", s=8, e=16, p=8, h=8, f=0, layers=1)  # as many rows as heads
    models, samples = networks.quantised(hyper, "mhsa")
    attention = Attention(heads=8, rows=8, map_rows=4, outer="heads", query="rows", output="rows")
    program = lower(models["none"], Schedule("none", attention, split=split), load_target("gap9"), networks.KERNELS)
    (first, *_) = program.stages[-1].body
    assert isinstance(first.body[0], Call)
    assert (len(first.body) == 2) == (split == "heads")
    x = ops.quantise_input(models["none"], samples[:1])[0]
    want = ops.run(models["none"], x)[models["none"].output].reshape(-1)
    assert np.array_equal(interpret(program, x).output, want)


@pytest.mark.parametrize("form", ["none", "qkvo"])
def test_rows_of_tokens_apart_cost_a_copy_and_no_conflict(form):
    """Rows of 64 bytes begin in one bank: projections that read a copy of them apart have no turn that waits for it."""
    house = pipeline.prepare("coins2021", "gap9", scope="mhsa", form=form)
    assert set(dict(house.space.choices)["strides"]) == {"apart", "tokens"}
    attention = Attention(heads=2, rows=32, map_rows=32, outer="heads", query="rows", output="accumulate")
    kernels = tuple((family, dict(house.space.choices)[family][0]) for family in FAMILIES)
    apart, tokens = (house.program(Schedule(form, attention, kernels=kernels, strides=s)) for s in ("apart", "tokens"))
    assert pipeline.check_interpreter(house, tokens)
    assert tokens.stages[0].name == "l0.probs.tokens"
    assert [_conflicts(program) > 0 for program in (apart, tokens)] == [True, False]


def _conflicts(program):
    """Turns of projections in which all cores want one bank."""
    calls = [item for stage in program.stages for item in count_calls(stage)[0] if item.call.op.startswith("linear_")]
    terms = [(item, dict(networks.KERNELS[item.call.kernel].terms)["bank"]) for item in calls]
    return sum(item.times * term.evaluate(item.sizes) for item, term in terms)
