"""tiles: rows of activations that are near the cores at a time, the others in a far memory; 0 = all activations near."""

from dse.knobs.context import Choice, Context

NAME = "tiles"
AXIS = "common"
SMALL_BYTES = 65536  # with as much near memory activations need no tiles
ROWS = (32, 8)


def choices(context: Context) -> tuple[Choice, ...]:
    """Near, and tiles where the near memory is small and there is a far one."""
    if not context.far or context.near_bytes >= SMALL_BYTES:
        return (0,)
    return (0, *(rows for rows in ROWS if rows < context.tokens or rows == ROWS[-1]))
