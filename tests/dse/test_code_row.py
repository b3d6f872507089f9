"""Where the code of a network lies in its firmware, what pushes what out of the code cache, and where constants begin."""

from __future__ import annotations

import functools
import random
from collections import Counter

import networks
import pytest

from codegen.build import find_toolchains
from codegen.device.elf import Symbol, parse_elf
from codegen.linker import in_order, linker_script
from codegen.names import stage_symbols
from cost_models.code_fetch import overfilled
from cost_models.code_row import code_order, code_row
from cost_models.code_stalls import loop_counts, small_head_counts
from dse import execute, pipeline
from dse.pareto import Point
from dse.program import Program
from dse.target import load_target

CACHE = load_target("stm32h743").code_cache


@functools.cache
def _house(target):
    return pipeline.prepare("tr_hgr", target, scope="encoder")


def _firmware(target, seed, folder, toolchain="auto") -> tuple[Program, dict[str, Symbol]]:
    house = _house(target)
    schedule = networks.random_schedule(house.space, seed)
    execute.write_run_folder(house, Point(schedule, house.price(schedule)), folder)
    execute.build_firmware(folder, house.target, toolchain)
    return house.program(schedule), parse_elf((folder / "firmware.elf").read_bytes()).symbols


@pytest.mark.parametrize("toolchain", [found.name for found in find_toolchains("armv7em-m7")])
@pytest.mark.parametrize("seed", [0, 3])
def test_functions_lie_in_the_order_and_at_the_distances_of_the_row(seed, toolchain, tmp_path):
    program, symbols = _firmware("stm32h743", seed, tmp_path, toolchain)
    calibration = _house("stm32h743").calibration
    behind = code_order(program, {name: fit.functions for name, fit in calibration.kernels.items()})
    stages = stage_symbols([stage.name for stage in program.stages])
    order = [name for stage, names in zip(stages, behind, strict=True) for name in (stage, *names)]
    found = [symbols[name].address for name in order if name in symbols]
    assert len(found) >= 15
    assert found == sorted(found)
    row = code_row(program, calibration).functions
    far = [(name, symbols[name].address - found[0], row[name][0]) for name in row if name in symbols]
    if toolchain == "zig":  # its sizes are in the calibration
        assert all(abs(real - predicted) < 1024 for _, real, predicted in far), far


def test_a_linker_script_without_a_place_for_functions_is_refused():
    script = linker_script(load_target("stm32h743"))
    assert in_order(script, ()) == script
    assert "*(.text.b)\n        *(.text.a)\n        *(.text .text.*)" in in_order(script, ("b", "a"))
    with pytest.raises(ValueError, match="functions have no place"):
        in_order(script.replace("*(.text .text.*)", ""), ("a",))


@pytest.mark.parametrize("target", ["stm32h743", "stm32l476"])
def test_constants_begin_with_a_unit_of_the_data_cache(target, tmp_path):
    _, symbols = _firmware(target, 1, tmp_path)
    addresses = [symbol.address for name, symbol in symbols.items() if name.startswith("tlf_const_")]
    assert len(addresses) > 5
    assert all(address % _house(target).target.data_cache.fill_bytes == 0 for address in addresses)


def _counted(pieces, rng):
    """The same by lines that run or do not, drawn one by one."""
    line, sets = CACHE.line_bytes, CACHE.size_bytes // CACHE.line_bytes // CACHE.ways
    lines: Counter[int] = Counter()
    for begin, end, share in pieces:
        lines.update(at % sets for at in range(begin // line, end // line) if rng.random() < share)
    return sum(n for n in lines.values() if n > CACHE.ways), sum(lines.values())


@pytest.mark.parametrize(
    "pieces",
    [
        ((0, 8192, 1.0), (8192, 16384, 1.0), (16384, 17408, 1.0)),
        ((0, 4096, 0.5), (4096, 8000, 0.7), (8000, 16000, 0.6), (18016, 20000, 0.9), (24000, 25024, 1.0)),
        ((512, 1024, 1.0), (8704, 9216, 1.0), (16896, 17408, 0.25), (25088, 25600, 0.5)),
    ],
)
def test_sets_that_are_overfilled_lose_their_lines(pieces):
    rng = random.Random(0)
    lost, ran = map(sum, zip(*(_counted(pieces, rng) for _ in range(400)), strict=True))
    assert overfilled(pieces, CACHE) == pytest.approx(lost / ran, abs=0.01)


def test_code_side_by_side_overfills_no_set_until_it_is_larger_than_the_cache():
    assert overfilled(((40, 9000, 1.0), (9000, 40 + 16384, 1.0)), CACHE) == 0.0
    assert overfilled(((0, 9000, 1.0), (9000, 18432, 1.0)), CACHE) == pytest.approx(3 * 2048 / 18432)


def test_a_single_row_behind_whole_blocks_is_a_block_of_its_own():
    counts = loop_counts({"m": 33, "n": 8, "k": 8, "x_panels": 0})
    assert (counts["block"], counts["pair"], counts["last"], counts["only"]) == (2, 16, 0, 1)
    counts = loop_counts({"m": 33, "n": 8, "k": 8, "x_panels": 1})
    assert (counts["block"], counts["pair"], counts["last"], counts["only"]) == (1, 16, 1, 0)


def test_whole_fours_of_many_scores_run_longer_code():
    counts = [loop_counts({"m": 6, "n": n, "k": 8, "q_panels": 1}) for n in (12, 16, 18)]
    assert [found["pair long"] for found in counts] == [0, 3, 0]


def test_few_columns_of_small_heads_run_code_of_their_own():
    assert small_head_counts({"m": 5, "n": 7}) == {"pair 7": 2, "last 7": 1, "pair 7 once": 1, "last 7 once": 1}
    assert set(small_head_counts({"m": 2, "n": 46})) == {"pair 10", "pair 10 once"}
    assert small_head_counts({"m": 2, "n": 46}) == small_head_counts({"m": 2, "n": 14})
