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
    """What the device did. `outputs`: (samples, bytes) int8; sizes come from the ELF's symbols and segments."""

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
