"""The address maps of the emulated boards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryMap:
    """Regions as (name, base, size in bytes). The one called "flash" is read-only and executable, others are RAM.

    On RISC-V "l1" is the banked memory of a cluster and "l2" the slow one behind it.
    """

    regions: tuple[tuple[str, int, int], ...]

    def flash(self) -> tuple[int, int]:
        """(base, size in bytes) of the flash."""
        for name, base, size_bytes in self.regions:
            if name == "flash":
                return base, size_bytes
        raise ValueError(f'a memory map needs a region "flash", got {[name for name, _, _ in self.regions]}')


STM32L476 = MemoryMap(
    (("flash", 0x0800_0000, 1 << 20), ("sram1", 0x2000_0000, 96 << 10), ("sram2", 0x1000_0000, 32 << 10))
)
STM32H743 = MemoryMap(
    (
        ("flash", 0x0800_0000, 2 << 20),
        ("itcm", 0x0000_0000, 64 << 10),
        ("dtcm", 0x2000_0000, 128 << 10),
        ("axi", 0x2400_0000, 512 << 10),
        ("sram1", 0x3000_0000, 128 << 10),
        ("sram2", 0x3002_0000, 128 << 10),
        ("sram3", 0x3004_0000, 32 << 10),
        ("sram4", 0x3800_0000, 64 << 10),
    )
)
MPS2_AN386 = MemoryMap(
    (("flash", 0x0000_0000, 4 << 20), ("sram1", 0x2000_0000, 2 << 20), ("sram2", 0x2020_0000, 2 << 20))
)
MPS2_AN500 = MemoryMap(
    (
        ("flash", 0x0000_0000, 3 << 20),
        ("itcm", 0x0030_0000, 1 << 20),
        ("dtcm", 0x2000_0000, 512 << 10),
        *(
            (name, 0x2008_0000 + (i << 19), 512 << 10)
            for i, name in enumerate(("axi", "sram1", "sram2", "sram3", "sram4"))
        ),
    )
)
ESP32C3 = MemoryMap((("flash", 0x4200_0000, 4 << 20), ("sram1", 0x3FC8_0000, 384 << 10)))
VIRT_RV32 = MemoryMap((("flash", 0x8000_0000, 4 << 20), ("sram1", 0x8040_0000, 2 << 20)))
GAP9 = MemoryMap((("l1", 0x1000_0000, 128 << 10), ("l2", 0x1C00_0000, 1536 << 10)))
