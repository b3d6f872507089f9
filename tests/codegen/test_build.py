"""The compilers' only door: firmware and host libraries, their errors and caches."""

import ctypes
import re
from pathlib import Path

import pytest

from codegen import build as build_module
from codegen.build import BuildError, build, build_shared, cache_dir, find_port, find_toolchains
from codegen.device import Device

KERNELS = Path(__file__).parents[2] / "kernels"
TOOLCHAINS = [toolchain.name for toolchain in find_toolchains("armv7em")]
ARENA = '__attribute__((section(".tlf_arena.sram1"), aligned(16)))'
MAIN = f"""
#include <stdint.h>
int main(void);
int never_called(int x);
int64_t divide(int64_t a, int64_t b);
{ARENA} uint8_t arena[ARENA_BYTES];
volatile int64_t number = 1000000000007;
int64_t divide(int64_t a, int64_t b) {{ return a / b; }}
int never_called(int x) {{ return x * 12345; }}
int main(void) {{ arena[1] = 1; return (int)divide(number, 1000000000) + arena[1]; }}
"""


def compile_main(folder: Path, toolchain: str, text: str = MAIN, arena_bytes: int = 1000) -> Path:
    (folder / "main.c").write_text(text)
    port = find_port(KERNELS, "stm32l476")
    result = build(
        [folder / "main.c", *port.sources],
        port.include_dirs,
        folder / "out" / "x.elf",
        linker_script=port.linker_script,
        toolchain=toolchain,
        defines=[f"ARENA_BYTES={arena_bytes}"],
    )
    assert result.toolchain.split()[0] == toolchain
    assert result.toolchain.split()[1][0].isdigit()
    return result.elf


def test_zig_is_always_there() -> None:
    assert TOOLCHAINS[0] == "zig"


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_firmware_runs_and_holds_only_what_it_needs(tmp_path: Path, toolchain: str) -> None:
    device = Device(compile_main(tmp_path, toolchain))
    device.boot()
    assert device.call("main").value == 1001
    assert device.symbol("arena").size == 1000
    assert device.flash_bytes < 4000
    assert device.symbol("__tlf_vectors").address == 0x0800_0000
    with pytest.raises(KeyError):
        device.symbol("never_called")


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_arenas_take_no_flash(tmp_path: Path, toolchain: str) -> None:
    small = Device(compile_main(tmp_path, toolchain, arena_bytes=100)).flash_bytes
    assert Device(compile_main(tmp_path, toolchain, arena_bytes=50_000)).flash_bytes == small


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_memory_overflow_is_a_link_error(tmp_path: Path, toolchain: str) -> None:
    fits = 96 * 1024 - 2048 - 64 - 32
    compile_main(tmp_path, toolchain, arena_bytes=fits)
    with pytest.raises(BuildError, match="SRAM1"):
        compile_main(tmp_path, toolchain, arena_bytes=fits + 64)


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int main(void);\nint main(void) { return missing_name; }", r"main\.c:2:.*missing_name"),
        ("int main(void);\nint f(void);\nint main(void) { return f(); }", r"undefined.*\bf\b"),
        ("int main(void);\nint main(void) { long long x = 1; int y = x; return y; }", r"conversion"),
    ],
)
def test_errors_name_the_cause_and_leave_nothing(tmp_path: Path, toolchain: str, text: str, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        compile_main(tmp_path, toolchain, text)
    assert len(str(caught.value).splitlines()) <= 12
    assert list((tmp_path / "out").iterdir()) == []


def test_failed_build_keeps_the_old_firmware(tmp_path: Path) -> None:
    elf = compile_main(tmp_path, "zig")
    before = elf.read_bytes()
    with pytest.raises(BuildError):
        compile_main(tmp_path, "zig", "#error no")
    assert elf.read_bytes() == before
    assert [path.name for path in elf.parent.iterdir()] == ["x.elf"]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_small_memcpy_is_not_a_call(tmp_path: Path, toolchain: str) -> None:
    text = """
#include <stdint.h>
int main(void);
int32_t load(const int8_t *p);
int32_t load(const int8_t *p) { int32_t v; __builtin_memcpy(&v, p, 4); return v; }
int32_t (*volatile pointer)(const int8_t *) = load;
int main(void) { return pointer != 0; }
"""
    device = Device(compile_main(tmp_path, toolchain, text))
    device.boot()
    device.write(0x2000_4000, b"\x01\x02\x03\x04\x05")
    result = device.call("load", [0x2000_4001])
    assert (result.value, result.instructions) == (0x0504_0302, 2)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="armv7em"):
        find_toolchains("z80")
    with pytest.raises(ValueError, match="stm32l476"):
        find_port(KERNELS, "absent")
    with pytest.raises(BuildError, match="not available"):
        build([], [], tmp_path / "x.elf", linker_script=tmp_path / "x.ld", toolchain="tcc")


def test_boards_differ_in_their_memories_only() -> None:
    scripts = sorted((KERNELS / "port").glob("*/link.ld"))
    cortex_m = [path for path in scripts if not path.with_name("uses.toml").is_file()]
    assert len(cortex_m) >= 4
    rest, arenas = set(), set()
    for path in cortex_m:
        head, body = path.read_text().split("ENTRY(", 1)
        parts = body.split("\n    .tlf_arena_")
        names = [part.split(" ", 1)[0] for part in parts[1:]]
        ram = re.findall(r"^    (\w+) \(rwx\)", head, re.MULTILINE)
        assert [name.upper() for name in names] == [name for name in ram if name != "ITCM"]
        last, tail = parts[-1].split("\n\n", 1)
        bodies = [*parts[1:-1], last]
        arenas |= {
            b.replace(n, "<name>").replace(n.upper(), "<name>").rstrip() for n, b in zip(names, bodies, strict=True)
        }
        rest.add((parts[0].rstrip(), tail))
    assert len(rest) == len(arenas) == 1
    families: dict[str, set[str]] = {}
    for path in set(scripts) - set(cortex_m):
        family = path.with_name("uses.toml").read_text()
        families.setdefault(family, set()).add(path.read_text().split("ENTRY(", 1)[1])
    assert all(len(texts) == 1 for texts in families.values())


def test_shared_library_is_cached_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(cache_dir() / "zig"))
    source, header = tmp_path / "twice.c", tmp_path / "factor.h"
    source.write_text('#include "factor.h"\nint twice(int x);\nint twice(int x) { return FACTOR * x; }\n')
    header.write_text("#define FACTOR 2\n")
    first = build_shared([source], "twice", [tmp_path], flags=["-nostdlib"])
    changed_at = first.stat().st_mtime_ns
    assert ctypes.CDLL(str(first)).twice(21) == 42
    assert build_shared([source], "twice", [tmp_path], flags=["-nostdlib"]) == first
    assert first.stat().st_mtime_ns == changed_at
    header.write_text("#define FACTOR 3\n")
    second = build_shared([source], "twice", [tmp_path], flags=["-nostdlib"])
    assert second != first
    assert ctypes.CDLL(str(second)).twice(21) == 63
    assert build_shared([source], "twice", [tmp_path], flags=["-nostdlib", "-O1"]) not in (first, second)
    assert {path.suffix for path in first.parent.iterdir()} == {first.suffix}


def test_shared_library_errors_name_the_line(tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text("int f(int x)\n{ return y; }\n")
    with pytest.raises(BuildError, match=r"bad\.c:"):
        build_shared([source], "bad")


def test_unwritable_cache_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    cache_dir.cache_clear()
    try:
        folder = cache_dir()
        assert folder.is_dir()
        assert blocker not in folder.parents
    finally:
        cache_dir.cache_clear()
