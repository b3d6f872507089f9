"""What a Device asks of the engine that executes its processor: ARM on Unicorn (arm.py), RISC-V on rv32/ (riscv.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from codegen.device.elf import Elf
from codegen.device.memory import MemoryMap
from codegen.device.result import CoreCount

SENTINEL = 0x1FFF_0000  # where a called function returns to; no memory of any board
SENTINEL_BYTES = 0x1000
WORD = 0xFFFF_FFFF


@dataclass(frozen=True)
class Setup:
    """What an engine is made from. `locate` names the function at an address."""

    elf: Elf
    memory: MemoryMap
    locate: Callable[[int], str]
    wait_states: int
    strict: bool


@dataclass(frozen=True)
class Run:
    """One run: where it ended and why it is believed.

    `pc` where it stopped, `value` the result register, `stages` (cycles, instructions) before the first stage and of
    each, `addresses` (address, cycles) of everything executed, `clobbered` the first callee-saved register that does
    not hold what it held, `code` (address, bytes) of every block executed (Cortex-M).
    """

    pc: int
    value: int
    cycles: int
    instructions: int
    stages: tuple[tuple[int, int], ...]
    addresses: tuple[tuple[int, int], ...]
    clobbered: str | None
    unaligned: int = 0
    code_misses: int = 0
    data_misses: int = 0
    cores: tuple[CoreCount, ...] = ()
    code: tuple[tuple[int, int], ...] = ()


class Engine(Protocol):
    """A processor with its memory."""

    START: str  # the symbol where power-on begins
    output: bytes  # what the firmware wrote by semihosting
    workers: int  # cores besides the one that is called

    @property
    def pc(self) -> int: ...

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def boot(self, entry: int, stop: int, stack_top: int, max_instructions: int) -> None:
        """None; power-on at `entry` until `stop`. DeviceFault if it does not get there."""

    def call(
        self,
        entry: int,
        args: Sequence[int],
        stack_top: int,
        stages: Sequence[int],
        stops: Sequence[int],
        max_instructions: int,
    ) -> Run:
        """The run of the function at `entry` by the C calling convention; DeviceFault if it faults."""
