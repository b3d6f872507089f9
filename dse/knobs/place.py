"""place: which buffers prefer the second RAM region. What does not fit where it is wanted goes where there is room."""

from dse.knobs.context import Choice, Context

NAME = "place"
AXIS = "place"
PLACES: dict[str, tuple[str, ...]] = {  # name -> buffer roles that prefer the second region; "*" = all
    "first": (),
    "keys_values": ("keys", "values"),
    "map": ("map", "sum"),
    "second": ("*",),
}


def choices(context: Context) -> tuple[Choice, ...]:
    """Every placement when there is a second region."""
    return tuple(PLACES) if context.regions > 1 else ("first",)
