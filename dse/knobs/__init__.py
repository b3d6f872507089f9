"""One file a knob. Each lists its legal choices for a model, in an order that starts with the plainest.

A knob is a module with `NAME` (the parameter name of the search), `AXIS` and `choices(context) -> tuple[str | int, ...]`.
The axis says which parts of a network feel the knob: those with an `attention`, those with a `feed_forward` pair, every
part through its `kernels`, none (`place`: only the placement of the whole does), or the model itself (`form`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dse.knobs import feed_forward, form, heads, kernel, map_layout, nest, place, rows
from dse.knobs.context import Choice, Context

__all__ = ["AXES", "KNOBS", "Choice", "Context", "Knob"]


@dataclass(frozen=True)
class Knob:
    """A named choice and the function that lists what is legal."""

    name: str
    axis: str
    choices: Callable[[Context], tuple[Choice, ...]]


AXES = ("attention", "feed_forward", "kernels", "place")
KNOBS: tuple[Knob, ...] = tuple(
    Knob(module.NAME, module.AXIS, module.choices) for module in (form, kernel, nest, heads, rows, map_layout, feed_forward, place)
)
