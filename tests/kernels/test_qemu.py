"""The assembly kernels once on QEMU, which traps what the emulated devices forgive: operands and answers are part of the
firmware."""

import pytest
from cases import case_of, record_fields, served

from codegen.build import build, find_port, find_toolchains
from codegen.device import find_qemu, run_qemu
from dse.kernel import Kernel, kernels_root, load_kernels

ROOT = kernels_root()
BOARDS = {
    "armv7em": ("mps2_an386", "cortex-m4"),
    "armv7em-m7": ("mps2_an500", "cortex-m7"),
    "rv32imc": ("virt_rv32", "rv32imc"),
}
VARIANTS = {isa: [kernel for kernel in load_kernels().values() if kernel.isa == isa] for isa in BOARDS}
MADE = [
    (isa, toolchain.name)
    for isa, (_, cpu) in BOARDS.items()
    if find_qemu(cpu) is not None
    for toolchain in find_toolchains(isa)
]
APART = "static __attribute__((noinline))"  # so that their frames do not add up beyond the stack of the board
SIZES = ((1, 1, 1), (3, 2, 3), (2, 5, 18), (5, 3, 33), (4, 8, 50))


def _bytes(name: str, data: bytes, offset: int) -> str:
    values = ",".join(str(value) for value in bytes(offset) + data)
    return f"static uint8_t {name}[{offset + len(data)}] __attribute__((aligned(4))) = {{{values}}};\n"


def _call(kernel: Kernel, seed: int, spoil: bool) -> str:
    """Operands, answers and a C function of that call: how many operands differ after it."""
    (sizes,) = served(kernel, *SIZES[seed])
    case, stem, values, text, body = case_of(kernel, *sizes, seed), f"{kernel.name}_{seed}", [], "", ""
    operands = {"scratch": bytes(max(4, kernel.scratch.evaluate(case.integers)))} | case.operands
    for field, is_pointer in record_fields(kernel.args):
        offset = int(field in case.unaligned)
        if is_pointer:
            text += _bytes(f"{stem}_{field}", operands[field], offset)
            values.append(f"(void *)({stem}_{field} + {offset})")
        else:
            values.append(f"{case.integers.get(field, 0)}")
    for field, data in case.expected.items():
        text += _bytes(f"{stem}_{field}_after", bytes([data[0] ^ 1]) + data[1:] if spoil else data, 0)
        found = f"{stem}_{field} + {int(field in case.unaligned)}"
        body += f"    wrong += differs({found}, {stem}_{field}_after, {len(data)});\n"
    record = f"    {kernel.args} args = {{{', '.join(values)}}};\n    int wrong = 0;\n    {kernel.symbol}(&args);\n"
    return f"{text}{APART} int {stem}(void)\n{{\n{record}{body}    return wrong;\n}}\n"


def _program(isa: str, spoil: bool) -> str:
    """A C program that exits with 0 when all operands, or with `spoil` none, are as they should be after their call."""
    head = '#include <stdint.h>\n#include "tileformer.h"\n#include "tlf_port.h"\nint main(void);\n'
    head += f"{APART} int differs(const uint8_t *a, const uint8_t *b, int n)\n{{\n    int d = 0;\n"
    head += "    for (int i = 0; i < n; i++) { d |= a[i] != b[i]; }\n    return d;\n}\n"
    pairs = [(kernel, seed) for kernel in VARIANTS[isa] for seed in range(len(SIZES))]
    calls = "".join(f"    wrong += {kernel.name}_{seed}();\n" for kernel, seed in pairs)
    functions = "".join(_call(kernel, seed, spoil) for kernel, seed in pairs)
    answers = sum(len(case_of(kernel, 1, 1, 1, 0).expected) for kernel in VARIANTS[isa]) * len(SIZES)
    leave = f"    return wrong != {answers if spoil else 0};\n"  # an exit status has 8 bits
    return f"{head}{functions}int main(void)\n{{\n    int wrong = 0;\n    tlf_port_init();\n{calls}{leave}}}\n"


@pytest.mark.skipif(not MADE, reason="neither qemu-system-arm nor qemu-system-riscv32 is installed")
@pytest.mark.parametrize(("isa", "toolchain"), MADE)
@pytest.mark.parametrize("spoil", [False, True])
def test_kernels_on_qemu(tmp_path, isa, toolchain, spoil):
    main = tmp_path / "main.c"
    main.write_text(_program(isa, spoil))
    board, cpu = BOARDS[isa]
    port, kernels = find_port(ROOT, board), VARIANTS[isa]
    sources = [main, *sorted({ROOT / source for kernel in kernels for source in kernel.sources}), *port.sources]
    elf = build(
        sources,
        [ROOT / "include", *port.include_dirs],
        tmp_path / "x.elf",
        linker_script=port.linker_script,
        isa=isa,
        toolchain=toolchain,
        defines=["TLF_SEMIHOSTING"],
    ).elf
    assert run_qemu(elf, timeout=20, cpu=cpu)[0] == 0
