"""Loads from external memory on the emulated cluster, and the same calls of its ports."""

import ctypes
from pathlib import Path

import pytest

from codegen.build import build, build_shared, find_port
from codegen.device import Device, DeviceFault, map_of
from dse.target import load_target

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
TARGET = load_target("gap9")


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    port, folder = find_port(KERNELS, "gap9"), tmp_path_factory.mktemp("loader")
    sources = [HERE / "loader_main.c", *port.sources]
    script = port.linker_script
    return build(sources, port.include_dirs, folder / "x.elf", linker_script=script, isa="xpulpv2").elf


@pytest.fixture
def device(elf: Path) -> Device:
    device = Device(elf, "gap9", map_of(TARGET))
    device.boot()
    return device


def test_a_byte_takes_a_cycle_after_the_latency(device: Device) -> None:
    long, short = (device.call("load_cycles", [size]).value for size in (4000, 400))
    per_byte = TARGET.cluster.load_cycles_per_byte
    assert abs(long - short - 3600 * per_byte) <= 30  # the core looks every few cycles
    assert abs(short - 400 * per_byte - TARGET.cluster.load_latency_cycles) <= 120
    assert device.read(device.symbol("l2").address, 400) == bytes([55]) + bytes(399)


def test_loads_end_in_order_and_beside_the_core(device: Device) -> None:
    assert device.call("two_loads", [4000]).value == 55 + 256 * 22
    assert device.call("beside", [2000]).value < 150


def test_what_was_not_waited_for_is_stale(device: Device) -> None:
    assert device.call("early_read").value == 7 + 256 * 11


def test_external_memory_is_no_part_of_the_image(device: Device) -> None:
    assert device.read(device.symbol("l3").address, 4) == bytes([11, 22, 33, 44])
    assert 0 < device.flash_bytes < 4000


@pytest.mark.parametrize(
    ("function", "what"),
    [("read_external", "read outside"), ("load_to_l1", "DMA"), ("copy_external", "DMA"), ("too_many", "DMA")],
)
def test_other_ways_to_it_fault(device: Device, function: str, what: str) -> None:
    with pytest.raises(DeviceFault, match=what):
        device.call(function)


STUB = """
#include "pmsis.h"
#include "tlf_port.h"
extern struct pi_device *tlf_external_device;
uint8_t *stub_l1, *stub_l2;
uint32_t stub_core, stub_cores, stub_barriers, stub_waits, stub_2d, stub_cycles;
int32_t drive(const uint8_t *external, uint8_t *to);
int32_t drive(const uint8_t *external, uint8_t *to)
{
    struct pi_device device = {external};
    tlf_external_device = &device;
    int32_t last = 0;
    for (int32_t i = 0; i < 40; i++) {
        last = tlf_port_load(to + i, (const void *)(uintptr_t)(0x80000002u + (uint32_t)i), 1);
        if (i % 16 == 15) {
            tlf_port_load_wait(last);
        }
    }
    tlf_port_load_wait(last);
    tlf_port_load_wait(last);
    return (int32_t)stub_waits;
}
"""


def test_the_pmsis_port_reads_the_device_from_its_address_0(tmp_path: Path) -> None:
    (tmp_path / "drive.c").write_text(STUB)
    sources = [tmp_path / "drive.c", KERNELS / "port" / "gap9-pmsis" / "port.c"]
    flags = ["-Wno-int-to-pointer-cast", "-Wno-pointer-to-int-cast"]
    library = ctypes.CDLL(str(build_shared(sources, "pmsis", [KERNELS / "port", HERE / "pmsis_stub"], flags=flags)))
    external, to = ctypes.create_string_buffer(bytes(range(100)), 100), ctypes.create_string_buffer(40)
    assert library.drive(external, to) == 40  # every load waited for, once
    assert to.raw == bytes(range(2, 42))
