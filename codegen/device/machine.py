"""A firmware ELF on an emulated microcontroller: call its functions, count cycles by stage and function, catch faults.

What every processor shares is here: symbols, boot, stack, guard bytes. An engine executes: arm.py or riscv.py, chosen
by the table in cores.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codegen.device.cores import make_engine
from codegen.device.elf import Symbol, function_at, function_ranges, parse_elf
from codegen.device.engine import Run, Setup
from codegen.device.memory import STM32L476, MemoryMap
from codegen.device.result import CallResult, DeviceFault, StageCount

CANARY_BYTES = 32
_PAINT = 0xA5
_BOOT_INSTRUCTIONS = 1_000_000_000


class Device:
    """An emulated microcontroller that holds one firmware. `boot` it, then `call` its functions.

    `wait_states` > 0 adds the memories and caches of counter.py (Cortex-M). `strict` faults on unaligned LDM, STM, LDRD,
    STRD, VLDR and the like, as hardware does, and counts other unaligned accesses; it is several times slower. A RISC-V
    core always charges for them and is always exact.
    """

    def __init__(
        self,
        elf: Path | bytes,
        cpu: str = "cortex-m4",
        memory: MemoryMap = STM32L476,
        wait_states: int = 0,
        strict: bool = False,
    ) -> None:
        self._elf = parse_elf(elf if isinstance(elf, bytes) else elf.read_bytes())
        self._functions = function_ranges(self._elf)
        self._memory = memory
        self._booted = False
        self._engine = make_engine(cpu, Setup(self._elf, memory, self._function, wait_states, strict))
        self._load()

    @property
    def output(self) -> bytes:
        """What the firmware wrote by semihosting, from power-on."""
        return self._engine.output

    @property
    def flash_bytes(self) -> int:
        """Bytes of the firmware in non-volatile memory: code, constants and the initial values of .data."""
        spans = {name: (base, base + size_bytes) for name, base, size_bytes in self._memory.regions}
        first, end = spans.get("flash", (0, 1 << 32))  # without flash the whole image is loaded from outside,
        external = range(*spans.get("l3", (0, 0)))  # but for what lies behind it
        inside = [s for s in self._elf.segments if first <= s.load_address < end and s.load_address not in external]
        return sum(len(segment.data) for segment in inside)

    def symbol(self, name: str) -> Symbol:
        """The address (Thumb bit removed) and size of a symbol of the firmware; KeyError if it has none such."""
        try:
            return self._elf.symbols[name]
        except KeyError:
            raise KeyError(f"the firmware has no symbol {name!r} among its {len(self._elf.symbols)}") from None

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of device memory."""
        return self._engine.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """None; `data` is in device memory afterwards (flash too: this is the programmer's view)."""
        self._engine.write(address, bytes(data))

    def boot(self) -> None:
        """None; power-on: RAM holds a pattern (never zeros), then the start-up code runs up to `main`."""
        for name, base, size_bytes in self._memory.regions:
            if name != "flash":
                self.write(base, bytes([_PAINT]) * size_bytes)
        self._load()
        start, main = self.symbol(self._engine.START).address, self.symbol("main").address
        self._engine.boot(start, main, self.symbol("__stack_top").address, _BOOT_INSTRUCTIONS)
        self._booted = True

    def call(
        self, symbol: str, args: Sequence[int] = (), stages: Sequence[str] = (), max_instructions: int = 2_000_000_000
    ) -> CallResult:
        """The result of calling a function with 32-bit arguments by the C convention; DeviceFault if it misbehaves.

        A stage begins whenever the function of that name is entered and lasts until the next stage or the end. A call
        of tlf_port_exit ends the call, too, with the exit status as the value.
        """
        if not self._booted:
            raise RuntimeError(f"call of {symbol!r}: boot() the device first")
        entry = self.symbol(symbol).address
        stage_entries = [self.symbol(name).address for name in stages]
        stacks = self._stacks()
        for limit, top in stacks:
            self.write(limit, bytes([_PAINT]) * (top - limit))
        exits = [self._elf.symbols[name].address for name in ("tlf_port_exit",) if name in self._elf.symbols]
        run = self._engine.call(entry, args, stacks[0][1], stage_entries, exits, max_instructions)
        if run.pc not in exits and run.clobbered is not None:
            raise DeviceFault(f"{symbol} returned without restoring {run.clobbered}", entry, symbol)
        return CallResult(
            value=run.value,
            cycles=run.cycles,
            instructions=run.instructions,
            stages=tuple(StageCount(name, *count) for name, count in zip(stages, run.stages[1:], strict=True)),
            functions=self._cycles_by_function(run),
            stack_bytes=max(self._depth(limit, top) for limit, top in stacks),
            unaligned=run.unaligned,
            cores=run.cores,
            code_misses=run.code_misses,
            data_misses=run.data_misses,
            code_lines=self._lines_by_function(run),
        )

    def canaries(self) -> tuple[tuple[int, int], ...]:
        """(address, size) of the guard bytes the linker script keeps around each arena."""
        symbols = self._elf.symbols
        names = [name for name in symbols if name.startswith("__tlf_canary_") and name.endswith(("_lo", "_hi"))]
        return tuple(sorted((symbols[name].address, CANARY_BYTES) for name in names))

    def paint_canaries(self, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """None; the (address, size) ranges, by default `canaries()`, hold the paint afterwards."""
        for address, size in self.canaries() if ranges is None else ranges:
            self.write(address, bytes([_PAINT]) * size)

    def check_canaries(self, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """None if every painted byte is untouched; DeviceFault names the first damaged address."""
        for address, size in self.canaries() if ranges is None else ranges:
            intact = _painted(self.read(address, size))
            if intact < size:
                pc = self._engine.pc
                raise DeviceFault("guard bytes overwritten", pc, self._function(pc), address + intact)

    def _load(self) -> None:
        for segment in self._elf.segments:
            self.write(segment.load_address, segment.data)

    def _stacks(self) -> list[tuple[int, int]]:
        """(limit, top) of the called core's stack, then of each worker's."""
        stacks = [(self.symbol("__stack_limit").address, self.symbol("__stack_top").address)]
        if workers := self._engine.workers:
            limit, top = self.symbol("__worker_stacks_limit").address, self.symbol("__worker_stacks_top").address
            size = (top - limit) // workers
            stacks += [(limit + i * size, limit + (i + 1) * size) for i in range(workers)]
        return stacks

    def _depth(self, limit: int, top: int) -> int:
        return (top - limit - _painted(self.read(limit, top - limit)) + 7) // 8 * 8

    def _function(self, address: int) -> str:
        return function_at(self._functions, address)

    def _cycles_by_function(self, run: Run) -> dict[str, int]:
        cycles: dict[str, int] = {}
        for address, spent in run.addresses:
            name = self._function(address)
            cycles[name] = cycles.get(name, 0) + spent
        return dict(sorted(cycles.items(), key=lambda item: (-item[1], item[0])))

    def _lines_by_function(self, run: Run) -> dict[str, int]:
        target = self._memory.target
        if target is None or target.code_cache is None:
            return {}
        lines: dict[str, set[int]] = {}
        for address, size in run.code:
            last = (address + size - 1) // target.code_cache.line_bytes
            found = range(address // target.code_cache.line_bytes, last + 1)
            lines.setdefault(self._function(address), set()).update(found)
        return {name: len(found) for name, found in lines.items()}


def _painted(data: bytes) -> int:
    """How many bytes at the start of `data` still hold the paint."""
    return len(data) - len(data.lstrip(bytes([_PAINT])))
