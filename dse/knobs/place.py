"""place: which buffers prefer the second RAM region. What does not fit where it is wanted goes where there is room."""

from dse.knobs.context import Choice, Context

NAME = "place"
PLACES = ("first", "keys_values", "map", "second")


def choices(context: Context) -> tuple[Choice, ...]:
    """Every placement when there is a second region."""
    return PLACES if context.regions > 1 else ("first",)
