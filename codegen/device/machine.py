"""A firmware ELF on an emulated Cortex-M: call its functions, count cycles by stage and function, catch its faults.

Unicorn executes, hook.c counts, timing_m4.py knows what an instruction costs. The figures are a model: read the
assumptions in timing_m4.py and counter.py before comparing them with silicon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import unicorn as untyped_unicorn
from unicorn import arm_const as reg

from codegen.device.counter import OVER_LIMIT, TABLE_FULL, UNALIGNED, UNKNOWN_BLOCK, Count, Counter, Timing
from codegen.device.elf import Symbol, function_at, function_ranges, parse_elf
from codegen.device.memory import STM32L476, MemoryMap
from codegen.device.result import CallResult, DeviceFault, StageCount
from codegen.device.timing_m4 import M4Timing
from codegen.device.timing_m7 import M7Timing

unicorn: Any = untyped_unicorn  # it ships annotations, but incomplete ones

CANARY_BYTES = 32
_PAINT = 0xA5
_SENTINEL = 0x1FFF_0000  # where a called function returns to: executable, neither readable nor writable
_SENTINEL_BYTES = 0x1000
_DWT, _DWT_CYCLES, _SYSTEM_CONTROL = 0xE000_1000, 4, 0xE000_E000
_XPSR_THUMB = 1 << 24
_SEMIHOST_BREAK, _SEMIHOST_WRITE0, _MAX_TEXT_BYTES = b"\xab\xbe", 4, 4096
_CORES: dict[str, tuple[int, Callable[[], Timing]]] = {
    "cortex-m4": (reg.UC_CPU_ARM_CORTEX_M4, M4Timing),
    "cortex-m7": (reg.UC_CPU_ARM_CORTEX_M7, M7Timing),
}
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


class Device:
    """An emulated microcontroller that holds one firmware. `boot` it, then `call` its functions.

    `wait_states` > 0 adds the flash model of counter.py. `strict` faults on unaligned LDM, STM, LDRD, STRD, VLDR and
    the like, as hardware does, and counts other unaligned accesses; it is several times slower.
    """

    def __init__(
        self,
        elf: Path | bytes,
        cpu: str = "cortex-m4",
        memory: MemoryMap = STM32L476,
        wait_states: int = 0,
        strict: bool = False,
    ) -> None:
        if cpu not in _CORES:
            raise ValueError(f"cpu {cpu!r} has no timing model: allowed are {', '.join(_CORES)}")
        model, timing = _CORES[cpu]
        self._elf = parse_elf(elf if isinstance(elf, bytes) else elf.read_bytes())
        self._functions = function_ranges(self._elf)
        self._memory = memory
        self._booted = False
        self._cycle_zero = 0
        self._invalid: tuple[int, int] | None = None
        self._trap: int | None = None
        self.output = b""
        self._uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._uc.ctl_set_cpu_model(model)
        self._map_memory()
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self._counter = Counter(self._uc, timing(), memory.flash(), wait_states, strict)

    @property
    def flash_bytes(self) -> int:
        """Bytes of the firmware in flash: code, constants and the initial values of .data."""
        base, size_bytes = self._memory.flash()
        inside = (s for s in self._elf.segments if base <= s.load_address < base + size_bytes)
        return sum(len(segment.data) for segment in inside)

    def symbol(self, name: str) -> Symbol:
        """The address (Thumb bit removed) and size of a symbol of the firmware; KeyError if it has none such."""
        try:
            return self._elf.symbols[name]
        except KeyError:
            raise KeyError(f"the firmware has no symbol {name!r} among its {len(self._elf.symbols)}") from None

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of device memory."""
        try:
            return bytes(self._uc.mem_read(address, size))
        except unicorn.UcError as error:
            raise ValueError(f"cannot read {size} bytes at 0x{address:08x}: {error}") from error

    def write(self, address: int, data: bytes) -> None:
        """None; `data` is in device memory afterwards (flash too: this is the programmer's view)."""
        try:
            self._uc.mem_write(address, bytes(data))
        except unicorn.UcError as error:
            raise ValueError(f"cannot write {len(data)} bytes at 0x{address:08x}: {error}") from error

    def boot(self) -> None:
        """None; power-on: RAM holds a pattern (never zeros), then Reset_Handler runs up to `main`."""
        for name, base, size_bytes in self._memory.regions:
            if name != "flash":
                self.write(base, bytes([_PAINT]) * size_bytes)
        self._cycle_zero = 0
        self._uc.reg_write(reg.UC_ARM_REG_SP, self.symbol("__stack_top").address)
        self._run(self.symbol("Reset_Handler").address, [], [self.symbol("main").address], 1_000_000_000)
        self._booted = True

    def call(
        self, symbol: str, args: Sequence[int] = (), stages: Sequence[str] = (), max_instructions: int = 2_000_000_000
    ) -> CallResult:
        """The result of calling a function with 32-bit arguments by the AAPCS; DeviceFault if it misbehaves.

        A stage begins whenever the function of that name is entered and lasts until the next stage or the end. A call
        of tlf_port_exit ends the call, too, with the exit status as the value.
        """
        if not self._booted:
            raise RuntimeError(f"call of {symbol!r}: boot() the device first")
        entry = self.symbol(symbol).address
        stage_entries = [self.symbol(name).address for name in stages]
        limit, top = self.symbol("__stack_limit").address, self.symbol("__stack_top").address
        self.write(limit, bytes([_PAINT]) * (top - limit))
        saved = self._prepare(args, top)
        exits = [self._elf.symbols[name].address for name in ("tlf_port_exit",) if name in self._elf.symbols]
        counts = self._run(entry, stage_entries, exits, max_instructions)
        pc = self._uc.reg_read(reg.UC_ARM_REG_PC)
        if pc not in exits:
            self._check_saved(saved, symbol, entry)
        total = self._counter.state.total
        return CallResult(
            value=self._uc.reg_read(reg.UC_ARM_REG_R0),
            cycles=total.cycles,
            instructions=total.instructions,
            stages=tuple(
                StageCount(name, count.cycles, count.instructions)
                for name, count in zip(stages, counts[1:], strict=True)
            ),
            functions=self._cycles_by_function(),
            stack_bytes=(top - limit - _painted(self.read(limit, top - limit)) + 7) // 8 * 8,
            unaligned=self._counter.state.unaligned,
        )

    def canaries(self) -> tuple[tuple[int, int], ...]:
        """(address, size) of the guard bytes the linker script keeps around each arena."""
        names = [f"__tlf_canary_{region}_{side}" for region, _, _ in self._memory.regions for side in ("lo", "hi")]
        return tuple((self._elf.symbols[n].address, CANARY_BYTES) for n in names if n in self._elf.symbols)

    def paint_canaries(self, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """None; the (address, size) ranges, by default `canaries()`, hold the paint afterwards."""
        for address, size in self.canaries() if ranges is None else ranges:
            self.write(address, bytes([_PAINT]) * size)

    def check_canaries(self, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """None if every painted byte is untouched; DeviceFault names the first damaged address."""
        for address, size in self.canaries() if ranges is None else ranges:
            intact = _painted(self.read(address, size))
            if intact < size:
                pc = self._uc.reg_read(reg.UC_ARM_REG_PC)
                raise DeviceFault("guard bytes overwritten", pc, self._function(pc), address + intact)

    def _map_memory(self) -> None:
        for name, base, size_bytes in self._memory.regions:
            flags = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
            self._uc.mem_map(base, size_bytes, flags if name == "flash" else flags | unicorn.UC_PROT_WRITE)
        self._uc.mem_map(_SENTINEL, _SENTINEL_BYTES, unicorn.UC_PROT_EXEC)
        self._uc.mem_map(_SYSTEM_CONTROL, 0x1000, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mmio_map(_DWT, 0x1000, self._read_dwt, None, self._write_dwt, None)
        for segment in self._elf.segments:
            self.write(segment.load_address, segment.data)

    def _prepare(self, args: Sequence[int], top: int) -> dict[str, int]:
        """The callee-saved registers and what they hold, with arguments and stack pointer set."""
        words = [value & 0xFFFF_FFFF for value in args]
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

    def _check_saved(self, saved: dict[str, int], symbol: str, entry: int) -> None:
        for name, value in saved.items():
            if self._uc.reg_read(_SAVED.get(name, reg.UC_ARM_REG_SP)) != value:
                raise DeviceFault(f"{symbol} returned without restoring {name}", entry, symbol)

    def _run(self, entry: int, stages: list[int], stops: list[int], max_instructions: int) -> list[Count]:
        """The stage counts of a run from `entry` to the sentinel or a stop address."""
        self._invalid = self._trap = None
        self._counter.begin(stages, stops, max_instructions)
        self._uc.reg_write(reg.UC_ARM_REG_LR, _SENTINEL | 1)
        self._uc.reg_write(reg.UC_ARM_REG_XPSR, _XPSR_THUMB)  # not inside the IT block a fault may have left
        self._cycle_zero = 0
        failure = ""
        try:
            self._uc.emu_start(entry | 1, _SENTINEL)
        except unicorn.UcError as error:
            failure = str(error)
        self._raise_fault(failure, max_instructions)
        return self._counter.finish(self._uc.reg_read(reg.UC_ARM_REG_PC))

    def _raise_fault(self, failure: str, max_instructions: int) -> None:
        state = self._counter.state
        pc = self._uc.reg_read(reg.UC_ARM_REG_PC)
        if state.status == UNKNOWN_BLOCK and self._counter.failure is not None:
            raise DeviceFault(str(self._counter.failure), pc, self._function(pc)) from self._counter.failure
        if state.status == UNALIGNED:
            pc = state.code_address
            raise DeviceFault("unaligned multi-word access", pc, self._function(pc), state.fault_address)
        if state.status == OVER_LIMIT:
            raise DeviceFault(f"more than {max_instructions} instructions", pc, self._function(pc))
        if state.status == TABLE_FULL:
            raise DeviceFault("more different basic blocks than the counter has slots for", pc, self._function(pc))
        if self._trap is not None:
            raise DeviceFault(f"exception {self._trap}", pc, self._function(pc))
        if self._invalid is not None:
            kind, address = self._invalid
            raise DeviceFault(_ACCESS.get(kind, f"memory fault {kind}"), pc, self._function(pc), address)
        if failure:
            raise DeviceFault(failure, pc, self._function(pc))

    def _function(self, address: int) -> str:
        return function_at(self._functions, address)

    def _cycles_by_function(self) -> dict[str, int]:
        cycles: dict[str, int] = {}
        for address, block_cycles in self._counter.blocks():
            name = self._function(address)
            cycles[name] = cycles.get(name, 0) + block_cycles
        return dict(sorted(cycles.items(), key=lambda item: (-item[1], item[0])))

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


def _painted(data: bytes) -> int:
    """How many bytes at the start of `data` still hold the paint."""
    return len(data) - len(data.lstrip(bytes([_PAINT])))
