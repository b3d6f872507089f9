"""nest: the shape of the attention's loop nest, `<outer>/<query>/<output>` or `layers`.

layers             layer by layer, the map of all live heads in memory
heads/ahead/after  depth-first rows inside a head tile; Q of all rows first; output projection at the end
heads/rows/…       Q of the row step inside it
…/rows             output projection inside the row step (all heads alive)
…/accumulate       each head tile's share of the output added to int32 accumulators
rows/rows/…        the row loop outermost; K and V of a head tile computed again for every row step
"""

from dse.knobs.context import Choice, Context

NAME = "nest"
AXIS = "attention"
LAYERS = "layers"
NESTS = (
    LAYERS,
    "heads/ahead/after",
    "heads/rows/after",
    "heads/ahead/rows",
    "heads/rows/rows",
    "heads/ahead/accumulate",
    "heads/rows/accumulate",
    "rows/rows/rows",
    "rows/rows/accumulate",
)


def choices(context: Context) -> tuple[Choice, ...]:
    """Every nest when the model has attention; which head tiles each admits is the space's business."""
    return NESTS if context.has_attention else (LAYERS,)
