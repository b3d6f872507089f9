"""strides: what attention keeps near the cores of a cluster lies `apart`, neighbours in different banks, or `dense`."""

from dse.knobs.context import Choice, Context
from dse.schedule import STRIDES

NAME = "strides"
AXIS = "attention"
SMALL_BYTES = 16384  # with as much near memory a ninth of K, Q and context is not missed


def choices(context: Context) -> tuple[Choice, ...]:
    """Apart, and dense where the near memory of a cluster is very small."""
    if context.cores == 1 or not context.has_attention or context.near_bytes >= SMALL_BYTES:
        return STRIDES[:1]
    return STRIDES
