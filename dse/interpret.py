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
from dse.layout import RIGHT, Right
from dse.memory import Memory
from dse.program import Call, Copy, Fetch, Loop, Node, Parallel, Pointer, Program, copies_ahead
from dse.target import Cluster


@dataclass
class Counters:
    """What one run did: calls by (stage, kernel), MACs by stage, bytes by (region, direction), bytes fetched by stage."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    macs: Counter[str] = field(default_factory=Counter)
    moved_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    iterations: Counter[str] = field(default_factory=Counter)
    fetched_bytes: Counter[str] = field(default_factory=Counter)


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

    @property
    def layout(self) -> Right:
        """The right-hand operand layout of the kernel."""
        return RIGHT[self.call.layout]

    def left(self, name: str, rows: int, depth: int, dtype: str = "s8") -> Array:
        """(rows, depth) of a left-hand operand: rows, or panels when the record says so."""
        if self.sizes.get(f"{name}_panels"):
            return self.memory.read_panels(*self.pointers[name], rows, depth, self[f"{name}_stride"])
        return self.rows(name, rows, depth, self[f"{name}_stride"], dtype)

    def right(self, name: str, columns: int, depth: int) -> Array:
        """(columns, depth) int8 of a right-hand operand."""
        return self.memory.read_right(*self.pointers[name], columns, depth, self[f"{name}_stride"], self.layout)

    def channel(self, name: str, columns: int) -> tuple[Array, Array]:
        """(bias, mult) of the output columns."""
        base, offset = self.pointers[name]
        index = self.layout.channel_index(columns)
        raw = self.memory.bytes(base, offset + 4 * index[..., None] + np.arange(4)).view("<i4")[..., 0]
        words = np.zeros(int(index.max()) + 1, np.int32)
        words[index] = raw
        return self.layout.unpack_channel(words, columns, bool(self["high"]), self["shift"])

    def write(self, name: str, values: Array, stride: int) -> None:
        self.memory.write_rows(*self.pointers[name], values, stride)

    def write_right(self, name: str, matrix: Array) -> None:
        """Store (columns, depth) int8 as the right-hand operand of a later product, clamped to -127..127."""
        clamped = np.maximum(matrix, -127).astype(np.int8)
        written = RIGHT[self.layout.written]
        self.memory.write_right(*self.pointers[name], clamped, self[f"{name}_stride"], written)

    def write_panels(self, name: str, matrix: Array) -> None:
        self.memory.write_panels(*self.pointers[name], matrix, self[f"{name}_stride"])


def interpret(program: Program, input_values: Array, limits: Cluster = Cluster()) -> Interpretation:
    """Run the program on an (s, e) int8 input.

    limits: what the DMA takes; CopyError when a copy is larger, or one too many under way.

    OverlapError when a call reads bytes that are not (or no longer) its operand's; OverflowError when an int32 of a kernel
    would overflow.
    """
    memory, counters = Memory(program, limits.most_copy_bytes, limits.most_copies), Counters()
    memory.write_rows(program.input.base, 0, input_values.astype(np.int8).reshape(1, -1), 0)
    memory.moved.clear()
    loads = fetches = list[int]()
    for stage, fetched, loaded in copies_ahead(program.stages):
        memory.arrive(fetches)
        memory.arrive(loads)
        fetches = _issue(fetched.fetch, {}, memory, counters, fetched.name) if fetched else []
        loads = _issue(loaded.load, {}, memory, counters, loaded.name, load=True) if loaded else []
        if stage is not None:
            _run(stage.body, {}, memory, counters, stage.name)
    counters.moved_bytes = Counter(memory.moved)
    return Interpretation(memory.read_rows(program.output.base, 0, 1, program.output_bytes, 0)[0], counters)


def _run(body: tuple[Node, ...], symbols: dict[str, int], memory: Memory, counters: Counters, stage: str) -> None:
    for node in body:
        if isinstance(node, Loop):
            _run_loop(node, symbols, memory, counters, stage)
        elif isinstance(node, Parallel):
            with memory.parallel():
                for memory.core, own in node.cores(symbols):
                    _run(node.body, symbols | own | {"core": memory.core}, memory, counters, stage)
        elif isinstance(node, Copy):
            _copy(node, symbols, memory, counters, stage)
        else:
            counters.calls[stage, node.kernel] += 1
            counters.macs[stage] += _RUN[node.op](_Frame(memory, node, symbols))


def _copy(copy: Copy, symbols: dict[str, int], memory: Memory, counters: Counters, stage: str) -> None:
    rows, row_bytes = copy.rows.evaluate(symbols), copy.row_bytes.evaluate(symbols)
    counters.fetched_bytes[stage] += rows * row_bytes
    source, target = ((p.base, p.offset_bytes.evaluate(symbols)) for p in (copy.src, copy.dst))
    strides = (copy.stride_bytes, row_bytes) if copy.inward else (row_bytes, copy.stride_bytes)
    memory.arrive([memory.start_copy(source, target, (rows, row_bytes), strides)])


def _run_loop(loop: Loop, symbols: dict[str, int], memory: Memory, counters: Counters, stage: str) -> None:
    extent = loop.extent.evaluate(symbols)
    steps = [
        symbols | {loop.var: first, f"{loop.var}_n": min(loop.step, extent - first), f"{loop.var}_slot": turn % 2}
        for turn, first in enumerate(range(0, extent, loop.step))
    ]
    tickets = _issue(loop.fetch, steps[0], memory, counters, stage)
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        counters.iterations[stage] += 1
        memory.arrive(tickets)
        if following is not None:
            tickets = _issue(loop.fetch, following, memory, counters, stage)
        _run(loop.body, step, memory, counters, stage)


def _issue(
    fetches: tuple[Fetch, ...],
    symbols: dict[str, int],
    memory: Memory,
    counters: Counters,
    stage: str,
    load: bool = False,
) -> list[int]:
    """Start copies: until they arrive, nobody may read or write where they go. Returns their tickets."""
    tickets = []
    for fetch in fetches:
        size = fetch.size_bytes.evaluate(symbols)
        counters.fetched_bytes[stage] += 0 if load else size
        source = fetch.src.base, fetch.src.offset_bytes.evaluate(symbols)
        target = fetch.dst.base, fetch.dst.offset_bytes.evaluate(symbols)
        tickets.append(memory.start_copy(source, target, (1, size), load=load))
    return tickets


def _accumulate(left: Array, right: Array) -> Array:
    return quant.exact_int32(left.astype(np.int64) @ right.astype(np.int64).T)


def _linear_acc(f: _Frame) -> Array:
    return _accumulate(f.left("x", f["m"], f["k"]), f.right("w", f["n"], f["k"]))


def _linear(f: _Frame) -> Array:
    bias, mult = f.channel("channel", f["n"])
    return quant.requant(_linear_acc(f) + bias, mult, f["round"], f["preshift"], f["shift"])


def _macs(f: _Frame) -> int:
    return f["m"] * f["n"] * f["k"]


def _linear_rows(f: _Frame) -> int:
    f.write("y", _linear(f), f["y_stride"])
    return _macs(f)


def _linear_panels(f: _Frame) -> int:
    f.write_panels("y", _linear(f))
    return _macs(f)


def _linear_keys(f: _Frame) -> int:
    f.write_right("y", _linear(f))
    return _macs(f)


def _linear_values(f: _Frame) -> int:
    f.write_right("y", _linear(f).T)
    return _macs(f)


def _linear_add(f: _Frame) -> int:
    y = f.rows("y", f["m"], f["n"], f["y_stride"], "s32")
    f.write("y", quant.exact_int32(_linear_acc(f) + y).astype(np.int32), f["y_stride"])
    return _macs(f)


def _linear_residual(f: _Frame) -> int:
    r = f.rows("r", f["m"], f["n"], f["r_stride"])
    y = quant.add(_linear(f), r, f["mult_y"], f["mult_r"], f["add_round"], f["add_shift"])
    f.write("y", y, f["y_stride"])
    return _macs(f)


def _probs(f: _Frame) -> Array:
    score = _accumulate(f.left("q", f["m"], f["k"]), f.right("keys", f["n"], f["k"]))
    (mult,) = f.vector("mult", 1)
    e, sums = quant.softmax_rows(score, f.vector("table", 256, "u8"), int(mult), f["shift"])
    f.write("sum", sums.astype(np.int32).reshape(1, -1), 0)
    return e.astype(np.uint8)


def _probs_rows(f: _Frame) -> int:
    f.write("e", _probs(f), f["e_stride"])
    return _macs(f)


def _probs_panels(f: _Frame) -> int:
    f.write_panels("e", _probs(f))
    return _macs(f)


def _attend(f: _Frame) -> Array:
    m, k = f["m"], f["k"]
    acc = _accumulate(f.left("e", m, k, "u8"), f.right("values", f["n"], k))
    (scale,) = f.vector("scale", 1)
    return quant.attend_product(acc, f.vector("sum", m), int(scale), f["preshift"])


def _attended(f: _Frame) -> Array:
    return quant.sat8(quant.exact_int32(_attend(f) + f["round"]) >> f["shift"])


def _attend_rows(f: _Frame) -> int:
    f.write("y", _attended(f), f["y_stride"])
    return _macs(f)


def _attend_panels(f: _Frame) -> int:
    f.write_panels("y", _attended(f))
    return _macs(f)


def _attend_add(f: _Frame) -> int:
    y = f.rows("y", f["m"], f["n"], f["y_stride"], "s32")
    f.write("y", quant.exact_int32(_attend(f) + y).astype(np.int32), f["y_stride"])
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
    f.write_right("y", f.rows("x", f["m"], f["k"], f["x_stride"]))
    return 0


def _pack_panels(f: _Frame) -> int:
    f.write_panels("y", f.rows("x", f["m"], f["k"], f["x_stride"]))
    return 0


def _pack_rows(f: _Frame) -> int:
    f.write("y", f.rows("x", f["m"], f["k"], f["x_stride"]), f["y_stride"])
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
    "linear_panels": _linear_panels,
    "linear_keys": _linear_keys,
    "linear_values": _linear_values,
    "linear_add": _linear_add,
    "linear_residual": _linear_residual,
    "probs_rows": _probs_rows,
    "probs_panels": _probs_panels,
    "attend_rows": _attend_rows,
    "attend_panels": _attend_panels,
    "attend_add": _attend_add,
    "narrow": _narrow,
    "zero": _zero,
    "pack_keys": _pack_keys,
    "pack_panels": _pack_panels,
    "pack_rows": _pack_rows,
    "layernorm": _layernorm,
    "lut": _lut,
    "add": _add,
    "mean": _mean,
}
