"""One file a knob. Each lists its legal choices for a model, in an order that starts with the plainest.

A knob is a module with `NAME` (the parameter name of the search) `AXIS` and `choices(context) -> tuple[str | int, ...]`;
kernel.py lists one knob a kernel family.

The axis says which parts of a network feel the knob: those with an `attention`, those with a `feed_forward` pair, all of
them (`common`; `kernels`, where another of the same layout changes its own calls only), none but the whole (`whole`:
placement), or the model itself (`form`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dse.knobs import (
    code,
    feed_forward,
    form,
    heads,
    kernel,
    nest,
    panels,
    place,
    residual,
    rows,
    split,
    strides,
    tiles,
)
from dse.knobs.context import Choice, Context

__all__ = ["KNOBS", "Choice", "Context", "Knob"]


@dataclass(frozen=True)
class Knob:
    """A named choice and the function that lists what is legal."""

    name: str
    axis: str
    choices: Callable[[Context], tuple[Choice, ...]]


KNOBS: tuple[Knob, ...] = (
    Knob(form.NAME, form.AXIS, form.choices),
    *(Knob(name, "kernels", choices) for name, choices in kernel.FAMILY_CHOICES),
    *(
        Knob(m.NAME, m.AXIS, m.choices)
        for m in (nest, heads, rows, panels, feed_forward, residual, place, code, split, strides, tiles)
    ),
)
