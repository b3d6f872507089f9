"""A kernel at given sizes -> one call with dense operands, and the Program that makes such calls: what is measured.

A benchmark is a Program like any other; it goes through the same emitter, compiler and device as a real network, so what
is fitted is what will be counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dse.alloc import Span, place_buffers
from dse.cluster_bench import bench_of
from dse.kernel import Kernel
from dse.layout import RIGHT, Right, even, panels_bytes, panels_stride_bytes
from dse.program import Affine, Buffer, Call, Constant, Loop, Pointer, Program, Stage, affine
from dse.quant import layernorm_guard
from dse.target import Target

REPEATS = 4


def bench_call(kernel: Kernel, index: int, sizes: Mapping[str, int]) -> tuple[Call, tuple[Buffer | Constant, ...]]:
    """One call of a kernel at these sizes, operands dense but for the strides among them, and the buffers and constants it
    needs."""
    m, n, k = (sizes.get(key, 1) for key in "mnk")
    right = RIGHT.get(kernel.layout, RIGHT["columns"])
    panels = max((sizes.get(f"{name}_panels", 0) for name in "xqe"), default=0)
    integers = _integers(kernel.op, m, n, k, right, panels) | dict(sizes)
    operands = _operands(kernel.op, m, n, k, right, panels)
    operands |= _spread(operands, even(m) // 2 if panels else m, n, right, integers)
    scratch = kernel.scratch.evaluate(integers)
    items: list[Buffer | Constant] = []
    arguments: list[tuple[str, Pointer | Affine | None]] = []
    for field, (size, constant) in (operands | ({"scratch": (scratch, "")} if scratch else {})).items():
        name = f"{field}{index}"
        if constant:
            items.append(Constant(name, constant, _data(size, constant, field, index)))
        else:
            items.append(Buffer(name, size, "activation", "s8"))
        arguments.append((field, Pointer(name)))
    arguments += [(field, affine(value)) for field, value in integers.items()]
    return Call(kernel.name, kernel.op, f"shape{index}", tuple(arguments), kernel.layout), tuple(items)


def _data(size: int, dtype: str, field: str, index: int) -> bytes:
    rng = np.random.default_rng(index)
    if field == "scale":  # with these sums few results saturate and every factor is short, as in a network
        return np.array([1 << 18], "<i4").tobytes()
    if field == "sum":
        return rng.integers(255, 20000, size // 4).astype("<i4").tobytes()
    if dtype == "s32":
        return rng.integers(1, 200, size // 4).astype("<i4").tobytes()
    if field == "table" and dtype == "u8":
        return np.round(255 * np.exp(-np.arange(256) * 12 / 255)).astype(np.uint8).tobytes()
    return rng.integers(-127, 128, size).astype(np.int8).tobytes()


def _operands(op: str, m: int, n: int, k: int, right: Right, panels: int) -> dict[str, tuple[int, str]]:
    """field -> (bytes, dtype when it is a constant in flash)."""
    left = panels_bytes(m, k) if panels else m * k
    if op.startswith("linear_"):
        written = RIGHT[right.written]
        special = {"keys": written.size_bytes(m, n), "values": written.size_bytes(n, m), "panels": panels_bytes(m, n)}
        y = special | {"add": 4 * m * n, "rows": m * n, "residual": m * n}
        channel = 4 * (int(right.channel_index(-(-n // right.group) * right.group).max()) + 1)
        found = {"x": (left, ""), "w": (right.size_bytes(n, k), "s8"), "channel": (channel, "s32")}
        return found | {"y": (y[op[7:]], "")} | ({"r": (m * n, "")} if op == "linear_residual" else {})
    if op.startswith("probs_"):
        e = panels_bytes(m, n) if op.endswith("panels") else m * n
        flash = {"mult": (4, "s32"), "table": (256, "u8")}
        return {"q": (left, ""), "keys": (right.size_bytes(n, k), ""), **flash, "e": (e, ""), "sum": (4 * m, "")}
    if op.startswith("attend_"):
        y = {"rows": m * n, "panels": panels_bytes(m, n), "add": 4 * m * n}
        ram = {"e": (left, ""), "values": (right.size_bytes(n, k), ""), "y": (y[op[7:]], "")}
        return ram | {"sum": (4 * m, "s32"), "scale": (4, "s32")}
    if op in ("narrow", "layernorm"):
        return {"x": ((4 if op == "narrow" else 1) * m * n, ""), "channel": (8 * n, "s32"), "y": (m * n, "")}
    if op == "lut":
        return {"x": (n, ""), "table": (256, "s8"), "y": (n, "")}
    simple = {
        "zero": {"y": 4 * n},
        "pack_keys": {"x": m * k, "y": right.size_bytes(m, k)},
        "pack_panels": {"x": m * k, "y": panels_bytes(m, k)},
        "pack_rows": {"x": m * k, "y": m * k},
        "add": {"a": n, "b": n, "y": n},
        "mean": {"x": m * n, "y": n},
    }
    return {field: (size, "") for field, size in simple[op].items()}


def _spread(
    operands: Mapping[str, tuple[int, str]], groups: int, n: int, right: Right, z: Mapping[str, int]
) -> dict[str, tuple[int, str]]:
    """The activations that strides make larger than dense; groups: rows, or pairs of them in panels."""
    columns = -(-n // right.group)
    rows = dict.fromkeys(("x", "q", "e"), groups) | dict.fromkeys(("keys", "values"), columns)
    asked = {field: rows[field] * z.get(f"{field}_stride", 0) for field in rows.keys() & operands.keys()}
    return {field: (size, operands[field][1]) for field, size in asked.items() if size > operands[field][0]}


def _integers(op: str, m: int, n: int, k: int, right: Right, panels: int) -> dict[str, int]:
    """Strides and arithmetic constants that are legal for every operand value."""
    left = panels_stride_bytes(k) if panels else k
    if op.startswith("linear_"):
        written = RIGHT[right.written]
        special = {"keys": written.stride_bytes(n), "values": written.stride_bytes(m), "panels": panels_stride_bytes(n)}
        y = special | {"add": 4 * n}
        found = {"x_stride": left, "w_stride": right.stride_bytes(k), "y_stride": y.get(op[7:], n)}
        found |= {"round": 1 << 17, "preshift": 0, "shift": 18, "high": int(right.reads_panels), "x_panels": panels}
        residual = {"r_stride": n, "mult_y": 9000, "mult_r": 7000, "add_round": 1 << 13, "add_shift": 14}
        return found | (residual if op == "linear_residual" else {})
    if op.startswith("probs_"):
        e = panels_stride_bytes(n) if op.endswith("panels") else n
        strides = {"q_stride": left, "keys_stride": right.stride_bytes(k), "e_stride": e}
        return strides | {"shift": 16, "q_panels": panels}
    if op.startswith("attend_"):
        y = {"rows": n, "panels": panels_stride_bytes(n), "add": 4 * n}
        strides = {"e_stride": left, "values_stride": right.stride_bytes(k), "y_stride": y[op[7:]]}
        return strides | {"round": 1 << 17, "preshift": 0, "shift": 18, "e_panels": panels}
    return {
        "narrow": {"x_stride": 4 * n, "y_stride": n, "round": 128, "preshift": 0, "shift": 8},
        "layernorm": {"x_stride": n, "y_stride": n, "epsilon": 1, "guard": layernorm_guard(n), "shift": 14},
        "pack_keys": {"x_stride": k, "y_stride": right.stride_bytes(k)},
        "pack_panels": {"x_stride": k, "y_stride": panels_stride_bytes(k)},
        "pack_rows": {"x_stride": k, "y_stride": k},
        "add": {"mult_a": 9000, "mult_b": 7000, "round": 1 << 13, "shift": 14},
        "mean": {"x_stride": n, "mult": 10, "round": 128, "shift": 8},
    }.get(op, {})


def bench_program(
    calls: list[tuple[Call, tuple[Buffer | Constant, ...]]],
    target: Target,
    code: str = "flash",
    repeats: int = REPEATS,
) -> Program:
    """One stage a call, every call repeated; the buffers of all stages share the arena."""
    bodies = [(Loop("i", affine(repeats), 1, (call,)),) if repeats > 1 else (call,) for call, _ in calls]
    stages = [Stage(call.source, (call.source,), body) for (call, _), body in zip(calls, bodies, strict=True)]
    buffers = [item for _, items in calls for item in items if isinstance(item, Buffer)]
    io = [Buffer("input", 4, "input", "s8"), Buffer("output", 4, "output", "s8")]
    spans = {b.name: Span(0, len(calls)) for b in io}
    for position, (_, items) in enumerate(calls):
        spans |= {item.name: Span(position, position) for item in items}
    placed = place_buffers([*io, *buffers], spans, target.ram(), {})
    constants = tuple(item for _, items in calls for item in items if isinstance(item, Constant))
    return bench_of(stages, placed, target, constants, code)
