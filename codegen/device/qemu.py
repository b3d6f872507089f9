"""A firmware ELF -> what QEMU makes of it: a second opinion that traps unaligned LDRD and LDM. No cycle counts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_MACHINES = {
    "cortex-m4": ("qemu-system-arm", ["-M", "mps2-an386"]),
    "cortex-m7": ("qemu-system-arm", ["-M", "mps2-an500"]),
    "rv32imc": ("qemu-system-riscv32", ["-M", "virt", "-bios", "none"]),
}


class QemuError(Exception):
    """QEMU is missing, refused the firmware or did not end in time."""


def find_qemu(cpu: str = "cortex-m4") -> str | None:
    """The path of the QEMU that has this processor, None if it is not installed."""
    return shutil.which(_MACHINES[cpu][0])


def run_qemu(elf: Path, timeout: float = 60.0, cpu: str = "cortex-m4") -> tuple[int, str]:
    """(exit status, text) of a firmware built for mps2_an386 (M4), mps2_an500 (M7) or virt_rv32 with TLF_SEMIHOSTING.

    `timeout` in seconds.
    """
    if cpu not in _MACHINES:
        raise QemuError(f"cpu {cpu!r}: allowed are {', '.join(_MACHINES)}")
    program = find_qemu(cpu)
    if program is None:
        raise QemuError(f"{_MACHINES[cpu][0]} is not on PATH; install QEMU or use codegen.device.Device")
    command = [program, *_MACHINES[cpu][1], "-display", "none", "-serial", "none", "-monitor", "none"]
    command += ["-chardev", "stdio,id=text", "-semihosting-config", "enable=on,target=native,chardev=text"]
    try:
        done = subprocess.run(
            [*command, "-kernel", str(elf)], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise QemuError(f"{elf}: no exit after {timeout} s") from error
    if done.returncode and b"qemu" in done.stderr:
        raise QemuError(done.stderr.decode("utf-8", "replace").strip())
    return done.returncode, done.stdout.decode("utf-8", "replace")
