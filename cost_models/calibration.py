"""`calibration/<target>.toml` <-> Calibration: cycles per term of every kernel variant, with where they come from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "calibration"


@dataclass(frozen=True)
class KernelFit:
    """Cycles per feature of one kernel, its code size, and how well the fit met the measurements."""

    cycles: dict[str, float]
    functions: dict[str, int]  # name -> bytes of the code it links; variants share some of it
    worst_error: float
    shapes: int

    @property
    def code_bytes(self) -> int:
        """Bytes of code of a network that uses this kernel alone."""
        return sum(self.functions.values())


@dataclass(frozen=True)
class Calibration:
    """Everything measured about one target.

    flash_cycles_per_byte: stall per weight byte and wait state; code_cycles_per_byte: per byte of code in flash, when it
    is first fetched. network_code_bytes: start-up, port and main;
    call_code_bytes, loop_code_bytes: code of one kernel call with its arguments, and of one loop around calls.
    """

    target: str
    provenance: str
    loop_cycles: float
    stage_cycles: float
    flash_cycles_per_byte: float
    code_cycles_per_byte: float
    network_code_bytes: float
    call_code_bytes: float
    loop_code_bytes: float
    kernels: dict[str, KernelFit]
    priced: dict[tuple[object, ...], float] = field(default_factory=dict, init=False, compare=False, repr=False)


def load_calibration(target: str) -> Calibration:
    """The committed calibration of a target; ValueError when there is none."""
    path = FOLDER / f"{target}.toml"
    if not path.is_file():
        raise ValueError(f"target {target!r} has no calibration ({path}); run `dse calibrate {target}` first")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    kernels = {
        name: KernelFit(row["cycles"], row["functions"], row["worst_error"], row["shapes"])
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
        f"code_cycles_per_byte = {calibration.code_cycles_per_byte:.6f}",
        f"network_code_bytes = {calibration.network_code_bytes:.1f}",
        f"call_code_bytes = {calibration.call_code_bytes:.3f}",
        f"loop_code_bytes = {calibration.loop_code_bytes:.3f}",
    ]
    for name, fit in sorted(calibration.kernels.items()):
        terms = ", ".join(f"{term} = {value:.5f}" for term, value in fit.cycles.items())
        functions = ", ".join(f'"{function}" = {size}' for function, size in fit.functions.items())
        lines += ["", f"[kernels.{name}]", f"cycles = {{ {terms} }}", f"functions = {{ {functions} }}"]
        lines += [f"worst_error = {fit.worst_error:.5f}", f"shapes = {fit.shapes}"]
    return "\n".join(lines) + "\n"
