"""split: what a core takes of the attention map on a cluster, heads or query rows or some of both; other work is cut as
balances."""

from dse.knobs.context import Choice, Context
from dse.schedule import SPLITS

NAME = "split"
AXIS = "attention"


def choices(context: Context) -> tuple[Choice, ...]:
    """On several cores heads and rows; both at once where heads alone leave cores idle."""
    if context.cores == 1 or not context.has_attention:
        return SPLITS[:1]
    return SPLITS if context.heads % context.cores else SPLITS[:2]
