"""Cycles of hand-assembled Cortex-M7 sequences, what crosses a block's ends, and llvm-mca as a second opinion."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

import pytest

from codegen.device.mca import assemble, find_mca, mca_cycles, timed_cycles
from codegen.device.timing import BlockCost, TimingError, carry
from codegen.device.timing_m7 import DIVISION_CYCLES, MISPREDICT_CYCLES, M7Timing

LOOPS = tomllib.loads((Path(__file__).parents[2] / "studies" / "m7_timing" / "loops.toml").read_text())

# sequence -> cycles
SEQUENCES = {
    "add r0,r1,r2": 1,
    "add r0,r1,r2; add r3,r4,r5": 1,
    "add r0,r1,r2; add r3,r4,r5; add r6,r7,r8": 2,
    "add r0,r1,r2; add r3,r0,r5": 2,  # a result is ready after 1
    "add r0,r1,r2,lsl #2; add r3,r4,r5,lsl #2": 2,  # one shifter
    "add r0,r1,r2; add r3,r4,r0,lsl #2": 3,  # a shifted operand is needed a cycle early
    "lsl r0,r1,#2; add r3,r4,r5": 1,
    "cmp r0,r1; it eq; addeq r2,r2,#1": 2,  # the condition waits for the flags
    "smlad r4,r0,r1,r4; smlad r5,r0,r2,r5": 2,  # one multiplier
    "smlad r4,r0,r1,r4; add r5,r6,r7": 1,
    "ldr r5,[r6]; smlad r4,r0,r1,r4": 1,
    "smlad r4,r0,r1,r4; ldr r5,[r6]": 1,
    "smlad r4,r0,r1,r4; str r5,[r6]": 2,  # no product beside a store
    "str r5,[r6]; mul r4,r0,r1": 2,
    "smlad r4,r0,r1,r4; smlad r4,r0,r2,r4": 2,  # accumulator chain
    "mul r0,r1,r2; add r3,r0,r4": 3,  # a product is ready after 2
    "mul r0,r1,r2; mul r3,r0,r4": 3,
    "smlal r0,r1,r2,r3; smlal r0,r1,r4,r5": 2,
    "ldr r0,[r1]; add r2,r0,r3": 2,
    "ldr r0,[r1]; smlad r4,r0,r2,r4": 3,  # as a factor a load is ready after 2
    "ldr r4,[r1]; smlad r4,r0,r2,r4": 1,  # as an accumulator at once
    "ldr r0,[r1]; sxtb16 r2,r0": 2,
    "ldrb r0,[r1]; add r2,r0,r3": 3,
    "ldrsh r0,[r1]; smlabb r4,r0,r2,r4": 3,
    "ldr r0,[r1]; ldr r2,[r0]": 3,  # an address is needed a cycle early
    "add r1,r1,r2; ldr r0,[r1]": 3,
    "ldr r0,[r1],#4; ldr r2,[r1],#4": 2,  # a base update is ready at once
    "ldr r0,[r1]; ldr r2,[r1,#4]": 1,
    "ldr r0,[r1]; ldr r2,[r1,#8]": 2,  # the same bank
    "ldr r0,[r1]; ldr r2,[r3,#4]": 2,  # perhaps the same bank
    "ldr r0,[r1]; ldr r2,[r1,r3]": 2,
    "ldrb r0,[r1]; ldrb r2,[r1,#1]": 2,
    "str r0,[r1]; str r2,[r3]": 2,
    "ldr r0,[r1]; str r2,[r3]": 1,
    "add r0,r1,r2; str r0,[r3]": 1,  # data to store is needed a cycle late
    "mul r0,r1,r2; str r0,[r3]": 2,
    "sxtb16 r0,r1; sxtb16 r2,r3": 2,
    "sxtb16 r0,r1; add r2,r3,r4": 1,
    "add r2,r3,r4; sxtb16 r0,r1": 2,  # only as the older of a pair
    "sxtb16 r0,r1; smlad r4,r0,r2,r4": 2,
    "smlad r4,r0,r1,r4; ssat r5,#8,r6": 2,
    "ssat r0,#8,r1,asr #4; strb r0,[r2]": 2,
    "ssat r0,#8,r1; add r2,r0,r3": 3,
    "add r1,r1,r2; ssat r0,#8,r1": 3,
    "ubfx r0,r1,#2,#8; ubfx r2,r1,#10,#8": 2,
    "add r2,r3,r4; bfi r0,r1,#2,#8": 2,
    "pkhbt r0,r1,r2,lsl #16; add r3,r4,r5": 1,
    "qadd r0,r1,r2; add r3,r0,r4": 3,
    "rev r0,r1; add r2,r0,r3": 2,
    "clz r0,r1; add r2,r3,r4": 1,
    "ldrd r0,r1,[r2]; add r3,r4,r5": 2,
    "ldm r0,{r1,r2,r3}": 2,
    "ldm r0,{r1,r2,r3,r4}; add r5,r6,r7": 3,
    "stm r0!,{r1,r2,r3,r4,r5}": 3,
    "push {r4,r5,r6,r7,r8,lr}; add r0,r1,r2": 4,
    "pop {r4,pc}": 1,
    "sdiv r0,r1,r2; add r3,r4,r5": DIVISION_CYCLES + 1,
    "nop; add r0,r1,r2": 2,
    "subs r0,#1; bne 1f; 1:": 2,
    "add r0,r1,r2; b 1f; 1:": 1,
    "tbb [pc,r0]": 2,
    "vadd.f32 s0,s1,s2; vadd.f32 s3,s0,s4": 4,
    "vadd.f32 s0,s1,s2; add r3,r4,r5": 1,
    "vfma.f32 s0,s1,s2; vfma.f32 s0,s3,s4": 4,
    "vfma.f32 s0,s1,s2; vadd.f32 s3,s0,s4": 7,
    "vdiv.f32 s0,s1,s2; vmov r0,s0": 17,
    "vdiv.f64 d0,d1,d2; vmov r0,s1": 31,
    "vldr s0,[r0]; add r1,r2,r3": 1,
    "vldr d0,[r0]; add r1,r2,r3": 2,
    "vpush {d8,d9}": 2,
}
LAST, DIRECT = "behind", "never wrong"
# block -> first guess: DIRECT, LAST (the address behind it), "start" (its own) or "unknown"
BRANCHES = {
    "1: subs r0,#1; bne 1b": "start",
    "subs r0,#1; bne 1f; 1:": LAST,
    "1: cbz r0,2f; nop; 2:": None,  # not a branch at its end
    "b 1f; 1:": DIRECT,
    "bl 1f; 1:": DIRECT,
    "bx lr": DIRECT,
    "pop {r4,pc}": DIRECT,
    "ldr pc,[sp],#4": DIRECT,
    "ldm sp!,{r4,pc}": DIRECT,
    "blx r3": "unknown",
    "bx r3": "unknown",
    "mov pc,r0": "unknown",
    "ldr pc,[r0,r1,lsl #2]": "unknown",
    "tbb [pc,r0]": "unknown",
    "cmp r0,#0; it eq; bxeq lr": LAST,
    "add r0,r1,r2": None,
}
# (block, the block that follows, cycles it waits)
NEIGHBOURS = (
    ("add r0,r1,r2; b 1f; 1:", "add r3,r0,r4", 0),
    ("add r0,r1,r2; b 1f; 1:", "ldr r3,[r0]", 1),
    ("mul r0,r1,r2; b 1f; 1:", "add r3,r0,r4", 1),
    ("mul r0,r1,r2; b 1f; 1:", "add r5,r6,r7; add r6,r7,r8; add r3,r0,r4", 0),  # it comes late enough
    ("mul r0,r1,r2; b 1f; 1:", "add r0,r6,r4; ldr r3,[r0]", 0),  # its own value
    ("ldr r0,[r1]; b 1f; 1:", "add r3,r0,r4", 0),
    ("ldr r0,[r1]; b 1f; 1:", "mul r3,r0,r4", 1),  # a factor
    ("smlad r4,r0,r1,r4; b 1f; 1:", "smlad r4,r0,r1,r4", 0),
    ("ssat r0,#8,r1; b 1f; 1:", "ldr r3,[r0]", 2),
    ("cmp r0,r1,lsl #2; b 1f; 1:", "it eq; addeq r2,r2,#1", 1),
)


@functools.cache
def blocks(isa: str = "armv7em-m7") -> dict[str, tuple[int, bytes]]:
    pairs = [text for before, after, _ in NEIGHBOURS for text in (before, after)]
    return assemble({text: text for text in [*SEQUENCES, *BRANCHES, *pairs]}, isa)


def cost(text: str) -> BlockCost:
    address, code = blocks()[text]
    return M7Timing().block(code, address, len(code))


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_sequence_costs_what_the_rules_say(sequence: str) -> None:
    found = cost(sequence)
    labels = sum(part.strip().endswith(":") for part in sequence.split(";"))
    assert found.cycles == SEQUENCES[sequence]
    assert found.instructions == len(sequence.split(";")) - labels
    assert found.taken_cycles == 0


@pytest.mark.parametrize("sequence", BRANCHES)
def test_first_guess(sequence: str) -> None:
    found, (address, code) = cost(sequence), blocks()[sequence]
    wanted = {"start": address, LAST: address + len(code), "unknown": 0}.get(str(BRANCHES[sequence]))
    if wanted is None:
        assert (found.mispredict_cycles, found.predicted) == (0, 0)
    else:
        assert (found.mispredict_cycles, found.predicted) == (MISPREDICT_CYCLES, wanted)


@pytest.mark.parametrize(("before", "after", "cycles"), NEIGHBOURS)
def test_what_a_block_waits_for(before: str, after: str, cycles: int) -> None:
    assert carry(cost(before), cost(after)) == cycles


def test_a_split_of_straight_code_costs_nothing() -> None:
    timing, tried = M7Timing(), 0
    for sequence in SEQUENCES:
        address, code = blocks()[sequence]
        for size in range(2, len(code), 2):
            try:
                first, second = (
                    timing.block(code, address, size),
                    timing.block(code[size:], address + size, len(code) - size),
                )
            except TimingError:  # inside an instruction
                continue
            if "it eq" not in sequence:  # an IT block cannot be decoded from its middle
                assert first.cycles + second.cycles + carry(first, second) == SEQUENCES[sequence], (sequence, size)
                tried += 1
    assert tried > 50


def test_unknown_instruction_raises_with_its_name() -> None:
    (found,) = assemble({"x": "mrc p15,#0,r0,c1,c0,#0"}, "armv7em-m7").values()
    with pytest.raises(TimingError, match=r"mrc p15.*Cortex-M7"):
        M7Timing().block(found[1], found[0], 4)


@pytest.mark.skipif(find_mca() is None, reason="llvm-mca is not installed")
def test_inner_loops_agree_with_llvm_mca_unless_a_cause_is_known() -> None:
    bodies = {name: entry["body"] for name, entry in LOOPS.items()}
    theirs, ours = mca_cycles(bodies), timed_cycles(bodies, M7Timing())
    differing = {name for name in bodies if abs(ours[name] / theirs[name] - 1) > 0.15}
    assert differing == {name for name, entry in LOOPS.items() if "why" in entry}
