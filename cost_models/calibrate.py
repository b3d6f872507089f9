"""Measured cycles of single calls -> KernelFit: non-negative least squares on the manifest's features."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from cost_models.calibration import KernelFit, is_of_banks
from cost_models.code_stalls import (
    ENTRIES,
    ONCE,
    code_features,
    entry,
    fill_cycles,
    has_four_rows,
    has_loops,
    has_small_heads,
    keeps_code,
    turns_of,
)
from dse.ir import Array
from dse.kernel import Kernel
from dse.target import Target


@dataclass(frozen=True)
class Measurement:
    """Cycles and instructions of one call at these integer arguments."""

    sizes: Mapping[str, int]
    cycles: float
    instructions: float


PRIOR_WEIGHT = 0.1  # a term twice its prior counts like an error of 1 % in a call of 100 cycles


def fit_kernel(
    kernel: Kernel,
    measured: Sequence[Measurement],
    functions: dict[str, int],
    prior: Mapping[str, float] | None = None,
) -> KernelFit:
    """Cycles per feature. Rows are weighted by 1/sqrt(cycles): between relative errors, which small calls would rule, and
    absolute ones, of which only the largest call would count. prior: where terms stay that the calls do not tell apart."""
    features = np.array([[term.evaluate(m.sizes) for _, term in kernel.terms] for m in measured], float)
    cycles = np.array([m.cycles for m in measured])
    rows, values = features / np.sqrt(cycles)[:, None], np.sqrt(cycles)
    if prior is not None:
        before = np.array([prior.get(name, 0.0) for name, _ in kernel.terms])
        pull = PRIOR_WEIGHT / np.maximum(before, 1.0)
        rows, values = np.vstack([rows, np.diag(pull)]), np.concatenate([values, pull * before])
    solution, _ = nnls(rows, values)
    errors = np.abs(features @ solution / cycles - 1.0)
    names = [name for name, _ in kernel.terms]
    fitted = {name: float(value) for name, value in zip(names, solution, strict=True)}
    spans = {name: [m.sizes[name] for m in measured] for name in ("m", "n", "k") if name in measured[0].sizes}
    measured_at = {name: (min(values), max(values)) for name, values in spans.items()}
    made_at = " ".join(shape_text(m.sizes, _banked_strides(kernel)) for m in measured)
    return KernelFit(fitted, functions, float(errors.max()), len(measured), spans=measured_at, calls=made_at)


def fit_contention(kernel: Kernel, measured: Sequence[Measurement], alone: Sequence[float]) -> float:
    """The share of the cycles of a call on all cores at once that a core alone does not take, over the calls without a
    term `bank`; 0 where it was measured for none. alone: cycles of the same calls on one core."""
    banks = [feature for name, feature in kernel.terms if is_of_banks(name)]
    calls = [
        (call.cycles, own)
        for call, own in zip(measured, alone, strict=bool(alone))
        if not any(feature.evaluate(call.sizes) for feature in banks)
    ]
    return max(0.0, 1.0 - sum(own for _, own in calls) / sum(cycles for cycles, _ in calls)) if calls else 0.0


def shape_text(sizes: Mapping[str, int], strides: Sequence[str] = ()) -> str:
    """The sizes of a call in short: `m x n x k` of those it has, `p` for rows in panels, `+` a pre-shift: `4x12x30p+3`; `/`
    these strides where one is not as dense as the depth."""
    found = "x".join(str(sizes[name]) for name in ("m", "n", "k") if name in sizes)
    found += "p" * max((sizes.get(f"{name}_panels", 0) for name in "xqe"), default=0)
    found += "".join(f"/{sizes[name]}" for name in strides if any(sizes[stride] != sizes["k"] for stride in strides))
    return found + (f"+{sizes['preshift']}" if sizes.get("preshift") else "")


@dataclass(frozen=True)
class ColdCall:
    """One call with empty caches: its integer arguments, wait states -> cycles, and with the most wait states the misses of
    both caches and function -> lines of code that it ran."""

    sizes: Mapping[str, int]
    cycles: Mapping[int, int]
    code_misses: int
    data_misses: int
    code_lines: Mapping[str, int]


def fit_stalls(kernel: Kernel, fit: KernelFit, calls: Sequence[ColdCall], target: Target) -> KernelFit:
    """The fit with what cold calls lose on code: their stalls at the most wait states less those of data, both counted
    (non-negative least squares, weighted as the cycles are); at fewer wait states a share of it, from the calls that were
    made at all of them."""
    if target.data_cache is None or not calls:
        return fit
    flash = next(region for region in target.regions if region.kind == "flash")
    names, features = _stall_features(kernel, calls, keeps_code(target))
    states = sorted(calls[0].cycles)
    most, prefetches = states[-1], target.code_cache is not None and target.code_cache.prefetch
    fills = {state: fill_cycles(flash, state) for state in states}
    units = np.array([call.data_misses for call in calls], float)

    def lost(state: int) -> Array:
        if not prefetches:  # every miss waits as long
            return np.array([float(call.code_misses * fills[state]) for call in calls])
        cycles = np.array([call.cycles.get(state, 0) - call.cycles[0] for call in calls], float)
        stalls: Array = np.maximum(cycles - units * fills[state], 0.0)
        return stalls

    total = np.array([call.cycles[most] for call in calls], float)
    weights = 1 / np.sqrt(total)
    solution, _ = nnls(features * weights[:, None], lost(most) * weights, maxiter=20 * len(names))
    code = features @ solution
    everywhere = np.array([len(call.cycles) == len(states) for call in calls])
    square = float(np.sum((code * weights * everywhere) ** 2))
    shares = {
        state: float(np.sum(code * weights**2 * lost(state) * everywhere)) / square * fills[most] / max(1, fills[state])
        for state in states
        if square
    }
    found = dict(zip(names, map(float, solution), strict=True))
    loops = {loop for loop, at in names if at is not None and found[loop, at] > 0}
    return replace(
        fit,
        stalls={name: found[name, None] for name, at in names if at is None and found[name, None] > 0},
        loop_stalls={loop: tuple(found.get((loop, at), 0.0) for at in range(ENTRIES)) for loop in sorted(loops)},
        stall_shares=tuple(shares.get(state, shares.get(most, 0.0)) for state in range(most + 1)),
        stall_fill=fills[most],
        cold_calls=" ".join(shape_text(call.sizes) for call in calls),
        code_shares=_code_shares(fit, calls) if keeps_code(target) else {},
        stall_error=float(np.quantile(np.abs(code - lost(most)) / total, 0.95)),
    )


def _code_shares(fit: KernelFit, calls: Sequence[ColdCall]) -> dict[str, float]:
    """Function of a kernel -> its share of the lines that these calls ran."""
    lines = {name: sum(call.code_lines.get(name, 0) for call in calls) for name in fit.functions}
    return {name: count / sum(lines.values()) for name, count in lines.items()}


def _stall_features(
    kernel: Kernel, calls: Sequence[ColdCall], keeps: bool
) -> tuple[list[tuple[str, int | None]], Array]:
    """(feature or loop, entry of the depth or None) of those that come at all, and how often each in each call; of loops
    only whether they come, where the code cache keeps them."""
    rows: list[dict[tuple[str, int | None], float]] = []
    for call in calls:
        row: dict[tuple[str, int | None], float] = {(n, None): v for n, v in code_features(kernel, call.sizes).items()}
        if has_loops(kernel):
            loops = {k: v for k, v in turns_of(kernel, call.sizes).items() if k.endswith(ONCE) == keeps}
            row |= {(loop, entry(call.sizes)): float(turns) for loop, turns in loops.items()}
        rows.append(row)
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if any(row.get(name) for row in rows)]
    return names, np.array([[row.get(name, 0.0) for name in names] for row in rows])


@dataclass(frozen=True)
class Footprint:
    """Flash of one network's firmware without its constants, sample and kernels; the calls and loops in its text."""

    glue_bytes: int
    calls: int
    loops: int


def fit_code(footprints: Sequence[Footprint]) -> tuple[float, float, float]:
    """(bytes of an empty network, bytes a call, bytes a loop): non-negative least squares over firmwares."""
    features = np.array([[1, f.calls, f.loops] for f in footprints], float)
    solution, _ = nnls(features, np.array([f.glue_bytes for f in footprints], float))
    base, call, loop = map(float, solution)
    return base, call, loop


COVERED = 0.95  # of the executed schedules lie within the errors
MARGIN = 1.75  # times that: networks differ more from one another than the schedules of one


def fit_errors(predicted: Sequence[Sequence[float]], executed: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Per wait state MARGIN times the share of the predicted cycles that COVERED of the schedules err by at most. A row a
    schedule, a column a number of wait states."""
    if not executed or not executed[0]:
        return ()
    before = np.array(predicted)
    return tuple(map(float, MARGIN * np.quantile(np.abs(np.array(executed) / before - 1), COVERED, axis=0)))


# Shapes to measure, by op family. Small and odd sizes separate the remainder terms; the large ones fix the inner loop.
# They are not the shapes of any built-in model's layers.
_NK = ((2, 2), (4, 6), (6, 12), (10, 20), (3, 33), (12, 48), (7, 9), (2, 131), (18, 15), (1, 7), (26, 10), (5, 17))
_MNK = (
    *((m, n, k) for m in (1, 2, 3, 4) for n, k in _NK),
    *((m, n, k) for m in (5, 8, 11) for n, k in ((2, 2), (6, 12), (3, 33), (12, 48), (17, 14))),
    *((4, n, 16) for n in (2, 5, 8, 9, 22, 40)),
    *((4, 12, k) for k in (1, 2, 3, 4, 7, 8, 10, 14, 15, 16, 17, 18, 24, 30, 40, 72, 130)),
    *((m, 6, 18) for m in (6, 7, 9, 10, 12, 15, 24, 37)),
    (20, 24, 24),
    (13, 50, 28),
    (26, 14, 100),
    *(
        (1, 40, 56),
        (5, 40, 56),
        (3, 28, 88),
        (2, 56, 40),
        (5, 36, 112),
        (4, 60, 36),
        (9, 44, 52),
    ),  # long loops end less often
)
# The same work with a pre-shift or a small shift takes other instructions in some kernels. With a small shift the pre-shift
# is larger: results stay in int8, as those of a network do (some kernels branch where they saturate).
_ARITHMETIC = ({"preshift": 3}, {"preshift": 6, "shift": 12, "round": 1 << 11})
# Loops of every length over many rows and columns: whether code and weights survive in a small cache until the next tile.
_DEPTHS = (10, 20, 26, 30, 32, 34, 44, 50, 60, 64, 76, 96, 100)
_WIDE = tuple((m, 24 + 6 * (i % 2), k) for m in (2, 3, 8, 20) for i, k in enumerate(_DEPTHS))
_FAR = ((130, 12, 10), (3, 600, 12), (2, 24, 1100))  # one size beyond those of the networks
_SHALLOW = ((4, 22, 2), (3, 41, 2), (6, 50, 2), (8, 31, 1), (4, 90, 2))  # heads of 2: everything is the table pass
# Rows and columns in the same banks of a cluster's L1, and apart.
_BANKED = tuple((m, n, k) for m in (1, 2, 4, 5, 8, 12) for n, k in ((24, 20), (40, 28), (20, 48), (36, 40), (12, 60)))
_MN = (*((m, n) for m in (1, 2, 3, 5, 9) for n in (4, 10, 16, 31, 48, 96)), (120, 12), (2, 520))
_EDGES = {  # remainders, and sizes at which a loop of some kernel changes
    "narrow": ((2, 1), (3, 2), (8, 7)),
    "layernorm": tuple((m, n) for m in (1, 4) for n in (8, 13, 20, 24, 28, 64, 75, 130, 200)),
    "mean": ((1, 1), (7, 2), (40, 3), (33, 20), (200, 8), (300, 12), (600, 4)),
}
_N = (4, 9, 16, 31, 40, 100, 257, 700, 6000)


def shapes(kernel: Kernel) -> tuple[dict[str, int], ...]:
    """The calibration shapes of a variant as m, n, k (and other integers) that its contract serves; even columns where the
    contract asks for them; products also from panels where the variant reads them. Shapes too deep, too wide or too
    shallow for the variant are changed."""
    changed = (
        [sizes | c for c in ({}, {"k": 2}, _few(sizes), {"n": 2}, _deeper(sizes))] for sizes in _shapes(kernel.op)
    )
    served = (next((sizes for sizes in several if _serves(kernel, sizes)), {}) for several in changed)
    found = tuple(dict(items) for items in dict.fromkeys(tuple(sizes.items()) for sizes in served) if items)
    found += tuple(_banked(_banked_strides(kernel)))
    source = {"linear": "x_panels", "probs": "q_panels", "attend": "e_panels"}.get(kernel.op.split("_")[0])
    if source and kernel.layout in ("quads", "pairs"):
        found += tuple(sizes | {source: 1} for sizes in found[::2])
    return found


# Every entry of the depth into an unrolled loop, each with every way to go over rows and columns.
_LOOP_PAIRS = (*range(1, ENTRIES + 1), 33, 40, 47)
_LOOP_MN = tuple((m, n) for m in (1, 3, 10, 35) for n in (2, 3, 12, 13, 14, 19, 58))
_LOOP_MN_SCORES = (*_LOOP_MN, (1, 44), (3, 44), (10, 44), (35, 28))
_LOOP_MN_FOUR = tuple(  # four rows, then each rest; 2 x 2 is what is left of an ECGFormer head
    (m, n) for m in (1, 2, 3, 5, 6, 7, 9, 38) for n in (2, 3, 12, 33) if (m, n) != (2, 2)
)
_LOOP_MN_SMALL = tuple((m, n) for m in (1, 3, 10, 35) for n in (*range(1, 8), 9, 12, 14, 19, 45, 46, 47, 48))
_LOOP_MN_ONCE = tuple((m, n) for m in (1, 3, 10) for n in (2, 3, 12, 14, 19))


def loop_shapes(kernel: Kernel, keeps: bool) -> tuple[dict[str, int], ...]:
    """The further shapes at which a product kernel of micro-tiles is called cold, half of them with rows in panels; fewer
    where the code cache keeps its code; () for other kernels."""
    if not has_loops(kernel):
        return ()
    source = {"linear": "x_panels", "probs": "q_panels", "attend": "e_panels"}[kernel.op.split("_")[0]]
    ways = _LOOP_MN_SCORES if kernel.op.startswith("probs_") else _LOOP_MN
    ways = _LOOP_MN_FOUR if has_four_rows(kernel) else _LOOP_MN_SMALL if has_small_heads(kernel) else ways
    found = []
    for i, pairs in enumerate(_LOOP_PAIRS):
        for j, (m, n) in enumerate(_LOOP_MN_ONCE if keeps else ways):
            sizes = {"m": m, "n": n + n % 2 * _even_columns(kernel.op), "k": 2 * pairs - ((i + j) % 3 == 0)}
            both = ({}, {source: 1}) if source != "x_panels" else ({source: 1} if (i + j) % 2 else {},)
            found += [sizes | panels for panels in both]
    return tuple(sizes for sizes in found if _serves(kernel, sizes))


def _banked_strides(kernel: Kernel) -> tuple[str, ...]:
    """The strides of operands that a variant's terms of bank conflicts depend on; () for one without."""
    if not any(is_of_banks(name) for name, _ in kernel.terms):
        return ()
    fields = {"linear": ("x",), "probs": ("q", "keys"), "attend": ("e", "values")}[kernel.op.split("_")[0]]
    return tuple(f"{field}_stride" for field in fields)


def _banked(strides: Sequence[str]) -> Iterator[dict[str, int]]:
    """Shapes with each of these strides the next that is whole rows of 8 or of 16 banks, and one that is not."""
    for m, n, k in _BANKED if strides else ():
        near = dict.fromkeys((-(-k // 32) * 32, -(-k // 64) * 64, 68))
        for chosen in itertools.product(near, repeat=len(strides)):
            yield {"m": m, "n": n, "k": k} | dict(zip(strides, chosen, strict=True))


_FACTS = {"k": 4, "n": 4, "bound": 1, "mult": 1, "half": 2, "steps": 1}


def _even_columns(op: str) -> bool:
    return op in ("linear_keys", "linear_values", "linear_panels", "attend_panels")


def _few(sizes: Mapping[str, int]) -> dict[str, int]:
    return {"k": 3 + sizes["k"] % 6} if "k" in sizes else {}


def _deeper(sizes: Mapping[str, int]) -> dict[str, int]:
    return {"k": 260 + sizes["k"], "n": min(sizes["n"], 48)} if {"n", "k"} <= set(sizes) else {}


def _serves(kernel: Kernel, sizes: dict[str, int]) -> bool:
    largest = {"bound": 255 * 127 * sizes.get("k", 1)} if kernel.op.startswith("attend") else {}
    return kernel.serves({**_FACTS, **sizes, **largest})


def _shapes(op: str) -> tuple[dict[str, int], ...]:
    if op.startswith("probs_"):
        return tuple({"m": m, "n": n, "k": k} for m, n, k in _FAR + _MNK + _WIDE + _SHALLOW)
    if op.startswith(("linear_", "attend_")):
        plain = tuple({"m": m, "n": n + n % 2 * _even_columns(op), "k": k} for m, n, k in _FAR + _WIDE + _MNK)
        general = {"high": 0} if op.startswith("linear_") else {}
        return plain + tuple(sizes | change | general for sizes in plain[-6:] for change in _ARITHMETIC)
    if op.startswith("pack_"):
        return tuple({"m": m, "k": n} for m, n in _MN)
    if op in ("narrow", "layernorm", "mean"):
        plain = tuple({"m": m, "n": n} for m, n in _MN + _EDGES[op])
        return plain + tuple(sizes | _ARITHMETIC[0] for sizes in plain if op == "narrow")
    return tuple({"n": n} | change for n in _N for change in ({}, {"shift": 20}) if op == "add" or not change)
