"""The emulated Cortex-M7: pairs, values between blocks and branch prediction as the device charges them."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.build import build, find_port
from codegen.device import STM32H743, Device
from codegen.device.timing_m7 import MISPREDICT_CYCLES

KERNELS = Path(__file__).parents[2] / "kernels"
NAMES = ("count_down", "chase", "alternate", "leave_early", "jump_table", "nested")
ASSEMBLY = """
    .syntax unified
    .thumb
    .macro function name
    .section .text.\\name, "ax", %progbits
    .balign 8
    .global \\name
    .type \\name, %function
\\name:
    .endm

    function count_down             @ r0 rounds: subs, then bne a cycle later
1:  subs r0, #1
    bne  1b
    bx   lr

    function chase                  @ r0 rounds: the load at the end of a round makes the address at the start of the next
    sub  r1, sp, #8
    str  r1, [sp, #-8]
1:  ldr  r1, [r1]
    subs r0, #1
    ldr  r1, [r1]
    bne  1b
    bx   lr

    function alternate              @ r0 rounds: the inner branch is taken every second time
1:  tst  r0, #1
    beq  2f
    nop
2:  subs r0, #1
    bne  1b
    bx   lr

    function leave_early            @ r0 rounds of a forward branch that is never taken
1:  cbz  r0, 2f
    subs r0, #1
    b    1b
2:  bx   lr

    function jump_table             @ r0 rounds of an indirect jump that goes to the same place
    adr  r1, 2f
    adds r1, #1
1:  bx   r1
    .balign 4
2:  subs r0, #1
    bne  1b
    bx   lr

    function nested                 @ r0 rounds of a loop of four
1:  movs r1, #4
2:  subs r1, #1
    bne  2b
    subs r0, #1
    bne  1b
    bx   lr
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
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
    build(sources, port.include_dirs, folder / "x.elf", linker_script=script, isa=isa)
    made = Device(folder / "x.elf", "cortex-m7", STM32H743)
    made.boot()
    return made


def round_cycles(device: Device, name: str) -> float:
    """Cycles a round in the steady state."""
    return (device.call(name, [200]).cycles - device.call(name, [100]).cycles) / 100


def test_a_loop_is_predicted_but_for_its_end(device: Device) -> None:
    assert round_cycles(device, "count_down") == 2
    assert device.call("count_down", [100]).cycles == 2 * 100 + MISPREDICT_CYCLES + 1
    assert device.call("count_down", [100]) == device.call("count_down", [100])


def test_a_value_from_the_block_before_delays_the_next(device: Device) -> None:
    # ldr r1 (0), subs (0), ldr r1 (2), bne (2), and the next round's ldr waits 2 after that
    assert round_cycles(device, "chase") == 4


def test_an_alternating_branch_is_wrong_every_second_time_at_best(device: Device) -> None:
    even, odd = 2 + 2, 2 + 1 + 2  # (tst, beq), nop, (subs, bne)
    right_at_first = device.call("alternate", [201]).cycles - device.call("alternate", [101]).cycles
    assert right_at_first == 50 * (even + odd + MISPREDICT_CYCLES)
    assert round_cycles(device, "alternate") == (even + odd + 2 * MISPREDICT_CYCLES) / 2


def test_forward_branches_are_not_taken_at_first(device: Device) -> None:
    assert round_cycles(device, "leave_early") == 2  # cbz; subs with b
    assert device.call("leave_early", [50]).cycles == 2 * 50 + 1 + MISPREDICT_CYCLES + 1


def test_indirect_jumps_go_where_they_went(device: Device) -> None:
    assert round_cycles(device, "jump_table") == 1 + 2
    first = 3 + MISPREDICT_CYCLES  # adr, adds, bx: its target is unknown
    assert device.call("jump_table", [10]).cycles == first + 9 * 3 + 2 + MISPREDICT_CYCLES + 1


def test_the_end_of_an_inner_loop_does_not_spoil_its_next_start(device: Device) -> None:
    inner = 2 * 4 + MISPREDICT_CYCLES
    assert round_cycles(device, "nested") == pytest.approx(inner + 2 + 1, abs=1)


def test_functions_and_totals_include_predictions(device: Device) -> None:
    result = device.call("nested", [9])
    assert sum(result.functions.values()) == result.cycles
