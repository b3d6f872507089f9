"""Caches and slow memories of the emulated device: hand-made access patterns with known misses and stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codegen.build import build, find_port
from codegen.device import CallResult, Device, map_of
from dse.target import Target, load_target

KERNELS = Path(__file__).parents[2] / "kernels"
H743 = load_target("stm32h743")
DTCM, AXI, SRAM4 = 0x2000_4000, 0x2400_0000, 0x3800_0000
LINE, WAY, WAYS = 32, 4096, 4  # of the data cache
FILL = {region.name: region.fill_cycles for region in H743.regions}
NAMES = ("read", "write", "read_behind", "long_code", "small_loop")
ASSEMBLY = """
    .syntax unified
    .thumb
    .macro function name
    .section .text.\\name, "ax", %progbits
    .balign 32
    .global \\name
    .type \\name, %function
\\name:
    .endm

    .macro rounds instruction       @ r0 = address, r1 = words, r2 = stride in bytes, r3 = rounds
    push {r4, r5}
1:  mov  r4, r0
    mov  r5, r1
2:  \\instruction r12, [r4]
    add  r4, r2
    subs r5, #1
    bne  2b
    subs r3, #1
    bne  1b
    pop  {r4, r5}
    bx   lr
    .endm

    function read
    rounds ldr

    function write
    rounds str

    function read_behind            @ one word from r0, then one from r1, then from r0 again
    ldr  r2, [r0]
    ldr  r2, [r1]
    ldr  r2, [r0]
    bx   lr

    function long_code              @ r0 rounds of 12 KB of straight code
1:  .rept 6143
    nop
    .endr
    subs r0, #1
    bne.w 1b
    bx   lr

    function small_loop             @ r0 rounds within one line
1:  subs r0, #1
    bne  1b
    bx   lr
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "asm.S").write_text(ASSEMBLY)
    (folder / "main.c").write_text(
        "".join(f"void {name}(void);\n" for name in NAMES)
        + f"int main(void);\nvoid (*volatile keep[])(void) = {{{', '.join(NAMES)}}};\n"
        + "int main(void) { return keep[0] != 0; }\n"
    )
    port = find_port(KERNELS, "stm32h743")
    sources = [folder / "asm.S", folder / "main.c", *port.sources]
    script, isa = port.linker_script, "armv7em-m7"
    return build(sources, port.include_dirs, folder / "x.elf", linker_script=script, isa=isa).elf


Runner = Callable[..., CallResult]


@pytest.fixture
def run(elf: Path) -> Runner:
    """A call with slow memories: its result with the stalls (against the same call on memories that answer at once)."""

    def call(symbol: str, *args: int, target: Target = H743) -> Any:
        results = []
        for wait_states in (4, 0):
            device = Device(elf, "cortex-m7", map_of(target), wait_states)
            device.boot()
            results.append(device.call(symbol, args))
        slow, ideal = results
        assert (ideal.code_misses, ideal.data_misses) == (0, 0)
        assert sum(slow.functions.values()) == slow.cycles
        return slow, slow.cycles - ideal.cycles

    return call


@pytest.fixture
def code_stall(run: Runner) -> Callable[[str], int]:
    """Stalls of a function's own code: it runs once without touching a slow memory."""
    return lambda name: run(name, DTCM, 1, 4, 1)[1]


def wrote(target: Target, store_cycles: int, write_back: bool = True) -> Target:
    """The target with a price on what goes back to memory."""
    assert target.data_cache is not None
    regions = tuple(replace(region, store_cycles=store_cycles) for region in target.regions)
    return replace(target, regions=regions, data_cache=replace(target.data_cache, write_back=write_back))


@pytest.mark.parametrize("words", [1, 8, 9, 100])
def test_a_miss_fills_a_line(run: Runner, code_stall: Callable[[str], int], words: int) -> None:
    result, stall = run("read", AXI, words, 4, 3)
    lines = -(-words * 4 // LINE)
    assert result.data_misses == lines
    assert stall == lines * FILL["axi"] + code_stall("read")


def test_tightly_coupled_memory_is_not_cached(run: Runner) -> None:
    assert run("read", DTCM, 1000, 4, 2)[0].data_misses == 0


def test_every_memory_has_its_own_latency(run: Runner, code_stall: Callable[[str], int]) -> None:
    assert run("read", SRAM4, 8, 4, 1)[1] == FILL["sram4"] + code_stall("read")
    flash = FILL["flash"] + 4 * 2
    assert run("read", 0x0810_0000, 8, 4, 1)[1] == flash + code_stall("read")


@pytest.mark.parametrize(("places", "misses_a_round"), [(WAYS, 0), (WAYS + 1, WAYS + 1)])
def test_a_set_holds_as_many_lines_as_ways(run: Runner, places: int, misses_a_round: int) -> None:
    rounds = 10
    assert run("read", AXI, places, WAY, rounds)[0].data_misses == places + misses_a_round * (rounds - 1)


def test_the_whole_cache_is_used_before_anything_goes(run: Runner) -> None:
    lines = WAYS * WAY // LINE
    assert run("read", AXI, lines, LINE, 3)[0].data_misses == lines
    assert run("read", AXI, 2 * lines, LINE, 3)[0].data_misses == 3 * 2 * lines  # least recently used: nothing is left


def test_an_access_across_lines_misses_twice(run: Runner) -> None:
    assert run("read", AXI + LINE - 2, 1, 4, 1)[0].data_misses == 2


def test_a_line_comes_back_after_others_displaced_it(run: Runner) -> None:
    assert run("read_behind", AXI, AXI + 4)[0].data_misses == 1
    assert run("read_behind", AXI, AXI + WAY)[0].data_misses == 2


def test_written_lines_are_fetched_and_cost_when_they_go(run: Runner, code_stall: Callable[[str], int]) -> None:
    lines, price = WAYS * WAY // LINE, 5
    target = wrote(H743, price)
    result, stall = run("write", AXI, lines, LINE, 4, target=target)
    assert (result.data_misses, stall) == (lines, lines * FILL["axi"] + code_stall("write"))
    result, stall = run("write", AXI, 2 * lines, LINE, 1, target=target)
    assert result.data_misses == 2 * lines
    assert stall == 2 * lines * FILL["axi"] + lines * price + code_stall("write")


def test_write_through_pays_every_store_and_fetches_nothing(run: Runner, code_stall: Callable[[str], int]) -> None:
    result, stall = run("write", AXI, 16, 4, 3, target=wrote(H743, 5, write_back=False))
    assert result.data_misses == 3 * 16
    assert stall == 3 * 16 * 5 + code_stall("write")


def test_code_is_fetched_by_lines_once(run: Runner) -> None:
    result, stall = run("long_code", 5)
    assert result.code_misses == pytest.approx(12 * 1024 / LINE, abs=2)
    assert stall == result.code_misses * (FILL["flash"] + 4 * 2)
    assert sum(result.code_lines.values()) == pytest.approx(result.code_misses, abs=2)
    assert run("small_loop", 1000)[0].code_misses == 1
    assert H743.code_cache is not None
    small = replace(H743, code_cache=replace(H743.code_cache, size_bytes=8192))
    assert run("long_code", 5, target=small)[0].code_misses > 3 * result.code_misses


def test_counts_start_with_empty_caches(elf: Path) -> None:
    device = Device(elf, "cortex-m7", map_of(H743), 4)
    device.boot()
    first = device.call("read", [AXI, 100, 4, 2])
    device.call("read", [AXI + WAY, 1000, 4, 2])
    assert device.call("read", [AXI, 100, 4, 2]) == first
