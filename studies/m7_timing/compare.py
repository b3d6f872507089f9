"""Rewrites the table in cost_models/ASSUMPTIONS.md of the Cortex-M7 timing against llvm-mca."""

from __future__ import annotations

import tomllib
from pathlib import Path

from codegen.device.mca import mca_cycles, timed_cycles
from codegen.device.timing_m7 import M7Timing

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "cost_models" / "ASSUMPTIONS.md"
FIRST, LAST = "<!-- m7 timing -->\n", "<!-- end of m7 timing -->"


def main() -> None:
    """Measure, then write the table between its markers."""
    loops = tomllib.loads((HERE / "loops.toml").read_text(encoding="utf-8"))
    bodies = {name: entry["body"] for name, entry in loops.items()}
    theirs, ours = mca_cycles(bodies), timed_cycles(bodies, M7Timing())
    lines = ["| loop | llvm-mca | device | difference | known cause |", "|---|---:|---:|---:|---|"]
    for name, entry in loops.items():
        share = 100 * (ours[name] / theirs[name] - 1)
        lines.append(f"| {name} | {theirs[name]:.1f} | {ours[name]:.1f} | {share:+.0f} % | {entry.get('why', '')} |")
    head, rest = PAGE.read_text(encoding="utf-8").split(FIRST, 1)
    PAGE.write_text(head + FIRST + "\n".join(lines) + "\n" + LAST + rest.split(LAST, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
