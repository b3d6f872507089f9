"""Cycles of hand-assembled Cortex-M4 sequences, and what the timing table refuses."""

from pathlib import Path

import pytest

from codegen.build import build, find_port
from codegen.device import Device
from codegen.device.timing import TimingError
from codegen.device.timing_m4 import M4Timing

KERNELS = Path(__file__).parents[2] / "kernels"

# sequence -> (instructions, cycles when the last branch falls through, what it adds when taken)
SEQUENCES = {
    "nop": (1, 1, 0),
    "ldr r0,[r1]": (1, 2, 0),
    "ldr r0,[r1]; ldr r2,[r3]": (2, 3, 0),
    "ldr r0,[r1]; ldrsb r2,[r3,#1]; ldrh r4,[r5,r6]; ldr r7,[r3],#4": (4, 5, 0),
    "ldr r0,[r1]; ldr r2,[r0]": (2, 4, 0),  # the address is the loaded value
    "ldr r0,[r1]; ldr r2,[r3,r0]": (2, 4, 0),
    "ldr r0,[r1]; add r4,r4,r5; ldr r2,[r3]": (3, 5, 0),
    "adds r0,#4; ldr r2,[r0]": (2, 4, 0),  # the address comes from the ALU
    "adds r0,#4; ldr r2,[r1,r0]": (2, 4, 0),
    "adds r0,#4; str r0,[r1]": (2, 2, 0),  # the data does not stall
    "adds r0,#4; str r1,[r0]": (2, 3, 0),
    "sub sp,#8; str r1,[sp]": (2, 3, 0),
    "smull r0,r3,r4,r5; ldr r2,[r3]": (2, 4, 0),
    "sxtb16 r3,r4,ror #8; ldrb r2,[r3]": (2, 4, 0),
    "sxtb16 r4,r3; ldrb r2,[r3]": (2, 3, 0),
    "ubfx r3,r4,#2,#8; ldrb r2,[r5,r3]": (2, 4, 0),
    "ldr r0,[r1],#4; ldr r2,[r1],#4": (2, 3, 0),
    "str r0,[r1]; str r2,[r1,#4]": (2, 2, 0),
    "str r0,[r1],#4": (1, 1, 0),
    "str r0,[r1,r2]": (1, 2, 0),
    "str r0,[r1,r2]; ldr r3,[r4]": (2, 4, 0),
    "str r0,[r1]; ldr r3,[r4]": (2, 3, 0),
    "ldmia r0,{r1,r2,r3,r4}": (1, 5, 0),
    "stmia r0!,{r1,r2,r3}": (1, 4, 0),
    "push {r4,r5,r6,lr}": (1, 5, 0),
    "ldrd r0,r1,[r2]": (1, 3, 0),
    "ldr r5,[r6]; ldrd r0,r1,[r2]; ldr r7,[r6]": (3, 7, 0),
    "strd r0,r1,[r2]": (1, 3, 0),
    "mul r0,r1,r2; mla r0,r1,r2,r3; smlad r0,r1,r2,r3; smull r0,r1,r2,r3; smmulr r0,r1,r2": (5, 5, 0),
    "ssat r0,#8,r1,asr #4; usat r0,#8,r1; pkhbt r0,r1,r2; qadd r0,r1,r2; uxtb16 r0,r1; sel r0,r1,r2": (6, 6, 0),
    "sdiv r0,r1,r2": (1, 7, 0),
    "ite eq; moveq r0,r1; movne r0,r2": (3, 3, 0),
    "vadd.f32 s0,s1,s2; vmul.f32 s0,s1,s2; vcvt.s32.f32 s0,s0; vmov r0,s0": (4, 5, 0),
    "vmov.32 r0,d0[0]; vmov.32 d0[1],r1; vmov.32 d1[0],r2; vmov.f32 s0,s5": (4, 4, 0),  # halves of doubles
    "vmov.32 r0,d0[1]; ldr r1,[r0]; vmov r0,r1,d2": (3, 6, 0),  # the address is late
    "vfma.f32 s0,s1,s2": (1, 3, 0),
    "vdiv.f32 s0,s1,s2": (1, 14, 0),
    "vldr s0,[r0]": (1, 2, 0),
    "vldr d0,[r0]": (1, 3, 0),
    "vpush {d8,d9}": (1, 5, 0),
    "b 1f; 1:": (1, 1, 1),
    "subs r0,#1; bne 1f; nop; 1:": (3, 3, 0),
    "bl memcpy": (1, 1, 1),
    "cbz r0,1f; nop; 1:": (2, 2, 0),
    "1: subs r0,#1; bne 1b": (2, 2, 1),
    "blx r3": (1, 1, 2),
    "mov pc,r0": (1, 1, 2),
    "pop {r4,r5,pc}": (1, 4, 2),
    "ldr pc,[r0]": (1, 2, 2),
    "tbb [pc,r0]": (1, 2, 2),
    # the inner loop of the 4x2 micro-kernel: 16 MACs
    "ldr r2,[r1]; ldr r12,[r0]; ldr lr,[r0,#4]; sxtb16 r3,r2,ror #8; sxtb16 r2,r2;"
    "smlad r4,r12,r2,r4; smlad r5,r12,r3,r5; smlad r6,lr,r2,r6; smlad r7,lr,r3,r7;"
    "ldr r12,[r0,#8]; ldr lr,[r0,#12];"
    "smlad r8,r12,r2,r8; smlad r9,r12,r3,r9; smlad r10,lr,r2,r10; smlad r11,lr,r3,r11": (15, 17, 0),
}
UNKNOWN = "mrc p15,#0,r0,c1,c0,#0"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Device:
    folder = tmp_path_factory.mktemp("timing")
    lines = [".syntax unified", ".thumb", ".text"]
    for index, sequence in enumerate([*SEQUENCES, UNKNOWN]):
        name = f"sequence{index}"
        lines += [f".balign 4\n.global {name}", f".type {name}, %function", f"{name}:"]
        lines += [*(part.strip() for part in sequence.split(";")), f".size {name}, . - {name}"]
    lines += [".section .rodata", ".global keep", "keep:"]
    lines += [f".word sequence{index}" for index in range(len(SEQUENCES) + 1)]
    (folder / "sequences.S").write_text("\n".join(lines) + "\n")
    (folder / "main.c").write_text("extern const int keep[];\nint main(void);\nint main(void) { return keep[0]; }\n")
    port = find_port(KERNELS, "stm32l476")
    sources = [folder / "sequences.S", folder / "main.c", *port.sources]
    result = build(sources, port.include_dirs, folder / "x.elf", linker_script=port.linker_script)
    return Device(result.elf)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_sequence_costs_what_the_manual_says(firmware: Device, sequence: str) -> None:
    symbol = firmware.symbol(f"sequence{list(SEQUENCES).index(sequence)}")
    cost = M4Timing().block(firmware.read(symbol.address, symbol.size), symbol.address, symbol.size)
    assert (cost.instructions, cost.cycles, cost.taken_cycles) == SEQUENCES[sequence]


def test_a_split_between_two_loads_costs_nothing(firmware: Device) -> None:
    symbol = firmware.symbol(f"sequence{list(SEQUENCES).index('ldr r0,[r1]; ldr r2,[r3]')}")
    code = firmware.read(symbol.address, symbol.size)
    timing = M4Timing()
    first = timing.block(code, symbol.address, 2)
    second = timing.block(code[2:], symbol.address + 2, 2)
    assert (first.cycles, second.cycles) == (1, 2)


def test_unknown_instruction_raises_with_its_name(firmware: Device) -> None:
    symbol = firmware.symbol(f"sequence{len(SEQUENCES)}")
    with pytest.raises(TimingError, match=r"mrc p15"):
        M4Timing().block(firmware.read(symbol.address, symbol.size), symbol.address, symbol.size)


def test_bytes_that_are_no_instruction_raise() -> None:
    with pytest.raises(TimingError, match="0x08000002"):
        M4Timing().block(b"\x00\xbf\xff\xff\xff\xff", 0x0800_0000, 6)
