"""The price of a cluster: the slowest core, forks and copies, and what of a copy nobody computes beside."""

from __future__ import annotations

from dataclasses import replace

import networks
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_models.calibration import load_calibration
from cost_models.cluster import copy_waits, critical_path
from cost_models.counts import CallCount, call_macs, count_calls
from cost_models.model import call_cycles, evaluate
from cost_models.parts import price_ops, price_part
from dse import accuracy
from dse.blocks import parts
from dse.kernel import variants_by_op
from dse.load.hyper import HyperParameters
from dse.lower import lower, lower_part
from dse.program import Axis, Buffer, Call, Constant, Fetch, Loop, Parallel, Pointer, Program, Stage, affine, symbol
from dse.schedule import Attention, Schedule
from dse.space import build_space
from dse.target import Cluster, load_target, parse_target

GAP9 = load_target("gap9")
CALIBRATION = load_calibration("gap9")
DMA = Cluster(copy_cycles=10, wait_cycles=5, copy_latency_cycles=32, copy_bytes_per_cycle=8)
WIDE = HyperParameters(name="net", s=9, e=32, p=8, h=4, f=0, layers=1)
_law = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
_drawn = given(st.just(WIDE) | networks.hypers(), networks.scopes, st.sampled_from([2, 8]), networks.seeds)


def _schedule(hyper, scope, cores, seed):
    models, _ = networks.quantised(hyper, scope)
    target = replace(GAP9, cores=cores)
    schedule = networks.random_schedule(build_space(models, target, networks.KERNELS), seed)
    return models[schedule.form], schedule, target


@_drawn
@_law
def test_parts_and_waits_add_up_to_the_whole(hyper, scope, cores, seed):
    model, schedule, target = _schedule(hyper, scope, cores, seed)
    target = replace(target, cluster=replace(target.cluster, code_cache_bytes=1 << 30))
    program = lower(model, schedule, target, networks.KERNELS)
    whole = evaluate(program, target, CALIBRATION, networks.KERNELS)
    variants = variants_by_op(networks.KERNELS, target.isa)
    lowered = [lower_part(model, part, schedule, target, variants) for part in parts(model)]
    pieces = [price_part(part.program, networks.KERNELS, CALIBRATION, target) for part in lowered]
    waits = copy_waits(program, target.cluster, lambda item: call_cycles(item, networks.KERNELS, CALIBRATION))
    total = sum(sum(piece.cycles.values()) for piece in pieces) + sum(waits.values())
    assert total == pytest.approx(whole.cycles)
    by_op, _ = price_ops(program, networks.KERNELS, CALIBRATION, target)
    assert sum(by_op.values()) == pytest.approx(whole.cycles)


@_drawn
@_law
def test_a_small_code_cache_only_costs_more(hyper, scope, cores, seed):
    model, schedule, target = _schedule(hyper, scope, cores, seed)
    program = lower(model, schedule, target, networks.KERNELS)
    roomy = replace(target, cluster=replace(target.cluster, code_cache_bytes=1 << 30))
    prices = [evaluate(program, t, CALIBRATION, networks.KERNELS).cycles for t in (roomy, target)]
    assert prices[0] <= prices[1]


@_drawn
@_law
def test_the_slowest_core_does_between_an_even_share_and_all(hyper, scope, cores, seed):
    model, schedule, target = _schedule(hyper, scope, cores, seed)
    for stage in lower(model, schedule, target, networks.KERNELS).stages:
        every, slowest = _macs(count_calls(stage)[0]), _macs(critical_path(stage).calls)
        assert every / cores <= slowest <= every


def _macs(calls):
    return sum(item.times * call_macs(item.call.op, item.sizes) for item in calls)


def test_the_largest_share_is_the_critical_one():
    call = Call("k", "zero", "op", (("n", symbol("share_n")),))
    inner = Loop("i", affine(3), 1, (Parallel((Axis("share", affine(10), 4, 2),), (call,)),))
    path = critical_path(Stage("s", ("op",), (inner,)))
    assert [(item.sizes, item.times) for item in path.calls] == [({"n": 6}, 3)]  # shares of 4 and 6
    assert (path.forks, path.iterations) == (3, 3)


def _program(*stages):
    constants = tuple(Constant(f"c{i}", "s8", bytes(8000)) for i in range(3))
    buffers = (Buffer("near", 16000, "constants", "s8", "l1", 0),)
    where = Pointer("near")
    return Program("m", "none", "t", "", where, 0, where, 0, buffers, constants, stages)


def _work(name, count, *fetch):
    call = Call("k", "zero", name, (("n", affine(count)),))
    return Stage(name, (name,), (call,), fetch)


def _price(item: CallCount) -> float:
    return float(item.sizes["n"])


def _fetch(size):
    return Fetch(Pointer("near"), Pointer("c0"), affine(size))


def test_a_copy_waits_for_what_no_compute_hides():
    program = _program(_work("a", 300), _work("b", 100, _fetch(8000)), _work("c", 100, _fetch(800)))
    waits = copy_waits(program, DMA, _price)
    # b: issued at 10 when a starts, moved by 1010, answered by 1042; a ends at 310. c: issued at 1057, done long before.
    assert waits == {"b": 1042 - 310, "c": (1057 + 100 + 32) - (1057 + 100)}


def test_copies_of_a_loop_pay_the_first_and_hide_the_rest():
    body = Call("k", "zero", "a", (("n", affine(500)),))
    step = Fetch(Pointer("near"), Pointer("c0", symbol("i") * 800), affine(800))
    loop = Loop("i", affine(6), 1, (body,), (step,))
    waits = copy_waits(_program(Stage("a", ("a",), (loop,))), DMA, _price)
    assert waits == {"a": 100 + 32}
    short = replace(loop, body=(Call("k", "zero", "a", (("n", affine(20)),)),))
    waits = copy_waits(_program(Stage("a", ("a",), (short,))), DMA, _price)
    assert waits == {"a": 132 + 5 * (132 - 20)}


def test_copies_are_moved_one_after_another():
    both = _work("b", 0, _fetch(800), _fetch(800))
    assert copy_waits(_program(_work("a", 0), both), DMA, _price) == {"b": (142 - 20) + (242 - 147)}


def test_nothing_to_copy_costs_no_wait():
    assert copy_waits(_program(_work("a", 5)), DMA, _price) == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"fork": 1}, "allowed are workers, fork_cycles"),
        ({"fork_cycles": -1}, "no value may be negative"),
        ({"copy_bytes_per_cycle": 0}, "at least 1"),
        ({"fork_cycles": "many"}, "must be of type int"),
    ],
)
def test_a_wrong_cluster_table_is_named(table, message):
    with pytest.raises(ValueError, match=message):
        parse_target({**_TABLE, "cluster": table}, "t.toml")


_TABLE = {
    **dict.fromkeys(("name", "description", "isa", "cpu", "port"), "t"),
    **dict.fromkeys(("supply_volts", "active_amps_per_hz"), 1.0),
    **{"cores": 2, "clock_hz": 1, "wait_states": 0, "max_wait_states": 0},
    "stack_bytes": 64,
    "region": [
        {"name": "l1", "base": 0, "size_bytes": 4096, "kind": "ram"},
        {"name": "l2", "base": 8192, "size_bytes": 4096, "kind": "flash"},
    ],
}


def test_conflicts_of_dense_rows_cost_what_the_device_counts():
    """Keys and queries of two heads at 64 bytes a row: all rows begin in one bank."""
    attention = Attention(heads=2, rows=24, map_rows=4, outer="heads", query="rows", output="accumulate")
    kernels = (("attend", "sdot4x4"), ("linear", "sdot5x4"), ("probs", "sdot4x4"), ("vector", "pulp"))
    apart = Schedule("vo", attention, kernels=kernels, split="rows")
    cases = [accuracy.Case("gap9", "eegformer", "mhsa", s) for s in (apart, replace(apart, strides="dense"))]
    few, many = (accuracy.prove(case, [0])[0] for case in cases)
    predicted, executed = (many[key] - few[key] for key in ("predicted_cycles", "executed_cycles"))
    assert executed > 10000  # of 690,000
    assert 0.6 * executed < predicted < 1.5 * executed
