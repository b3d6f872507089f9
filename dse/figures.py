"""Cost and RunResult -> the shared figures of `cost.json` and `run.json`: one schema, so the two can be subtracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.cost import Cost
from dse.exact import Certificate
from dse.runs import RunResult
from dse.target import Target

Figures = dict[str, Any]


def predicted(cost: Cost, target: Target, model: str) -> Figures:
    """The figures of a price."""
    stages = [
        {
            "name": stage.name,
            "op": "+".join(stage.ops),
            "kernels": list(stage.kernels),
            "tile": dict(stage.tile),
            "cycles": round(stage.cycles),
            "macs": stage.macs,
            "moved_bytes": stage.moved_bytes,
            "peak_bytes": stage.peak_bytes,
        }
        for stage in cost.stages
    ]
    sizes = {"arena_bytes": cost.arena_bytes, "peak_bytes": dict(cost.peak_bytes), "flash_bytes": cost.flash_bytes}
    access = round(1e6 * cost.access_joules, 3)
    figures = _common(target, model, round(cost.cycles), cost.macs, stages, access)
    interval = {"cycles_low": round(cost.cycles_low), "cycles_high": round(cost.cycles_high)}
    return (
        figures
        | sizes
        | interval
        | {
            "calibration": target.calibrated_as,
            "outside_calibration": list(cost.outside),
            "instructions": None,
            "stack_bytes": None,
            "weight_bytes": cost.weight_bytes,
            "external_bytes": cost.external_bytes,
            "image_bytes": target.flash_bytes(),
        }
    )


def certificate(proof: Certificate) -> Figures:
    """How good a search's answer is."""
    return {
        "verdict": proof.describe(),
        "objective": proof.objective,
        "value": proof.value,
        "lower_bound": proof.lower_bound,
        "gap": proof.gap,
        "schedules": proof.schedules,
        "priced": proof.priced,
    }


def executed(run: RunResult, prediction: Figures, target: Target, accuracy: Mapping[str, float]) -> Figures:
    """The figures of a run; what a run cannot change (MACs, bytes moved, peaks by stage) comes from the prediction."""
    stages = [
        {**priced, "cycles": stage.cycles} for stage, priced in zip(run.stages, prediction["stages"], strict=True)
    ]
    return _common(target, prediction["model"], run.cycles, prediction["macs"], stages, prediction["access_uj"]) | {
        "instructions": run.instructions,
        "arena_bytes": sum(run.arena_bytes.values()),
        "peak_bytes": run.arena_bytes,
        "flash_bytes": run.flash_bytes,
        "stack_bytes": run.stack_bytes,
        "weight_bytes": prediction["weight_bytes"],
        "copy_wait_cycles": run.copy_wait_cycles,
        "bit_exact": run.bit_exact,
        "canaries_intact": run.canaries_intact,
        "samples": len(run.outputs),
        "device": run.device,
        "toolchain": run.toolchain,
        "accuracy": dict(accuracy),
    }


def _common(target: Target, model: str, cycles: int, macs: int, stages: Sequence[Figures], access_uj: float) -> Figures:
    return {
        "target": target.name,
        "target_file": target.source,
        "cores": target.cores,
        "clock_hz": target.clock_hz,
        "supply_volts": target.supply_volts,
        "wait_states": target.wait_states,
        "model": model,
        "cycles": cycles,
        "macs": macs,
        "mac_per_cycle": round(macs / cycles, 4) if cycles else 0.0,
        "latency_ms": round(1e3 * cycles / target.clock_hz, 4),
        "energy_uj": round(1e6 * target.energy_joules(cycles) + access_uj, 3),
        "access_uj": access_uj,
        "stages": list(stages),
    }
