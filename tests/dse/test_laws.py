"""The laws of the house over random legal schedules of random small networks."""

from __future__ import annotations

import networks
import numpy as np
from hypothesis import HealthCheck, given, settings

from cost_models.calibration import load_calibration
from cost_models.model import evaluate
from dse import ops
from dse.alloc import live_spans
from dse.interpret import interpret
from dse.lower import lower

slow = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def _draw(hyper, scope, seed):
    models, samples = networks.quantised(hyper, scope)
    schedule = networks.random_schedule(networks.space_of(models), seed)
    model = models[schedule.form]
    return model, lower(model, schedule, networks.TARGET, networks.KERNELS), ops.quantise_input(model, samples[:1])[0]


@slow
@given(networks.hypers(), networks.scopes, networks.seeds)
def test_interpreter_equals_reference_and_counts_equal_counters(hyper, scope, seed):
    model, program, x = _draw(hyper, scope, seed)
    ran = interpret(program, x)
    assert np.array_equal(ran.output, ops.run(model, x)[model.output].reshape(-1))
    assert networks.count(program) == ran.counters


@slow
@given(networks.hypers(), networks.scopes, networks.seeds)
def test_no_two_live_buffers_overlap_and_the_peak_is_the_arena(hyper, scope, seed):
    _, program, _ = _draw(hyper, scope, seed)
    spans = live_spans(program.stages, program.input.base, program.output.base)
    buffers = program.buffers
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            alive = spans[a.name].first <= spans[b.name].last and spans[b.name].first <= spans[a.name].last
            if alive and a.region == b.region:
                assert (
                    a.offset_bytes + a.size_bytes <= b.offset_bytes or b.offset_bytes + b.size_bytes <= a.offset_bytes
                )
    cost = evaluate(program, networks.TARGET, load_calibration("stm32l476"), networks.KERNELS)
    for region, peak in cost.peak_bytes:
        ends = [b.offset_bytes + b.size_bytes for b in buffers if b.region == region]
        assert max(ends) <= peak < max(ends) + 8
    assert max(stage.peak_bytes for stage in cost.stages) <= cost.arena_bytes


@slow
@given(networks.hypers(), networks.scopes, networks.seeds, networks.seeds)
def test_every_schedule_of_one_form_gives_the_same_bytes(hyper, scope, first, second):
    models, samples = networks.quantised(hyper, scope)
    space = networks.space_of(models)
    a, b = (networks.random_schedule(space, seed) for seed in (first, second))
    if a.form != b.form:
        return
    x = ops.quantise_input(models[a.form], samples[1:2])[0]
    outputs = [interpret(lower(models[s.form], s, networks.TARGET, networks.KERNELS), x).output for s in (a, b)]
    assert np.array_equal(*outputs)


@slow
@given(networks.hypers(), networks.scopes, networks.seeds)
def test_points_decode_and_encode(hyper, scope, seed):
    models, _ = networks.quantised(hyper, scope)
    space = networks.space_of(models)
    schedule = networks.random_schedule(space, seed)
    assert space.decode(space.encode(schedule)) == schedule
