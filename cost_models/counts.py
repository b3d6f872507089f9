"""Program -> exact counts in closed form: calls, loop iterations, MACs and bytes per memory.

A loop's body is counted once for its full steps and once for its ragged last step, never unrolled. The results equal
the interpreter's counters to the last byte (a test holds them together).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dse.layout import even
from dse.program import Affine, Call, Loop, Node, Pointer, Program, Stage

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class CallCount:
    """`times` identical calls: same kernel, same integer arguments."""

    call: Call
    sizes: dict[str, int]
    times: int


def count_calls(stage: Stage) -> tuple[tuple[CallCount, ...], int]:
    """(distinct calls with their multiplicity, loop iterations) of a stage."""
    calls: list[CallCount] = []
    iterations = 0
    for item, times in _walk(stage.body, {}, 1):
        if isinstance(item, CallCount):
            calls.append(item)
        else:
            iterations += times
    return tuple(calls), iterations


def _walk(body: tuple[Node, ...], sizes: dict[str, int], times: int) -> Iterator[tuple[CallCount | Loop, int]]:
    for node in body:
        if isinstance(node, Call):
            values = {k: v.evaluate(sizes) for k, v in node.arguments if isinstance(v, Affine)}
            yield CallCount(node, values, times), times
            continue
        extent = node.extent.evaluate(sizes)
        full, rest = divmod(extent, node.step)
        if full:
            yield node, times * full
            yield from _walk(node.body, sizes | {f"{node.var}_n": node.step}, times * full)
        if rest:
            yield node, times
            yield from _walk(node.body, sizes | {f"{node.var}_n": rest}, times)


# ---- what one call does, from its integer arguments ---------------------------------------------------------------

_Traffic = dict[str, tuple[int, int]]  # field -> (bytes read, bytes written)


def call_macs(op: str, z: Sizes) -> int:
    """Multiply-accumulates of one call: m·n·k for the matrix products, else 0."""
    return z["m"] * z["n"] * z["k"] if op.startswith(("linear_", "probs_", "attend_")) else 0


def call_traffic(op: str, z: Sizes) -> _Traffic:
    """Operand bytes of one call, each operand touched once: the footprint, not the kernel's inner re-reads."""
    return _TRAFFIC[op](z)


def _pairs(columns: int, depth: int) -> int:
    return even(columns) * even(depth)


def _linear(z: Sizes, written: int) -> _Traffic:
    reads = {"x": (z["m"] * z["k"], 0), "w": (_pairs(z["n"], z["k"]), 0), "channel": (8 * z["n"], 0)}
    return reads | {"y": (0, written)}


def _linear_add(z: Sizes) -> _Traffic:
    y = 4 * z["m"] * z["n"]
    return {"x": (z["m"] * z["k"], 0), "w": (_pairs(z["n"], z["k"]), 0), "y": (y, y)}


def _map_bytes(z: Sizes, depth: str, panels: bool) -> int:
    return z["m"] * even(z[depth]) * 2 if panels else z["m"] * z[depth]


def _probs(z: Sizes, panels: bool) -> _Traffic:
    return {
        "q": (z["m"] * z["k"], 0),
        "keys": (_pairs(z["n"], z["k"]), 0),
        "mult": (4, 0),
        "table": (256, 0),
        "sum": (0, 4 * z["m"]),
        "e": (0, _map_bytes(z, "n", panels)),
    }


def _attend(z: Sizes, panels: bool, add: bool) -> _Traffic:
    y = (4 if add else 1) * z["m"] * z["n"]
    return {
        "e": (_map_bytes(z, "k", panels), 0),
        "values": (_pairs(z["n"], z["k"]), 0),
        "sum": (4 * z["m"], 0),
        "scale": (4, 0),
        "y": (y if add else 0, y),
    }


_TRAFFIC: dict[str, Callable[[Sizes], _Traffic]] = {
    "linear_rows": lambda z: _linear(z, z["m"] * z["n"]),
    "linear_keys": lambda z: _linear(z, _pairs(z["m"], z["n"])),
    "linear_values": lambda z: _linear(z, _pairs(z["n"], z["m"])),
    "linear_add": _linear_add,
    "probs_rows": lambda z: _probs(z, panels=False),
    "probs_panels": lambda z: _probs(z, panels=True),
    "attend_rows": lambda z: _attend(z, panels=False, add=False),
    "attend_add": lambda z: _attend(z, panels=False, add=True),
    "attend_rows_panels": lambda z: _attend(z, panels=True, add=False),
    "attend_add_panels": lambda z: _attend(z, panels=True, add=True),
    "narrow": lambda z: {"x": (4 * z["m"] * z["n"], 0), "channel": (8 * z["n"], 0), "y": (0, z["m"] * z["n"])},
    "zero": lambda z: {"y": (0, 4 * z["n"])},
    "pack_keys": lambda z: {"x": (z["m"] * z["k"], 0), "y": (0, _pairs(z["m"], z["k"]))},
    "layernorm": lambda z: {
        "x": (z["m"] * z["n"], 0),
        "channel": (8 * z["n"], 0),
        "y": (0, z["m"] * z["n"]),
    },
    "lut": lambda z: {"x": (z["n"], 0), "table": (256, 0), "y": (0, z["n"])},
    "add": lambda z: {"a": (z["n"], 0), "b": (z["n"], 0), "y": (0, z["n"])},
    "mean": lambda z: {"x": (z["m"] * z["n"], 0), "y": (0, z["n"])},
}


def moved_bytes(program: Program, calls: tuple[CallCount, ...]) -> Counter[tuple[str, str]]:
    """Bytes by (region, "read" | "write") of these calls; constants count as region "flash"."""
    regions = {b.name: b.region for b in program.buffers} | {c.name: "flash" for c in program.constants}
    moved: Counter[tuple[str, str]] = Counter()
    for item in calls:
        pointers = {k: v for k, v in item.call.arguments if isinstance(v, Pointer)}
        for field, (read, written) in call_traffic(item.call.op, item.sizes).items():
            region = regions[pointers[field].base]
            moved[region, "read"] += read * item.times
            moved[region, "write"] += written * item.times
    return Counter({key: value for key, value in moved.items() if value})
