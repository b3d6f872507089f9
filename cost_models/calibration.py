"""`calibration/<target>.toml` <-> Calibration: cycles per term of every kernel variant, with where they come from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "calibration"


@dataclass(frozen=True)
class KernelFit:
    """Cycles per feature of one kernel, its code size, and how well the fit met the measurements."""

    cycles: dict[str, float]
    code_bytes: int
    worst_error: float
    shapes: int


@dataclass(frozen=True)
class Calibration:
    """Everything measured about one target. `flash_cycles_per_byte`: stall per weight byte and wait state."""

    target: str
    provenance: str
    loop_cycles: float
    stage_cycles: float
    flash_cycles_per_byte: float
    network_code_bytes: int
    kernels: dict[str, KernelFit]


def load_calibration(target: str) -> Calibration:
    """The committed calibration of a target; ValueError when there is none."""
    path = FOLDER / f"{target}.toml"
    if not path.is_file():
        raise ValueError(f"target {target!r} has no calibration ({path}); run `dse calibrate {target}` first")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    kernels = {
        name: KernelFit(row["cycles"], row["code_bytes"], row["worst_error"], row["shapes"])
        for name, row in table["kernels"].items()
    }
    scalars = {k: v for k, v in table.items() if k != "kernels"}
    return Calibration(kernels=kernels, **scalars)


def to_toml(calibration: Calibration) -> str:
    """The text of the calibration file."""
    lines = [
        "# Written by `dse calibrate`; do not edit. Cycles are per feature of kernels/kernels.toml [terms].",
        f'target = "{calibration.target}"',
        f'provenance = "{calibration.provenance}"',
        f"loop_cycles = {calibration.loop_cycles:.4f}",
        f"stage_cycles = {calibration.stage_cycles:.4f}",
        f"flash_cycles_per_byte = {calibration.flash_cycles_per_byte:.6f}",
        f"network_code_bytes = {calibration.network_code_bytes}",
    ]
    for name, fit in sorted(calibration.kernels.items()):
        terms = ", ".join(f"{term} = {value:.5f}" for term, value in fit.cycles.items())
        lines += ["", f"[kernels.{name}]", f"cycles = {{ {terms} }}", f"code_bytes = {fit.code_bytes}"]
        lines += [f"worst_error = {fit.worst_error:.5f}", f"shapes = {fit.shapes}"]
    return "\n".join(lines) + "\n"
