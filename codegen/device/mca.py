"""Loop bodies in assembly -> cycles an iteration, by llvm-mca (LLVM's second opinion) and by our timing."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from codegen.build import build
from codegen.device.counter import Timing
from codegen.device.elf import parse_elf

ITERATIONS = 1000
COPIES = 8
_SCRIPT = "SECTIONS { .text 0x08000000 : { KEEP(*(.text*)) } /DISCARD/ : { *(.ARM*) } }\n"


def find_mca() -> str | None:
    """The path of llvm-mca, None if it is not installed."""
    return shutil.which("llvm-mca")


def mca_cycles(bodies: Mapping[str, str], cpu: str = "cortex-m7") -> dict[str, float]:
    """Name -> steady-state cycles an iteration, as llvm-mca simulates each body; RuntimeError when it refuses one."""
    found = {}
    for name, body in bodies.items():
        command = [find_mca() or "llvm-mca", "-mtriple=thumbv7em", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"]
        done = subprocess.run(command, input=_lines(body), capture_output=True, text=True, timeout=60)
        total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
        if total is None:
            raise RuntimeError(f"llvm-mca, {name}: {done.stderr.strip()}")
        found[name] = round(int(total[1]) / ITERATIONS, 1)
    return found


def timed_cycles(bodies: Mapping[str, str], timing: Timing, isa: str = "armv7em-m7") -> dict[str, float]:
    """Name -> cycles an iteration in straight code: what COPIES further copies of the body add to a block of COPIES."""
    found = {}
    for name, (address, code) in assemble(
        {name: 2 * COPIES * _lines(body) for name, body in bodies.items()}, isa
    ).items():
        half, whole = (timing.block(code[:size], address, size) for size in (len(code) // 2, len(code)))
        found[name] = (whole.cycles - half.cycles) / COPIES
    return found


def assemble(bodies: Mapping[str, str], isa: str) -> dict[str, tuple[int, bytes]]:
    """Name -> (address, machine code) of assembly texts whose instructions are split by `;` or newlines."""
    text = '.syntax unified\n.thumb\n.section .text.bodies, "ax", %progbits\n.global Reset_Handler\nReset_Handler:\n'
    for index, body in enumerate(bodies.values()):
        name = f"body{index}"
        text += f".balign 4\n.type {name}, %function\n{name}:\n{_lines(body)}.size {name}, . - {name}\n"
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "bodies.S", Path(folder) / "bodies.ld"
        source.write_text(text)
        script.write_text(_SCRIPT)
        elf = parse_elf(build([source], [], Path(folder) / "x.elf", linker_script=script, isa=isa).elf.read_bytes())
    (segment,) = [part for part in elf.segments if part.data]
    symbols = [elf.symbols[f"body{index}"] for index in range(len(bodies))]
    starts = [symbol.address - segment.load_address for symbol in symbols]
    return {
        name: (symbol.address, segment.data[start : start + symbol.size])
        for name, symbol, start in zip(bodies, symbols, starts, strict=True)
    }


def _lines(body: str) -> str:
    return "".join(f"    {line.strip()}\n" for line in re.split(r"[;\n]", body) if line.strip())
