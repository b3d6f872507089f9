"""Small random networks in all their int8 forms, and random legal schedules of them: what the law tests draw from."""

from __future__ import annotations

import functools
import random

from hypothesis import strategies as st

from cost_models.counts import call_macs, count_calls, fetched_bytes, moved_bytes
from dse import ptq
from dse.interpret import Counters
from dse.ir import Array, Model
from dse.kernel import load_kernels
from dse.load.hyper import HyperParameters, build_model, sample_inputs
from dse.program import Program
from dse.rewrite import forms, rewrite
from dse.schedule import Schedule
from dse.space import Space, build_space
from dse.target import Target, load_target

KERNELS = load_kernels()
TARGET: Target = load_target("stm32l476")


@functools.lru_cache(maxsize=64)
def quantised(hyper: HyperParameters, scope: str) -> tuple[dict[str, Model], Array]:
    """(int8 model of every form, calibration samples) of a network."""
    model, samples = build_model(hyper, scope), sample_inputs(hyper, 4, 0)
    return {form: ptq.quantise(rewrite(model, form), samples) for form in forms(model)}, samples


def random_schedule(space: Space, seed: int) -> Schedule:
    """A legal schedule: knobs drawn one by one until they mean something."""
    rng = random.Random(seed)
    while True:
        schedule = space.decode({name: rng.choice(choices) for name, choices in space.choices})
        if schedule is not None:
            return schedule


def space_of(models: dict[str, Model]) -> Space:
    """The schedule space of a network on the L476."""
    return build_space(models, TARGET, KERNELS)


def count(program: Program) -> Counters:
    """What the cost model counts in closed form, as the interpreter's counters."""
    counters = Counters()
    for stage in program.stages:
        calls, counters.iterations[stage.name] = count_calls(stage)
        counters.fetched_bytes[stage.name] = fetched_bytes(stage)
        counters.moved_bytes.update(moved_bytes(program, calls))
        for item in calls:
            counters.calls[stage.name, item.call.kernel] += item.times
            counters.macs[stage.name] += item.times * call_macs(item.call.op, item.sizes)
    return counters


def hypers() -> st.SearchStrategy[HyperParameters]:
    """Ragged sizes first: odd embeddings, head dimension 1 and 2, one token, one head."""
    return st.builds(
        HyperParameters,
        name=st.just("net"),
        s=st.sampled_from([1, 2, 5, 7, 13]),
        e=st.sampled_from([3, 5, 8, 9]),
        p=st.sampled_from([1, 2, 3, 4]),
        h=st.sampled_from([1, 2, 3, 6]),
        f=st.sampled_from([0, 7]),
        layers=st.sampled_from([1, 2]),
        norm=st.sampled_from(["post", "pre"]),
    )


scopes = st.sampled_from(["mhsa", "block", "encoder"])
seeds = st.integers(0, 2**32 - 1)
