"""`calibration/<target>.toml` <-> Calibration: cycles per term of every kernel variant, with where they come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "calibration"


def is_of_banks(term: str) -> bool:
    """True for a term of the manifest that counts turns in which the cores of a cluster want the same banks."""
    return term.startswith("bank")


@dataclass(frozen=True)
class KernelFit:
    """Cycles per feature of one kernel, its code size, and how well the fit met the measurements.

    functions: name -> bytes of the code it links; variants share some. stalls: cycles that a cold call loses on code
    when a miss of the flash takes stall_fill cycles, by feature (cost_models/code_stalls.py), loop_stalls: those of each
    loop a turn, by where the depth enters (32 entries); at 0, 1, ... wait states it loses
    stall_shares of what the misses there would take in proportion. stall_error: the error that 95 % of the cold
    calls stay below; code_shares: function -> its share of the lines of code that a call runs, where the code cache keeps
    them. spans: integer argument -> (least, most) that was measured. calls, cold_calls: the shapes measured,
    and those called with empty caches, as `cost_models.calibrate.shape_text`. On a cluster, else 0, fetch_cycles: until
    what a call runs lies in the caches of one core alone, and of all cores at once; contention: the share of `cycles`,
    which are those of a call that all cores make at once, that a core alone does not take.
    """

    cycles: dict[str, float]
    functions: dict[str, int]
    worst_error: float
    shapes: int
    stalls: dict[str, float] = field(default_factory=dict)
    loop_stalls: dict[str, tuple[float, ...]] = field(default_factory=dict)
    stall_shares: tuple[float, ...] = ()
    stall_fill: int = 1
    stall_error: float = 0.0
    code_shares: dict[str, float] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    calls: str = ""
    cold_calls: str = ""
    fetch_cycles: tuple[float, float] = (0.0, 0.0)
    contention: float = 0.0

    @property
    def code_bytes(self) -> int:
        """Bytes of code of a network that uses this kernel alone."""
        return sum(self.functions.values())


@dataclass(frozen=True)
class Calibration:
    """Everything measured about one target, on so many cores at once.

    network_code_bytes: start-up, port and main; call_code_bytes, loop_code_bytes: code of one kernel call with its
    arguments, and of one loop around calls. errors: how far off the cycles of a schedule may be, as a share
    of them, at 0, 1, ... wait states; () when none were executed for it.
    """

    target: str
    provenance: str
    loop_cycles: float
    stage_cycles: float
    network_code_bytes: float
    call_code_bytes: float
    loop_code_bytes: float
    kernels: dict[str, KernelFit]
    errors: tuple[float, ...] = ()
    cores: int = 1
    priced: dict[tuple[object, ...], float] = field(default_factory=dict, init=False, compare=False, repr=False)
    parts: dict[tuple[object, ...], dict[str, float]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )


def load_calibration(target: str) -> Calibration:
    """The committed calibration of a target; ValueError when there is none."""
    path = FOLDER / f"{target}.toml"
    if not path.is_file():
        raise ValueError(f"target {target!r} has no calibration ({path}); run `dse calibrate {target}` first")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    known = table.get("shapes", {})
    kernels = {name: _kernel_fit(row, known) for name, row in table["kernels"].items()}
    found = {"errors": tuple(table.get("errors", ())), "cores": table.get("cores", 1)}
    return Calibration(kernels=kernels, **found, **{key: table[key] for key in _SCALARS})


_SCALARS: tuple[str, ...] = ("target", "provenance", "loop_cycles", "stage_cycles")
_SCALARS += ("network_code_bytes", "call_code_bytes", "loop_code_bytes")


def _kernel_fit(row: Mapping[str, Any], known: Mapping[str, str]) -> KernelFit:
    found = {key: row[key] for key in ("cycles", "functions", "worst_error", "shapes")}
    optional = ("stalls", "stall_fill", "stall_error", "code_shares", "contention")
    found |= {key: row[key] for key in optional if key in row}
    found["loop_stalls"] = {name: tuple(prices) for name, prices in row.get("loop_stalls", {}).items()}
    found["fetch_cycles"] = tuple(row.get("fetch_cycles", (0.0, 0.0)))
    found["stall_shares"] = tuple(row.get("stall_shares", ()))
    found["spans"] = {name: (least, most) for name, (least, most) in row.get("spans", {}).items()}
    found |= {key: known[row[key]] for key in ("calls", "cold_calls") if key in row}
    return KernelFit(**found)


def to_toml(calibration: Calibration) -> str:
    """The text of the calibration file."""
    lines = [
        "# Written by `dse calibrate`; do not edit. Cycles are per feature of kernels/kernels.toml [terms].",
        f'target = "{calibration.target}"',
        f'provenance = "{calibration.provenance}"',
        f"loop_cycles = {calibration.loop_cycles:.4f}",
        f"stage_cycles = {calibration.stage_cycles:.4f}",
        f"network_code_bytes = {calibration.network_code_bytes:.1f}",
        f"call_code_bytes = {calibration.call_code_bytes:.3f}",
        f"loop_code_bytes = {calibration.loop_code_bytes:.3f}",
    ]
    if calibration.cores > 1:
        lines += [f"cores = {calibration.cores}"]
    if calibration.errors:
        lines += ["errors = [" + ", ".join(f"{error:.5f}" for error in calibration.errors) + "]"]
    sets = dict.fromkeys(text for fit in calibration.kernels.values() for text in (fit.calls, fit.cold_calls) if text)
    names = {text: f"set{index}" for index, text in enumerate(sets, 1)}
    if names:
        lines += [
            "",
            "# Shapes measured: m x n x k of those a kernel has; p: rows in panels; + a pre-shift.",
            "[shapes]",
        ]
        lines += [f'{name} = "{text}"' for text, name in names.items()]
    for name, fit in sorted(calibration.kernels.items()):
        terms = ", ".join(f"{term} = {value:.5f}" for term, value in fit.cycles.items())
        functions = ", ".join(f'"{function}" = {size}' for function, size in fit.functions.items())
        lines += ["", f"[kernels.{name}]", f"cycles = {{ {terms} }}", f"functions = {{ {functions} }}"]
        lines += [f"worst_error = {fit.worst_error:.5f}", f"shapes = {fit.shapes}"]
        lines += [f"fetch_cycles = {_numbers(fit.fetch_cycles)}"] if any(fit.fetch_cycles) else []
        lines += [f"contention = {fit.contention:.5f}"] if fit.contention else []
        made = (("calls", fit.calls), ("cold_calls", fit.cold_calls))
        lines += [f'{key} = "{names[text]}"' for key, text in made if text]
        if fit.spans:
            spans = ", ".join(f"{name} = [{least}, {most}]" for name, (least, most) in fit.spans.items())
            lines += [f"spans = {{ {spans} }}"]
        if fit.stall_shares:
            stalls = ", ".join(f'"{term}" = {value:.4f}' for term, value in fit.stalls.items())
            shares = ", ".join(f"{share:.4f}" for share in fit.stall_shares)
            lines += [f'loop_stalls."{loop}" = {_numbers(prices)}' for loop, prices in fit.loop_stalls.items()]
            lines += [f"stalls = {{ {stalls} }}", f"stall_fill = {fit.stall_fill}", f"stall_shares = [{shares}]"]
            lines += [f"stall_error = {fit.stall_error:.5f}"]
        if fit.code_shares:
            shares = ", ".join(f'"{function}" = {share:.4f}' for function, share in fit.code_shares.items())
            lines += [f"code_shares = {{ {shares} }}"]
    return "\n".join(lines) + "\n"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.1f}".removesuffix(".0") for value in values) + "]"
