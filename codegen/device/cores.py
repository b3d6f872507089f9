"""The processors there are: name -> the engine that executes it. A new one is one entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unicorn import arm_const

from codegen.device.arm import ArmEngine
from codegen.device.engine import Engine, Setup
from codegen.device.riscv import RiscvEngine
from codegen.device.timing_m4 import M4Timing
from codegen.device.timing_m7 import M7Timing
from codegen.device.timing_rv32 import CV32E40P, GAP9_CLUSTER, RI5CY

CORES: Mapping[str, Callable[[Setup], Engine]] = {
    "cortex-m4": lambda setup: ArmEngine(setup, arm_const.UC_CPU_ARM_CORTEX_M4, M4Timing()),
    "cortex-m7": lambda setup: ArmEngine(setup, arm_const.UC_CPU_ARM_CORTEX_M7, M7Timing()),
    "rv32imc": lambda setup: RiscvEngine(setup, CV32E40P),
    "ri5cy": lambda setup: RiscvEngine(setup, RI5CY),
    "gap9": lambda setup: RiscvEngine(setup, GAP9_CLUSTER),
}


def make_engine(cpu: str, setup: Setup) -> Engine:
    """The engine of that processor; ValueError names those there are."""
    if cpu not in CORES:
        raise ValueError(f"cpu {cpu!r} has no timing model: allowed are {', '.join(CORES)}")
    return CORES[cpu](setup)
