"""rows: query rows a step of the depth-first attention, `<rows>/<map rows>` (those of the innermost map)."""

from dse.knobs.context import Choice, Context, row_steps

NAME = "rows"
AXIS = "attention"


def choices(context: Context) -> tuple[Choice, ...]:
    """Row steps, each with the whole step or one microtile of rows in the innermost map."""
    found = []
    for rows in row_steps(context.tokens):
        found.append(f"{rows}/{rows}")
        if rows > 4:
            found.append(f"{rows}/4")
    return tuple(found)
