"""Target -> linker script: the one of its port with the memories of the target file, or one written for the family."""

from __future__ import annotations

import re
from collections.abc import Sequence

from codegen.text import TEMPLATES
from dse.target import Target

GENERATED = "cortex-m"  # the port of a target whose linker script is written from its regions


def linker_script(target: Target) -> str:
    """The script of a Cortex-M target; functions stay in flash until `place_code` moves them."""
    memories = [
        (r.name.upper(), "rx" if r.kind == "flash" else "rwx", f"0x{r.base:08X}", r.size_bytes) for r in target.regions
    ]
    arenas = [region.name for region in target.ram()]
    return TEMPLATES.get_template("link.ld.j2").render(description=target.description, memories=memories, arenas=arenas)


def with_memories(script: str, target: Target) -> str:
    """The script with the origins and lengths of the target's regions, for those of them it has a memory of."""
    for region in target.regions:
        memory = re.compile(rf"^(    {region.name.upper()} \([rwx]+\) : )ORIGIN = .*$", re.MULTILINE)
        script = memory.sub(rf"\g<1>ORIGIN = 0x{region.base:08X}, LENGTH = {region.size_bytes}", script)
    return script


_CODE = "        *(.text .text.*)\n"  # all functions that have no place yet


def in_order(script: str, functions: Sequence[str]) -> str:
    """The script with these functions first among the code, in this order; ValueError when it has no such place."""
    if not functions:
        return script
    if script.count(_CODE) != 1:
        raise ValueError(f"linker script: functions have no place: {_CODE.strip()} comes {script.count(_CODE)} times")
    return script.replace(_CODE, "".join(f"        *(.text.{name})\n" for name in functions) + _CODE)
