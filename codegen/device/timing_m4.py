"""The instructions of one basic block -> Cortex-M4 cycles with zero-wait-state memory.

Rules (Arm Cortex-M4 TRM r0p1 section 3.3 as condensed in the project's facts; P = pipeline refill):

- data processing, all multiplies, DSP and saturating instructions: 1.
- LDR* 2, but 1 directly after another LDR* whose result is not its address. Post- and pre-indexed loads count as loads.
- STR* with an immediate offset 1, with a register offset 2. No load pipelines after a store.
- LDM, STM, PUSH, POP 1 + N; LDRD, STRD 3; neither pipelines.
- a memory access whose address the preceding (non-load) instruction wrote: 1 more.
- branches 1, taken 1 + P with P = 1 for B, BL, CBZ, CBNZ and 2 for BX, BLX, POP {pc}, LDR pc, TBB and writes to pc.
- SDIV, UDIV 7, the middle of the documented 2..12 (the operands are not looked at).
- FPU: 1; multiply-accumulate 3; VDIV, VSQRT 14; VLDR, VSTR 2 (3 for a double); VLDM, VSTM, VPUSH, VPOP 1 + words; a
  move of two core registers 2.
- IT 1: the TRM lets an IT fold into a preceding 16-bit instruction, which is not counted on. An instruction that the
  condition skips is charged as if executed (equal for data processing; 1 too many for a skipped load).

Not modelled: unaligned accesses (+1 or +2, see Device(strict=True).unaligned), write-buffer stalls, bus contention.
An instruction that is in none of the tables raises TimingError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import capstone
import capstone.arm as arm

DIVISION_CYCLES = 7


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOADS = _names("ldr ldrb ldrh ldrsb ldrsh ldrt ldrbt ldrht ldrsbt ldrsht")
_STORES = _names("str strb strh strt strbt strht")
_EXCLUSIVE = _names("ldrex ldrexb ldrexh strex strexb strexh")
_MULTIPLE = {"push": 0, "pop": 0, "vpush": 0, "vpop": 0, "ldm": 1, "ldmdb": 1, "stm": 1, "stmdb": 1}
_MULTIPLE |= {"vldmia": 1, "vldmdb": 1, "vstmia": 1, "vstmdb": 1}  # operands before the register list
_DIRECT = _names("b bl cbz cbnz")
_INDIRECT = _names("bx blx")
_ONE_CYCLE = _names("""
    adc add addw adr and asr bfc bfi bic clz cmn cmp eor lsl lsr mov movs movt movw mvn neg orn orr rbit rev rev16 revsh
    ror rrx rsb rsc sbc sbfx sel sub subw teq tst ubfx sxtab sxtab16 sxtah sxtb sxtb16 sxth uxtab uxtab16 uxtah uxtb
    uxtb16 uxth pkhbt pkhtb ssat ssat16 usat usat16 usad8 usada8
    sadd8 sadd16 sasx ssax ssub8 ssub16 qadd8 qadd16 qasx qsax qsub8 qsub16 shadd8 shadd16 shasx shsax shsub8 shsub16
    uadd8 uadd16 uasx usax usub8 usub16 uqadd8 uqadd16 uqasx uqsax uqsub8 uqsub16 uhadd8 uhadd16 uhasx uhsax uhsub8
    uhsub16 qadd qdadd qsub qdsub
    mul mla mls smull umull smlal umlal umaal smlabb smlabt smlatb smlatt smlad smladx smlsd smlsdx smlald smlaldx
    smlsld smlsldx smlalbb smlalbt smlaltb smlaltt smlawb smlawt smmla smmlar smmls smmlsr smmul smmulr smuad smuadx
    smulbb smulbt smultb smultt smulwb smulwt smusd smusdx
    nop yield sev wfe wfi hint dbg it bkpt svc cps mrs msr dsb dmb isb clrex pld pldw pli udf
    subs trap fmstat fconsts
    vabs vadd vsub vmul vnmul vneg vcmp vcmpe vcvt vcvtb vcvtt vcvtr vmrs vmsr vmov
    """)
_SEVERAL_CYCLES = dict.fromkeys(_names("vmla vmls vnmla vnmls vfma vfms vfnma vfnms"), 3)
_SEVERAL_CYCLES |= {"vdiv": 14, "vsqrt": 14, "sdiv": DIVISION_CYCLES, "udiv": DIVISION_CYCLES}


class TimingError(Exception):
    """An instruction without a known cost."""


@dataclass(frozen=True)
class BlockCost:
    """Cycles of a block whose last branch falls through, what a taken branch adds, and its instructions.

    `unaligned_faults` holds the addresses of the LDM/STM/LDRD/STRD-like ones, which trap on an unaligned address.
    """

    instructions: int
    cycles: int
    taken_cycles: int
    unaligned_faults: tuple[int, ...] = ()


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
        self._capstone = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
        self._capstone.detail = True

    def block(self, code: bytes, address: int, size: int) -> BlockCost:
        """The cost of the block of `size` bytes at `address`; `code` may go on by LOOKAHEAD_BYTES.

        A block that ends without a branch (the emulator splits at page borders) is timed with the instruction that must
        follow, so that the split costs nothing: cost(block + next) - cost(next).
        """
        found = list(self._capstone.disasm(code, address))
        inside = [insn for insn in found if insn.address < address + size]
        if sum(insn.size for insn in inside) != size:
            raise TimingError(f"0x{address + sum(i.size for i in inside):08x}: not a Cortex-M4 instruction")
        steps = [_step(insn) for insn in inside]
        cycles = _sequence_cycles(steps)
        if not steps[-1].taken_cycles and len(found) > len(inside):
            follow = _step_or_none(found[len(inside)])
            if follow is not None:
                cycles = _sequence_cycles([*steps, follow]) - follow.cycles
        traps = tuple(insn.address for insn, step in zip(inside, steps, strict=True) if step.traps_unaligned)
        return BlockCost(len(inside), cycles, steps[-1].taken_cycles, traps)


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


def _step_or_none(insn: Any) -> _Step | None:
    """The step of an instruction that may not be one (a literal pool after a block): None if unknown."""
    try:
        return _step(insn)
    except TimingError:
        return None


def _step(insn: Any) -> _Step:
    name = insn.insn_name()
    if name in _LOADS:
        return _load(insn)
    if name in _STORES:
        operand = _memory(insn)
        return _Step(2 if operand.mem.index else 1, address=_address(operand))
    if name in _MULTIPLE:
        return _multiple(insn, _MULTIPLE[name])
    if name in ("ldrd", "strd"):
        return _Step(3, address=_address(_memory(insn)), traps_unaligned=True)
    if name in ("vldr", "vstr"):
        is_double = insn.operands[0].reg in _DOUBLES
        return _Step(3 if is_double else 2, address=_address(_memory(insn)), traps_unaligned=True)
    if name in _EXCLUSIVE:
        return _Step(2, address=_address(_memory(insn)), traps_unaligned=True)
    if name in ("tbb", "tbh"):
        return _Step(2, taken_cycles=2, address=_address(_memory(insn)))
    if name in _DIRECT or name in _INDIRECT:
        return _Step(1, taken_cycles=1 if name in _DIRECT else 2)
    return _arithmetic(insn, name)


def _load(insn: Any) -> _Step:
    operand = _memory(insn)
    target = insn.operands[0].reg
    is_jump = target == arm.ARM_REG_PC
    return _Step(2, 2 if is_jump else 0, _address(operand), frozenset((target,)), is_load=not is_jump)


def _multiple(insn: Any, leading: int) -> _Step:
    registers = [operand.reg for operand in insn.operands[leading:]]
    words = sum(2 if register in _DOUBLES else 1 for register in registers)
    base = insn.operands[0].reg if leading else arm.ARM_REG_SP
    taken_cycles = 2 if arm.ARM_REG_PC in registers and insn.insn_name() in ("pop", "ldm", "ldmdb") else 0
    return _Step(1 + words, taken_cycles, frozenset((base,)), traps_unaligned=True)


def _arithmetic(insn: Any, name: str) -> _Step:
    if name in _ONE_CYCLE:
        cycles = 1
        if name == "vmov" and sum(o.type == arm.ARM_OP_REG and o.reg in _CORE for o in insn.operands) == 2:
            cycles = 2
    elif name in _SEVERAL_CYCLES:
        cycles = _SEVERAL_CYCLES[name]
    else:
        raise TimingError(f"0x{insn.address:08x}: `{insn.mnemonic} {insn.op_str}` has no Cortex-M4 timing")
    _, written = insn.regs_access()
    return _Step(cycles, 2 if arm.ARM_REG_PC in written else 0, written=frozenset(written) & _CORE)


def _memory(insn: Any) -> Any:
    for operand in insn.operands:
        if operand.type == arm.ARM_OP_MEM:
            return operand
    raise TimingError(f"0x{insn.address:08x}: `{insn.mnemonic} {insn.op_str}` has no memory operand")


def _address(operand: Any) -> frozenset[int]:
    return frozenset((operand.mem.base, operand.mem.index)) & _CORE


_CORE = frozenset([getattr(arm, f"ARM_REG_R{index}") for index in range(13)] + [arm.ARM_REG_SP, arm.ARM_REG_LR])
_DOUBLES = frozenset(getattr(arm, f"ARM_REG_D{index}") for index in range(32))
