"""Carries the C kernel library into the wheel as data of `codegen` (an editable install reads it from the checkout)."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelData(BuildHookInterface):
    """Maps every file under kernels/ to codegen/_kernels/ in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Register the files; nothing to do for an editable install."""
        if version == "editable":
            return
        root = Path(self.root) / "kernels"
        for path in sorted(
            p for p in root.rglob("*") if p.is_file() and p.suffix in {".c", ".h", ".S", ".inc", ".ld", ".toml"}
        ):
            build_data["force_include"][str(path)] = f"codegen/_kernels/{path.relative_to(root).as_posix()}"
