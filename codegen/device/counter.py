"""Blocks executed by Unicorn -> instructions and cycles, by stage and by block. The Python side of hook.c.

Memory model, used with `wait_states` > 0 (with 0 none of it is attached and it adds nothing). It runs on events, not on
averages: every fetch of code and every access to a memory that takes time goes through a cache. Sizes, ways, lines and
latencies are those of the target file; the rest is assumed and not compared with silicon:

- caches are set-associative with least recently used replacement and empty when a call starts. A miss waits for one
  unit (`fill_bytes`) of its line: the ART accelerator of the L4 reads one 64-bit word, the Cortex-M7 the whole line;
- prefetch, on the instruction side only: when a unit is read from memory, the read of the next one starts right after
  it and takes as long plus 1 cycle; a jump discards it;
- a block consumes its units evenly over its zero-wait-state cycles;
- a data access waits for its own unit only: the instruction and the data side never delay one another, and a fill
  hides behind nothing. Its stall is charged to the block that issued it;
- stores: with write-back they fetch a missing line and make it dirty, and a dirty line that is replaced costs the
  `store_cycles` of the memory that is being read; else every store costs `store_cycles` and fetches nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from unicorn import unicorn_const as uc_const
from unicorn.arm_const import UC_ARM_REG_XPSR
from unicorn.unicorn_py3.unicorn import uclib

from codegen.build import build_shared
from codegen.device.memory import MemoryMap
from codegen.device.timing import BlockCost
from dse.target import MOST_LINES, Cache

SLOTS = 1 << 15
STOPPED, OVER_LIMIT, UNKNOWN_BLOCK, TABLE_FULL, UNALIGNED = 1, 2, 3, 4, 5
ROLE_STOP = 0xFFFFFFFF
_MOST_AREAS = 8


class Timing(Protocol):
    """The cost of one basic block of one core."""

    LOOKAHEAD_BYTES: int

    def block(self, code: bytes, address: int, size: int) -> BlockCost: ...


class _Branch(ctypes.Structure):
    _fields_ = [("predicted", ctypes.c_uint32), ("is_confident", ctypes.c_uint32)]


class Block(ctypes.Structure):
    """`tlf_block` of hook.c."""

    _fields_ = [
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("cycles", ctypes.c_uint32),
        ("taken_cycles", ctypes.c_uint32),
        ("role", ctypes.c_uint32),
        ("mispredict_cycles", ctypes.c_uint64),
        ("branch", ctypes.POINTER(_Branch)),
        ("late", ctypes.c_char_p),
        ("early", ctypes.c_char_p),
        ("runs", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("stall_cycles", ctypes.c_uint64),
    ]


class Count(ctypes.Structure):
    """`tlf_count` of hook.c."""

    _fields_ = [("cycles", ctypes.c_uint64), ("instructions", ctypes.c_uint64)]


class _Cache(ctypes.Structure):
    _fields_ = [
        ("lines", ctypes.c_uint64),
        ("ways", ctypes.c_uint64),
        ("line_bytes", ctypes.c_uint64),
        ("fill_bytes", ctypes.c_uint64),
        ("prefetches", ctypes.c_uint64),
        ("writes_back", ctypes.c_uint64),
        ("misses", ctypes.c_uint64),
        ("evictions", ctypes.c_uint64),
        ("clock", ctypes.c_uint64),
        ("line", ctypes.c_uint32 * MOST_LINES),
        ("state", ctypes.c_uint32 * MOST_LINES),
        ("used", ctypes.c_uint64 * MOST_LINES),
    ]

    def configure(self, cache: Cache) -> None:
        """None; it is that cache afterwards, empty."""
        ctypes.memset(ctypes.byref(self), 0, ctypes.sizeof(self))
        ctypes.memset(self.line, 0xFF, ctypes.sizeof(self.line))
        self.lines, self.ways = cache.size_bytes // cache.line_bytes, cache.ways
        self.line_bytes, self.fill_bytes = cache.line_bytes, cache.fill_bytes
        self.prefetches, self.writes_back = cache.prefetch, cache.write_back


class _Area(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("base", "end", "fill_cycles", "store_cycles")]


_DISCOVER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Block))


class _State(ctypes.Structure):
    _fields_ = [
        ("blocks", ctypes.POINTER(Block)),
        ("slots", ctypes.c_uint64),
        ("blocks_used", ctypes.c_uint64),
        ("last", ctypes.c_void_p),
        ("total", Count),
        ("mark", Count),
        ("stages", ctypes.POINTER(Count)),
        ("stage", ctypes.c_uint64),
        ("max_instructions", ctypes.c_uint64),
        ("discover", _DISCOVER),
        ("stop", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("write_register", ctypes.c_void_p),
        ("xpsr", ctypes.c_int64),
        ("status", ctypes.c_uint64),
        ("area_count", ctypes.c_uint64),
        ("areas", _Area * _MOST_AREAS),
        ("prefetched_unit", ctypes.c_uint64),
        ("prefetch_done", ctypes.c_uint64),
        ("code", _Cache),
        ("data", _Cache),
        ("traps", ctypes.POINTER(ctypes.c_uint8)),
        ("traps_base", ctypes.c_uint64),
        ("traps_count", ctypes.c_uint64),
        ("code_address", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("stepped", ctypes.c_uint64),
        ("unaligned", ctypes.c_uint64),
    ]


class Counter:
    """The counters of one emulator instance; `begin`, run, `finish`, then read `state` and `blocks()`."""

    def __init__(self, engine: Any, timing: Timing, memory: MemoryMap, wait_states: int, strict: bool) -> None:
        self._engine, self._timing = engine, timing
        self._costs: dict[tuple[int, int], BlockCost] = {}
        self._roles: dict[int, int] = {}
        self.failure: Exception | None = None
        self._table = (Block * SLOTS)()
        self._library = _library()
        base, size = memory.flash()
        self._traps = (ctypes.c_uint8 * (size // 2))() if strict else None
        self._discover_callback = _DISCOVER(self._discover)  # kept alive with self
        state = self.state = _State()
        state.blocks, state.slots = self._table, SLOTS
        state.discover = self._discover_callback
        state.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p)
        state.read_register = ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p)
        state.write_register = ctypes.cast(uclib.uc_reg_write, ctypes.c_void_p)
        state.xpsr = UC_ARM_REG_XPSR
        self._attach(uc_const.UC_HOOK_BLOCK, "tlf_on_block")
        areas = memory.areas(wait_states)
        self._caches = memory.caches() if areas else None
        state.area_count = len(areas)
        for index, area in enumerate(areas):
            state.areas[index] = _Area(area.base, area.end, area.fill_cycles, area.store_cycles)
            accesses = uc_const.UC_HOOK_MEM_READ | uc_const.UC_HOOK_MEM_WRITE
            self._attach(accesses, "tlf_on_area_access", area.base, area.end - 1)
        if self._traps is not None:
            state.traps, state.traps_base, state.traps_count = self._traps, base, len(self._traps)
            self._attach(uc_const.UC_HOOK_CODE, "tlf_on_instruction")
            self._attach(uc_const.UC_HOOK_MEM_READ | uc_const.UC_HOOK_MEM_WRITE, "tlf_on_access")

    def begin(self, stage_addresses: list[int], stop_addresses: list[int], max_instructions: int) -> None:
        """None; all counts are zero afterwards. Stage i + 1 starts at stage_addresses[i]."""
        self._roles = {address: index + 1 for index, address in enumerate(stage_addresses)}
        self._roles |= dict.fromkeys(stop_addresses, ROLE_STOP)
        self._stages = (Count * (len(stage_addresses) + 1))()
        self.state.stages = self._stages
        self.state.max_instructions = max_instructions
        self._seen: list[Block] = []
        self.failure = None
        self._reset()

    def finish(self, address: int) -> list[Count]:
        """The counts before the first stage, then of each stage, of a run that ended by going to `address`."""
        self._library.tlf_counter_finish(ctypes.byref(self.state), ctypes.c_uint32(address))
        return list(self._stages)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(address, cycles) of every executed block."""
        for block in self._seen:
            if block.runs:
                yield block.address, block.runs * block.cycles + block.taken * block.taken_cycles + block.stall_cycles

    def code(self) -> Iterator[tuple[int, int]]:
        """(address, bytes) of every executed block."""
        return ((block.address, block.size) for block in self._seen if block.runs)

    def _reset(self) -> None:
        state = self.state
        ctypes.memset(self._table, 0, ctypes.sizeof(self._table))
        state.total, state.mark = Count(), Count()
        if self._caches is not None:
            state.code.configure(self._caches[0])
            state.data.configure(self._caches[1])
        state.prefetched_unit = 0xFFFF_FFFF_FFFF_FFFF
        state.last = None
        self._branches: dict[int, _Branch] = {}
        state.blocks_used = state.stage = state.status = state.stepped = state.unaligned = 0

    def _attach(self, kind: int, callback: str, begin: int = 1, end: int = 0) -> None:
        handle = ctypes.c_size_t()
        function = ctypes.cast(getattr(self._library, callback), ctypes.c_void_p)
        error = uclib.uc_hook_add(
            self._engine._uch,  # the binding has no public way to attach a C function
            ctypes.byref(handle),
            kind,
            function,
            ctypes.cast(ctypes.pointer(self.state), ctypes.c_void_p),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
        )
        if error:
            raise RuntimeError(f"unicorn refused the hook {callback}: error {error}")

    def _discover(self, pointer: Any) -> int:
        block = pointer.contents
        try:
            cost = self._cost(block.address, block.size)
        except Exception as error:  # an exception must not cross the C frames: `failure` carries it
            self.failure = error
            return 1
        block.instructions, block.cycles, block.taken_cycles = cost.instructions, cost.cycles, cost.taken_cycles
        if cost.mispredict_cycles:
            end = block.address + block.size  # blocks that end with the same branch share its prediction
            branch = self._branches.setdefault(end, _Branch(cost.predicted, 0))
            block.mispredict_cycles, block.branch = cost.mispredict_cycles, ctypes.pointer(branch)
        block.late, block.early = cost.late or None, cost.early or None  # kept alive by the cost
        block.role = self._roles.get(block.address, 0)
        self._seen.append(block)
        return 0

    def _cost(self, address: int, size: int) -> BlockCost:
        key = (address, size)
        if key not in self._costs:
            code = bytes(self._engine.mem_read(address, size))
            with contextlib.suppress(Exception):  # the memory may end with the block
                code += bytes(self._engine.mem_read(address + size, self._timing.LOOKAHEAD_BYTES))
            self._costs[key] = cost = self._timing.block(code, address, size)
            if self._traps is not None:
                for trap in cost.unaligned_faults:
                    if 0 <= (index := (trap - self.state.traps_base) // 2) < len(self._traps):
                        self._traps[index] = 1
        return self._costs[key]


@functools.cache
def _library() -> Any:
    flags = ["-fno-builtin"]
    if sys.platform == "linux":
        flags.append("-nostdlib")  # saves zig building its runtime library, 4 s on a fresh machine
    return ctypes.CDLL(str(build_shared([Path(__file__).with_name("hook.c")], "device_hook", flags=flags)))
