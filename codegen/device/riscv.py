"""The RISC-V engine: the Python side of rv32/, an RV32IMC + XpulpV2 machine of one or more cores."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codegen.build import build_shared
from codegen.device.elf import Elf
from codegen.device.engine import SENTINEL, WORD, Run, Setup
from codegen.device.result import CoreCount, DeviceFault
from codegen.device.timing_rv32 import Rv32Core

_SOURCES = Path(__file__).with_name("rv32")
_STOPPED, _SEMIHOST = 1, 9
_WHAT = {
    3: "illegal instruction",
    4: "read outside mapped memory",
    5: "write outside mapped memory",
    6: "write to read-only memory",
    7: "jump into memory without code",
    8: "exception",
    10: "every core sleeps and nothing can wake one",
    11: "DMA transfer outside L1 and L2, of zero bytes, or one too many",
}
_WITH_ADDRESS = (4, 5, 6, 7, 11)
_KINDS = {"flash": 0, "l1": 2, "l2": 3, "l2_data": 3, "l3": 4}
_RAM, _L2 = 1, 3
_MARK_STOP = 0xFFFF
_AWAKE, _HALTED = 0, 3
_SEMIHOST_WRITE0, _MAX_TEXT_BYTES = 4, 4096
_SP, _RA, _A0, _ARGUMENTS = 2, 1, 10, 8
_SAVED = {"gp": 3, "tp": 4, "s0": 8, "s1": 9} | {f"s{i}": i + 16 for i in range(2, 12)}
_INSN = np.dtype(
    [
        ("op", "<u2"),
        ("mark", "<u2"),
        ("imm", "<i4"),
        ("registers", "u1", 3),
        ("size", "u1"),
        ("detail", "u1", 4),
        ("spent", "<u8"),
    ]
)
_CONFIG = tuple(f.name for f in fields(Rv32Core) if f.name not in ("caller", "l2_cycles"))  # the order of rv_config


class _View(ctypes.Structure):
    """`rv_view` of rv32.h."""

    _fields_ = [
        ("time", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64),
        ("asleep", ctypes.c_uint64),
        ("copy_waits", ctypes.c_uint64),
        ("bank_stalls", ctypes.c_uint64),
        ("fetch_stalls", ctypes.c_uint64),
        ("memory_stalls", ctypes.c_uint64),
        ("x", ctypes.c_uint32 * 32),
        ("pc", ctypes.c_uint32),
        ("state", ctypes.c_uint32),
    ]


class RiscvEngine:
    """The machine that `core` describes, with the memory of the board."""

    START = "_start"

    def __init__(self, setup: Setup, core: Rv32Core) -> None:
        if setup.wait_states:
            raise ValueError("the RISC-V devices have no flash model: wait_states must be 0")
        self._core, self._locate = core, setup.locate
        self.workers = core.cores - 1
        self.output = b""
        self._library = _library()
        self._state = (ctypes.c_uint64 * (self._library.tlf_rv32_bytes() // 8 + 1))()
        self._code_base, self._table = _code_table(setup.elf)
        self._memory = [(base, np.zeros(size, np.uint8)) for _, base, size in setup.memory.regions]
        self._names = [name for name, _, _ in setup.memory.regions]
        self._power_on()
        self._views = [self._library.tlf_rv32_core(self._state, index).contents for index in range(core.cores)]
        self._caller = self._views[core.caller]
        self._stuck = False

    @property
    def pc(self) -> int:
        """The program counter of the called core."""
        return int(self._caller.pc)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory; ValueError outside of it."""
        return self._span(address, size, "read").tobytes()

    def write(self, address: int, data: bytes) -> None:
        """None; `data` is in memory afterwards, decoded code forgotten. ValueError outside of it."""
        self._span(address, len(data), "write")[:] = np.frombuffer(data, np.uint8)
        if address < self._code_base + 2 * len(self._table) and address + len(data) > self._code_base:
            self._table["size"] = 0

    def _power_on(self) -> None:
        """None; registers, queues, caches and clocks are as after reset; memory keeps what it holds."""
        library, state, core = self._library, self._state, self._core
        ctypes.memset(state, 0, ctypes.sizeof(state))
        config = (ctypes.c_uint32 * len(_CONFIG))(*(int(getattr(core, name)) for name in _CONFIG))
        code = self._table.ctypes.data_as(ctypes.c_void_p)
        library.tlf_rv32_init(state, config, code, self._code_base, 2 * len(self._table))
        for name, (base, data) in zip(self._names, self._memory, strict=True):
            kind, cycles = _KINDS.get(name, _RAM), core.l2_cycles if _KINDS.get(name) == _L2 else 1
            library.tlf_rv32_region(state, data.ctypes.data_as(ctypes.c_void_p), base, len(data), kind, cycles)

    def boot(self, entry: int, stop: int, stack_top: int, max_instructions: int) -> None:
        """None; every core starts at `entry`; the called one runs until `stop`, the others until they sleep."""
        self._power_on()
        self._stuck = False
        for view in self._views:
            view.pc, view.state = entry, _AWAKE
        self._caller.x[_SP] = stack_top
        self.output = b""
        self._run([], [stop], max_instructions)

    def call(
        self,
        entry: int,
        args: Sequence[int],
        stack_top: int,
        stages: Sequence[int],
        stops: Sequence[int],
        max_instructions: int,
    ) -> Run:
        """The run of the function at `entry` by the ILP32 calling convention."""
        if self._stuck:
            raise RuntimeError("a fault stopped the cores of the cluster where they were: boot() it again")
        saved = self._prepare(entry, args, stack_top)
        counts, begun = self._run(stages, stops, max_instructions)
        clobbered = (name for name, (index, value) in saved.items() if self._caller.x[index] != value)
        used = np.flatnonzero(self._table["spent"])
        addresses = self._code_base + 2 * used
        cores = tuple(self._count(view, begun) for view in self._counted)
        total = self._counted[self._core.caller].time - begun
        return Run(
            pc=self.pc,
            value=int(self._caller.x[_A0]),
            cycles=total,
            instructions=sum(core.instructions for core in cores),
            stages=counts,
            addresses=tuple(zip(addresses.tolist(), self._table["spent"][used].tolist(), strict=True)),
            clobbered=next(clobbered, None),
            cores=cores if self.workers else (),
        )

    def _count(self, view: _View, begun: int) -> CoreCount:
        cycles = self._counted[self._core.caller].time - begun
        stalls = (view.asleep, view.bank_stalls, view.fetch_stalls, view.memory_stalls, view.copy_waits)
        return CoreCount(cycles, view.instructions, *stalls)

    def _prepare(self, entry: int, args: Sequence[int], top: int) -> dict[str, tuple[int, int]]:
        """The callee-saved registers (index, value), with arguments and stack pointer set."""
        x = self._caller.x
        words = [value & WORD for value in args]
        stacked = words[_ARGUMENTS:]
        sp = top - (4 * len(stacked) + 15) // 16 * 16
        self.write(sp, b"".join(word.to_bytes(4, "little") for word in stacked))
        for index, word in enumerate(words[:_ARGUMENTS]):
            x[_A0 + index] = word
        saved = {name: (index, 0xC0DE_0000 + index) for name, index in _SAVED.items()} | {"sp": (_SP, sp)}
        for index, value in saved.values():
            x[index] = value
        x[_RA] = SENTINEL
        self._caller.pc = entry
        return saved

    def _run(
        self, stages: Sequence[int], stops: Sequence[int], max_instructions: int
    ) -> tuple[tuple[tuple[int, int], ...], int]:
        """(cycles, instructions) before the first stage and of each, and the clock when the run began."""
        table = self._table
        table["mark"], table["spent"] = 0, 0
        for mark, at in [*((i + 1, a) for i, a in enumerate(stages)), *((_MARK_STOP, a) for a in stops)]:
            table["mark"][(at - self._code_base) // 2] = mark
        cycles, instructions = ((ctypes.c_uint64 * (len(stages) + 1))() for _ in range(2))
        library = self._library
        library.tlf_rv32_begin(self._state, self._core.caller, SENTINEL, cycles, instructions, max_instructions)
        begun = int(self._caller.time)
        fault, address = ctypes.c_uint32(), ctypes.c_uint32()
        while (status := library.tlf_rv32_run(self._state, fault, address)) == _SEMIHOST:
            self._serve(fault.value)
        if status != _STOPPED:
            self._fault(status, fault.value, address.value, max_instructions)
        library.tlf_rv32_finish(self._state)
        self._counted = [_View.from_buffer_copy(view) for view in self._views]
        library.tlf_rv32_settle(self._state)
        return tuple(zip(cycles, instructions, strict=True)), begun

    def _fault(self, status: int, core: int, address: int, max_instructions: int) -> None:
        self._stuck = self.workers > 0
        pc = int(self._views[core].pc)
        what = _WHAT.get(status, f"more than {max_instructions} instructions")
        where = self._locate(pc) + (f" on core {core}" if self.workers else "")
        raise DeviceFault(what, pc, where, address if status in _WITH_ADDRESS else None)

    def _serve(self, core: int) -> None:
        """None; semihosting SYS_WRITE0 appends to `output`, anything else is a fault."""
        view = self._views[core]
        if view.x[_A0] != _SEMIHOST_WRITE0:
            self._fault(8, core, 0, 0)
        text = bytearray()
        while len(text) < _MAX_TEXT_BYTES and (byte := self.read(view.x[_A0 + 1] + len(text), 1)[0]):
            text.append(byte)
        self.output += bytes(text)
        self._library.tlf_rv32_resume(self._state, core, view.pc + 4)

    def _span(self, address: int, size: int, verb: str) -> npt.NDArray[np.uint8]:
        for base, data in self._memory:
            if base <= address and address + size <= base + len(data):
                return data[address - base : address - base + size]
        raise ValueError(f"cannot {verb} {size} bytes at 0x{address:08x}: outside the board's memories")


def _code_table(elf: Elf) -> tuple[int, npt.NDArray[Any]]:
    """The lowest address of code, and one zeroed entry for every halfword from there to the last."""
    spans = [(s.load_address, s.load_address + len(s.data)) for s in elf.segments if s.is_executable]
    if not spans:
        raise ValueError("the firmware has no executable segment")
    base, end = min(first for first, _ in spans) & ~1, max(last for _, last in spans)
    return base, np.zeros((end - base + 1) // 2, _INSN)


@functools.cache
def _library() -> Any:
    flags = ["-fno-builtin"]
    if sys.platform == "linux":
        flags.append("-nostdlib")  # saves zig building its runtime library, 4 s on a fresh machine
    path = build_shared(sorted(_SOURCES.glob("*.c")), "rv32", [_SOURCES], flags=flags)
    library = ctypes.CDLL(str(path))
    pointer, word, wide = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    library.tlf_rv32_bytes.restype = wide
    library.tlf_rv32_init.argtypes = [pointer, pointer, pointer, word, word]
    library.tlf_rv32_region.argtypes = [pointer, pointer, word, word, word, word]
    library.tlf_rv32_core.argtypes = [pointer, word]
    library.tlf_rv32_core.restype = ctypes.POINTER(_View)
    library.tlf_rv32_begin.argtypes = [pointer, word, word, pointer, pointer, wide]
    library.tlf_rv32_run.argtypes = [pointer, ctypes.POINTER(word), ctypes.POINTER(word)]
    library.tlf_rv32_run.restype = word
    library.tlf_rv32_resume.argtypes = [pointer, word, word]
    library.tlf_rv32_finish.argtypes = library.tlf_rv32_settle.argtypes = [pointer]
    return library
