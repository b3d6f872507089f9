"""Target -> linker script, for boards without one of their own: the memories of the target file in the family's layout."""

from __future__ import annotations

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
