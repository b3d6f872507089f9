"""linear, probs, attend, vector: the variant of each kernel family (dse/schedule.py FAMILIES); one knob a family."""

from collections.abc import Callable

from dse.knobs.context import Choice, Context
from dse.schedule import FAMILIES


def _choices(family: str) -> Callable[[Context], tuple[Choice, ...]]:
    return lambda context: context.variants[family]


FAMILY_CHOICES = tuple((family, _choices(family)) for family in FAMILIES)
