"""Program -> the text of a C project. Pure: returns {path: text} and touches no file.

The project is whole: network (arenas, one function a stage), weights, the kernels it calls, the board's port, a main
that shows its use, and a Makefile for zig and arm-none-eabi-gcc.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.build import ENTRY, WARNINGS, find_port, gcc_command, machine_flags
from codegen.linker import GENERATED, in_order, linker_script, with_memories
from codegen.names import arena_symbol, stage_symbols
from codegen.stage_text import Names, StageText
from codegen.text import TEMPLATES
from dse.kernel import Kernel, kernels_root
from dse.program import Constant, Program, Stage, copies_ahead
from dse.target import Target

C_TYPES = {"s8": "int8_t", "u8": "uint8_t", "s32": "int32_t"}
VALUES_A_LINE = {"s8": 24, "u8": 24, "s32": 10}


@dataclass(frozen=True)
class IoScale:
    """How real numbers relate to the int8 input and output: `real = scale * (integer - zero)`."""

    input_scale: float
    input_zero: int
    output_scale: float
    output_zero: int


@dataclass(frozen=True)
class Sample:
    """An input and the output it must give, embedded in the project's main; both int8, flat."""

    input: bytes
    output: bytes


def emit(
    program: Program,
    target: Target,
    kernels: Mapping[str, Kernel],
    scale: IoScale,
    sample: Sample,
    code_order: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """Every file of the project by its relative path. code_order: stage by stage the functions that the linker lays behind
    the stage's own; () leaves the order to it."""
    used = {call.kernel: kernels[call.kernel] for call in program.calls()}
    sources = sorted({source for kernel in used.values() for source in kernel.sources})
    context = _context(program, target, kernels, scale, sample)
    copied = _copied_files(sources, target)
    script = f"port/{target.port}/link.ld"
    written = with_memories(copied[script], target) if script in copied else linker_script(target)
    symbols = stage_symbols([stage.name for stage in program.stages])
    row = [name for behind in zip(symbols, code_order, strict=False) for name in (behind[0], *behind[1])]
    copied[script] = in_order(place_code(written, program.code), row)
    context["zig_flags"], context["gcc_flags"] = machine_flags(target.isa)
    context["sources"] = sorted(["network.c", "weights.c", "main.c", *(p for p in copied if p.endswith((".c", ".S")))])
    context["linker_script"] = script
    ports = [folder.relative_to(kernels_root()) for folder in _port_folders(target)]
    context["include"] = ["src", "src/kernels/include", *(f"src/{folder.as_posix()}" for folder in ports)]
    files = {
        f"src/{name}": TEMPLATES.get_template(f"{name}.j2").render(context)
        for name in ("network.h", "network.c", "weights.h", "weights.c", "sample.h", "measure.h", "main.c")
    }
    files["Makefile"] = TEMPLATES.get_template("Makefile.j2").render(context)
    files |= {f"src/{path}": text for path, text in copied.items()}
    return dict(sorted(files.items()))


def _context(
    program: Program, target: Target, kernels: Mapping[str, Kernel], scale: IoScale, sample: Sample
) -> dict[str, object]:
    names = Names(program, kernels)
    symbols = stage_symbols([stage.name for stage in program.stages])
    texts = [StageText(stage, symbol, names) for symbol, stage in zip(symbols, program.stages, strict=True)]
    starts = _starts(program.stages, dict(zip(program.stages, symbols, strict=True)))
    arenas = program.arena_bytes()
    return {
        "model": program.model,
        "form": program.form,
        "target": target.name,
        "isa": target.isa,
        "digest": program.schedule_digest,
        "arenas": [(arena_symbol(r), r, arenas[r]) for r in sorted(arenas)],
        "arena_bytes": sum(arenas.values()),
        "weight_bytes": program.weight_bytes(),
        "buffers": [
            (names.buffers[b.name], arena_symbol(b.region), b.offset_bytes, b.size_bytes)
            for b in sorted(program.buffers, key=lambda b: (b.region, b.offset_bytes, b.name))
        ],
        "entry": ENTRY[target.isa],
        "gcc": gcc_command(target.isa),
        "warnings": " ".join(WARNINGS),
        "stack_bytes": target.stack_bytes,
        "cores": target.cores if target.is_cluster else 0,
        "input": names.pointer(program.input),
        "output": names.pointer(program.output),
        "input_bytes": program.input_bytes,
        "output_bytes": program.output_bytes,
        "scale": scale,
        "stages": _stages(program.stages, texts, names, starts),
        "parallel": any(text.regions for text in texts),
        "shares": any("tlf_share(" in region for text in texts for region in text.regions),
        "copies": max(len(stage.fetch) for stage in program.stages),
        "loads": any(stage.load for stage in program.stages),
        "begin": starts[None],
        "externals": sorted(set(program.constant_bytes()) - {"flash"}),
        "alignment": max(4, target.data_cache.fill_bytes if target.data_cache else 0),  # of constants
        "constants": [_constant(c, names.constants[c.name]) for c in program.constants],
        "sample_input": _values(sample.input, "s8"),
        "sample_output": _values(sample.output, "s8"),
    }


def _starts(stages: Sequence[Stage], symbols: Mapping[Stage, str]) -> dict[Stage | None, list[str]]:
    """The statements that a stage begins with, and under None those of the whole run: waits for the copies that were
    started the time before, then starts of those that run beside it."""
    found: dict[Stage | None, list[str]] = {None: []}
    for stage, fetched, loaded in copies_ahead(stages):
        lines = [f"tlf_port_copy_wait(tlf_copies[{number}]);" for number in range(len(stage.fetch) if stage else 0)]
        lines += ["tlf_port_load_wait(tlf_loaded);"] if fetched and fetched.load else []
        lines += [f"{symbols[fetched]}_fetch();"] if fetched and fetched.fetch else []
        lines += [f"{symbols[loaded]}_load();"] if loaded and loaded.load else []
        found[stage] = found.get(stage, []) + lines
    return found


def _stages(
    stages: Sequence[Stage],
    texts: Sequence[StageText],
    names: Names,
    starts: Mapping[Stage | None, list[str]],
) -> list[dict[str, object]]:
    """What the template prints of every stage; copies are numbered stage by stage, for those of one end before those of
    the next begin."""
    found: list[dict[str, object]] = []
    for stage, text in zip(stages, texts, strict=True):
        found.append(
            {
                "symbol": text.function,
                "ops": ", ".join(stage.ops),
                "regions": text.regions,
                "body": "\n".join(text.lines),
                "copies": [(number, names.copy(fetch)) for number, fetch in enumerate(stage.fetch)],
                "starts": starts[stage],
                "loads": [names.load(load) for load in stage.load],
            }
        )
    return found


def _constant(constant: Constant, symbol: str) -> tuple[str, str, int, str, str]:
    count = constant.size_bytes // {"s8": 1, "u8": 1, "s32": 4}[constant.dtype]
    return C_TYPES[constant.dtype], symbol, count, _values(constant.data, constant.dtype), constant.region


def _values(data: bytes, dtype: str) -> str:
    code = {"s8": "b", "u8": "B", "s32": "i"}[dtype]
    numbers = [value for (value,) in struct.iter_unpack(f"<{code}", data)]
    texts = ["(-2147483647 - 1)" if value == -(2**31) else str(value) for value in numbers]
    width = VALUES_A_LINE[dtype]
    return ",\n".join("    " + ", ".join(texts[i : i + width]) for i in range(0, len(texts), width))


def place_code(script: str, region: str) -> str:
    """The linker script with functions in that region; ValueError when it has no such memory."""
    if region == "flash":
        return script
    alias = 'REGION_ALIAS("CODE", {})'
    if alias.format("FLASH") not in script or f"\n    {region.upper()} (" not in script:
        raise ValueError(f"linker script: code cannot go to {region!r}: no such memory, or no alias CODE")
    return script.replace(alias.format("FLASH"), alias.format(region.upper()))


_INCLUDE = re.compile(r'^#include "(\.\./[^"]+)"', re.MULTILINE)  # of a kernel in another folder


def _port_folders(target: Target) -> tuple[Path, ...]:
    """The folders whose sources and headers a board uses."""
    port = kernels_root() / "port"
    if target.port == GENERATED:
        return port, port / GENERATED
    return find_port(kernels_root(), target.port).include_dirs


def _copied_files(sources: list[str], target: Target) -> dict[str, str]:
    """Kernel sources, the headers and includes beside them, and the port, by path under src/."""
    root = kernels_root()
    wanted = {root / source for source in sources}
    wanted |= set((root / "include").glob("*.h"))
    read: set[Path] = set()
    while unread := wanted - read:  # what an include includes lies beside one more source
        read |= unread
        names = {path.parent / name for path in unread for name in _INCLUDE.findall(path.read_text(encoding="utf-8"))}
        for folder in {path.resolve().parent for path in unread | names}:
            wanted |= set(folder.glob("*.inc")) | set(folder.glob("*.h"))
    for folder in _port_folders(target):
        wanted |= {path for path in folder.glob("*.*") if path.suffix in (".c", ".h", ".ld", ".S")}
    files = {}
    for path in sorted(wanted):
        relative = path.relative_to(root).as_posix()
        files[relative if relative.startswith("port/") else f"kernels/{relative}"] = path.read_text(encoding="utf-8")
    return files
