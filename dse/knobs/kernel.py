"""kernel: the variant of the matrix-product kernels (linear, probs, attend)."""

from dse.knobs.context import Choice, Context

NAME = "kernel"
AXIS = "kernels"


def choices(context: Context) -> tuple[Choice, ...]:
    """The variants the target's instruction set runs."""
    return context.variants
