"""form: which attention weights are fused. Only forms whose accuracy was admitted are offered."""

from dse.knobs.context import Choice, Context

NAME = "form"
AXIS = "form"


def choices(context: Context) -> tuple[Choice, ...]:
    """The admitted forms."""
    return context.forms
