"""feed_forward: rows a step of the depth-first feed-forward pair; 0 = layer by layer."""

from dse.knobs.context import Choice, Context, row_steps

NAME = "feed_forward"
AXIS = "feed_forward"


def choices(context: Context) -> tuple[Choice, ...]:
    """Layer by layer, or the row steps below the token count; only 0 when there is no feed-forward pair."""
    if not context.hidden:
        return (0,)
    return (0, *(rows for rows in row_steps(context.tokens) if rows < context.tokens))
