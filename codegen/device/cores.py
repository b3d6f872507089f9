"""The processors there are: name -> the engine that executes it, imported when one is made. A new one is one entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codegen.device.engine import Engine, Setup
from codegen.device.timing_rv32 import CV32E40P, GAP9_CLUSTER, RI5CY, Rv32Core


def _cortex_m4(setup: Setup) -> Engine:
    from unicorn import arm_const

    from codegen.device.arm import ArmEngine
    from codegen.device.timing_m4 import M4Timing

    return ArmEngine(setup, arm_const.UC_CPU_ARM_CORTEX_M4, M4Timing())


def _cortex_m7(setup: Setup) -> Engine:
    from unicorn import arm_const

    from codegen.device.arm import ArmEngine
    from codegen.device.timing_m7 import M7Timing

    return ArmEngine(setup, arm_const.UC_CPU_ARM_CORTEX_M7, M7Timing())


def _riscv(core: Rv32Core) -> Callable[[Setup], Engine]:
    def make(setup: Setup) -> Engine:
        from codegen.device.riscv import RiscvEngine

        return RiscvEngine(setup, core)

    return make


CORES: Mapping[str, Callable[[Setup], Engine]] = {
    "cortex-m4": _cortex_m4,
    "cortex-m7": _cortex_m7,
    "rv32imc": _riscv(CV32E40P),
    "ri5cy": _riscv(RI5CY),
    "gap9": _riscv(GAP9_CLUSTER),
}


def make_engine(cpu: str, setup: Setup) -> Engine:
    """The engine of that processor; ValueError names those there are."""
    if cpu not in CORES:
        raise ValueError(f"cpu {cpu!r} has no timing model: allowed are {', '.join(CORES)}")
    return CORES[cpu](setup)
