"""The instructions of one basic block -> Cortex-M4 cycles with zero-wait-state memory.

Rules (Arm Cortex-M4 TRM r0p1 section 3.3 as condensed in the project's facts; P = pipeline refill):

- data processing, all multiplies, DSP and saturating instructions: 1.
- LDR* 2, but 1 directly after another LDR* whose result is not its address. Post- and pre-indexed loads count as loads.
- STR* with an immediate offset 1, with a register offset 2. No load pipelines after a store.
- LDM, STM, PUSH, POP 1 + N; LDRD, STRD 3; neither pipelines.
- a memory access whose address the preceding (non-load) instruction wrote: 1 more.
- branches 1, taken 1 + P with P = 1 for B, BL, CBZ, CBNZ and 2 for BX, BLX, POP {pc}, LDR pc, TBB and writes to pc.
- SDIV, UDIV 7, the middle of the documented 2..12 (the operands are not looked at).
- FPU: 1; multiply-accumulate 3; VDIV, VSQRT 14; VLDR, VSTR 2 (3 for a double); VLDM, VSTM, VPUSH, VPOP 1 + words. A
  move between a core register and half of a double 1, between one and a single or between two and anything 2.
- IT 1: the TRM lets an IT fold into a preceding 16-bit instruction, which is not counted on. An instruction that the
  condition skips is charged as if executed (equal for data processing; 1 too many for a skipped load).

Not modelled: unaligned accesses (+1 or +2, see Device(strict=True).unaligned), write-buffer stalls, bus contention.
An instruction that is in none of the tables raises TimingError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import capstone.arm as arm

from codegen.device import thumb
from codegen.device.timing import BlockCost, TimingError

DIVISION_CYCLES = 7

_ONE_CYCLE = thumb.ARITHMETIC | thumb.SHIFTS | thumb.BIT_FIELDS | thumb.EXTRACTS | thumb.EXTENDS | thumb.EXTEND_ADDS
_ONE_CYCLE |= thumb.PACKS | thumb.SATURATES | thumb.PARALLEL | thumb.SATURATING_ADDS | thumb.PRODUCTS
_ONE_CYCLE |= thumb.SYSTEM | thumb.FLOAT | {"it"}
_SEVERAL_CYCLES = dict.fromkeys(thumb.FLOAT_ACCUMULATES, 3) | dict.fromkeys(thumb.FLOAT_DIVISIONS, 14)
_SEVERAL_CYCLES |= dict.fromkeys(thumb.DIVISIONS, DIVISION_CYCLES)


class _Step(NamedTuple):
    """What one instruction costs and what its neighbours need to know."""

    cycles: int
    taken_cycles: int = 0
    address: frozenset[int] = frozenset()  # registers that make its address, if it accesses memory
    written: frozenset[int] = frozenset()  # registers whose value stalls an address in the next instruction
    is_load: bool = False  # a single load: pipelines with a neighbour
    traps_unaligned: bool = False


class M4Timing:
    """Costs of basic blocks, by disassembly."""

    LOOKAHEAD_BYTES = 4

    def __init__(self) -> None:
        self._decoder = thumb.Decoder("Cortex-M4")

    def block(self, code: bytes, address: int, size: int) -> BlockCost:
        """The cost of the block of `size` bytes at `address`; `code` may go on by LOOKAHEAD_BYTES.

        A block that ends without a branch (the emulator splits at page borders) is timed with the instruction that must
        follow, so that the split costs nothing: cost(block + next) - cost(next).
        """
        inside, behind = self._decoder.split(code, address, size)
        steps = [self._step(insn) for insn in inside]
        cycles = _sequence_cycles(steps)
        if not steps[-1].taken_cycles and behind:
            follow = self._step_or_none(behind[0])
            if follow is not None:
                cycles = _sequence_cycles([*steps, follow]) - follow.cycles
        traps = tuple(insn.address for insn, step in zip(inside, steps, strict=True) if step.traps_unaligned)
        return BlockCost(len(inside), cycles, steps[-1].taken_cycles, traps)

    def _step_or_none(self, insn: Any) -> _Step | None:
        """The step of an instruction that may not be one (a literal pool after a block): None if unknown."""
        try:
            return self._step(insn)
        except TimingError:
            return None

    def _step(self, insn: Any) -> _Step:
        step = _memory_step(insn) or _branch_step(insn) or _arithmetic_step(insn)
        if step is None:
            raise self._decoder.unknown(insn)
        return step


def _sequence_cycles(steps: Sequence[_Step]) -> int:
    cycles = 0
    before = _Step(0)
    for step in steps:
        cycles += step.cycles
        depends = bool(step.address & before.written)
        if step.is_load and before.is_load and not depends:
            cycles -= 1
        elif depends and not before.is_load:
            cycles += 1
        before = step
    return cycles


def _memory_step(insn: Any) -> _Step | None:
    name = insn.insn_name()
    if name in thumb.MULTIPLE:
        return _multiple_step(insn)
    if name in thumb.LOADS:
        return _load_step(insn)
    cycles = {"ldrd": 3, "strd": 3, "vldr": 2, "vstr": 2}.get(name, 2 if name in thumb.EXCLUSIVE else 0)
    if name in thumb.STORES:
        cycles = 2 if thumb.memory_operand(insn).mem.index else 1
    if not cycles:
        return None
    if name in ("vldr", "vstr"):
        cycles += insn.operands[0].reg in thumb.DOUBLES
    address = thumb.address_registers(thumb.memory_operand(insn))
    return _Step(cycles, address=address, traps_unaligned=name not in thumb.STORES)


def _load_step(insn: Any) -> _Step:
    address = thumb.address_registers(thumb.memory_operand(insn))
    target = insn.operands[0].reg
    is_jump = target == arm.ARM_REG_PC
    return _Step(2, 2 if is_jump else 0, address, frozenset((target,)), is_load=not is_jump)


def _multiple_step(insn: Any) -> _Step:
    base, registers = thumb.list_registers(insn)
    is_jump = arm.ARM_REG_PC in registers and insn.insn_name() in ("pop", "ldm", "ldmdb")
    cycles = 1 + thumb.words_of(registers)
    return _Step(cycles, 2 if is_jump else 0, frozenset((base,)), traps_unaligned=True)


def _branch_step(insn: Any) -> _Step | None:
    name = insn.insn_name()
    if name in thumb.TABLES:
        return _Step(2, taken_cycles=2, address=thumb.address_registers(thumb.memory_operand(insn)))
    if name in thumb.DIRECT or name in thumb.INDIRECT:
        return _Step(1, taken_cycles=1 if name in thumb.DIRECT else 2)
    return None


def _arithmetic_step(insn: Any) -> _Step | None:
    name = insn.insn_name()
    if name not in _ONE_CYCLE and name not in _SEVERAL_CYCLES:
        return None
    cycles = _SEVERAL_CYCLES.get(name, 1)
    if name == "vmov":
        registers = [o.reg for o in insn.operands if o.type == arm.ARM_OP_REG]
        cores = sum(register in thumb.CORE for register in registers)
        cycles = 2 if cores == 2 or (cores == 1 and not thumb.DOUBLES & set(registers)) else 1
    _, written = insn.regs_access()
    return _Step(cycles, 2 if arm.ARM_REG_PC in written else 0, written=frozenset(written) & thumb.CORE)
