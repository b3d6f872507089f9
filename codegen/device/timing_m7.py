"""The instructions of one basic block -> Cortex-M7 cycles with zero-wait-state memory.

There is no official table. The rules are those of the project's facts (public measurements, and the pipeline that
LLVM's and GCC's schedulers describe), to be read as +-20 %:

- two instructions a cycle, in order. The younger waits a cycle when it lacks an operand or a unit, when it must be the
  older of a pair (DSP, saturating and bit-field instructions, CLZ), or when either issues alone (LDRD, STRD, LDM, STM,
  PUSH, POP, divisions, exclusive and system instructions).
- one multiplier (all products, MACs and SIMD MACs: one a cycle, result after 2, but after 1 as an accumulator). It
  pairs with loads and ALU instructions, not with a store.
- units of one a cycle: store, branch, shifter (shifted operands, shifts, saturation, bit fields, PKH), SIMD, FPU.
- two loads a cycle when their words lie in different banks (address bit 2). Known only for the same base register and
  immediate offsets; loads from different bases are taken to collide.
- results: ALU after 1, loads after 1 (bytes and halfwords 2; as a factor of a product always 2), saturation and
  saturating addition after 2, base updates at once.
- operands: addresses and shifted operands are needed 1 cycle early, data to store 1 cycle late.
- LDM, STM and their like ceil(words / 2); SDIV, UDIV block for 7 (by value: 2 to 12).
- FPU: result after 3, multiply-accumulate 6, VDIV and VSQRT 16 (30 for doubles). Not carried between blocks.
- branches: predicted ones cost their issue slot, taken or not, and end the pair. A wrong prediction costs 8. First
  guess: conditional branches backwards taken, forwards not; then where the branch went lately (a guess that was right
  last time survives one miss: the two-bit counter), for every branch. Returns and direct branches are always right.
- blocks: a block starts a new pair; a value that the block before left late delays it (`late`, `early`), which prices
  the steady state of a loop. Only the block directly before is looked at.

Not modelled: unaligned accesses (+3, counted by Device(strict=True)), write buffer, bank conflicts between loads and
stores, the prefetch queue. An instruction that is in none of the tables raises TimingError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import capstone.arm as arm

from codegen.device import thumb
from codegen.device.scoreboard import FLAGS, Scoreboard, Step
from codegen.device.timing import NEVER, BlockCost, TimingError, pack_carried

MISPREDICT_CYCLES = 8
DIVISION_CYCLES = 7


class _Kind(NamedTuple):
    """How a class of instructions issues. `early`: operands needed a cycle early: 0 none, 1 the last, 2 all."""

    units: frozenset[str] = frozenset()
    is_older: bool = False
    latency: int = 1
    early: int = 0


def _kind(units: str = "", **more: Any) -> _Kind:
    return _Kind(thumb.names(units), **more)


_KINDS: dict[str, _Kind] = {}
for _names, _value in (
    (thumb.ARITHMETIC | {"it"}, _kind()),
    (thumb.SHIFTS, _kind("shift")),
    (thumb.BIT_FIELDS, _kind("shift", is_older=True)),
    (thumb.EXTRACTS, _kind("shift simd", is_older=True, early=2)),
    (thumb.EXTENDS | thumb.PARALLEL, _kind("simd", is_older=True)),
    (thumb.EXTEND_ADDS | thumb.PACKS, _kind("shift simd", is_older=True, early=1)),
    (thumb.SATURATES, _kind("shift simd", is_older=True, latency=2, early=2)),
    (thumb.SATURATING_ADDS, _kind("simd", is_older=True, latency=2)),
    (thumb.PRODUCTS, _kind("multiplier", latency=2)),
    (thumb.FLOAT, _kind("fpu", latency=3)),
    (thumb.FLOAT_ACCUMULATES, _kind("fpu", latency=6)),
    (thumb.FLOAT_DIVISIONS, _kind("fpu", latency=16)),
):
    _KINDS |= dict.fromkeys(_names, _value)
_KINDS["clz"] = _kind(is_older=True)
_BLOCKING = dict.fromkeys(thumb.DIVISIONS, DIVISION_CYCLES) | dict.fromkeys(thumb.SYSTEM, 1)
_SLOW_LOADS = thumb.LOADS - {"ldr", "ldrt"}


class M7Timing:
    """Costs of basic blocks, by disassembly and a two-wide in-order scoreboard."""

    LOOKAHEAD_BYTES = 64

    def __init__(self) -> None:
        self._decoder = thumb.Decoder("Cortex-M7")

    def block(self, code: bytes, address: int, size: int) -> BlockCost:
        """The cost of the block of `size` bytes at `address`; `code` may go on by LOOKAHEAD_BYTES.

        A block that ends without a branch (the emulator splits at page borders) is timed with the code that must follow,
        so that the split costs nothing: cost(block + code behind) - cost(code behind).
        """
        inside, behind = self._decoder.split(code, address, size)
        steps = [self._step(insn) for insn in inside]
        traps = tuple(insn.address for insn, step in zip(inside, steps, strict=True) if step.traps_unaligned)
        board = Scoreboard(steps)
        early = pack_carried(board.early, NEVER)
        if not _leaves(inside[-1]) and (follow := self._straight(behind)):
            cycles = max(0, Scoreboard([*steps, *follow]).cycles - Scoreboard(follow).cycles)
            return BlockCost(len(inside), cycles, 0, traps, early=early)
        mispredict, predicted = _prediction(inside[-1])
        late = pack_carried(board.late(), -128)
        return BlockCost(len(inside), board.cycles, 0, traps, mispredict, predicted, late, early)

    def _straight(self, insns: Sequence[Any]) -> list[Step]:
        """The steps up to the first branch, or up to what is no known instruction (a literal pool)."""
        steps: list[Step] = []
        for insn in insns:
            try:
                steps.append(self._step(insn))
            except TimingError:
                break
            if _leaves(insn):
                break
        return steps

    def _step(self, insn: Any) -> Step:
        step = _memory_step(insn) or _branch_step(insn) or _other_step(insn)
        if step is None:
            raise self._decoder.unknown(insn)
        return step


# ---- instructions ------------------------------------------------------------------------------------------------


def _memory_step(insn: Any) -> Step | None:
    name = insn.insn_name()
    if name in thumb.MULTIPLE:
        return _multiple_step(insn)
    is_pair, is_float = name in ("ldrd", "strd"), name in ("vldr", "vstr")
    if not (name in thumb.LOADS or name in thumb.STORES or name in thumb.EXCLUSIVE or is_pair or is_float):
        return None
    operand = thumb.memory_operand(insn)
    address = thumb.address_registers(operand)
    registers = [part for o in insn.operands if o.type == arm.ARM_OP_REG for part in _parts(o.reg)]
    is_load = name.startswith(("ld", "vld"))
    writes = dict.fromkeys(registers, 2 if name in _SLOW_LOADS or insn.operands[0].reg in thumb.DOUBLES else 1)
    if name.startswith("strex"):
        writes, registers = dict.fromkeys(registers[:1], 2), registers[1:]
    elif not is_load:
        writes = {}
    if insn.writeback:
        writes |= {operand.mem.base: 0}
    data = [] if is_load else registers
    return Step(
        units=thumb.names(("load" if is_load else "store") + " fpu" * is_float),
        is_alone=is_pair or name in thumb.EXCLUSIVE or insn.operands[0].reg in thumb.DOUBLES,
        reads={**dict.fromkeys(data, 1), **_conditions(insn), **dict.fromkeys(address, -1)},
        writes=writes,
        bank=(operand.mem.base, operand.mem.disp >> 2 & 1) if is_load and not operand.mem.index else None,
        traps_unaligned=is_pair or is_float or name in thumb.EXCLUSIVE,
    )


def _multiple_step(insn: Any) -> Step:
    base, registers = thumb.list_registers(insn)
    parts = [part for register in registers for part in _parts(register)]
    is_load = insn.insn_name() in ("pop", "vpop", "ldm", "ldmdb", "vldmia", "vldmdb")
    updates = {base: 0} if insn.writeback or insn.insn_name() in ("push", "pop", "vpush", "vpop") else {}
    return Step(
        cycles=-(-thumb.words_of(registers) // 2),
        units=frozenset(("load" if is_load else "store",)),
        is_alone=True,
        reads={**({} if is_load else dict.fromkeys(parts, 1)), **_conditions(insn), base: -1},
        writes=(dict.fromkeys(parts, 1) if is_load else {}) | updates,
        traps_unaligned=True,
    )


def _branch_step(insn: Any) -> Step | None:
    name = insn.insn_name()
    if name in thumb.TABLES:
        address = thumb.address_registers(thumb.memory_operand(insn))
        return Step(2, frozenset(("load",)), is_alone=True, reads=dict.fromkeys(address, -1))
    if name not in thumb.DIRECT and name not in thumb.INDIRECT:
        return None
    registers = [o.reg for o in insn.operands if o.type == arm.ARM_OP_REG]
    written = {arm.ARM_REG_LR: 1} if name in ("bl", "blx") else {}
    return Step(units=frozenset(("branch",)), reads=dict.fromkeys(registers, 0) | _conditions(insn), writes=written)


def _other_step(insn: Any) -> Step | None:
    name = insn.insn_name()
    if name in _BLOCKING:
        results = dict.fromkeys(insn.regs_access()[1], 1)
        return Step(_BLOCKING[name], is_alone=True, reads=dict.fromkeys(_sources(insn), 0), writes=results)
    if name not in _KINDS:
        return None
    kind, sources = _KINDS[name], _sources(insn)
    reads, units, latency = dict.fromkeys(sources, 0), kind.units, kind.latency
    if kind.early == 2:
        reads = dict.fromkeys(sources, -1)
    elif kind.early or (name in thumb.ARITHMETIC and insn.operands and insn.operands[-1].shift.type):
        reads[insn.operands[-1].reg] = -1
        units |= {"shift"}
        latency += name in thumb.COMPARES
    factors: frozenset[int] = frozenset()
    if name in thumb.PRODUCTS:
        factors = frozenset(o.reg for o in insn.operands[2 if name in thumb.LONG_PRODUCTS else 1 :][:2])
        reads = dict.fromkeys(_accumulators(insn), 1)
    elif name in thumb.FLOAT_ACCUMULATES:
        reads |= dict.fromkeys(_parts(insn.operands[0].reg), 3)
    elif name in thumb.FLOAT_DIVISIONS and insn.operands[0].reg in thumb.DOUBLES:
        latency = 30
    sets_flags = insn.update_flags or name in thumb.COMPARES or name in ("vmrs", "fmstat")
    written = [part for register in insn.regs_access()[1] for part in _parts(register)] + [FLAGS] * sets_flags
    if name != "it":
        reads |= _conditions(insn)
    return Step(1, units, kind.is_older, False, reads, factors, dict.fromkeys(written, latency))


def _accumulators(insn: Any) -> list[int]:
    name = insn.insn_name()
    if name in thumb.ACCUMULATES:
        return [insn.operands[3].reg]
    return [o.reg for o in insn.operands[:2]] if name in thumb.LONG_PRODUCTS and "mull" not in name else []


def _sources(insn: Any) -> list[int]:
    """Registers an instruction computes with: the disassembler's reads miss some operands, never a destination."""
    read, _ = insn.regs_access()
    named = [o.reg for o in insn.operands[1:] if o.type == arm.ARM_OP_REG]
    return [part for register in dict.fromkeys([*read, *named]) for part in _parts(register)]


def _conditions(insn: Any) -> dict[int, int]:
    return {} if insn.cc in (arm.ARM_CC_AL, arm.ARM_CC_INVALID) else {FLAGS: 0}


def _parts(register: int) -> tuple[int, ...]:
    """A double register as its two single ones (those beyond the sixteenth as themselves)."""
    index = register - arm.ARM_REG_D0
    if register not in thumb.DOUBLES or index >= 16:
        return (register,)
    return arm.ARM_REG_S0 + 2 * index, arm.ARM_REG_S0 + 2 * index + 1


# ---- where a block ends ------------------------------------------------------------------------------------------


def _leaves(insn: Any) -> bool:
    name = insn.insn_name()
    if name in thumb.DIRECT or name in thumb.INDIRECT or name in thumb.TABLES:
        return True
    return arm.ARM_REG_PC in insn.regs_access()[1] or any(
        o.type == arm.ARM_OP_REG and o.reg == arm.ARM_REG_PC for o in insn.operands[:1]
    )


def _prediction(insn: Any) -> tuple[int, int]:
    """(cycles of a wrong prediction, first guess) of the last instruction of a block; (0, 0) when never wrong."""
    name, behind = insn.insn_name(), insn.address + insn.size
    if not _leaves(insn):
        return 0, 0
    is_conditional = bool(_conditions(insn)) or name in ("cbz", "cbnz")
    if name in thumb.DIRECT:
        target = insn.operands[-1].imm
        guess = target if target < insn.address else behind
        return (MISPREDICT_CYCLES, guess) if is_conditional else (0, 0)
    is_return = name == "pop" or (name in ("bx", "ldm") and insn.operands[0].reg in (arm.ARM_REG_LR, arm.ARM_REG_SP))
    is_return |= name == "ldr" and thumb.memory_operand(insn).mem.base == arm.ARM_REG_SP and insn.writeback
    if is_conditional:
        return MISPREDICT_CYCLES, behind
    return (0, 0) if is_return else (MISPREDICT_CYCLES, 0)
