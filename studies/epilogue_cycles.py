"""Cycles an output of the Cortex-M4 products beside their multiply-accumulates: the line through calls of growing depth.

python studies/epilogue_cycles.py prints a Markdown table; everything in panels, on the emulated device, zero wait states.
Its last rows are the softmax beside a requantised QK^T: the product with softmax less the one that requantises.
"""

import tempfile
from pathlib import Path

import numpy as np

from dse.bench_runs import run_calls
from dse.kernel import load_kernels
from dse.target import load_target

DEPTHS, M, N = (32, 64, 96), 80, 64
PRODUCTS = {
    "q_panels": ("probs_rows", "probs_panels"),
    "x_panels": ("linear_rows", "linear_panels", "linear_keys", "linear_values", "linear_add", "linear_residual"),
    "e_panels": ("attend_rows", "attend_panels", "attend_add"),
}


def line(op: str, flag: str) -> tuple[float, float]:
    """(cycles an output a unit of depth, cycles an output at depth 0) of the variant with the long unrolling."""
    kernels, name = load_kernels(), f"{op}_smlad2x4u16"
    shapes = [{"m": M, "n": N, "k": k, flag: 1} for k in DEPTHS]
    with tempfile.TemporaryDirectory() as folder:
        runs = run_calls(kernels[name], shapes, load_target("stm32l476"), kernels, Path(folder))
    slope, start = np.polyfit(DEPTHS, [run.cycles / (M * N) for run in runs.measured], 1)
    return float(slope), float(start)


if __name__ == "__main__":
    lines = {op: line(op, flag) for flag, ops in PRODUCTS.items() for op in ops}
    print("| kernel | cycles an output at depth 0 | MAC/cycle inside |\n|---|---:|---:|")
    for op, (slope, start) in lines.items():
        print(f"| {op} | {start:.2f} | {1 / slope:.3f} |")
    for kind in ("rows", "panels"):
        probs, linear = f"probs_{kind}", f"linear_{kind}"
        print(f"| softmax: {probs} - {linear} | {lines[probs][1] - lines[linear][1]:.2f} | |")
