"""The emulated cluster and its ports: fork, barrier, DMA, banks, instruction caches, and what they cost."""

import ctypes
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen.build import build, build_shared, find_port, find_toolchains
from codegen.device import GAP9, Device, DeviceFault, cores
from codegen.device.riscv import RiscvEngine
from codegen.device.timing_rv32 import GAP9_CLUSTER

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
TOOLCHAINS = [toolchain.name for toolchain in find_toolchains("xpulpv2")]
CLOCK_CALL = 7  # of the cycles between two readings: the end of one call of tlf_port_cycles and the start of the next


def make(folder: Path, toolchain: str, *defines: str) -> Path:
    port = find_port(KERNELS, "gap9")
    return build(
        [HERE / "cluster_main.c", *port.sources],
        port.include_dirs,
        folder / "x.elf",
        linker_script=port.linker_script,
        isa="xpulpv2",
        toolchain=toolchain,
        defines=["TLF_SEMIHOSTING", *(defines or ("TLF_TEST_CORES=8",))],
    ).elf


@pytest.fixture(scope="module", params=TOOLCHAINS)
def elf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cluster"), request.param)


def boot(elf: Path) -> Device:
    device = Device(elf, "gap9", GAP9)
    device.boot()
    return device


@pytest.fixture
def device(elf: Path) -> Device:
    return boot(elf)


@pytest.fixture
def without(elf: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Device]:
    """A device whose cluster differs from the default."""

    def make_one(**changes: int) -> Device:
        machine = dataclasses.replace(GAP9_CLUSTER, **changes)
        monkeypatch.setitem(cores.CORES, "variant", lambda setup: RiscvEngine(setup, machine))  # type: ignore[arg-type]
        variant = Device(elf, "variant", GAP9)
        variant.boot()
        return variant

    return make_one


def value(device: Device, name: str, *args: int) -> int:
    return device.call(name, args).value


def test_boot_initialises_l1_and_parks_the_workers(device: Device) -> None:
    assert value(device, "initialised") == 40
    result = device.call("initialised")
    assert [core.instructions for core in result.cores[:8]] == [0] * 8
    assert all(core.asleep_cycles == result.cycles for core in result.cores[:8])
    assert result.cores[8].instructions == result.instructions


def test_fork_and_join_cost_what_was_measured(device: Device) -> None:
    assert 20 <= value(device, "fork_join") - CLOCK_CALL <= 28  # 25


def test_barrier_costs_what_was_measured(device: Device) -> None:
    call = 2 + 1 + 2  # jal, address, ret
    assert 5 <= value(device, "barriers") - CLOCK_CALL - call <= 10


def test_barrier_holds_early_cores_and_loses_none(device: Device) -> None:
    result = device.call("exchange", [200])
    assert result.value == 0
    workers = result.cores[:8]
    assert all(core.cycles == result.cycles for core in result.cores)
    assert all(0 < core.asleep_cycles < result.cycles for core in workers)


def test_every_run_is_the_same(elf: Path) -> None:
    first, second = boot(elf), boot(elf)
    for name, args in (("exchange", [50]), ("bank_cycles", [64]), ("copy_cycles", [7, 100, 300]), ("exchange", [50])):
        result = first.call(name, args)
        assert second.call(name, args) == result
        assert first.call(name, args) == result  # nor does an earlier call matter


def test_a_core_that_never_arrives_is_a_fault_and_needs_a_boot(device: Device) -> None:
    with pytest.raises(DeviceFault, match="every core sleeps") as caught:
        device.call("never_arrive")
    assert "tlf_port_parallel" in caught.value.function
    with pytest.raises(RuntimeError, match="boot"):
        device.call("fork_join")
    device.boot()
    assert value(device, "exchange", 20) == 0


@pytest.mark.parametrize(("size", "measured"), [(1024, 161), (8192, 1055), (65536, 8225)])
def test_copy_takes_what_was_measured(device: Device, size: int, measured: int) -> None:
    assert value(device, "copy_cycles", 1, size, 0) - CLOCK_CALL == pytest.approx(measured, abs=12)


def test_dma_moves_eight_bytes_a_cycle_and_a_row_a_beat(device: Device) -> None:
    def cycles(rows: int, row_bytes: int) -> int:
        return value(device, "copy_cycles", rows, row_bytes, 200)

    assert cycles(1, 8192) - cycles(1, 1024) == (8192 - 1024) // 8
    for row_bytes, beats in ((4, 1), (8, 1), (9, 2), (100, 13)):
        assert cycles(160, row_bytes) - cycles(80, row_bytes) == pytest.approx(80 * beats, abs=4)
    assert value(device, "two_copies", 2048) - value(device, "two_copies", 1024) == 2 * 1024 // 8
    assert 18 <= value(device, "issue_cycles", 1024) - CLOCK_CALL <= 32  # 22 where the direction is known


def test_copies_in_rows_and_back(device: Device) -> None:
    l1, l2 = device.symbol("l1").address, device.symbol("l2").address
    data = bytes((7 * i + i // 251) % 256 for i in range(4000))
    device.write(l2, data)
    device.call("copy_cycles", [9, 37, 100])
    rows = [data[i * 100 : i * 100 + 37] for i in range(9)]
    assert device.read(l1, 9 * 37) == b"".join(rows)
    device.write(l2, bytes(4000))
    device.call("copy_back", [9, 37, 53])
    back = device.read(l2, 4000)
    assert [back[i * 53 : i * 53 + 37] for i in range(9)] == rows
    assert set(back[37:53]) == {0}


def test_a_tile_read_before_its_copy_was_waited_for_is_stale(device: Device) -> None:
    l1, l2 = device.symbol("l1").address, device.symbol("l2").address
    device.write(l2, bytes([0x22]) * 1024)
    device.write(l1, bytes([0x11]) * 1024)
    assert value(device, "early_read", 1024) == 0x1122


def test_copies_outside_the_memories_fault(device: Device) -> None:
    with pytest.raises(DeviceFault, match="DMA"):
        device.call("copy_cycles", [1, 0, 0])
    device.boot()
    with pytest.raises(DeviceFault, match="DMA"):
        device.call("copy_cycles", [2, 1000, 0x0100_0000])


def test_banks_conflict_on_equal_strides_only(device: Device, without: Callable[..., Device]) -> None:
    spread, aliased = value(device, "bank_cycles", 4), value(device, "bank_cycles", 64)
    assert (
        aliased - spread > 1000
    )  # eight loads at once on one bank: 256 loads wait for seven others, less what loops hide
    free = without(banks=0)
    assert value(free, "bank_cycles", 4) == value(free, "bank_cycles", 64)
    assert value(free, "bank_cycles", 64) <= spread
    assert sum(core.bank_cycles for core in free.call("bank_cycles", [64]).cores) == 0


def test_l2_loads_take_fifteen_cycles(device: Device, without: Callable[..., Device]) -> None:
    slow = value(device, "load_l2", 200) - value(device, "load_l2", 100)
    fast = without(l2_cycles=1)
    assert slow - (value(fast, "load_l2", 200) - value(fast, "load_l2", 100)) == 100 * 14


@pytest.mark.parametrize(
    ("words", "low", "high"), [(100, 1.0, 1.06), (400, 1.45, 1.60), (2000, 2.7, 4.9)]
)  # bodies of 400 B, 1.6 kB and 8 kB
def test_instruction_caches_cost_what_was_measured(device: Device, words: int, low: float, high: float) -> None:
    rounds = [value(device, f"body_{words}", n) for n in (20, 40)]
    assert low <= (rounds[1] - rounds[0]) / 20 / words <= high


def test_code_runs_cold_at_first(device: Device, without: Callable[..., Device]) -> None:
    cold = value(device, "body_2000", 1) / 2000
    assert cold == pytest.approx(5.5, rel=0.05)
    assert value(without(private_miss=0), "body_2000", 1) / 2000 == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("working", "controller"), [(1, 8), (2, 8), (8, 0), (4, 3)])
def test_other_teams_are_constants(
    tmp_path: Path, working: int, controller: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer workers, or a controller that works, too, as on GAP8."""
    machine = dataclasses.replace(GAP9_CLUSTER, caller=controller)
    monkeypatch.setitem(cores.CORES, "variant", lambda setup: RiscvEngine(setup, machine))  # type: ignore[arg-type]
    team = (f"TLF_TEST_CORES={working}", f"TLF_CORES={working}", f"TLF_CONTROLLER={controller}")
    device = Device(make(tmp_path, "zig", *team), "variant", GAP9)
    device.boot()
    result = device.call("exchange", [20])
    assert result.value == 0
    assert [core.instructions > 0 for core in result.cores] == [i < working or i == controller for i in range(9)]


def test_canaries_stacks_and_sections(device: Device) -> None:
    l1, l2 = device.symbol("l1"), device.symbol("l2")
    assert len(device.canaries()) == 6  # of L1, L2 and the far activations
    assert 0x1000_0000 <= l1.address < 0x1002_0000 <= 0x1C00_0000 <= l2.address < 0x1C18_0000
    device.paint_canaries()
    result = device.call("exchange", [3])
    device.check_canaries()
    assert 0 < result.stack_bytes <= 128
    assert sum(result.functions.values()) == sum(c.cycles - c.asleep_cycles for c in result.cores)


STUB = """
#include "pmsis.h"
#include "tlf_port.h"
#define AT(address) ((void *)(uintptr_t)(address))
uint8_t *stub_l1, *stub_l2;
uint32_t stub_core, stub_cores, stub_barriers, stub_waits, stub_2d, stub_cycles;
int32_t drive(uint8_t *l1, uint8_t *l2, int32_t *seen);
static void work(void *context, int32_t core, int32_t cores)
{
    ((int32_t *)context)[core] = 100 * cores + core + 1 - (core != tlf_port_core());
    tlf_port_barrier();
}
int32_t drive(uint8_t *l1, uint8_t *l2, int32_t *seen)
{
    stub_l1 = l1;
    stub_l2 = l2;
    stub_cores = 8;
    tlf_port_init();
    tlf_port_parallel(work, seen);
    const int32_t first = tlf_port_copy_rows(AT(0x10000008), AT(0x1C000010), 3, 4, 10);
    const int32_t second = tlf_port_copy(AT(0x1C000040), AT(0x10000008), 12);
    tlf_port_copy_wait(first);
    const int32_t third = tlf_port_copy(AT(0x10000040), AT(0x1C000000), 5);
    tlf_port_copy_wait(second);
    tlf_port_copy_wait(third);
    if (first == second || third != first) {
        return -1;
    }
    return (int32_t)(stub_barriers + 100 * stub_waits + 1000 * stub_2d + tlf_port_cycles());
}
"""


def test_pmsis_port_does_the_same_against_a_stub(tmp_path: Path) -> None:
    (tmp_path / "drive.c").write_text(STUB)
    sources = [tmp_path / "drive.c", KERNELS / "port" / "gap9-pmsis" / "port.c"]
    flags = ["-Wno-int-to-pointer-cast", "-Wno-pointer-to-int-cast"]
    library = ctypes.CDLL(str(build_shared(sources, "pmsis", [KERNELS / "port", HERE / "pmsis_stub"], flags=flags)))
    l1, l2 = ctypes.create_string_buffer(100), ctypes.create_string_buffer(bytes(range(100)), 100)
    seen = (ctypes.c_int32 * 8)()
    assert library.drive(l1, l2, seen) == 8 + 300 + 1000
    assert list(seen) == [801 + i for i in range(8)]
    packed = bytes([*range(16, 20), *range(26, 30), *range(36, 40)])
    assert l1.raw[8:20] == packed == l2.raw[64:76]
    assert l1.raw[64:69] == bytes(range(5))
