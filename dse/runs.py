"""What a run on a device gives: types only."""

from __future__ import annotations

from dataclasses import dataclass

from dse.ir import Array


@dataclass(frozen=True)
class StageRun:
    """Cycles one stage took."""

    name: str
    cycles: int
    instructions: int


@dataclass(frozen=True)
class RunResult:
    """What the device did. `outputs`: (samples, bytes) int8; sizes come from the ELF's symbols and segments.
    copy_wait_cycles: of `cycles`, those in which nobody worked because a copy had not ended (a cluster's DMA)."""

    device: str
    toolchain: str
    cycles: int
    instructions: int
    stages: tuple[StageRun, ...]
    outputs: Array
    bit_exact: bool
    arena_bytes: dict[str, int]
    flash_bytes: int
    stack_bytes: int
    canaries_intact: bool
    copy_wait_cycles: int = 0
