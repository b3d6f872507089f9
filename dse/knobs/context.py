"""What a knob may look at: the sizes of the model and what the target offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Choice = str | int


@dataclass(frozen=True)
class Context:
    """tokens, their width, heads and hidden of the largest block; `forms` admitted; kernel variants per family, right-hand
    layout and alignment of (family, variant); head widths per form.

    regions: the RAM regions that kernels work in, fastest first; code: where functions may run. far: the memory of a
    cluster that only its DMA reaches; near_bytes: the first region.
    """

    tokens: int
    width: int
    heads: int
    hidden: int
    forms: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]]
    layouts: Mapping[tuple[str, str], str]
    aligns: Mapping[tuple[str, str], int]
    widths: Mapping[str, tuple[int, ...]]
    regions: tuple[str, ...]
    code: tuple[str, ...] = ("flash",)
    cores: int = 1
    far: str = ""
    near_bytes: int = 0
    has_attention: bool = True
    has_residual: bool = False


def row_steps(tokens: int) -> tuple[int, ...]:
    """Row steps worth pricing: multiples of the four rows of a microtile, and the even splits of the tokens."""
    small = {rows for rows in (4, 8, 12, 16, 24, 32) if rows < tokens}
    splits = {-(-tokens // parts) for parts in (1, 2, 3, 4)}
    return tuple(sorted(small | {min(tokens, -(-rows // 4) * 4) for rows in splits}))
