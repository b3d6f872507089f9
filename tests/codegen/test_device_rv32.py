"""The RV32IMC device: against Unicorn on random programs, against QEMU, and its cycles against the manual's table."""

import random
import struct
from pathlib import Path

import pytest
import unicorn
from rv32_words import CODE, DATA, NOP, RETURN, branch, engine_of, i_type, r_type, s_type
from unicorn import riscv_const

from codegen.build import build, find_port, find_toolchains
from codegen.device import ESP32C3, VIRT_RV32, Device, DeviceFault, find_qemu, run_qemu
from codegen.device.engine import SENTINEL

KERNELS = Path(__file__).parents[2] / "kernels"
TOOLCHAINS = [toolchain.name for toolchain in find_toolchains("rv32imc")]
FREE = [3, 4, 6, 7, *range(10, 32)]  # not the return address, the stack, and the two data pointers x5 and x8
LOW = range(10, 16)  # what compressed instructions reach, without x8


def random_instruction(rng: random.Random) -> bytes:
    rd, rs1, rs2 = rng.choice(FREE), rng.choice(FREE), rng.choice(FREE)
    low, other = rng.choice(LOW) - 8, rng.choice(LOW) - 8
    imm, small = rng.randrange(-2048, 2048), rng.randrange(1, 32)
    word = {
        0: lambda: r_type(0x33, rng.randrange(8), rng.choice((0, 1)), rd, rs1, rs2),
        1: lambda: r_type(0x33, rng.choice((0, 5)), 0x20, rd, rs1, rs2),
        2: lambda: i_type(0x13, rng.choice((0, 2, 3, 4, 6, 7)), rd, rs1, imm),
        3: lambda: r_type(0x13, *rng.choice(((1, 0), (5, 0), (5, 0x20))), rd, rs1, small),
        4: lambda: rng.getrandbits(20) << 12 | rd << 7 | rng.choice((0x37, 0x17)),
        5: lambda: i_type(0x03, rng.choice((0, 1, 2, 4, 5)), rd, 5, rng.randrange(-1024, 1020)),
        6: lambda: s_type(0x23, rng.randrange(3), 5, rs2, rng.randrange(-1024, 1020)),
        7: lambda: branch(rng.choice((0, 1, 4, 5, 6, 7)), rs1, rs2, 8),
        8: lambda: 8 << 20 | rd << 7 | 0x6F,
    }
    half = {
        9: lambda: 0x0001 | (small & 31) << 2 | rng.getrandbits(1) << 12 | rd << 7,  # c.addi
        10: lambda: 0x4001 | (small & 31) << 2 | rng.getrandbits(1) << 12 | rd << 7,  # c.li
        11: lambda: 0x6001 | (small & 31) << 2 | rng.getrandbits(1) << 12 | rd << 7,  # c.lui
        12: lambda: 0x8001 | rng.randrange(3) << 10 | (small & 31) << 2 | low << 7,  # c.srli c.srai c.andi
        13: lambda: 0x8C01 | rng.randrange(4) << 5 | low << 7 | other << 2,  # c.sub c.xor c.or c.and
        14: lambda: 0x8002 | rng.getrandbits(1) << 12 | rd << 7 | rs2 << 2,  # c.mv c.add
        15: lambda: 0x0002 | (small & 31) << 2 | rd << 7,  # c.slli
        16: lambda: rng.choice((0x4000, 0xC000)) | rng.getrandbits(4) << 5 & 0x60 | low << 2,  # c.lw c.sw from x8
        17: lambda: 0x0000 | rng.randrange(1, 256) << 5 | low << 2,  # c.addi4spn
        18: lambda: 0x4002 | rng.getrandbits(5) << 2 | rng.getrandbits(1) << 12 | rd << 7,  # c.lwsp
        19: lambda: 0xC002 | rng.getrandbits(6) << 7 | rs2 << 2,  # c.swsp
    }
    kind = rng.randrange(20)
    return struct.pack("<I", word[kind]()) if kind in word else struct.pack("<H", half[kind]())


def random_program(seed: int) -> bytes:
    """Registers with wild and small values, then instructions; `jal` and branches skip 8 bytes forward."""
    rng = random.Random(seed)
    code = b""
    for index in range(2, 32):
        value = rng.choice((rng.getrandbits(32), rng.getrandbits(4), 0x8000_0000, 0xFFFF_FFFF, 0))
        value = {5: DATA + 1024, 8: DATA + 2048, 2: DATA + 512}.get(index, value)
        low = (value & 0xFFF ^ 0x800) - 0x800
        code += struct.pack("<2I", (value - low & 0xFFFFF000) | index << 7 | 0x37, i_type(0x13, 0, index, index, low))
    padding = struct.pack("<HH", 1, 1)  # a skip of 8 lands on a border whatever comes after it
    for _ in range(500):
        insn = random_instruction(rng)
        code += insn
        if len(insn) == 4 and insn[0] & 0x7F in (0x63, 0x6F):
            code += padding
    return code + padding * 2 + RETURN


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_end_as_on_unicorn(seed: int) -> None:
    code = random_program(seed)
    data = random.Random(-seed).randbytes(0x1000)
    engine = engine_of(code)
    engine.write(DATA, data)
    run = engine.call(CODE, [], DATA + 0x1000, [], [], 10_000)
    assert run.pc == SENTINEL
    assert sum(cycles for _, cycles in run.addresses) == run.cycles
    uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    uc.mem_map(CODE & ~0xFFF, 0x8000)
    uc.mem_map(DATA, 0x1000)
    uc.mem_map(SENTINEL, 0x1000)
    uc.mem_write(CODE, code)
    uc.mem_write(DATA, data)
    executed = []
    uc.hook_add(unicorn.UC_HOOK_CODE, lambda _uc, address, _size, _user: executed.append(address))
    uc.reg_write(riscv_const.UC_RISCV_REG_X1, SENTINEL)
    uc.emu_start(CODE, SENTINEL)
    for index in range(1, 32):
        assert uc.reg_read(riscv_const.UC_RISCV_REG_X0 + index) == engine._caller.x[index], f"x{index}"
    assert bytes(uc.mem_read(DATA, 0x1000)) == engine.read(DATA, 0x1000)
    assert run.instructions == len([address for address in executed if address != SENTINEL])


LOAD, LOAD_ODD = i_type(0x03, 2, 10, 5, 0), i_type(0x03, 2, 10, 5, 2)
DIVIDE = r_type(0x33, 4, 1, 10, 11, 12)
SEQUENCES: dict[str, tuple[list[int], dict[int, int], int]] = {
    # name -> (instructions, registers, cycles); x5 points to data
    "alu": ([NOP, NOP, NOP], {}, 3),
    "load, unrelated": ([LOAD, NOP], {}, 2),
    "load, use": ([LOAD, i_type(0x13, 0, 11, 10, 1)], {}, 3),
    "load, then its address": ([i_type(0x03, 2, 5, 5, 0), i_type(0x03, 2, 10, 5, 0)], {}, 3),
    "load, then stored": ([LOAD, s_type(0x23, 2, 5, 10, 8)], {}, 3),
    "load, gap, use": ([LOAD, NOP, i_type(0x13, 0, 11, 10, 1)], {}, 3),
    "load, overwritten": ([LOAD, i_type(0x13, 0, 10, 0, 1)], {}, 2),
    "load over a word": ([LOAD_ODD], {}, 2),
    "half inside a word": ([i_type(0x03, 1, 10, 5, 1)], {}, 1),
    "half over a word": ([i_type(0x03, 1, 10, 5, 3)], {}, 2),
    "store over a word": ([s_type(0x23, 2, 5, 10, 1)], {}, 2),
    "mul": ([r_type(0x33, 0, 1, 10, 11, 12)], {}, 1),
    "mulh": ([r_type(0x33, 1, 1, 10, 11, 12)], {}, 5),
    "mulhu": ([r_type(0x33, 3, 1, 10, 11, 12)], {}, 5),
    "divide by 0": ([DIVIDE], {12: 0}, 35),
    "divide by 1": ([DIVIDE], {12: 1}, 34),
    "divide by -1": ([DIVIDE], {12: 0xFFFF_FFFF}, 34),
    "divide by 2^30": ([DIVIDE], {12: 1 << 30}, 4),
    "divide by -2^31": ([DIVIDE], {12: 1 << 31}, 3),
    "remainder by 3": ([r_type(0x33, 6, 1, 10, 11, 12)], {12: 3}, 33),
    "branch not taken": ([branch(1, 0, 0, 8), NOP], {}, 2),
    "branch taken": ([branch(0, 0, 0, 8), NOP, NOP], {}, 4),
    "jump": ([8 << 20 | 0x6F, NOP, NOP], {}, 3),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence_costs_what_the_manual_says(name: str) -> None:
    words, registers, cycles = SEQUENCES[name]
    engine = engine_of(struct.pack(f"<{len(words)}I", *words) + RETURN)
    engine._caller.x[5] = DATA + 64
    engine.write(DATA + 64, struct.pack("<I", DATA + 64))
    for index, value in registers.items():
        engine._caller.x[index] = value
    args = [registers.get(10 + i, 7) for i in range(6)]
    assert engine.call(CODE, args, DATA + 0x1000, [], [], 100).cycles == cycles + 2  # and the return


@pytest.mark.parametrize("word", [0, 0xFFFF_FFFF, 0x0000_0057, 0x0000_007B, 0x0000_000B, 0x4200_5033, 0x1230_2573])
def test_what_is_no_rv32imc_instruction_faults(word: int) -> None:
    engine = engine_of(struct.pack("<I", word) + RETURN)
    with pytest.raises(DeviceFault, match="illegal instruction") as caught:
        engine.call(CODE, [], DATA + 0x1000, [], [], 100)
    assert caught.value.pc == CODE


ASSEMBLY = """
    .macro function name
    .section .text.\\name, "ax", %progbits
    .balign 4
    .global \\name
    .type \\name, %function
\\name:
    .endm
    function sum_to
    li   a1, 0
1:  add  a1, a1, a0
    addi a0, a0, -1
    bnez a0, 1b
    mv   a0, a1
    ret
    .size sum_to, . - sum_to
    function ninth
    lw   a0, 0(sp)
    ret
    .size ninth, . - ninth
    function deep
    sub  a0, sp, a0
    sw   a0, 0(a0)
    ret
    .size deep, . - deep
    function store_byte
    sb   a1, 0(a0)
    ret
    .size store_byte, . - store_byte
    function load_word
    lw   a0, 0(a0)
    ret
    .size load_word, . - load_word
    function jump
    jr   a0
    .size jump, . - jump
    function forever
    j    forever
    .size forever, . - forever
    function clobber
    li   s3, 0
    ret
    .size clobber, . - clobber
    function both
    addi sp, sp, -16
    sw   ra, 12(sp)
    li   a0, 10
    jal  sum_to
    li   a0, 7
    jal  ninth
    li   a0, 5
    jal  sum_to
    lw   ra, 12(sp)
    addi sp, sp, 16
    ret
    .size both, . - both
"""
C_SOURCE = """
#include <stdint.h>
#include "tlf_port.h"
int main(void);
uint32_t sum_to(uint32_t n);
void ninth(void); void deep(void); void store_byte(void); void load_word(void); void jump(void); void forever(void);
void clobber(void); void both(void);
int32_t state(void); uint32_t measure(void); int32_t quit(void);
__attribute__((section(".tlf_arena.sram1"), aligned(16))) uint8_t arena1[100];
static volatile int32_t initialised = 42;
static volatile int32_t zeroed;
int32_t state(void) { return initialised * 1000 + zeroed; }
uint32_t measure(void)
{
    uint32_t start;
    tlf_port_init();
    start = tlf_port_cycles();
    (void)sum_to(1000);
    return tlf_port_cycles() - start;
}
int32_t quit(void) { tlf_port_write("goodbye, and a line longer than a chunk", 39); tlf_port_exit(7); }
static void work(void *context, int32_t core, int32_t cores) { *(int32_t *)context += core + cores; }
typedef void (*anything)(void);
extern volatile anything keep[];
volatile anything keep[] = {ninth, deep, store_byte, load_word, jump, forever, clobber, both, (anything)state,
                            (anything)measure, (anything)quit, (anything)sum_to};
int main(void)
{
    int32_t total = 0;
    tlf_port_init();
    tlf_port_parallel(work, &total);
    tlf_port_write("a line of text that is longer than one chunk of thirty-two bytes\\n", 65);
#ifdef TRAP
    __asm__ volatile(".insn i 0x0b, 2, x10, x11, 0");
#endif
    return total + (int32_t)sum_to(5) + (keep[0] != 0) + (arena1[0] == arena1[1]);
}
"""


def make(folder: Path, board: str, toolchain: str, *defines: str) -> Path:
    (folder / "asm.S").write_text(ASSEMBLY)
    (folder / "main.c").write_text(C_SOURCE)
    port = find_port(KERNELS, board)
    sources = [folder / "asm.S", folder / "main.c", *port.sources]
    defines = ("TLF_STACK_BYTES=1024", "TLF_SEMIHOSTING", *defines)
    return build(
        sources,
        port.include_dirs,
        folder / "x.elf",
        linker_script=port.linker_script,
        isa="rv32imc",
        toolchain=toolchain,
        defines=defines,
    ).elf


@pytest.fixture(scope="module", params=TOOLCHAINS)
def elf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("rv32"), "esp32c3", request.param)


@pytest.fixture
def device(elf: Path) -> Device:
    device = Device(elf, "rv32imc", ESP32C3)
    device.boot()
    return device


def sum_to_cycles(n: int) -> int:
    """li, n (add, addi, bnez) with n - 1 taken branches, mv, ret."""
    return 1 + 2 * n + 3 * (n - 1) + 1 + 1 + 2


def test_loop_cycles_are_exact(device: Device) -> None:
    result = device.call("sum_to", [100])
    assert (result.value, result.instructions, result.cycles) == (5050, 1 + 3 * 100 + 2, sum_to_cycles(100))
    assert result.functions == {"sum_to": result.cycles}
    assert device.call("sum_to", [100]) == result


def test_stages_split_the_time_by_entry(device: Device) -> None:
    result = device.call("both", stages=["sum_to", "ninth", "deep"])
    first, second, never = result.stages
    assert (never.cycles, never.instructions) == (0, 0)
    assert result.functions["sum_to"] == sum_to_cycles(10) + sum_to_cycles(5)
    assert second.cycles == 3 + 1 + 2  # lw, ret; then li and the jal to the next stage
    assert result.cycles > first.cycles + second.cycles > sum_to_cycles(10) + sum_to_cycles(5)
    assert sum(result.functions.values()) == result.cycles


def test_arguments_boot_counter_and_exit(device: Device) -> None:
    assert device.call("ninth", [*range(8), 0xDEAD_BEEF]).value == 0xDEAD_BEEF
    assert device.call("state").value == 42_000
    assert sum_to_cycles(1000) <= device.call("measure").value <= sum_to_cycles(1000) + 20
    assert device.call("quit").value == 7
    assert device.output == b"goodbye, and a line longer than a chunk"


def test_stack_depth_and_overflow(device: Device) -> None:
    for depth in (8, 64, 1024):
        assert device.call("deep", [depth]).stack_bytes == depth
    with pytest.raises(DeviceFault, match="write outside mapped memory"):
        device.call("deep", [1028])


@pytest.mark.parametrize(
    ("symbol", "args", "what", "address"),
    [
        ("store_byte", [0x4200_0100, 1], "write to read-only", 0x4200_0100),
        ("store_byte", [0x3FCE_0000, 1], "write outside", 0x3FCE_0000),
        ("load_word", [0], "read outside", 0),
        ("load_word", [0x3FCD_FFFE], "read outside", 0x3FCD_FFFE),
        ("jump", [0x3FC8_0000], "jump into memory without code", 0x3FC8_0000),
        ("jump", [0x3000_0000], "jump", 0x3000_0000),
    ],
)
def test_forbidden_access_faults(device: Device, symbol: str, args: list[int], what: str, address: int) -> None:
    with pytest.raises(DeviceFault, match=what) as caught:
        device.call(symbol, args)
    assert caught.value.address == address
    assert symbol == "jump" or caught.value.function == symbol
    assert device.call("sum_to", [4]).value == 10  # the device survives


def test_runaway_and_clobbered_registers(device: Device) -> None:
    with pytest.raises(DeviceFault, match="more than 1000 instructions") as caught:
        device.call("forever", max_instructions=1000)
    assert caught.value.function == "forever"
    with pytest.raises(DeviceFault, match="without restoring s3"):
        device.call("clobber")


def test_canaries_touch_the_arena(device: Device) -> None:
    arena = device.symbol("arena1")
    assert [a for a, _ in device.canaries()] == [arena.address - 32, arena.address + arena.size]
    device.paint_canaries()
    device.call("store_byte", [arena.address + arena.size - 1, 1])
    device.check_canaries()
    device.call("store_byte", [arena.address - 1, 1])
    with pytest.raises(DeviceFault, match="guard bytes"):
        device.check_canaries()


def test_wait_states_are_refused(elf: Path) -> None:
    with pytest.raises(ValueError, match="wait_states must be 0"):
        Device(elf, "rv32imc", ESP32C3, wait_states=1)


@pytest.mark.skipif(find_qemu("rv32imc") is None, reason="qemu-system-riscv32 is not installed")
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_same_firmware_on_qemu_and_on_the_device(tmp_path: Path, toolchain: str) -> None:
    elf = make(tmp_path, "virt_rv32", toolchain)
    device = Device(elf, "rv32imc", VIRT_RV32)
    device.boot()
    status, text = run_qemu(elf, timeout=20, cpu="rv32imc")
    assert status == device.call("main").value == 1 + 15 + 1 + 1
    assert text.encode() == device.output
    assert len(text) == 65
    assert run_qemu(make(tmp_path, "virt_rv32", toolchain, "TRAP"), timeout=20, cpu="rv32imc")[0] == 126
