"""code: where functions run, the flash or a RAM for code; flash keeps their load image."""

from dse.knobs.context import Choice, Context

NAME = "code"
AXIS = "whole"


def choices(context: Context) -> tuple[Choice, ...]:
    """The flash, then the code region where the target has one."""
    return context.code
