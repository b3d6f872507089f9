"""The Cortex-M engine: Unicorn executes, hook.c counts, a timing table says what an instruction costs.

The figures are a model: read the assumptions in timing_m4.py and counter.py before comparing them with silicon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import unicorn as untyped_unicorn
from unicorn import arm_const as reg

from codegen.device.counter import OVER_LIMIT, TABLE_FULL, UNALIGNED, UNKNOWN_BLOCK, Count, Counter, Timing
from codegen.device.engine import SENTINEL, SENTINEL_BYTES, WORD, Run, Setup
from codegen.device.result import DeviceFault

unicorn: Any = untyped_unicorn  # it ships annotations, but incomplete ones

_DWT, _DWT_CYCLES, _SYSTEM_CONTROL = 0xE000_1000, 4, 0xE000_E000
_XPSR_THUMB = 1 << 24
_SEMIHOST_BREAK, _SEMIHOST_WRITE0, _MAX_TEXT_BYTES = b"\xab\xbe", 4, 4096
_SAVED = {f"r{i}": getattr(reg, f"UC_ARM_REG_R{i}") for i in range(4, 12)}
_SAVED |= {f"d{i}": getattr(reg, f"UC_ARM_REG_D{i}") for i in range(8, 16)}
_ARGUMENTS = [getattr(reg, f"UC_ARM_REG_R{i}") for i in range(4)]
_ACCESS = {
    unicorn.UC_MEM_READ_UNMAPPED: "read outside mapped memory",
    unicorn.UC_MEM_WRITE_UNMAPPED: "write outside mapped memory",
    unicorn.UC_MEM_FETCH_UNMAPPED: "jump outside mapped memory",
    unicorn.UC_MEM_WRITE_PROT: "write to read-only memory",
    unicorn.UC_MEM_READ_PROT: "read of execute-only memory",
    unicorn.UC_MEM_FETCH_PROT: "jump into memory without code",
}


class ArmEngine:
    """One Cortex-M core: Unicorn's number of the model, and its timing."""

    START = "Reset_Handler"
    workers = 0

    def __init__(self, setup: Setup, model: int, timing: Timing) -> None:
        self._memory, self._locate = setup.memory, setup.locate
        self._cycle_zero = 0
        self._invalid: tuple[int, int] | None = None
        self._trap: int | None = None
        self.output = b""
        self._uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._uc.ctl_set_cpu_model(model)
        self._map_memory()
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self._counter = Counter(self._uc, timing, setup.memory, setup.wait_states, setup.strict)

    @property
    def pc(self) -> int:
        """The program counter, Thumb bit removed."""
        return int(self._uc.reg_read(reg.UC_ARM_REG_PC))

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory; ValueError outside of it."""
        try:
            return bytes(self._uc.mem_read(address, size))
        except unicorn.UcError as error:
            raise ValueError(f"cannot read {size} bytes at 0x{address:08x}: {error}") from error

    def write(self, address: int, data: bytes) -> None:
        """None; `data` is in memory afterwards. ValueError outside of it."""
        try:
            self._uc.mem_write(address, bytes(data))
        except unicorn.UcError as error:
            raise ValueError(f"cannot write {len(data)} bytes at 0x{address:08x}: {error}") from error

    def boot(self, entry: int, stop: int, stack_top: int, max_instructions: int) -> None:
        """None; power-on at `entry` until `stop`."""
        self._cycle_zero = 0
        self._uc.reg_write(reg.UC_ARM_REG_SP, stack_top)
        self._run(entry, [], [stop], max_instructions)

    def call(
        self,
        entry: int,
        args: Sequence[int],
        stack_top: int,
        stages: Sequence[int],
        stops: Sequence[int],
        max_instructions: int,
    ) -> Run:
        """The run of the function at `entry` by the AAPCS."""
        saved = self._prepare(args, stack_top)
        counts = self._run(entry, list(stages), list(stops), max_instructions)
        state = self._counter.state
        return Run(
            pc=self.pc,
            value=int(self._uc.reg_read(reg.UC_ARM_REG_R0)),
            cycles=state.total.cycles,
            instructions=state.total.instructions,
            stages=tuple((count.cycles, count.instructions) for count in counts),
            addresses=tuple(self._counter.blocks()),
            clobbered=self._clobbered(saved),
            unaligned=state.unaligned,
            code_misses=state.code.misses,
            data_misses=state.data.misses,
            code=tuple(self._counter.code()),
        )

    def _map_memory(self) -> None:
        for name, base, size_bytes in self._memory.regions:
            flags = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
            self._uc.mem_map(base, size_bytes, flags if name == "flash" else flags | unicorn.UC_PROT_WRITE)
        self._uc.mem_map(SENTINEL, SENTINEL_BYTES, unicorn.UC_PROT_EXEC)
        self._uc.mem_map(_SYSTEM_CONTROL, 0x1000, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mmio_map(_DWT, 0x1000, self._read_dwt, None, self._write_dwt, None)

    def _prepare(self, args: Sequence[int], top: int) -> dict[str, int]:
        """The callee-saved registers and what they hold, with arguments and stack pointer set."""
        words = [value & WORD for value in args]
        stacked = words[4:]
        sp = top - (len(stacked) + len(stacked) % 2) * 4
        self.write(sp, b"".join(word.to_bytes(4, "little") for word in stacked))
        self._uc.reg_write(reg.UC_ARM_REG_SP, sp)
        for register, word in zip(_ARGUMENTS, words, strict=False):
            self._uc.reg_write(register, word)
        saved = {name: 0xC0DE_0000 + index for index, name in enumerate(_SAVED)}
        for name, value in saved.items():
            self._uc.reg_write(_SAVED[name], value)
        return saved | {"sp": sp}

    def _clobbered(self, saved: dict[str, int]) -> str | None:
        for name, value in saved.items():
            if self._uc.reg_read(_SAVED.get(name, reg.UC_ARM_REG_SP)) != value:
                return name
        return None

    def _run(self, entry: int, stages: list[int], stops: list[int], max_instructions: int) -> list[Count]:
        """The stage counts of a run from `entry` to the sentinel or a stop address."""
        self._invalid = self._trap = None
        self._counter.begin(stages, stops, max_instructions)
        self._uc.reg_write(reg.UC_ARM_REG_LR, SENTINEL | 1)
        self._uc.reg_write(reg.UC_ARM_REG_XPSR, _XPSR_THUMB)  # not inside the IT block a fault may have left
        self._cycle_zero = 0
        failure = ""
        try:
            self._uc.emu_start(entry | 1, SENTINEL)
        except unicorn.UcError as error:
            failure = str(error)
        self._raise_fault(failure, max_instructions)
        return self._counter.finish(self._uc.reg_read(reg.UC_ARM_REG_PC))

    def _raise_fault(self, failure: str, max_instructions: int) -> None:
        state = self._counter.state
        pc = self._uc.reg_read(reg.UC_ARM_REG_PC)
        if state.status == UNKNOWN_BLOCK and self._counter.failure is not None:
            raise DeviceFault(str(self._counter.failure), pc, self._locate(pc)) from self._counter.failure
        if state.status == UNALIGNED:
            pc = state.code_address
            raise DeviceFault("unaligned multi-word access", pc, self._locate(pc), state.fault_address)
        if state.status == OVER_LIMIT:
            raise DeviceFault(f"more than {max_instructions} instructions", pc, self._locate(pc))
        if state.status == TABLE_FULL:
            raise DeviceFault("more different basic blocks than the counter has slots for", pc, self._locate(pc))
        if self._trap is not None:
            raise DeviceFault(f"exception {self._trap}", pc, self._locate(pc))
        if self._invalid is not None:
            kind, address = self._invalid
            raise DeviceFault(_ACCESS.get(kind, f"memory fault {kind}"), pc, self._locate(pc), address)
        if failure:
            raise DeviceFault(failure, pc, self._locate(pc))

    def _on_invalid(self, _uc: Any, kind: int, address: int, _size: int, _value: int, _user: Any) -> bool:
        self._invalid = (kind, address)
        return False

    def _on_interrupt(self, uc: Any, number: int, _user: Any) -> None:
        """None; serves semihosting SYS_WRITE0 by appending to `output`, stops on anything else."""
        pc = uc.reg_read(reg.UC_ARM_REG_PC)
        operation = uc.reg_read(reg.UC_ARM_REG_R0)
        if bytes(uc.mem_read(pc, 2)) != _SEMIHOST_BREAK or operation != _SEMIHOST_WRITE0:
            self._trap = number
            uc.emu_stop()
            return
        text = bytearray()
        address = uc.reg_read(reg.UC_ARM_REG_R1)
        while len(text) < _MAX_TEXT_BYTES and (byte := uc.mem_read(address + len(text), 1)[0]):
            text.append(byte)
        self.output += bytes(text)
        uc.reg_write(reg.UC_ARM_REG_PC, (pc + 2) | 1)

    def _read_dwt(self, _uc: Any, offset: int, _size: int, _user: Any) -> int:
        cycles = self._counter.state.total.cycles - self._cycle_zero
        return int(cycles) & 0xFFFF_FFFF if offset == _DWT_CYCLES else 0

    def _write_dwt(self, _uc: Any, offset: int, _size: int, value: int, _user: Any) -> None:
        if offset == _DWT_CYCLES:
            self._cycle_zero = self._counter.state.total.cycles - value
