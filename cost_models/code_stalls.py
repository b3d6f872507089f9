"""Stalls of code in closed form. A small code cache: every call starts with none of its code, and what it loses is fitted
on such calls. A cache that holds the kernels of a network: cost_models/code_fetch.py.

A product kernel goes over blocks of rows, columns by four, pairs of rows and the depth, which enters an unrolled loop where
it leaves whole turns. Of such a nest the code of the innermost loop that exceeds the cache comes again in every turn, and
how much code a turn runs is decided by where the depth enters. So each turn of each loop has a price at each entry; no rule
of a kernel is in it, and other kernels have other prices after their calibration.
"""

from __future__ import annotations

from collections.abc import Mapping

from cost_models.calibration import Calibration
from cost_models.counts import CallCount, Sizes
from dse.kernel import Kernel
from dse.target import Region, Target

FRACTIONS = 1024  # of a cycle
BLOCK_ROWS = 16  # of x as rows, unpacked at a time by the kernels of layouts quads and pairs
ENTRIES = 32  # pairs of depth that differ: beyond them every whole turn of UNROLLED pairs runs the same code again
UNROLLED = 16  # the longest unrolled loop
ONCE = " once"  # ends the name of a loop whose code is fetched by its first turn only
ALL_CODE_BYTES = 8192  # a code cache of this size holds the kernels of a network


def exact(cycles: float) -> float:
    """Cycles in whole 1024ths: sums of them are exact in any order, so that equal schedules have equal prices."""
    return round(cycles * FRACTIONS) / FRACTIONS


def fill_cycles(region: Region, wait_states: int) -> int:
    """Cycles a miss waits for one unit of the cache."""
    return region.fill_cycles + region.fill_cycles_per_wait_state * wait_states if wait_states else 0


def keeps_code(target: Target) -> bool:
    """True when the kernels of a network stay in the code cache together."""
    return target.code_cache is not None and target.code_cache.size_bytes >= ALL_CODE_BYTES


def entry(z: Sizes) -> int:
    """Where a call's depth enters an unrolled loop, and whether turns follow: 0 to ENTRIES - 1."""
    pairs = (z["k"] + 1) // 2
    return (pairs if pairs <= ENTRIES else pairs - (pairs - UNROLLED - 1) // UNROLLED * UNROLLED) - 1


def loop_counts(z: Sizes) -> dict[str, int]:
    """How often a product kernel turns each loop of its nest: blocks of rows, pairs of them and the odd last one (an only
    row of a block runs other code than one after pairs), each with how it goes over columns: at all, by four, and what
    remains; of scores also whether 16 or more go through the table in whole fours. And whether it does."""
    m, (fours, rest) = z["m"], divmod(z["n"], 4)
    blocks = -(-m // BLOCK_ROWS) if z.get("x_panels") == 0 else 1
    only = int(m == 1 or (m % BLOCK_ROWS == 1 and z.get("x_panels") == 0))
    rows = {"block": blocks - only, "pair": m // 2, "last": m % 2 - only, "only": only}
    narrow, three = int(rest in (1, 2)), int(rest == 3)
    wide = int(fours > 0)
    columns = {"": wide, " four": fours, " narrow": narrow * wide, " three": three * wide}
    if "q_panels" in z:
        columns[" long"] = int(fours >= 4 and rest == 0)
    columns |= {" narrow alone": narrow * (1 - wide), " three alone": three * (1 - wide)}
    found = {row + column: a * b for row, a in rows.items() for column, b in columns.items()}
    return found | {f"{loop}{ONCE}": int(turns > 0) for loop, turns in found.items()}


def four_row_counts(z: Sizes) -> dict[str, int]:
    """The same of a kernel on panels of four rows, which goes over columns by two: blocks with nothing behind those panels,
    the last block by the rows behind, after panels of four or alone."""
    m, pairs, odd = z["m"], -(-z["n"] // 2), z["n"] % 2
    behind = m % 4 if m % 4 != 1 or m == 1 else 5
    blocks = four_row_blocks(m)
    alone = m - BLOCK_ROWS * (blocks - 1) == behind
    rows = {"block": blocks, "full": blocks - (behind > 0)}
    for count in (1, 2, 3, 5):
        rows |= {f"{count}": int(behind == count and not alone), f"{count} alone": int(behind == count and alone)}
    found = {row + column: a * b for row, a in rows.items() for column, b in (("", 1), (" pair", pairs), (" odd", odd))}
    return found | {f"{loop}{ONCE}": int(turns > 0) for loop, turns in found.items()}


def small_head_counts(z: Sizes) -> dict[str, int]:
    """The same of a kernel that keeps the words of two rows in registers: a turn runs other code for every number of
    columns up to seven, then for what remains of four."""
    m, n = z["m"], z["n"]
    columns = n if n < 8 else 8 + n % 4
    found = {f"{row} {columns}": turns for row, turns in (("pair", m // 2), ("last", m % 2)) if turns}
    return found | {f"{loop}{ONCE}": 1 for loop in found}


def four_row_blocks(m: int) -> int:
    """Blocks of rows of such a kernel: the last takes one more, so that no single row is left."""
    return max(1, (m + BLOCK_ROWS - 2) // BLOCK_ROWS)


def turns_of(kernel: Kernel, z: Sizes) -> dict[str, int]:
    """How often a call of a product kernel turns each loop of its nest. Where rows of queries or of the map are panels
    nothing is unpacked between tiles: other loops."""
    count = four_row_counts if has_four_rows(kernel) else small_head_counts if has_small_heads(kernel) else loop_counts
    counts = count(z)
    panels = z.get("q_panels", 0) or z.get("e_panels", 0)
    return {f"panels {loop}": turns for loop, turns in counts.items()} if panels else counts


def has_four_rows(kernel: Kernel) -> bool:
    """True for a kernel on panels of four rows: it has tiles of as many."""
    return any(name == "tile4" for name, _ in kernel.terms)


def has_small_heads(kernel: Kernel) -> bool:
    """True for a kernel that keeps the words of two rows of queries in registers, for every key."""
    return any(name == "keys2" for name, _ in kernel.terms)


def has_loops(kernel: Kernel) -> bool:
    """True for a product kernel of micro-tiles: its code loses by `loop_counts` at each `entry`."""
    return kernel.layout in ("quads", "pairs") and kernel.op.startswith(("linear_", "probs_", "attend_"))


def code_features(kernel: Kernel, z: Sizes) -> dict[str, float]:
    """What the other stalls of code are linear in: how often each piece of work comes (the manifest's terms), whether it
    comes at all."""
    counts = {name: float(term.evaluate(z)) for name, term in kernel.terms}
    return counts | {f"{name} once": float(count > 0) for name, count in counts.items()}


def code_parts(item: CallCount, kernels: Mapping[str, Kernel], calibration: Calibration) -> Mapping[str, float]:
    """Feature or loop -> stalls of code of one call that starts cold, with misses of `stall_fill` cycles; kept with the
    calibration, as many schedules make the same call."""
    name, sizes = item.call.kernel, item.sizes
    key = (name, *sizes.values())
    known, fit = calibration.parts.get(key), calibration.kernels[name]
    if known is None:
        features = code_features(kernels[name], sizes) if fit.stalls else {}
        known = {feature: value * features[feature] for feature, value in fit.stalls.items()}
        if fit.loop_stalls:
            counts, at = turns_of(kernels[name], sizes), entry(sizes)
            known |= {f"loop {k}": prices[at] * counts.get(k, 0) for k, prices in fit.loop_stalls.items()}
        known = {feature: cycles for feature, cycles in known.items() if cycles}
        calibration.parts[key] = known
    return known


def miss_scale(kernel: str, wait_states: int, fill: int, calibration: Calibration) -> float:
    """What the stalls of `code_parts` are multiplied by where a miss of the flash takes `fill` cycles."""
    fit = calibration.kernels[kernel]
    return (
        fit.stall_shares[min(wait_states, len(fit.stall_shares) - 1)] * fill / fit.stall_fill
        if fit.stall_shares
        else 0.0
    )


def code_cycles(
    item: CallCount, wait_states: int, fill: int, kernels: Mapping[str, Kernel], calibration: Calibration
) -> float:
    """Stalls of code of one call that starts cold, with misses of the flash of `fill` cycles."""
    key = ("code", item.call.kernel, *item.sizes.values())
    known = calibration.priced.get(key)
    if known is None:
        known = calibration.priced[key] = sum(code_parts(item, kernels, calibration).values())
    return known * miss_scale(item.call.kernel, wait_states, fill, calibration) if known else 0.0
