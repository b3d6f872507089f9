"""A new microcontroller is one TOML file: the page dse/targets/README.md followed with a made-up board."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codegen.linker import linker_script
from dse import execute, pipeline
from dse.kernel import kernels_root
from dse.pareto import Point
from dse.target import TARGETS, load_target, target_names

TINY = {"s": 5, "e": 8, "p": 4, "h": 2}


def _board(folder: Path) -> Path:
    """Steps 1 to 5 of the page."""
    text = (TARGETS / "nrf52840.toml").read_text(encoding="utf-8")
    text = re.sub(r'name = "nrf52840"', 'name = "madeup"', text, count=1)
    text = text.replace("base = 0x20000000", "base = 0x20008000").replace("size_bytes = 262144", "size_bytes = 16384")
    path = folder / "madeup.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_board_nobody_has_seen_runs_bit_exact_in_its_own_memories(tmp_path):
    path = _board(tmp_path)
    prepared = pipeline.prepare(None, str(path), scope="mhsa", hyper=TINY)
    schedule = next(iter(prepared.space.schedules()))
    execute.write_run_folder(prepared, Point(schedule, prepared.price(schedule)), tmp_path / "run")
    execute.build_firmware(tmp_path / "run", prepared.target)
    script = (tmp_path / "run" / "src" / "port" / "cortex-m" / "link.ld").read_text()
    assert "SRAM1 (rwx) : ORIGIN = 0x20008000, LENGTH = 16384" in script
    cost = prepared.price(schedule)
    run, prediction = execute.execute_folder(tmp_path / "run")
    assert prediction["calibration"] == "stm32l476"
    assert run.bit_exact
    assert run.arena_bytes == dict(cost.peak_bytes)


@pytest.mark.parametrize("board", ["stm32l476", "stm32h743"])
def test_the_written_script_is_the_committed_one_below_the_memories(board):
    committed = (kernels_root() / "port" / board / "link.ld").read_text()
    assert linker_script(load_target(board)).split("REGION_ALIAS", 1)[1] == committed.split("REGION_ALIAS", 1)[1]


def test_every_target_has_the_costs_it_is_priced_with():
    for name in target_names():
        target = load_target(name)
        assert target.calibrated_as in target_names()
        assert load_target(target.calibrated_as).cpu == target.cpu
        assert target.clock_hz in {point.clock_hz for point in target.points}


def test_an_operating_point_brings_its_clock_current_and_wait_states():
    target = load_target("stm32l476")
    slow = target.at(48_000_000)
    assert (slow.clock_hz, slow.wait_states) == (48_000_000, 2)
    assert slow.at(80_000_000).wait_states == 4
    assert target.wait_states == 0
    with pytest.raises(ValueError, match="47M: stm32l476 runs at 16M, 32M, 48M, 64M, 80M"):
        target.at(47_000_000)
