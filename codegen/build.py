"""C and assembly sources -> a firmware ELF, or a shared library for this machine. The only module that runs a compiler.

zig comes from PyPI (`ziglang`) and is always there; the GNU cross compilers are used when found on PATH.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

WARNINGS: tuple[str, ...] = (
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wconversion",
    "-Wsign-conversion",
)
WARNINGS += ("-Wmissing-prototypes",)
TIMEOUT_SECONDS = 600
MAX_ERROR_LINES = 12

_ERROR_LINE = re.compile(r"(?<!collect2: )\berror\b|undefined|will not fit|overflowed")

_SECTIONS = ("-ffunction-sections", "-fdata-sections", "-fno-strict-aliasing", "-g0")
_ZIG_COMMON = ("-fomit-frame-pointer", "-fno-unwind-tables")
# -fhosted: `-target *-freestanding` implies -ffreestanding, which turns a 4-byte memcpy into a call.
_ZIG_ARM = ("-target", "thumb-freestanding-eabihf", "-fhosted", *_ZIG_COMMON)
_ZIG_FLAGS: dict[str, tuple[str, ...]] = {
    "armv7em": (*_ZIG_ARM, "-mcpu=cortex_m4+vfp4d16sp"),  # cortex_m4 alone has no FPU
    "armv7em-m7": (*_ZIG_ARM, "-mcpu=cortex_m7+fp_armv8d16"),
    "rv32imc": ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c+relax", "-ffreestanding", *_ZIG_COMMON),
}
_GCC_ARM = ("arm-none-eabi-gcc", "-mthumb", "-mfloat-abi=hard", "-ffreestanding")
_GCC_COMMANDS: dict[str, tuple[str, ...]] = {
    "armv7em": (*_GCC_ARM, "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"),
    "armv7em-m7": (*_GCC_ARM, "-mcpu=cortex-m7", "-mfpu=fpv5-d16"),
    "rv32imc": ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-ffreestanding"),
}
ENTRY = {"armv7em": "Reset_Handler", "armv7em-m7": "Reset_Handler", "rv32imc": "_start", "xpulpv2": "_start"}
# Stock compilers for xpulpv2: the custom instructions are .insn in the sources.
_ZIG_FLAGS["xpulpv2"] = _ZIG_FLAGS["rv32imc"]
_GCC_COMMANDS["xpulpv2"] = _GCC_COMMANDS["rv32imc"]


class BuildError(Exception):
    """A compiler or linker refused; the message holds its first error lines."""


@dataclass(frozen=True)
class Toolchain:
    """One compiler for one instruction set: `command` and the flags that select the machine."""

    name: str
    isa: str
    version: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class BuildResult:
    """A linked firmware and the toolchain that made it (name and version)."""

    elf: Path
    toolchain: str


@dataclass(frozen=True)
class Port:
    """What a board adds to a project: startup and port sources, header folders, linker script."""

    sources: tuple[Path, ...]
    include_dirs: tuple[Path, ...]
    linker_script: Path


def find_port(kernels: Path, board: str) -> Port:
    """The port of `board` under the kernel library's root folder; ValueError names the boards there are."""
    root = kernels / "port"
    script = root / board / "link.ld"
    if not script.is_file():
        boards = sorted(path.parent.name for path in root.glob("*/link.ld"))
        raise ValueError(f"board {board!r} has no {script}; ports exist for: {', '.join(boards) or 'none'}")
    folders = (root, root / board, *(root / name for name in _shared_folders(root / board)))
    sources = [path for folder in folders[1:] for path in sorted(folder.iterdir())]
    return Port(tuple(path for path in sources if path.suffix in (".c", ".S")), folders, script)


def _shared_folders(board: Path) -> list[str]:
    """The folders beside the board's whose sources it needs: `folders` of its uses.toml, else those of a Cortex-M."""
    uses = board / "uses.toml"
    if not uses.is_file():
        return ["cortex-m"]
    return list(tomllib.loads(uses.read_text(encoding="utf-8"))["folders"])


def find_toolchains(isa: str) -> list[Toolchain]:
    """The toolchains for `isa` on this machine, zig first; ValueError for an unknown isa."""
    if isa not in _ZIG_FLAGS:
        raise ValueError(f"isa {isa!r} is unknown: allowed are {', '.join(_ZIG_FLAGS)}")
    found = []
    if importlib.util.find_spec("ziglang") is not None:
        found.append(Toolchain("zig", isa, _zig_version(), (*_zig(), *_ZIG_FLAGS[isa])))
    compiler, *flags = _GCC_COMMANDS[isa]
    path = shutil.which(compiler)
    if path is not None:
        found.append(Toolchain("gcc", isa, _gcc_version(path), (path, *flags)))
    return found


def machine_flags(isa: str) -> tuple[str, str]:
    """The flags that select the machine and keep functions apart, for zig and for gcc, as a command line has them."""
    return " ".join((*_ZIG_FLAGS[isa], *_SECTIONS)), " ".join((*_GCC_COMMANDS[isa][1:], *_SECTIONS))


def gcc_command(isa: str) -> str:
    """The name of the GNU compiler for `isa`."""
    return _GCC_COMMANDS[isa][0]


def build(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    *,
    linker_script: Path,
    isa: str = "armv7em",
    toolchain: str = "auto",
    defines: Sequence[str] = (),
    optimize: str = "-O3",
) -> BuildResult:
    """The linked ELF at `out` (written under another name, then renamed) and its toolchain; BuildError on failure.

    `defines` are NAME or NAME=VALUE. The linker script must be one file (zig finds no INCLUDE).
    Functions and data nothing refers to are dropped; the vectors stay by KEEP and everything hangs on the entry point.
    """
    chosen = _choose(isa, toolchain)
    flags = [*WARNINGS, *_SECTIONS, optimize, *(f"-D{item}" for item in defines)]
    flags += [f"-I{folder}" for folder in include_dirs]
    link = ["-T", str(linker_script), "-Wl,--gc-sections", "-Wl,-z,max-page-size=4096", "-Wl,-e," + ENTRY[isa]]
    files = [str(path) for path in sources]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=out.parent) as scratch:
        elf = Path(scratch) / out.name
        if chosen.name == "zig":  # one command: zig compiles in parallel and caches each object by content
            _run([*chosen.command, *flags, *files, *link, "-o", str(elf)], "zig")
        else:
            objects = _compile_each(chosen, flags, files, Path(scratch))
            _run([*chosen.command, optimize, "-nostdlib", *objects, *link, "-lgcc", "-o", str(elf)], "gcc")
        os.replace(elf, out)
    return BuildResult(out, str(chosen))


def build_shared(
    sources: Sequence[Path],
    out_stem: str,
    include_dirs: Sequence[Path] = (),
    *,
    flags: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> Path:
    """The shared library of C `sources` for this machine, in the cache folder, named by stem and content hash.

    An equal library (same sources, headers, flags, compiler) is reused. Safe to call from several processes at once.
    `flags` are added last, so `-O1`, `-fsanitize=undefined` or `-Wno-...` override.
    """
    options = [*WARNINGS, "-O3", "-g0", "-fPIC", "-shared", *(f"-D{item}" for item in defines), *flags]
    headers = [path for folder in include_dirs for path in sorted(folder.rglob("*.h"))]
    digest = hashlib.sha256("\0".join([_zig_version(), platform.machine(), sys.platform, *options]).encode())
    for path in [*sources, *headers]:
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    library = cache_dir() / "host" / f"{out_stem}-{digest.hexdigest()[:20]}{suffix}"
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{folder}" for folder in include_dirs]
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as scratch:
        partial = Path(scratch) / library.name
        _run([*_zig(), *options, *includes, *map(str, sources), "-o", str(partial)], "zig")
        os.replace(partial, library)
    return library


@functools.cache
def cache_dir() -> Path:
    """The folder for compiler caches, in $XDG_CACHE_HOME or ~/.cache; a temporary one if that is unwritable."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "tileformer"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="tileformer-"))


def _choose(isa: str, toolchain: str) -> Toolchain:
    found = find_toolchains(isa)
    wanted = "zig" if toolchain == "auto" else toolchain
    for candidate in found:
        if candidate.name == wanted:
            return candidate
    names = ", ".join(candidate.name for candidate in found) or "none"
    hint = "pip install ziglang" if wanted == "zig" else f"put {_GCC_COMMANDS[isa][0]} on PATH"
    raise BuildError(f"toolchain {toolchain!r} for {isa} is not available (found: {names}); {hint}")


def _compile_each(toolchain: Toolchain, flags: list[str], files: list[str], folder: Path) -> list[str]:
    objects = [str(folder / f"{index}.o") for index in range(len(files))]

    def compile_one(file: str, target: str) -> None:
        _run([*toolchain.command, *flags, "-c", file, "-o", target], toolchain.name)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for _ in pool.map(compile_one, files, objects):
            pass
    return objects


def _zig() -> tuple[str, ...]:
    return (sys.executable, "-m", "ziglang", "cc")


@functools.cache
def _zig_version() -> str:
    return _run([sys.executable, "-m", "ziglang", "version"], "zig").strip()


@functools.cache
def _gcc_version(path: str) -> str:
    return _run([path, "-dumpfullversion"], "gcc").strip()


def _run(command: Sequence[str], name: str) -> str:
    """The standard output of a finished compiler command; BuildError with its first error lines otherwise."""
    zig_cache = str(cache_dir() / "zig")
    environment = {"ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache, **os.environ}
    environment["LC_ALL"] = "C"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{name}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).splitlines()
        first = next((i for i, line in enumerate(lines) if _ERROR_LINE.search(line)), 0)
        shown = "\n".join(lines[first : first + MAX_ERROR_LINES]) or f"exit status {done.returncode}"
        raise BuildError(f"{name}: {shown}")
    return done.stdout
