"""The emulated device: counts, stages, stack, faults, canaries, flash model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unicorn

from codegen.build import build, find_port
from codegen.device import Device, DeviceFault

KERNELS = Path(__file__).parents[2] / "kernels"
LOADS = 3000

ASSEMBLY = f"""
    .syntax unified
    .thumb
    .macro function name
    .section .text.\\name, "ax", %progbits
    .balign 8
    .global \\name
    .type \\name, %function
\\name:
    .endm

    function sum_to                 @ r0 + (r0 - 1) + ... + 1
    movs r1, #0
1:  add  r1, r1, r0
    subs r0, #1
    bne  1b
    mov  r0, r1
    bx   lr
    .size sum_to, . - sum_to

    function count_even             @ how many of r0, r0 - 1, ... 1 are even: one skipped instruction an odd number
    movs r1, #0
1:  tst  r0, #1
    it   eq
    addeq r1, #1
    subs r0, #1
    bne  1b
    mov  r0, r1
    bx   lr

    function many_loads             @ one straight run over several pages and translation blocks
    .rept {LOADS}
    ldr  r1, [r0]
    .endr
    bx   lr

    function fifth
    ldr  r0, [sp]
    bx   lr

    function deep                   @ r0 = bytes: touches the word that many bytes below the stack pointer
    negs r0, r0
    add  r0, sp
    str  r0, [r0]
    bx   lr

    function store_byte
    strb r1, [r0]
    bx   lr

    function load_pair
    ldrd r0, r1, [r0]
    bx   lr

    function load_word
    ldr  r0, [r0]
    bx   lr

    function load_words             @ r0 = address, r1 = words
1:  ldr  r2, [r0], #4
    subs r1, #1
    bne  1b
    bx   lr

    function select                 @ r0 = address, r1 = 1: two conditional accesses, then code that must run in full
    cmp  r1, #1
    itte eq
    ldreq r2, [r0]
    streq r2, [sp, #-8]
    movne r2, #0
    cmp  r1, #5                     @ `eq` fails from here on
    beq  1f
    movs r0, #1
    adds r0, #2
    adds r0, #4
    adds r0, #8
1:  bx   lr

    function stack_pointer
    mov  r0, sp
    bx   lr

    function jump
    bx   r0

    function forever
    b    forever

    function clobber
    movs r7, #0
    bx   lr

    function supervisor_call
    svc  #0
    bx   lr

    function both
    push {{r4, lr}}
    movs r0, #10
    bl   sum_to
    movs r0, #10
    bl   count_even
    movs r0, #5
    bl   sum_to
    pop  {{r4, pc}}
"""

C_SOURCE = """
#include <stdint.h>
#include <string.h>
#include "tlf_port.h"
int main(void);
int32_t state(void);
int32_t halves(int32_t x);
uint32_t measure(void);
int32_t quit(void);
uint32_t sum_to(uint32_t n);
void count_even(void); void many_loads(void); void fifth(void); void deep(void); void store_byte(void);
void load_pair(void); void load_word(void); void load_words(void); void select(void); void stack_pointer(void);
void jump(void); void forever(void); void clobber(void); void supervisor_call(void); void both(void);

__attribute__((section(".tlf_arena.sram1"), aligned(16))) uint8_t arena1[100];
__attribute__((section(".tlf_arena.sram2"), aligned(16))) uint8_t arena2[77];
static volatile int32_t initialised = 42;
static volatile int32_t zeroed;

int32_t state(void) { return initialised * 1000 + zeroed; }
int32_t halves(int32_t x) { return (int32_t)((float)x / 2.0f + 0.5f); }
uint32_t measure(void)
{
    uint32_t start;
    tlf_port_init();
    start = tlf_port_cycles();
    (void)sum_to(1000);
    return tlf_port_cycles() - start;
}
int32_t quit(void) { tlf_port_write("goodbye", 7); tlf_port_exit(7); }

typedef void (*anything)(void);
volatile anything keep[] = {count_even, many_loads, fifth, deep, store_byte, load_pair, load_word, load_words, select,
                            stack_pointer, jump, forever, clobber, supervisor_call, both, (anything)state,
                            (anything)halves, (anything)measure, (anything)quit, (anything)memcpy, (anything)memmove,
                            (anything)memset, (anything)memcmp};
int main(void) { return keep[0] != 0 && arena1[0] == arena2[0]; }
"""
STRING_H = """
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "asm.S").write_text(ASSEMBLY)
    (folder / "main.c").write_text(C_SOURCE)
    (folder / "string.h").write_text(STRING_H)
    port = find_port(KERNELS, "stm32l476")
    sources = [folder / "asm.S", folder / "main.c", *port.sources]
    defines = ["TLF_STACK_BYTES=1024", "TLF_SEMIHOSTING"]
    return build(
        sources, [folder, *port.include_dirs], folder / "x.elf", linker_script=port.linker_script, defines=defines
    ).elf


@pytest.fixture
def boot(elf: Path) -> Callable[..., Device]:
    def make(**options: Any) -> Device:
        device = Device(elf, **options)
        device.boot()
        return device

    return make


@pytest.fixture
def device(boot: Callable[..., Device]) -> Device:
    return boot()


def sum_to_cycles(n: int) -> int:
    """movs, n (add, subs, bne) with n - 1 taken branches, mov, bx."""
    return 1 + 3 * n + (n - 1) + 1 + 3


def test_loop_cycles_are_exact(device: Device) -> None:
    result = device.call("sum_to", [100])
    assert result.value == 5050
    assert result.instructions == 1 + 3 * 100 + 2
    assert result.cycles == sum_to_cycles(100)
    assert result.functions == {"sum_to": result.cycles}
    assert result.stages == ()


def test_counts_do_not_depend_on_earlier_calls(device: Device) -> None:
    first = device.call("both")
    device.call("sum_to", [7])
    assert device.call("both") == first


@pytest.mark.parametrize(
    ("symbol", "args", "skipped"),
    [("sum_to", [321], 0), ("many_loads", [0x2000_0800], 0), ("count_even", [100], 50), ("both", [], 5)],
)
def test_instructions_equal_a_hook_on_every_instruction(
    device: Device, symbol: str, args: list[int], skipped: int
) -> None:
    counted = device.call(symbol, args).instructions
    seen = []
    device._engine._uc.hook_add(unicorn.UC_HOOK_CODE, lambda _uc, address, _size, _user: seen.append(address))
    device._engine._uc.ctl_flush_tb()
    again = device.call(symbol, args).instructions
    assert counted == again
    assert counted == len(seen) + skipped  # Unicorn does not report an instruction whose IT condition fails


def test_straight_loads_pipeline_across_pages(device: Device) -> None:
    result = device.call("many_loads", [0x2000_0800])
    assert result.instructions == LOADS + 1
    assert result.cycles == LOADS + 1 + 3


def test_stages_split_the_time_by_entry(device: Device) -> None:
    result = device.call("both", stages=["sum_to", "count_even", "deep"])
    assert [stage.name for stage in result.stages] == ["sum_to", "count_even", "deep"]
    first, second, never = result.stages
    # a stage lasts until the next one starts: it includes the movs and bl (2) that lead there
    assert first.cycles == sum_to_cycles(10) + 3 + sum_to_cycles(5) + (1 + 2 + 2)
    even = 1 + 10 * 5 + 9 + 1 + 3
    assert second.cycles == even + 3
    assert (never.cycles, never.instructions) == (0, 0)
    before = 3 + 1 + 2  # push, movs, bl
    assert result.cycles == before + first.cycles + second.cycles
    assert result.instructions == 3 + first.instructions + second.instructions
    assert sum(result.functions.values()) == result.cycles
    assert result.functions["sum_to"] == sum_to_cycles(10) + sum_to_cycles(5)
    assert result.functions["count_even"] == even


def test_arguments_beyond_four_go_on_the_stack(device: Device) -> None:
    assert device.call("fifth", [1, 2, 3, 4, 0xDEAD_BEEF]).value == 0xDEAD_BEEF
    assert device.call("fifth", [1, 2, 3, 4, -1, 6]).value == 0xFFFF_FFFF
    for count in range(8):
        assert device.call("stack_pointer", range(count)).value % 8 == 0


def test_boot_initialises_memory_and_the_fpu(device: Device) -> None:
    assert device.call("state").value == 42_000
    assert device.call("halves", [9]).value == 5


def test_call_before_boot_is_refused(elf: Path) -> None:
    with pytest.raises(RuntimeError, match="boot"):
        Device(elf).call("state")


def test_cycle_counter_of_the_firmware(device: Device) -> None:
    assert sum_to_cycles(1000) <= device.call("measure").value <= sum_to_cycles(1000) + 30


def test_exit_ends_the_call_and_text_is_kept(device: Device) -> None:
    assert device.call("quit").value == 7
    assert device.output == b"goodbye"


@pytest.mark.parametrize("depth", [8, 64, 1000, 1024])
def test_stack_high_water_mark(device: Device, depth: int) -> None:
    assert device.call("deep", [depth]).stack_bytes == depth
    assert device.call("sum_to", [3]).stack_bytes == 0


def test_stack_overflow_faults(device: Device) -> None:
    with pytest.raises(DeviceFault, match="write outside mapped memory"):
        device.call("deep", [1028])


@pytest.mark.parametrize(
    ("symbol", "args", "what", "address"),
    [
        ("store_byte", [0x0800_0100, 1], "write to read-only", 0x0800_0100),
        ("store_byte", [0x2001_8000, 1], "write outside", 0x2001_8000),
        ("load_word", [0x1000_8000], "read outside", 0x1000_8000),
        ("load_word", [0], "read outside", 0),
        ("load_word", [0x1FFF_0000], "read of execute-only", 0x1FFF_0000),
        ("jump", [0x3000_0001], "jump outside", 0x3000_0000),
        ("supervisor_call", [], "exception", None),
    ],
)
def test_forbidden_access_faults(device: Device, symbol: str, args: list[int], what: str, address: int | None) -> None:
    with pytest.raises(DeviceFault, match=what) as caught:
        device.call(symbol, args)
    assert caught.value.address == address
    if symbol != "jump":
        assert caught.value.function == symbol
        entry = device.symbol(symbol)
        assert entry.address <= caught.value.pc <= entry.address + 4
    assert device.call("sum_to", [4]).value == 10  # the device survives


def test_runaway_is_stopped(device: Device) -> None:
    with pytest.raises(DeviceFault, match="more than 1000 instructions") as caught:
        device.call("forever", max_instructions=1000)
    assert caught.value.function == "forever"


def test_clobbered_register_is_reported(device: Device) -> None:
    with pytest.raises(DeviceFault, match="without restoring r7"):
        device.call("clobber")


def test_strict_finds_unaligned_pairs_and_counts_the_rest(boot: Callable[..., Device]) -> None:
    forgiving, strict = boot(), boot(strict=True)
    aligned, odd = 0x2000_1000, 0x2000_1002
    assert forgiving.call("load_pair", [odd]).unaligned == 0
    assert strict.call("load_pair", [aligned]).unaligned == 0
    with pytest.raises(DeviceFault, match="unaligned") as caught:
        strict.call("load_pair", [odd])
    assert (caught.value.address, caught.value.function) == (odd, "load_pair")
    assert strict.call("load_word", [odd]).unaligned == 1
    assert strict.call("both").cycles == forgiving.call("both").cycles


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"wait_states": 4}, {"strict": True, "wait_states": 1}])
def test_conditional_accesses_under_every_hook(boot: Callable[..., Device], options: dict[str, Any]) -> None:
    """Unicorn issue 2309: a memory hook inside an IT block made it skip instructions of the next block."""
    device = boot(**options)
    assert device.call("select", [0x0800_0000, 1]).value == 15
    assert device.call("select", [0, 0]).value == 15
    with pytest.raises(DeviceFault):
        device.call("select", [0, 1])
    assert device.call("sum_to", [10]).value == 55  # the fault left the rest of its IT block behind
    assert device.call("select", [0x2000_1000, 1]).value == 15


def test_canaries_notice_one_byte(device: Device) -> None:
    assert len(device.canaries()) == 4
    arena = device.symbol("arena1")
    device.paint_canaries()
    device.call("store_byte", [arena.address + arena.size - 1, 1])
    device.check_canaries()
    device.call("store_byte", [arena.address + arena.size, 1])
    with pytest.raises(DeviceFault, match="guard bytes") as caught:
        device.check_canaries()
    assert caught.value.address == arena.address + arena.size


def test_canaries_touch_the_arenas(device: Device) -> None:
    for bank, name in (("sram1", "arena1"), ("sram2", "arena2")):
        arena = device.symbol(name)
        assert device.symbol(f"__tlf_canary_{bank}_lo").address + 32 == arena.address
        assert device.symbol(f"__tlf_canary_{bank}_hi").address == arena.address + arena.size
        assert arena.address % 16 == 0


def test_own_guard_ranges(device: Device) -> None:
    guard = [(0x2000_2000, 8)]
    device.paint_canaries(guard)
    device.check_canaries(guard)
    device.write(0x2000_2007, b"\0")
    with pytest.raises(DeviceFault, match="0x20002007"):
        device.check_canaries(guard)


def test_unknown_symbol_and_cpu(device: Device, elf: Path) -> None:
    with pytest.raises(KeyError, match="no symbol 'absent'"):
        device.symbol("absent")
    with pytest.raises(KeyError, match="no symbol 'absent'"):
        device.call("both", stages=["absent"])
    with pytest.raises(ValueError, match="cortex-m99"):
        Device(elf, cpu="cortex-m99")


def test_memory_routines(device: Device) -> None:
    base, pattern = 0x2000_4000, bytes(range(1, 101))
    for size in (0, 1, 3, 7, 8, 9, 16, 31):
        for source, target in ((0, 40), (1, 42), (3, 0), (0, 3), (5, 5)):
            expected = bytearray(pattern)
            expected[target : target + size] = pattern[source : source + size]
            device.write(base, pattern)
            assert device.call("memmove", [base + target, base + source, size]).value == base + target
            assert device.read(base, len(pattern)) == expected
            if source + size <= target or target + size <= source:
                device.write(base, pattern)
                assert device.call("memcpy", [base + target, base + source, size]).value == base + target
                assert device.read(base, len(pattern)) == expected
        device.write(base, pattern)
        assert device.call("memset", [base + 1, 0x1AB, size]).value == base + 1
        assert device.read(base, len(pattern)) == pattern[:1] + b"\xab" * size + pattern[1 + size :]
        assert device.call("memcmp", [base, base, size]).value == 0
    device.write(base, b"abcabd")
    assert device.call("memcmp", [base, base + 3, 3]).value == 0xFFFF_FFFF
    assert device.call("memcmp", [base + 3, base, 3]).value == 1


def test_flash_model_charges_misses_only(boot: Callable[..., Device]) -> None:
    ideal, slow = boot(), boot(wait_states=4)
    loop = slow.call("sum_to", [1000]).cycles - ideal.call("sum_to", [1000]).cycles
    assert 4 <= loop <= 8  # the loop is cached after its first round
    straight = slow.call("many_loads", [0x2000_0800]).cycles - ideal.call("many_loads", [0x2000_0800]).cycles
    words = LOADS * 2 // 8  # 4 one-cycle loads hide 4 of the 5 cycles of the next word
    assert words <= straight <= words + 20
    flash, ram = 0x0800_0000, 0x2000_0800

    def stalls(address: int, count: int) -> int:
        return slow.call("load_words", [address, count]).cycles - ideal.call("load_words", [address, count]).cycles

    code = stalls(ram, 64)
    assert stalls(flash, 64) == code + 64 // 2 * 4  # 64-bit words: every second load misses
    assert slow.call("both").functions.keys() == ideal.call("both").functions.keys()


def test_eight_million_cycles_take_less_than_a_few_seconds(boot: Callable[..., Device]) -> None:
    assert boot().call("sum_to", [2_000_000]).cycles > 8_000_000
