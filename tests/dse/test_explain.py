"""The waterfall between two schedules: every step whole, their sum the difference, its ends the prices of the whole."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_models.calibration import load_calibration
from cost_models.model import evaluate, peak_buffers
from cost_models.parts import price_ops
from dse.explain import memory_pieces, waterfall
from dse.lower import lower


def dse(folder, *words):
    command = [sys.executable, "-c", "from dse.cli import main; main()", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


CALIBRATION = load_calibration("stm32l476")
pieces = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1e9))


@given(pieces, pieces)
def test_steps_sum_exactly_to_the_difference(first, last):
    fall = waterfall("any", first, last)
    assert fall.first + sum(step.change for step in fall.steps) == fall.last
    assert fall.first == round(sum(first.values()))
    assert all(step.change for step in fall.steps)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks.hypers(), networks.scopes, networks.seeds)
def test_the_ends_are_the_prices_of_the_schedules(hyper, scope, seed):
    models, _ = networks.quantised(hyper, scope)
    space, states = networks.space_of(models), seed % 3
    costs, parts = [], []
    for number in (seed, random.Random(seed).randrange(2**32)):
        schedule = networks.random_schedule(space, number)
        program = lower(models[schedule.form], schedule, networks.TARGET, networks.KERNELS)
        costs.append(evaluate(program, networks.TARGET, CALIBRATION, networks.KERNELS, wait_states=states))
        cycles, moved = price_ops(program, networks.KERNELS, CALIBRATION, networks.TARGET.cluster, states)
        parts.append((cycles, moved, memory_pieces(peak_buffers(program)[1], costs[-1].arena_bytes)))
    totals = [(c.cycles, sum(n for _, _, n in c.moved_bytes), c.arena_bytes) for c in costs]
    for a, b, first, last in zip(*parts, *totals, strict=True):
        fall = waterfall("any", a, b)
        assert abs(fall.first - first) <= 0.5 + 1e-6
        assert abs(fall.last - last) <= 0.5 + 1e-6


def test_the_command_takes_files_and_run_folders(tmp_path):
    sizes = ["--s", "5", "--e", "4", "--p", "2", "--h", "2"]
    for name, objective in (("fast", "latency"), ("small", "memory")):
        done = dse(tmp_path, "export", *sizes, "--objective", objective, "--out", name)
        assert done.returncode == 0, done.stderr
    done = dse(tmp_path, "search", *sizes, "--explain", "fast", "small/schedule.toml", "--json", "--out", "why.html")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    prices = [json.loads((tmp_path / name / "cost.json").read_text()) for name in ("fast", "small")]
    ends = [(fall["first"], fall["last"]) for title, fall in data.items() if title != "page"]
    assert ends[0] == tuple(price["cycles"] for price in prices)
    assert ends[2] == tuple(price["arena_bytes"] for price in prices)
    assert "waterfall" in (tmp_path / "why.html").read_text()
    wrong = dse(tmp_path, "search", *sizes, "--explain", "fast", "missing.toml")
    assert wrong.returncode == 2
    assert "missing.toml" in wrong.stderr
