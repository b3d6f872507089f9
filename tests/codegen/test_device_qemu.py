"""QEMU as a second opinion, when it is installed."""

from pathlib import Path

import pytest

from codegen.build import build, find_port, find_toolchains
from codegen.device import MPS2_AN386, MPS2_AN500, Device, DeviceFault, QemuError, find_qemu, run_qemu
from codegen.emit import place_code

KERNELS = Path(__file__).parents[2] / "kernels"
TOOLCHAINS = [toolchain.name for toolchain in find_toolchains("armv7em")]
SOURCE = """
#include <stdint.h>
#include "tlf_port.h"
int main(void);
static volatile int32_t words[4] = {5, 6, 7, 8};
static void work(void *context, int32_t core, int32_t cores) { *(int32_t *)context += core + cores; }
int main(void)
{
    int32_t total = 0;
    tlf_port_init();
    tlf_port_parallel(work, &total);
    tlf_port_write("a line of text that is longer than one chunk of thirty-two bytes\\n", 65);
#ifdef UNALIGNED
    __asm__ volatile("ldrd r2, r3, [%0]" : : "r"((uintptr_t)words + 2) : "r2", "r3", "memory");
#endif
#ifdef FOREVER
    for (;;) { words[0] = words[1]; }
#endif
    return total + words[1] + words[2];
}
"""


def make(folder: Path, toolchain: str, *defines: str, board: str = "mps2_an386", code: str = "flash") -> Path:
    (folder / "main.c").write_text(SOURCE)
    port = find_port(KERNELS, board)
    script = folder / "link.ld"
    script.write_text(place_code(port.linker_script.read_text(), code))
    return build(
        [folder / "main.c", *port.sources],
        port.include_dirs,
        folder / "x.elf",
        linker_script=script,
        isa="armv7em" if board == "mps2_an386" else "armv7em-m7",
        toolchain=toolchain,
        defines=["TLF_SEMIHOSTING", *defines],
    ).elf


@pytest.mark.skipif(find_qemu() is None, reason="qemu-system-arm is not installed")
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize(("board", "code"), [("mps2_an386", "flash"), ("mps2_an500", "flash"), ("mps2_an500", "itcm")])
def test_same_firmware_on_qemu_and_on_the_device(tmp_path: Path, toolchain: str, board: str, code: str) -> None:
    elf = make(tmp_path, toolchain, board=board, code=code)
    cpu, memory = ("cortex-m4", MPS2_AN386) if board == "mps2_an386" else ("cortex-m7", MPS2_AN500)
    device = Device(elf, cpu, memory)
    device.boot()
    assert (device.symbol("main").address >= 0x0030_0000) == (code == "itcm")
    status, text = run_qemu(elf, timeout=20, cpu=cpu)
    assert status == device.call("main").value == 14
    assert text.encode() == device.output
    assert text.startswith("a line")
    assert len(text) == 65


@pytest.mark.skipif(find_qemu() is None, reason="qemu-system-arm is not installed")
def test_unaligned_pair_traps_on_qemu_and_on_the_strict_device(tmp_path: Path) -> None:
    elf = make(tmp_path, "auto", "UNALIGNED")
    assert run_qemu(elf, timeout=20)[0] == 126  # the exception handler's exit status
    device = Device(elf, memory=MPS2_AN386, strict=True)
    device.boot()
    with pytest.raises(DeviceFault, match="unaligned"):
        device.call("main")


@pytest.mark.skipif(find_qemu() is None, reason="qemu-system-arm is not installed")
def test_qemu_that_never_ends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match="no exit after 1"):
        run_qemu(make(tmp_path, "auto", "FOREVER"), timeout=1)


def test_missing_qemu_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QemuError, match="not on PATH"):
        run_qemu(tmp_path / "x.elf")
