"""A firmware ELF -> what QEMU makes of it: a second opinion that traps unaligned LDRD and LDM. No cycle counts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_MACHINES = {"cortex-m4": "mps2-an386", "cortex-m7": "mps2-an500"}


class QemuError(Exception):
    """QEMU is missing, refused the firmware or did not end in time."""


def find_qemu() -> str | None:
    """The path of qemu-system-arm, None if it is not installed."""
    return shutil.which("qemu-system-arm")


def run_qemu(elf: Path, timeout: float = 60.0, cpu: str = "cortex-m4") -> tuple[int, str]:
    """(exit status, text) of a firmware built for mps2_an386 (M4) or mps2_an500 (M7) with TLF_SEMIHOSTING.

    `timeout` in seconds.
    """
    program = find_qemu()
    if program is None:
        raise QemuError("qemu-system-arm is not on PATH; install QEMU or use codegen.device.Device")
    if cpu not in _MACHINES:
        raise QemuError(f"cpu {cpu!r}: allowed are {', '.join(_MACHINES)}")
    command = [program, "-M", _MACHINES[cpu], "-display", "none", "-serial", "none", "-monitor", "none"]
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
