"""Emulated devices: firmware ELF -> bytes, cycles and faults."""

from codegen.device.elf import ElfError, Symbol
from codegen.device.machine import Device
from codegen.device.memory import MPS2_AN386, MPS2_AN500, STM32H743, STM32L476, MemoryMap
from codegen.device.qemu import QemuError, find_qemu, run_qemu
from codegen.device.result import CallResult, DeviceFault, StageCount

__all__ = [
    "MPS2_AN386",
    "MPS2_AN500",
    "STM32H743",
    "STM32L476",
    "CallResult",
    "Device",
    "DeviceFault",
    "ElfError",
    "MemoryMap",
    "QemuError",
    "StageCount",
    "Symbol",
    "find_qemu",
    "run_qemu",
]
