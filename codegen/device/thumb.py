"""Thumb machine code -> decoded instructions and their operands: what the timing of every Cortex-M core starts from."""

from __future__ import annotations

from typing import Any

import capstone
import capstone.arm as arm

from codegen.device.timing import TimingError


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


CORE = frozenset([getattr(arm, f"ARM_REG_R{index}") for index in range(13)] + [arm.ARM_REG_SP, arm.ARM_REG_LR])
DOUBLES = frozenset(getattr(arm, f"ARM_REG_D{index}") for index in range(32))

# Instructions by what they are; flag-setting and conditional forms have the same name.
LOADS = names("ldr ldrb ldrh ldrsb ldrsh ldrt ldrbt ldrht ldrsbt ldrsht")
STORES = names("str strb strh strt strbt strht")
EXCLUSIVE = names("ldrex ldrexb ldrexh strex strexb strexh")
MULTIPLE = {"push": 0, "pop": 0, "vpush": 0, "vpop": 0, "ldm": 1, "ldmdb": 1, "stm": 1, "stmdb": 1}
MULTIPLE |= {"vldmia": 1, "vldmdb": 1, "vstmia": 1, "vstmdb": 1}  # operands before the register list
DIRECT = names("b bl cbz cbnz")
INDIRECT = names("bx blx")
TABLES = names("tbb tbh")
COMPARES = names("cmp cmn tst teq")
ARITHMETIC = COMPARES | names(
    "adc add addw adr and bic eor mov movs movt movw mvn neg orn orr rsb rsc sbc sub subs subw"
)
SHIFTS = names("asr lsl lsr ror rrx")
BIT_FIELDS = names("bfc bfi clz")
EXTRACTS = names("sbfx ubfx rbit rev rev16 revsh")
EXTENDS = names("sxtb sxtb16 sxth uxtb uxtb16 uxth")
EXTEND_ADDS = names("sxtab sxtab16 sxtah uxtab uxtab16 uxtah")
PACKS = names("pkhbt pkhtb")
SATURATES = names("ssat ssat16 usat usat16")
PARALLEL = names("""
    sel sadd8 sadd16 sasx ssax ssub8 ssub16 shadd8 shadd16 shasx shsax shsub8 shsub16
    uadd8 uadd16 uasx usax usub8 usub16 uhadd8 uhadd16 uhasx uhsax uhsub8 uhsub16
    """)
SATURATING_ADDS = names("""
    qadd8 qadd16 qasx qsax qsub8 qsub16 uqadd8 uqadd16 uqasx uqsax uqsub8 uqsub16 qadd qdadd qsub qdsub usad8 usada8
    """)
LONG_PRODUCTS = names("smull umull smlal umlal umaal smlald smlaldx smlsld smlsldx smlalbb smlalbt smlaltb smlaltt")
ACCUMULATES = names("""
    mla mls smlabb smlabt smlatb smlatt smlad smladx smlsd smlsdx smlawb smlawt smmla smmlar smmls smmlsr
    """)
PRODUCTS = (
    LONG_PRODUCTS
    | ACCUMULATES
    | names("""
    mul smmul smmulr smuad smuadx smulbb smulbt smultb smultt smulwb smulwt smusd smusdx
    """)
)
DIVISIONS = names("sdiv udiv")
SYSTEM = names("""
    nop yield sev wfe wfi hint dbg bkpt svc cps mrs msr dsb dmb isb clrex pld pldw pli udf trap
    """)
FLOAT = names("""
    fmstat fmdhr fmdlr fconsts vabs vadd vsub vmul vnmul vneg vcmp vcmpe vcvt vcvtb vcvtt vcvtr vmrs vmsr vmov
    """)
FLOAT_ACCUMULATES = names("vmla vmls vnmla vnmls vfma vfms vfnma vfnms")
FLOAT_DIVISIONS = names("vdiv vsqrt")


class Decoder:
    """A disassembler that knows where a block ends."""

    def __init__(self, core: str) -> None:
        self._core = core
        self._capstone = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
        self._capstone.detail = True

    def split(self, code: bytes, address: int, size: int) -> tuple[list[Any], list[Any]]:
        """(the instructions of the block of `size` bytes at `address`, those of `code` behind it)."""
        found = list(self._capstone.disasm(code, address))
        inside = [insn for insn in found if insn.address < address + size]
        if sum(insn.size for insn in inside) != size:
            raise TimingError(f"0x{address + sum(i.size for i in inside):08x}: not a {self._core} instruction")
        return inside, found[len(inside) :]

    def unknown(self, insn: Any) -> TimingError:
        """The error for an instruction without timing."""
        return TimingError(f"0x{insn.address:08x}: `{insn.mnemonic} {insn.op_str}` has no {self._core} timing")


def memory_operand(insn: Any) -> Any:
    """The operand that is an address."""
    for operand in insn.operands:
        if operand.type == arm.ARM_OP_MEM:
            return operand
    raise TimingError(f"0x{insn.address:08x}: `{insn.mnemonic} {insn.op_str}` has no memory operand")


def address_registers(operand: Any) -> frozenset[int]:
    """The core registers that make an address."""
    return frozenset((operand.mem.base, operand.mem.index)) & CORE


def list_registers(insn: Any) -> tuple[int, list[int]]:
    """(base register, registers moved) of an LDM, STM, PUSH, POP or their FPU forms."""
    leading = MULTIPLE[insn.insn_name()]
    base = insn.operands[0].reg if leading else arm.ARM_REG_SP
    return base, [operand.reg for operand in insn.operands[leading:]]


def words_of(registers: list[int]) -> int:
    """32-bit words these registers hold."""
    return sum(2 if register in DOUBLES else 1 for register in registers)
