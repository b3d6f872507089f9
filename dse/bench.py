"""Every kernel variant of a target on the calls of real networks -> speed and code bytes, beside published figures.

Calls, operands and firmware are those of `dse calibrate`: this module only chooses shapes and prints.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from codegen.build import find_toolchains
from dse import __version__
from dse.bench_calls import bench_call
from dse.bench_runs import run_calls
from dse.cluster_bench import cluster_program
from dse.folders import staged, write_files
from dse.kernel import Kernel, kernels_for, load_kernels
from dse.studies import commit, studies_root
from dse.target import Target

Row = dict[str, Any]
COLUMNS = (
    "op",
    "shape",
    "kernel",
    "cycles",
    "instructions",
    "macs",
    "mac_per_cycle",
    "cycles_per_element",
    "code_bytes",
)

# (network, tokens, embedding, head dimension, heads): one head of each, and the projections around it.
NETWORKS = (
    ("EEG", 81, 32, 32, 8),
    ("ECG", 66, 16, 2, 8),
    ("radar", 5, 32, 32, 8),
    ("radar64", 5, 64, 32, 8),
    ("coins", 32, 64, 64, 16),
)

# FACTS §4: M4 timing model, zero wait states, gcc 12 -O3 unless it says otherwise.
ANCHORS = (
    ("CMSIS-NN, EEG MHSA (81/32/32/8), library calls, softmax included", "0.151 MAC/cycle (39.87M cycles)"),
    ("CMSIS-NN, EEG MHSA, best hand-picked calls", "0.178 MAC/cycle (33.80M); its QKV 0.31, QK 0.30, AV 0.38"),
    ("Predecessor's ARM 4x2 kernels (COINS 2021), EEG MHSA", "0.287 MAC/cycle (20.94M cycles)"),
    ("Our prototype, EEG MHSA", "0.750 MAC/cycle (8.02M cycles)"),
    ("CMSIS-NN, ECG MHSA (66/16/2/8), best hand-picked calls", "0.009 MAC/cycle (22.98M cycles)"),
    ("CMSIS-NN, radar MHSA (5/64/32/8), best hand-picked calls", "0.27 MAC/cycle (1.261M cycles)"),
    ("Inner loop of 4x2, int16 activations x int8 weights (prototype)", "0.895 MAC/cycle"),
    ("Inner loop of 2x2, raw int8 (the usual way)", "0.70 MAC/cycle"),
    ("CMSIS-NN softmax, wide score ranges", "304-589 cycles an element"),
    (
        "COINS 2021 as published for STM32L4, 4/32/8/32 and 32/64/16/64 (S/E/H/P), softmax included",
        "0.170 and 0.177 MAC/cycle",
    ),
    ("CMSIS-NN as published there for the same two, softmax included", "0.101 and 0.101 MAC/cycle"),
)


def shapes(op: str) -> dict[str, dict[str, int]]:
    """Name -> sizes: the calls of an op that the networks make."""
    found: dict[str, dict[str, int]] = {}
    for network, s, e, p, h in NETWORKS:
        if op == "linear_rows":
            found[f"{network} projection"] = {"m": s, "n": h * p, "k": e}
            found[f"{network} output"] = {"m": s, "n": e, "k": h * p}
        elif op.startswith("linear_"):
            found[f"{network} head"] = {"m": s, "n": p, "k": e}
        elif op.startswith("probs_"):
            found[f"{network} head"] = {"m": s, "n": s, "k": p}
        elif op.startswith("attend_"):
            found[f"{network} head"] = {"m": s, "n": p, "k": s}
        elif op.startswith("pack_"):
            found[f"{network} tokens"] = {"m": s, "k": e}
        elif op in ("layernorm", "narrow", "mean"):
            found[f"{network} tokens"] = {"m": s, "n": e}
        else:
            found[f"{network} tokens"] = {"n": s * e * (4 if op == "lut" else 1)}
    return found


def bench(target: Target, out: Path | None, progress: Callable[..., None]) -> tuple[list[Path], list[Row]]:
    """Measure every variant; writes bench_kernels_<target>.csv and .md and returns (paths, rows)."""
    kernels = load_kernels()
    wanted = [k for op in dict.fromkeys(k.op for k in kernels.values()) for k in kernels_for(op, target.isa, kernels)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for done, kernel in enumerate(wanted):
            progress("bench", done, len(wanted), kernel.name)
            rows += _rows(kernel, target, kernels, Path(scratch))
    name = f"bench_kernels_{target.name}"
    zig = find_toolchains(target.isa)[0]
    header = f"# {name}; commit {commit()}; tileformer {__version__}; {zig}; emulated {target.cpu}, zero wait states"
    files: dict[str, str | bytes] = {f"{name}.csv": _csv(rows, header), f"{name}.md": _markdown(rows, header)}
    folder = out or studies_root() / "results"
    with staged(folder) as work:
        write_files(work, files)
    return [folder / file for file in files], rows


def _rows(kernel: Kernel, target: Target, kernels: Mapping[str, Kernel], folder: Path) -> list[Row]:
    facts = {"bound": 1, "mult": 1, "half": 2, "steps": 1}
    names = {
        name: z
        for name, z in shapes(kernel.op).items()
        if kernel.serves(facts | {"n": z.get("n", 1), "k": z.get("k", 1)})
    }
    if not names:
        return []
    if target.is_cluster:
        names = {name: _near_all_cores(kernel, sizes, target) for name, sizes in names.items()}
    ran = run_calls(kernel, tuple(names.values()), target, kernels, folder)
    code = sum(size for name, size in ran.functions.items() if not name.startswith("tlf_mem"))
    return [
        _row(kernel, name, sizes, run.cycles, run.instructions, code)
        for (name, sizes), run in zip(names.items(), ran.measured, strict=True)
    ]


def _near_all_cores(kernel: Kernel, sizes: Mapping[str, int], target: Target) -> dict[str, int]:
    """The sizes with as many rows (or elements) as the memory near the cores holds for every core at once."""
    near, fitting = target.near()[0], dict(sizes)
    while True:
        program = cluster_program([bench_call(kernel, 0, fitting)], target, 1)
        if program.arena_bytes()[near.name] <= near.size_bytes:
            return fitting
        fewer = next(key for key in "mn" if fitting.get(key, 1) > 1)
        fitting[fewer] = -(-fitting[fewer] // 2)


def _row(kernel: Kernel, name: str, sizes: Mapping[str, int], cycles: float, instructions: float, code: int) -> Row:
    m, n, k = (sizes.get(key, 1) for key in "mnk")
    is_product = kernel.op.startswith(("linear", "probs", "attend"))
    macs, elements = (m * n * k if is_product else 0), m * n * (k if kernel.op == "pack_keys" else 1)
    shape = f"{name} ({', '.join(f'{key}={value}' for key, value in sizes.items())})"
    return {
        "op": kernel.op,
        "shape": shape,
        "kernel": kernel.name,
        "cycles": round(cycles),
        "instructions": round(instructions),
        "macs": macs,
        "mac_per_cycle": round(macs / cycles, 3) if macs else "",
        "cycles_per_element": round(cycles / elements, 2),
        "code_bytes": code,
    }


def _csv(rows: list[Row], header: str) -> str:
    stream = io.StringIO()
    stream.write(header + "\n")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(rows: list[Row], header: str) -> str:
    lines = [
        f"<!-- {header} -->",
        "",
        "# Kernels: every variant on the calls of the networks",
        "",
        header[2:] + ".",
        "",
    ]
    lines += [
        "Cycles of one call, its call overhead included; code bytes of the variant and the routines it shares. On a",
        "cluster all cores make the call at once, each on rows of its own: fewer where memory near them is short.",
        "",
    ]
    for op in dict.fromkeys(row["op"] for row in rows):
        lines += [f"## {op}", "", "| shape | kernel | cycles | instructions | MAC/cycle | cycles/element | code B |"]
        lines += ["|---|---|---:|---:|---:|---:|---:|"]
        for row in sorted((r for r in rows if r["op"] == op), key=lambda r: str(r["shape"])):
            lines.append(
                f"| {row['shape']} | {row['kernel']} | {row['cycles']:,} | {row['instructions']:,} | "
                f"{row['mac_per_cycle']} | {row['cycles_per_element']} | {row['code_bytes']:,} |"
            )
        lines.append("")
    lines += ["## Published and earlier figures", ""]
    lines += ["M4 timing model, zero wait states, gcc 12 -O3, unless a line names another source.", ""]
    lines += ["| what, under which conditions | figure |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in ANCHORS]
    return "\n".join(lines) + "\n"
