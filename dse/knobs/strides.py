"""strides: what attention keeps near the cores of a cluster lies `apart`, neighbours in different banks, or `dense`;
`tokens`: what it reads lies apart, too, as a copy."""

from dse.knobs.context import Choice, Context
from dse.schedule import STRIDES

NAME = "strides"
AXIS = "attention"
SMALL_BYTES = 16384  # with as much near memory a ninth of K, Q and context is not missed
BANKS_BYTES = 64  # a word of each of 16 banks


def choices(context: Context) -> tuple[Choice, ...]:
    """Apart; tokens of which all rows begin in one bank; dense where the near memory of a cluster is very small."""
    if context.cores == 1 or not context.has_attention:
        return STRIDES[:1]
    one_bank = context.width % BANKS_BYTES == 0 and max(context.aligns.values()) > 1
    small = context.near_bytes < SMALL_BYTES
    return ("apart", *(("tokens",) if one_bank else ()), *(("dense",) if small else ()))
