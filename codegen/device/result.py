"""What a call on an emulated device gives back: counts, or a fault."""

from __future__ import annotations

from dataclasses import dataclass, field


class DeviceFault(Exception):
    """The firmware did what the hardware or its contract forbids: `pc`, the `function` there, the data `address`."""

    def __init__(self, what: str, pc: int, function: str, address: int | None = None) -> None:
        at = "" if address is None else f" at 0x{address:08x}"
        super().__init__(f"{what}{at}, pc 0x{pc:08x} in {function}")
        self.pc, self.function, self.address = pc, function, address


@dataclass(frozen=True)
class StageCount:
    """What ran from a stage's entry to the next stage's, over all its visits."""

    name: str
    cycles: int
    instructions: int


@dataclass(frozen=True)
class CoreCount:
    """One core of a cluster during a call, in cycles: asleep (barrier, no work), waiting for TCDM banks, for
    instructions, for L2 or a second word; the rest it executed. `cycles` is the whole call, the same for every core;
    copy_wait_cycles the part of asleep_cycles that a copy under way caused.
    """

    cycles: int
    instructions: int
    asleep_cycles: int
    bank_cycles: int
    fetch_cycles: int
    memory_cycles: int
    copy_wait_cycles: int = 0


@dataclass(frozen=True)
class CallResult:
    """One call: r0, totals, counts by stage (in the order asked), cycles by function, deepest stack use
    (down to the lowest byte written, rounded up to 8).

    Time before the first stage is in the totals only. `unaligned` counts unaligned loads and stores, each of which
    costs hardware 1 or 2 cycles that are not in `cycles`; it is 0 unless the device is strict. On a cluster `cycles`
    are those of the called core, `instructions` and `functions` sum over all cores (time asleep belongs to no
    function), `stack_bytes` is the deepest stack, and `cores` has one entry a core. Misses are those of the
    caches, 0 without wait states; `code_lines` are the lines of the code cache that each function ran.
    """

    value: int
    cycles: int
    instructions: int
    stages: tuple[StageCount, ...]
    functions: dict[str, int]
    stack_bytes: int
    unaligned: int = 0
    code_misses: int = 0
    data_misses: int = 0
    cores: tuple[CoreCount, ...] = ()
    code_lines: dict[str, int] = field(default_factory=dict)
