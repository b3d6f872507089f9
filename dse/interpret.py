"""Program -> output bytes, in numpy: the oracle of the emitted C, and the counter the cost model must equal.

Every call reads its operands from the bytes of the arenas and writes its result there, through the layouts the C
kernels use; so a wrong offset, size, layout or overlap changes the output here exactly as it would on the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dse import quant
from dse.ir import Array
from dse.layout import even, pack_pairs, pack_panels, panels_bytes, unpack_panels
from dse.memory import Memory
from dse.program import Call, Loop, Node, Pointer, Program


@dataclass
class Counters:
    """What one run did: calls by (stage, kernel), MACs by stage, bytes by (region, direction)."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    macs: Counter[str] = field(default_factory=Counter)
    moved_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    iterations: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Interpretation:
    """The output bytes (int8, flat) and the counters of a run."""

    output: Array
    counters: Counters


class _Frame:
    """One call: argument access by field name, everything evaluated at the current loop symbols."""

    def __init__(self, memory: Memory, call: Call, symbols: Mapping[str, int]) -> None:
        self.memory, self.call = memory, call
        self.pointers: dict[str, tuple[str, int]] = {}
        self.sizes: dict[str, int] = {}
        for name, value in call.arguments:
            if isinstance(value, Pointer):
                self.pointers[name] = (value.base, value.offset_bytes.evaluate(symbols))
            elif value is not None:
                self.sizes[name] = value.evaluate(symbols)

    def __getitem__(self, name: str) -> int:
        return self.sizes[name]

    def rows(self, name: str, rows: int, columns: int, stride: int, dtype: str = "s8") -> Array:
        return self.memory.read_rows(*self.pointers[name], rows, columns, stride, dtype)

    def vector(self, name: str, count: int, dtype: str = "s32") -> Array:
        row: Array = self.rows(name, 1, count, 0, dtype)[0]
        return row

    def pairs(self, name: str, columns: int, depth: int, stride: int) -> Array:
        return self.memory.read_pairs(*self.pointers[name], columns, depth, stride)

    def write(self, name: str, values: Array, stride: int) -> None:
        self.memory.write_rows(*self.pointers[name], values, stride)

    def write_pairs(self, name: str, matrix: Array, stride: int) -> None:
        """Store (columns, depth) int8 as `pairs`, whole words."""
        packed = pack_pairs(matrix).reshape(even(matrix.shape[0]) // 2, -1)
        self.write(name, packed, stride)


def interpret(program: Program, input_values: Array) -> Interpretation:
    """Run the program on an (s, e) int8 input.

    OverlapError when a call reads bytes that are not (or no longer) its operand's; OverflowError when an int32 of a kernel
    would overflow.
    """
    memory, counters = Memory(program), Counters()
    memory.write_rows(program.input.base, 0, input_values.astype(np.int8).reshape(1, -1), 0)
    memory.moved.clear()
    for stage in program.stages:
        _run(stage.body, {}, memory, counters, stage.name)
    counters.moved_bytes = Counter(memory.moved)
    return Interpretation(memory.read_rows(program.output.base, 0, 1, program.output_bytes, 0)[0], counters)


def _run(body: tuple[Node, ...], symbols: dict[str, int], memory: Memory, counters: Counters, stage: str) -> None:
    for node in body:
        if isinstance(node, Loop):
            extent = node.extent.evaluate(symbols)
            for first in range(0, extent, node.step):
                counters.iterations[stage] += 1
                inner = symbols | {node.var: first, f"{node.var}_n": min(node.step, extent - first)}
                _run(node.body, inner, memory, counters, stage)
        else:
            counters.calls[stage, node.kernel] += 1
            counters.macs[stage] += _RUN[node.op](_Frame(memory, node, symbols))


def _accumulate(left: Array, right: Array) -> Array:
    return quant.exact_int32(left.astype(np.int64) @ right.astype(np.int64).T)


def _linear_acc(f: _Frame) -> Array:
    x = f.rows("x", f["m"], f["k"], f["x_stride"])
    return _accumulate(x, f.pairs("w", f["n"], f["k"], f["w_stride"]))


def _linear(f: _Frame) -> Array:
    channel = f.vector("channel", 2 * f["n"]).reshape(-1, 2)
    return quant.requant(_linear_acc(f) + channel[:, 0], channel[:, 1], f["round"], f["preshift"], f["shift"])


def _macs(f: _Frame) -> int:
    return f["m"] * f["n"] * f["k"]


def _linear_rows(f: _Frame) -> int:
    f.write("y", _linear(f), f["y_stride"])
    return _macs(f)


def _linear_keys(f: _Frame) -> int:
    f.write_pairs("y", _linear(f), f["y_stride"])
    return _macs(f)


def _linear_values(f: _Frame) -> int:
    f.write_pairs("y", _linear(f).T, f["y_stride"])
    return _macs(f)


def _linear_add(f: _Frame) -> int:
    y = f.rows("y", f["m"], f["n"], f["y_stride"], "s32")
    f.write("y", quant.exact_int32(_linear_acc(f) + y).astype(np.int32), f["y_stride"])
    return _macs(f)


def _probs(f: _Frame) -> tuple[Array, int]:
    q = f.rows("q", f["m"], f["k"], f["q_stride"])
    score = _accumulate(q, f.pairs("keys", f["n"], f["k"], f["keys_stride"]))
    (mult,) = f.vector("mult", 1)
    e, sums = quant.softmax_rows(score, f.vector("table", 256, "u8"), int(mult), f["round"], f["shift"])
    f.write("sum", sums.astype(np.int32).reshape(1, -1), 0)
    return e.astype(np.uint8), _macs(f)


def _probs_rows(f: _Frame) -> int:
    e, macs = _probs(f)
    f.write("e", e, f["e_stride"])
    return macs


def _probs_panels(f: _Frame) -> int:
    e, macs = _probs(f)
    f.write("e", pack_panels(e).reshape(1, -1), 0)
    return macs


def _attend(f: _Frame, panels: bool) -> Array:
    m, k = f["m"], f["k"]
    if panels:
        e = unpack_panels(f.vector("e", panels_bytes(m, k) // 2, "s16"), m, k)
    else:
        e = f.rows("e", m, k, f["e_stride"], "u8")
    acc = _accumulate(e, f.pairs("values", f["n"], k, f["values_stride"]))
    (scale,) = f.vector("scale", 1)
    return quant.attend_product(acc, f.vector("sum", m), int(scale), f["preshift"])


def _attend_rows(f: _Frame, panels: bool = False) -> int:
    product = quant.exact_int32(_attend(f, panels) + f["round"])
    f.write("y", quant.sat8(product >> f["shift"]), f["y_stride"])
    return _macs(f)


def _attend_add(f: _Frame, panels: bool = False) -> int:
    y = f.rows("y", f["m"], f["n"], f["y_stride"], "s32")
    f.write("y", quant.exact_int32(_attend(f, panels) + y).astype(np.int32), f["y_stride"])
    return _macs(f)


def _narrow(f: _Frame) -> int:
    channel = f.vector("channel", 2 * f["n"]).reshape(-1, 2)
    acc = quant.exact_int32(f.rows("x", f["m"], f["n"], f["x_stride"], "s32") + channel[:, 0].astype(np.int64))
    f.write("y", quant.requant(acc, channel[:, 1], f["round"], f["preshift"], f["shift"]), f["y_stride"])
    return 0


def _zero(f: _Frame) -> int:
    f.write("y", np.zeros((1, f["n"]), np.int32), 0)
    return 0


def _pack_keys(f: _Frame) -> int:
    f.write_pairs("y", f.rows("x", f["m"], f["k"], f["x_stride"]), f["y_stride"])
    return 0


def _layernorm(f: _Frame) -> int:
    channel = f.vector("channel", 2 * f["n"]).reshape(-1, 2)
    x = f.rows("x", f["m"], f["n"], f["x_stride"])
    y = quant.layernorm_rows(x, channel[:, 0], channel[:, 1], f["epsilon"], f["guard"], f["shift"])
    f.write("y", y, f["y_stride"])
    return 0


def _lut(f: _Frame) -> int:
    x = f.vector("x", f["n"], "s8").astype(np.int64)
    f.write("y", f.vector("table", 256, "s8")[x + 128].reshape(1, -1), 0)
    return 0


def _add(f: _Frame) -> int:
    a, b = f.vector("a", f["n"], "s8"), f.vector("b", f["n"], "s8")
    y = quant.add(a, b, f["mult_a"], f["mult_b"], f["round"], f["shift"])
    f.write("y", y.reshape(1, -1), 0)
    return 0


def _mean(f: _Frame) -> int:
    x = f.rows("x", f["m"], f["n"], f["x_stride"])
    f.write("y", quant.mean_rows(x, f["mult"], f["round"], f["shift"]).reshape(1, -1), 0)
    return 0


_RUN: dict[str, Callable[[_Frame], int]] = {
    "linear_rows": _linear_rows,
    "linear_keys": _linear_keys,
    "linear_values": _linear_values,
    "linear_add": _linear_add,
    "probs_rows": _probs_rows,
    "probs_panels": _probs_panels,
    "attend_rows": _attend_rows,
    "attend_add": _attend_add,
    "attend_rows_panels": lambda f: _attend_rows(f, panels=True),
    "attend_add_panels": lambda f: _attend_add(f, panels=True),
    "narrow": _narrow,
    "zero": _zero,
    "pack_keys": _pack_keys,
    "layernorm": _layernorm,
    "lut": _lut,
    "add": _add,
    "mean": _mean,
}
