"""Program -> exact counts in closed form: calls, loop iterations, MACs and bytes per memory.

A loop's body is counted once for its full steps and once for its ragged last step, never unrolled. The results equal
the interpreter's counters to the last byte (a test holds them together).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from dse.layout import even, written_as
from dse.program import Affine, Call, Copy, Loop, Node, Parallel, Pointer, Program, Stage

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class CallCount:
    """`times` identical calls: same kernel, same integer arguments; so many cores make such calls at the same time."""

    call: Call
    sizes: dict[str, int]
    times: int
    cores: float = 1.0


@dataclass(frozen=True)
class CopyCount:
    """A copy of that many rows of that many bytes."""

    copy: Copy
    rows: int
    row_bytes: int


def count_calls(stage: Stage) -> tuple[tuple[CallCount, ...], int]:
    """(distinct calls with their multiplicity, loop iterations) of a stage, over all cores."""
    calls: list[CallCount] = []
    iterations = 0
    for item, times in walk(stage.body, {}, 1):
        if isinstance(item, CallCount):
            calls.append(item)
        elif isinstance(item, Loop):
            iterations += times
    return tuple(calls), iterations


def walk(
    body: tuple[Node, ...], sizes: dict[str, int], times: int, slowest: bool = False, cores: float = 1.0
) -> Iterator[tuple[CallCount | CopyCount | Loop | Parallel, int]]:
    """(call, loop iteration or region, how often) of a body at these symbols; of a region only the core with the largest
    share when `slowest`. cores: how many are at work, in the mean over the time of the largest share."""
    for node in body:
        if isinstance(node, Call):
            values = {k: v.evaluate(sizes) if v.terms else v.const for k, v in node.arguments if isinstance(v, Affine)}
            yield CallCount(node, values, times, cores), times
            continue
        if isinstance(node, Copy):
            yield CopyCount(node, node.rows.evaluate(sizes), node.row_bytes.evaluate(sizes)), times
            continue
        if isinstance(node, Parallel):
            yield node, times
            counts = [f"{axis.var}_n" for axis in node.axes]
            shares = Counter(tuple(own[name] for name in counts) for _, own in node.cores(sizes))
            largest = max(shares, key=prod)
            work = sum(prod(share) * alike for share, alike in shares.items())
            for share, alike in ((largest, 1),) if slowest else shares.items():
                own = sizes | dict(zip(counts, share, strict=True))
                yield from walk(node.body, own, times * alike, slowest, work / max(1, prod(largest)))
            continue
        extent = node.extent.evaluate(sizes)
        full, rest = divmod(extent, node.step)
        if full:
            yield node, times * full
            yield from walk(node.body, sizes | {f"{node.var}_n": node.step}, times * full, slowest, cores)
        if rest:
            yield node, times
            yield from walk(node.body, sizes | {f"{node.var}_n": rest}, times, slowest, cores)


# ---- what one call does, from its integer arguments ---------------------------------------------------------------

_Traffic = dict[str, tuple[int, int]]  # field -> (bytes read, bytes written)


def call_macs(op: str, z: Sizes) -> int:
    """Multiply-accumulates of one call: m·n·k for the matrix products, else 0."""
    return z["m"] * z["n"] * z["k"] if op.startswith(("linear_", "probs_", "attend_")) else 0


def call_traffic(call: Call, z: Sizes) -> _Traffic:
    """Operand bytes of one call, each operand touched once: the footprint, not the kernel's inner re-reads."""
    return _TRAFFIC[call.op](z, call.layout)


def _right(layout: str, columns: int, depth: int) -> int:
    """Bytes of a right-hand operand: whole words of two columns and two depths in `quads`, of two depths in `pairs`."""
    if layout == "pairs":
        return 2 * columns * even(depth)
    return even(columns) * even(depth) if layout == "quads" else columns * depth


def _left(z: Sizes, depth: str, panels: bool | int) -> int:
    return z["m"] * even(z[depth]) * 2 if panels else z["m"] * z[depth]


def _linear(z: Sizes, layout: str, written: int) -> _Traffic:
    return {
        "x": (_left(z, "k", z["x_panels"]), 0),
        "w": (_right(layout, z["n"], z["k"]), 0),
        "channel": (8 * z["n"], 0),
        "y": (0, written),
    }


def _linear_add(z: Sizes, layout: str) -> _Traffic:
    y = 4 * z["m"] * z["n"]
    return {"x": (_left(z, "k", z["x_panels"]), 0), "w": (_right(layout, z["n"], z["k"]), 0), "y": (y, y)}


def _linear_residual(z: Sizes, layout: str) -> _Traffic:
    return _linear(z, layout, z["m"] * z["n"]) | {"r": (z["m"] * z["n"], 0)}


def _probs(z: Sizes, layout: str, panels: bool) -> _Traffic:
    return {
        "q": (_left(z, "k", z["q_panels"]), 0),
        "keys": (_right(layout, z["n"], z["k"]), 0),
        "mult": (4, 0),
        "table": (256, 0),
        "sum": (0, 4 * z["m"]),
        "e": (0, _left(z, "n", panels)),
    }


def _attend(z: Sizes, layout: str, written: int, read: int = 0) -> _Traffic:
    return {
        "e": (_left(z, "k", z["e_panels"]), 0),
        "values": (_right(layout, z["n"], z["k"]), 0),
        "sum": (4 * z["m"], 0),
        "scale": (4, 0),
        "y": (read, written),
    }


def _attend_add(z: Sizes, layout: str) -> _Traffic:
    y = 4 * z["m"] * z["n"]
    return _attend(z, layout, y, y)


_TRAFFIC: dict[str, Callable[[Sizes, str], _Traffic]] = {
    "linear_rows": lambda z, w: _linear(z, w, z["m"] * z["n"]),
    "linear_panels": lambda z, w: _linear(z, w, _left(z, "n", True)),
    "linear_keys": lambda z, w: _linear(z, w, _right(written_as(w), z["m"], z["n"])),
    "linear_values": lambda z, w: _linear(z, w, _right(written_as(w), z["n"], z["m"])),
    "linear_add": _linear_add,
    "linear_residual": _linear_residual,
    "probs_rows": lambda z, w: _probs(z, w, panels=False),
    "probs_panels": lambda z, w: _probs(z, w, panels=True),
    "attend_rows": lambda z, w: _attend(z, w, z["m"] * z["n"]),
    "attend_panels": lambda z, w: _attend(z, w, _left(z, "n", True)),
    "attend_add": _attend_add,
    "narrow": lambda z, _: {"x": (4 * z["m"] * z["n"], 0), "channel": (8 * z["n"], 0), "y": (0, z["m"] * z["n"])},
    "zero": lambda z, _: {"y": (0, 4 * z["n"])},
    "pack_keys": lambda z, w: {"x": (z["m"] * z["k"], 0), "y": (0, _right(w, z["m"], z["k"]))},
    "pack_panels": lambda z, _: {"x": (z["m"] * z["k"], 0), "y": (0, _left(z, "k", True))},
    "pack_rows": lambda z, _: {"x": (z["m"] * z["k"], 0), "y": (0, z["m"] * z["k"])},
    "layernorm": lambda z, _: {
        "x": (z["m"] * z["n"], 0),
        "channel": (8 * z["n"], 0),
        "y": (0, z["m"] * z["n"]),
    },
    "lut": lambda z, _: {"x": (z["n"], 0), "table": (256, 0), "y": (0, z["n"])},
    "add": lambda z, _: {"a": (z["n"], 0), "b": (z["n"], 0), "y": (0, z["n"])},
    "mean": lambda z, _: {"x": (z["m"] * z["n"], 0), "y": (0, z["n"])},
}


def fetched_bytes(stage: Stage) -> int:
    """Bytes the DMA copies for a stage: its own fetches, and those of its loops over all their steps."""
    return sum(fetch.size_bytes.evaluate({}) for fetch in stage.fetch) + _fetched(stage.body, {}, 1)


def _fetched(body: tuple[Node, ...], sizes: dict[str, int], times: int) -> int:
    total = 0
    for node in body:
        if isinstance(node, Copy):
            total += times * node.rows.evaluate(sizes) * node.row_bytes.evaluate(sizes)
        if isinstance(node, Loop):
            full, rest = divmod(node.extent.evaluate(sizes), node.step)
            for count, turns in ((node.step, full), (rest, int(rest > 0))):
                inner = sizes | {f"{node.var}_n": count}
                total += times * turns * sum(fetch.size_bytes.evaluate(inner) for fetch in node.fetch)
                total += _fetched(node.body, inner, times * turns) if turns else 0
    return total


def moved_bytes(program: Program, calls: tuple[CallCount, ...]) -> Counter[tuple[str, str]]:
    """Bytes by (region, "read" | "write") of these calls; constants count as their region."""
    regions = {b.name: b.region for b in program.buffers} | {c.name: c.region for c in program.constants}
    moved: Counter[tuple[str, str]] = Counter()
    for item in calls:
        pointers = {k: v for k, v in item.call.arguments if isinstance(v, Pointer)}
        for field, (read, written) in call_traffic(item.call, item.sizes).items():
            region = regions[pointers[field].base]
            moved[region, "read"] += read * item.times
            moved[region, "write"] += written * item.times
    return Counter({key: value for key, value in moved.items() if value})
