"""Blocks executed by Unicorn -> instructions and cycles, by stage and by block. The Python side of hook.c.

Flash model, used with `wait_states` > 0 (with 0 none of it is attached and it adds nothing). It runs on events, not on
averages. The sizes are those of the STM32L4's ART accelerator; the rest is assumed and not compared with silicon:

- the flash is read in 64-bit words, each taking `wait_states` cycles more than a cached one;
- instruction cache: 32 lines of 32 bytes, data cache: 8 lines of 32 bytes, both fully associative with least recently
  used replacement, each 64-bit word of a line valid on its own (a miss reads one word, not the line);
- prefetch, on the instruction side only: when a word is read from flash, the read of the next one starts right after it
  and takes wait_states + 1 cycles; a jump discards it;
- a block consumes its words evenly over its zero-wait-state cycles;
- a data read waits for its own word only: the instruction and the data side never delay one another. Its stall is
  charged to the block that issued it. Both caches are empty when a call starts.
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
from codegen.device.timing import BlockCost

SLOTS = 1 << 15
STOPPED, OVER_LIMIT, UNKNOWN_BLOCK, TABLE_FULL, UNALIGNED = 1, 2, 3, 4, 5
ROLE_STOP = 0xFFFFFFFF
_CODE_LINES = 32


class Timing(Protocol):
    """The cost of one basic block of one core."""

    LOOKAHEAD_BYTES: int

    def block(self, code: bytes, address: int, size: int) -> BlockCost: ...


class Block(ctypes.Structure):
    """`tlf_block` of hook.c."""

    _fields_ = [
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("cycles", ctypes.c_uint32),
        ("taken_cycles", ctypes.c_uint32),
        ("role", ctypes.c_uint32),
        ("mispredict_cycles", ctypes.c_uint32),
        ("predicted", ctypes.c_uint32),
        ("is_confident", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
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
        ("line", ctypes.c_uint32 * _CODE_LINES),
        ("words", ctypes.c_uint32 * _CODE_LINES),
        ("used", ctypes.c_uint64 * _CODE_LINES),
        ("clock", ctypes.c_uint64),
    ]


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
        ("wait_states", ctypes.c_uint64),
        ("flash_base", ctypes.c_uint64),
        ("flash_end", ctypes.c_uint64),
        ("prefetched_word", ctypes.c_uint64),
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

    def __init__(self, engine: Any, timing: Timing, flash: tuple[int, int], wait_states: int, strict: bool) -> None:
        self._engine, self._timing = engine, timing
        self._costs: dict[tuple[int, int], BlockCost] = {}
        self._roles: dict[int, int] = {}
        self.failure: Exception | None = None
        self._table = (Block * SLOTS)()
        self._library = _library()
        base, size = flash
        self._traps = (ctypes.c_uint8 * (size // 2))() if strict else None
        self._discover_callback = _DISCOVER(self._discover)  # kept alive with self
        state = self.state = _State()
        state.blocks, state.slots = self._table, SLOTS
        state.discover = self._discover_callback
        state.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p)
        state.read_register = ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p)
        state.write_register = ctypes.cast(uclib.uc_reg_write, ctypes.c_void_p)
        state.xpsr = UC_ARM_REG_XPSR
        state.wait_states, state.flash_base, state.flash_end = wait_states, base, base + size
        self._attach(uc_const.UC_HOOK_BLOCK, "tlf_on_block")
        if wait_states:
            self._attach(uc_const.UC_HOOK_MEM_READ, "tlf_on_flash_read", base, base + size - 1)
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

    def _reset(self) -> None:
        state = self.state
        ctypes.memset(self._table, 0, ctypes.sizeof(self._table))
        state.total, state.mark, state.code, state.data = Count(), Count(), _Cache(), _Cache()
        for cache in (state.code, state.data):
            ctypes.memset(cache.line, 0xFF, ctypes.sizeof(cache.line))
        state.prefetched_word = 0xFFFF_FFFF_FFFF_FFFF
        state.last = None
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
        block.mispredict_cycles, block.predicted = cost.mispredict_cycles, cost.predicted
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
