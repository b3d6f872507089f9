"""The CSV that an emitted project prints when it is built with -DTLF_MEASURE -> Measurements by kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cost_models.calibrate import Measurement
from dse.kernel import Kernel, runs_on
from dse.target import Target

HEADER = "stage,kernel,arguments,cycles"
MAX_FILE_BYTES = 64 << 20
MOST_CYCLES = 1 << 32

_Times = dict[tuple[tuple[str, int], ...], list[int]]  # integer arguments -> cycles of every call with them


def read_measurements(path: Path, target: Target, kernels: Mapping[str, Kernel]) -> dict[str, list[Measurement]]:
    """Kernel -> its measured calls, those with the same arguments averaged; ValueError names the line and what is wrong.

    A line is `stage,kernel,m=4;n=8;k=32,1234`; lines that start with # are remarks.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: at most {MAX_FILE_BYTES} bytes are read")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, line in rows:
        if line.startswith("# target ") and line != f"# target {target.name}":
            raise ValueError(f"{path}:{number}: measured on {line[9:]!r}, asked for {target.name!r}")
    rows = [row for row in rows if not row[1].startswith("#")]
    if not rows or rows[0][1] != HEADER:
        raise ValueError(f"{path}: the first line must be {HEADER!r}, as a project built with -DTLF_MEASURE prints it")
    found: dict[str, _Times] = {}
    for number, line in rows[1:]:
        if line != HEADER:  # the outputs of several projects in one file
            _read(line, f"{path}:{number}", target, kernels, found)
    if not found:
        raise ValueError(f"{path}: no measurements")
    return {
        name: [Measurement(dict(sizes), sum(cycles) / len(cycles), 0.0) for sizes, cycles in calls.items()]
        for name, calls in found.items()
    }


def _read(line: str, where: str, target: Target, kernels: Mapping[str, Kernel], found: dict[str, _Times]) -> None:
    fields = line.split(",")
    if len(fields) != 4:
        raise ValueError(f"{where}: {line[:80]!r} has {len(fields)} fields, must have 4: {HEADER}")
    _, name, arguments, cycles = fields
    if name not in kernels or not runs_on(kernels[name], target.isa):
        raise ValueError(f"{where}: {target.name} has no kernel {name!r} (see `dse kernels --target {target.name}`)")
    sizes = {}
    for pair in arguments.split(";"):
        key, _, value = pair.partition("=")
        sizes[key] = _integer(value, f"{where}: argument {pair!r}", -MOST_CYCLES)
    try:
        for _, term in kernels[name].terms:
            term.evaluate(sizes)
    except KeyError as missing:
        raise ValueError(f"{where}: {name} needs the argument {missing}") from missing
    found.setdefault(name, {}).setdefault(tuple(sizes.items()), []).append(_integer(cycles, f"{where}: cycles", 1))


def _integer(text: str, where: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{where}: {text!r} is not an integer") from None
    if not least <= value < MOST_CYCLES:
        raise ValueError(f"{where}: {value} must lie in {least}..{MOST_CYCLES - 1}")
    return value
