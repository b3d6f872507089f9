"""C project -> firmware -> RunResult on the emulated device: built, executed, compared byte for byte, counted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from codegen.build import build
from codegen.device import Device, DeviceFault, map_of
from codegen.names import arena_symbol, stage_symbols
from dse import figures, pipeline
from dse.exact import Certificate
from dse.folders import write_files
from dse.ir import Array
from dse.pareto import Point
from dse.pipeline import Prepared
from dse.program import print_program
from dse.runs import RunResult, StageRun
from dse.target import Target, load_target

Prediction = dict[str, Any]


def write_run_folder(
    prepared: Prepared, point: Point, folder: Path, certificate: Certificate | None = None
) -> dict[str, str | bytes]:
    """Write a run folder up to the build: C project, schedule, program, prediction and samples. Returns its files."""
    program = prepared.program(point.schedule)
    prediction = figures.predicted(point.cost, prepared.target, prepared.loaded.model.name)
    prediction["certificate"] = figures.certificate(certificate) if certificate else None
    files: dict[str, str | bytes] = dict(pipeline.project_files(prepared, program))
    files |= {
        "schedule.toml": point.schedule.to_toml(),
        "program.txt": print_program(program),
        "cost.json": json.dumps(prediction, indent=2) + "\n",
        "samples.npz": pipeline.sample_file(prepared, program.form, point.cost.cycles),
    }
    write_files(folder, files)
    return files


def prove(prepared: Prepared, point: Point, folder: Path) -> RunResult:
    """Write, build and execute a schedule in a folder that holds nothing of value."""
    write_run_folder(prepared, point, folder)
    toolchain = build_firmware(folder, prepared.target)
    return execute_folder(folder, None, toolchain)[0]


def build_firmware(folder: Path, target: Target, toolchain: str = "auto", defines: Sequence[str] = ()) -> str:
    """Build the project under `folder/src`, with these macros defined, to `folder/firmware.elf`; returns the toolchain's
    description."""
    source = folder / "src"
    files = sorted(path for path in source.rglob("*") if path.suffix in (".c", ".S"))
    ports = sorted(path for path in (source / "port").iterdir() if path.is_dir())
    include = [source, source / "kernels" / "include", source / "port", *ports]
    script = source / "port" / target.port / "link.ld"
    return build(
        files,
        include,
        folder / "firmware.elf",
        linker_script=script,
        isa=target.isa,
        toolchain=toolchain,
        defines=[
            *defines,
            f"TLF_STACK_BYTES={target.stack_bytes}",
            *([f"TLF_CORES={target.cores}"] if target.is_cluster else []),
        ],
    ).toolchain


def target_of(prediction: Prediction) -> Target:
    """The target of a prediction, at the operating point it was priced at."""
    target = load_target(prediction.get("target_file") or prediction["target"])
    clock = prediction.get("clock_hz", target.clock_hz)
    if clock != target.clock_hz:
        target = target.at(clock)
    target = target.on_cores(prediction.get("cores", target.cores))
    target = target.with_image(prediction.get("image_bytes", target.flash_bytes()))
    return replace(target, wait_states=prediction.get("wait_states", target.wait_states))


def execute_folder(folder: Path, wait_states: int | None = None, toolchain: str = "") -> tuple[RunResult, Prediction]:
    """Run what a run folder holds: firmware.elf on samples.npz. Returns the result and the prediction of cost.json.

    ValueError when the folder is not one that `dse deploy` wrote.
    """
    try:
        prediction: Prediction = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
        with np.load(folder / "samples.npz", allow_pickle=False) as samples:
            inputs, expected = samples["inputs"], samples["expected"]
        elf = folder / "firmware.elf"
        stages = [stage["name"] for stage in prediction["stages"]]
        target = target_of(prediction)
        states = target.wait_states if wait_states is None else wait_states
        regions = tuple(prediction["peak_bytes"])
        if not elf.is_file():
            raise FileNotFoundError(elf)
        return execute(elf, stages, regions, target, inputs, expected, toolchain, states), prediction
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{folder}: not a run folder of `dse deploy` ({type(error).__name__}: {error}); deploy again"
        ) from error


def execute(
    elf: Path,
    stages: Sequence[str],
    regions: Sequence[str],
    target: Target,
    inputs: Array,
    expected: Array,
    toolchain: str,
    wait_states: int = 0,
) -> RunResult:
    """Run every (s, e) int8 input through the firmware and compare with the expected bytes.

    stages and regions: names as in the Program. inputs: (samples, s, e) int8; expected: (samples, bytes) int8. Cycles
    are those of the first sample.
    """
    device = open_device(elf, target, wait_states)
    device.boot()
    sizes = {region: _size(device, region, target) for region in regions}
    symbols = stage_symbols(list(stages))
    device.paint_canaries()
    first, outputs, deepest = None, [], 0
    for x in inputs:
        device.write(_address(device, "tlf_network_input"), x.astype(np.int8).tobytes())
        run = device.call("tlf_network_run", stages=symbols)
        first, deepest = first or run, max(deepest, run.stack_bytes)
        raw = device.read(_address(device, "tlf_network_output"), expected.shape[1])
        outputs.append(np.frombuffer(raw, np.int8))
    if first is None:
        raise ValueError("execute: needs at least one input")
    results = np.stack(outputs)
    return RunResult(
        device=f"emulated {target.cpu} ({target.name}), {wait_states} wait states",
        toolchain=toolchain,
        cycles=first.cycles,
        instructions=first.instructions,
        stages=tuple(
            StageRun(name, count.cycles, count.instructions) for name, count in zip(stages, first.stages, strict=True)
        ),
        outputs=results,
        bit_exact=bool(np.array_equal(results, expected)),
        arena_bytes=sizes,
        flash_bytes=device.flash_bytes,
        stack_bytes=deepest,
        canaries_intact=_intact(device),
        copy_wait_cycles=sum(core.copy_wait_cycles for core in first.cores),
    )


def open_device(elf: Path, target: Target, wait_states: int = 0) -> Device:
    """The emulated device of a target with a firmware in it, not yet booted."""
    return Device(elf, target.cpu, map_of(target), wait_states)


def _size(device: Device, region: str, target: Target) -> int:
    """Bytes of the arena in a region, or of the functions where it holds code."""
    if region in {r.name for r in target.ram()}:
        return device.symbol(arena_symbol(region)).size
    return device.symbol("__code_end").address - device.symbol("__code_start").address


def _address(device: Device, function: str) -> int:
    return device.call(function).value


def _intact(device: Device) -> bool:
    try:
        device.check_canaries()
    except DeviceFault:
        return False
    return True
