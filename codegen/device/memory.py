"""The address maps of the emulated boards, and what their memories and caches cost when they take time at all."""

from __future__ import annotations

from dataclasses import dataclass

from dse.target import Cache, Target, load_target


@dataclass(frozen=True)
class Area:
    """A memory that takes time: cycles to fill one unit of a cache, and of a store that goes to it."""

    base: int
    end: int
    fill_cycles: int
    store_cycles: int


@dataclass(frozen=True)
class MemoryMap:
    """Regions as (name, base, size in bytes). The one called "flash" is read-only and executable, others are RAM.

    `target` knows the caches and what the regions cost; without it every memory answers at once.
    On RISC-V "l1" is the banked memory of a cluster, "l2" the slow one behind it, "l3" external memory, for loads only.
    """

    regions: tuple[tuple[str, int, int], ...]
    target: Target | None = None

    def flash(self) -> tuple[int, int]:
        """(base, size in bytes) of the flash."""
        for name, base, size_bytes in self.regions:
            if name == "flash":
                return base, size_bytes
        raise ValueError(f'a memory map needs a region "flash", got {[name for name, _, _ in self.regions]}')

    def areas(self, wait_states: int) -> tuple[Area, ...]:
        """The memories that take time with that many flash wait states: none with 0."""
        if self.target is None or wait_states == 0:
            return ()
        fills = [(r, r.fill_cycles + r.fill_cycles_per_wait_state * wait_states) for r in self.target.regions]
        return tuple(Area(r.base, r.base + r.size_bytes, fill, r.store_cycles) for r, fill in fills if fill)

    def caches(self) -> tuple[Cache, Cache]:
        """The caches of code and data."""
        if self.target is None or self.target.code_cache is None or self.target.data_cache is None:
            raise ValueError("a memory map with wait states needs a target with caches")
        return self.target.code_cache, self.target.data_cache


def map_of(target: Target) -> MemoryMap:
    """The memory map of a target."""
    return MemoryMap(tuple((r.name, r.base, r.size_bytes) for r in target.regions), target)


STM32L476 = map_of(load_target("stm32l476"))
_H743 = load_target("stm32h743")
STM32H743 = map_of(_H743)
MPS2_AN386 = MemoryMap(
    (("flash", 0x0000_0000, 4 << 20), ("sram1", 0x2000_0000, 2 << 20), ("sram2", 0x2020_0000, 2 << 20))
)
MPS2_AN500 = MemoryMap(
    (
        ("flash", 0x0000_0000, 3 << 20),
        ("itcm", 0x0030_0000, 1 << 20),
        *((region.name, 0x2000_0000 + (i << 19), 512 << 10) for i, region in enumerate(_H743.ram())),
    )
)
ESP32C3 = MemoryMap((("flash", 0x4200_0000, 4 << 20), ("sram1", 0x3FC8_0000, 384 << 10)))
VIRT_RV32 = MemoryMap((("flash", 0x8000_0000, 4 << 20), ("sram1", 0x8040_0000, 2 << 20)))
GAP9 = MemoryMap((("l1", 0x1000_0000, 128 << 10), ("l2", 0x1C00_0000, 1536 << 10)))
