"""heads: how many heads are alive at once (the head tile); a divisor of the head count."""

from dse.knobs.context import Choice, Context

NAME = "heads"
AXIS = "attention"


def choices(context: Context) -> tuple[Choice, ...]:
    """The divisors of the head count, all heads first."""
    return tuple(n for n in range(context.heads, 0, -1) if context.heads % n == 0)
