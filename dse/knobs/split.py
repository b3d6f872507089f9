"""split: what a core takes of the attention map on a cluster, heads or query rows; other work is cut as balances."""

from dse.knobs.context import Choice, Context
from dse.schedule import SPLITS

NAME = "split"
AXIS = "attention"


def choices(context: Context) -> tuple[Choice, ...]:
    """Both on several cores."""
    return SPLITS if context.cores > 1 and context.has_attention else SPLITS[:1]
