"""residual: adds as ops of their own, or in the epilogue of the linear op before them."""

from dse.knobs.context import Choice, Context

NAME = "residual"
AXIS = "common"


def choices(context: Context) -> tuple[Choice, ...]:
    """Both when the model has residual adds."""
    return ("separate", "fused") if context.has_residual else ("separate",)
