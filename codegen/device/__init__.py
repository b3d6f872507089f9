"""Emulated devices: firmware ELF -> bytes, cycles and faults."""

from codegen.device.elf import ElfError, Symbol
from codegen.device.machine import Device
from codegen.device.memory import (
    ESP32C3,
    GAP9,
    MPS2_AN386,
    MPS2_AN500,
    STM32H743,
    STM32L476,
    VIRT_RV32,
    MemoryMap,
    map_of,
)
from codegen.device.qemu import QemuError, find_qemu, run_qemu
from codegen.device.result import CallResult, CoreCount, DeviceFault, StageCount

__all__ = [
    "ESP32C3",
    "GAP9",
    "MPS2_AN386",
    "MPS2_AN500",
    "STM32H743",
    "STM32L476",
    "VIRT_RV32",
    "CallResult",
    "CoreCount",
    "Device",
    "DeviceFault",
    "ElfError",
    "MemoryMap",
    "QemuError",
    "StageCount",
    "Symbol",
    "find_qemu",
    "map_of",
    "run_qemu",
]
