"""A study of a cluster: the best schedule on every number of cores, executed -> speed-ups over one core."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dse import execute, pipeline

Row = dict[str, Any]
COLUMNS: tuple[str, ...] = (
    "model",
    "scope",
    "cores",
    "predicted_cycles",
    "executed_cycles",
    "error_percent",
    "speedup",
)
COLUMNS += ("bar", "copy_wait_cycles", "mac_per_cycle", "arena_bytes", "bit_exact", "schedule")


def run(plan: Mapping[str, Any], progress: Callable[..., None]) -> list[Row]:
    """A row a network and number of cores, in the plan's order; the first number of cores is what speed-ups refer to.

    A model of the plan is (name, scope, least speed-up on the last number of cores).
    """
    rows: list[Row] = []
    for model, scope, bar in plan["models"]:
        alone = 0
        for cores in plan["cores"]:
            progress("speed-up", len(rows), len(plan["models"]) * len(plan["cores"]), f"{model} on {cores}")
            row = _row(model, scope, plan, cores)
            alone = alone or row["executed_cycles"]
            row["speedup"] = round(alone / row["executed_cycles"], 2)
            row["bar"] = bar if cores == plan["cores"][-1] else ""
            rows.append(row)
    return rows


def _row(model: str, scope: str, plan: Mapping[str, Any], cores: int) -> Row:
    prepared = pipeline.prepare(model, plan["target"], scope=scope, form=plan.get("form"), cores=cores)
    found = pipeline.find(prepared, ("latency",), trials=plan["trials"], seed=plan["seed"])
    point = found.best or found.nearest
    with tempfile.TemporaryDirectory() as scratch:
        ran = execute.prove(prepared, point, Path(scratch))
    return {
        "model": model,
        "scope": scope,
        "cores": cores,
        "predicted_cycles": round(point.cost.cycles),
        "executed_cycles": ran.cycles,
        "error_percent": round(100 * (point.cost.cycles / ran.cycles - 1), 2),
        "copy_wait_cycles": ran.copy_wait_cycles,
        "mac_per_cycle": round(point.cost.macs / ran.cycles, 3),
        "arena_bytes": sum(ran.arena_bytes.values()),
        "bit_exact": ran.bit_exact and ran.canaries_intact,
        "schedule": point.schedule.describe(),
    }


def markdown(rows: Sequence[Mapping[str, Any]], header: str) -> str:
    """Provenance and the table."""
    names = [name for name in COLUMNS if name != "schedule"]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return header.replace("# ", "Provenance: ") + "\n\n" + "\n".join(lines) + "\n"
