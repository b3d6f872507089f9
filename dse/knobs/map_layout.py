"""map: how a row of the attention map is stored: uint8 rows (small) or int16 panels (ready for the multiplier)."""

from dse.knobs.context import Choice, Context

NAME = "map"
AXIS = "attention"


def choices(context: Context) -> tuple[Choice, ...]:
    """Both layouts when the model has attention."""
    return ("rows", "panels") if context.has_attention else ("rows",)
