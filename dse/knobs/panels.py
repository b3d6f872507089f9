"""panels: which left-hand operands are kept as int16 panels, ready for the multiplier, instead of int8 rows (half of it).

map: the attention map; query: Q (or G); context: softmax·V before the output projection; input: a copy of the tokens, so
that the projections need not unpack them once each.
"""

from dse.knobs.context import Choice, Context

NAME = "panels"
AXIS = "common"
OPERANDS = ("none", "map", "map+query", "map+context", "map+query+context", "map+query+context+input")


def choices(context: Context) -> tuple[Choice, ...]:
    """Nested sets of operands, when the model has attention and a kernel that reads panels."""
    return OPERANDS if context.has_attention and "quads" in context.layouts.values() else OPERANDS[:1]
