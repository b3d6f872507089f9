"""place: which buffers prefer which RAM region. What does not fit where it is wanted goes where there is room.

A place is "first" (everything prefers the fastest region, the first of the target file), or `<what>:<region>`.
"""

from collections.abc import Sequence

from dse.knobs.context import Choice, Context

NAME = "place"
AXIS = "whole"
FIRST = "first"
ROLES: dict[str, tuple[str, ...]] = {  # what -> buffer roles it means; "*" = all
    "keys_values": ("keys", "values"),
    "map": ("map", "sum"),
    "all": ("*",),
}


def choices(context: Context) -> tuple[Choice, ...]:
    """Nothing moved, or each group of buffers moved to the second region: the slower ones only take what overflows."""
    return (FIRST, *(f"{what}:{region}" for region in context.regions[1:2] for what in ROLES))


def preferences(value: str, roles: dict[str, str], regions: Sequence[str]) -> dict[str, str]:
    """Buffer name -> region it prefers, for those that do not prefer the first. `roles`: buffer name -> role.

    ValueError when the place is not one of these regions'.
    """
    what, _, region = value.partition(":")
    if value == FIRST:
        return {}
    if what not in ROLES or region not in regions:
        allowed = ", ".join([FIRST, *(f"{w}:{r}" for r in regions[1:] for w in ROLES)])
        raise ValueError(f"schedule: place = {value!r}; allowed: {allowed}")
    return {name: region for name, role in roles.items() if "*" in ROLES[what] or role in ROLES[what]}
