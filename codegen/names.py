"""Names of the model -> C identifiers."""

from __future__ import annotations

import re


def identifier(name: str) -> str:
    """`name` with everything a C identifier cannot hold replaced by `_`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def unique_identifiers(names: list[str], prefix: str) -> dict[str, str]:
    """A distinct C identifier `<prefix><name>` for every name, in order; clashes get a number."""
    taken: set[str] = set()
    result: dict[str, str] = {}
    for name in names:
        base = candidate = prefix + identifier(name)
        number = 2
        while candidate in taken:
            candidate, number = f"{base}_{number}", number + 1
        taken.add(candidate)
        result[name] = candidate
    return result


def stage_symbols(stages: list[str]) -> tuple[str, ...]:
    """The C function of every stage, numbered in run order."""
    return tuple(f"tlf_stage_{i:02d}_{identifier(name)}" for i, name in enumerate(stages))


def arena_symbol(region: str) -> str:
    """The C array that holds a region's buffers."""
    return f"tlf_arena_{identifier(region)}"
