"""Tiles: activations far from the cores, copied near in rows, and what must be caught when a copy is wrong."""

from __future__ import annotations

from dataclasses import replace

import networks
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse import ops
from dse.interpret import interpret
from dse.load.hyper import HyperParameters
from dse.lower import lower
from dse.memory import CopyError, OverlapError
from dse.pipeline import limit_regions
from dse.program import Copy, Loop, Parallel, affine
from dse.schedule import Attention, Schedule
from dse.space import build_space
from dse.target import Cluster, load_target

TARGET = limit_regions(load_target("gap9"), {"l1": 8192})
WIDE = HyperParameters(name="net", s=13, e=32, p=8, h=4, f=20, layers=1)


def _lowered(hyper, scope, schedule_or_seed, tiles=None):
    models, samples = networks.quantised(hyper, scope)
    schedule = schedule_or_seed
    if not isinstance(schedule, Schedule):
        schedule = networks.random_schedule(build_space(models, TARGET, networks.KERNELS), schedule)
    schedule = schedule if tiles is None else replace(schedule, tiles=tiles)
    model = models[schedule.form]
    x = ops.quantise_input(model, samples[:1])[0]
    program = lower(model, schedule, TARGET, networks.KERNELS)
    return ops.run(model, x)[model.output].reshape(-1), x, program


@given(st.just(WIDE) | networks.hypers(), networks.scopes, st.sampled_from([8, 32]), networks.seeds)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_tiles_change_no_byte_and_all_is_counted(hyper, scope, tiles, seed):
    want, x, program = _lowered(hyper, scope, seed, tiles)
    ran = interpret(program, x, TARGET.cluster)
    assert np.array_equal(ran.output, want)
    assert networks.count(program) == ran.counters
    far = {buffer.name for buffer in program.buffers if buffer.region == "l2_data"}
    assert {program.input.base, program.output.base} <= far
    assert not far & {value.base for call in program.calls() for _, value in call.arguments if hasattr(value, "base")}


PLAIN = Schedule("none", Attention(heads=1, rows=4, map_rows=4, query="rows"), tiles=8)


def test_a_tile_that_goes_back_too_short_is_missed():
    want, x, program = _lowered(WIDE, "mhsa", PLAIN)
    assert np.array_equal(interpret(program, x).output, want)
    short = [replace(s, body=tuple(_short(node) for node in s.body)) for s in program.stages]
    with pytest.raises(OverlapError, match="reads bytes it does not own in l2_data"):
        interpret(replace(program, stages=tuple(short)), x)


def _short(node):
    """The node with copies outward of one row only."""
    if isinstance(node, Copy) and not node.inward:
        return replace(node, rows=affine(1))
    return replace(node, body=tuple(map(_short, node.body))) if isinstance(node, Loop | Parallel) else node


@pytest.mark.parametrize("limits", [Cluster(most_copy_bytes=64), Cluster(most_copies=0)])
def test_copies_beyond_the_dma_are_caught(limits):
    _, x, program = _lowered(WIDE, "mhsa", PLAIN)
    with pytest.raises(CopyError, match="a copy of"):
        interpret(program, x, limits)


def test_less_near_memory_is_needed():
    sizes = [_lowered(WIDE, "mhsa", PLAIN, tiles)[2].arena_bytes()["l1"] for tiles in (0, 8)]
    assert sizes[1] < sizes[0]


OWN = (("attend", "sdot4x4"), ("linear", "sdot5x4"), ("probs", "sdot4x4"))


def test_dense_strides_change_no_byte_and_save_some():
    taken = {}
    for strides in ("apart", "dense"):
        attention = Attention(heads=4, rows=4, map_rows=4, query="rows")
        want, x, program = _lowered(WIDE, "mhsa", Schedule("none", attention, kernels=OWN, strides=strides, tiles=8))
        assert np.array_equal(interpret(program, x).output, want)
        taken[strides] = {b.role: b.size_bytes for b in program.buffers if b.role in ("keys", "queries")}
    assert taken["apart"] == {"keys": 13 * 36, "queries": 4 * 36}
    assert taken["dense"] == {"keys": 13 * 32, "queries": 4 * 32}


def test_a_core_with_one_row_has_scratch_for_one_row_and_all_calls_share_it():
    attention = Attention(heads=4, rows=8, map_rows=8, query="rows")
    want, x, program = _lowered(WIDE, "mhsa", Schedule("none", attention, kernels=OWN, split="rows"))
    assert np.array_equal(interpret(program, x).output, want)
    (scratch,) = (b for b in program.buffers if b.role == "scratch" and "linear" not in b.name)
    assert scratch.size_bytes == 8 * 16 * 4  # eight cores, 13 keys by fours
    used = {c.op for c in program.calls() if (home := dict(c.arguments).get("scratch")) and home.base == scratch.name}
    assert used == {"probs_rows", "attend_rows"}
