"""The assembly kernels once on QEMU, which traps what Unicorn forgives: operands and answers are part of the firmware."""

import pytest
from cases import case_of, record_fields

from codegen.build import build, find_port, find_toolchains
from codegen.device import find_qemu, run_qemu
from dse.kernel import Kernel, kernels_root, load_kernels

ROOT = kernels_root()
ASSEMBLY = [kernel for kernel in load_kernels().values() if kernel.isa == "armv7em"]
APART = "static __attribute__((noinline))"  # so that their frames do not add up beyond the stack of the board
SIZES = ((1, 1, 1), (3, 2, 3), (2, 5, 18), (5, 3, 33), (4, 8, 50))


def _bytes(name: str, data: bytes, offset: int) -> str:
    values = ",".join(str(value) for value in bytes(offset) + data)
    return f"static uint8_t {name}[{offset + len(data)}] __attribute__((aligned(4))) = {{{values}}};\n"


def _call(kernel: Kernel, seed: int, spoil: bool) -> str:
    """Operands, answers and a C function of that call: how many operands differ after it."""
    case, stem, values, text, body = case_of(kernel, *SIZES[seed], seed), f"{kernel.name}_{seed}", [], "", ""
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


def _program(spoil: bool) -> str:
    """A C program that exits with the number of operands that differ after their call."""
    head = '#include <stdint.h>\n#include "tileformer.h"\n#include "tlf_port.h"\nint main(void);\n'
    head += f"{APART} int differs(const uint8_t *a, const uint8_t *b, int n)\n{{\n    int d = 0;\n"
    head += "    for (int i = 0; i < n; i++) { d |= a[i] != b[i]; }\n    return d;\n}\n"
    pairs = [(kernel, seed) for kernel in ASSEMBLY for seed in range(len(SIZES))]
    calls = "".join(f"    wrong += {kernel.name}_{seed}();\n" for kernel, seed in pairs)
    functions = "".join(_call(kernel, seed, spoil) for kernel, seed in pairs)
    return (
        f"{head}{functions}int main(void)\n{{\n    int wrong = 0;\n    tlf_port_init();\n{calls}    return wrong;\n}}\n"
    )


@pytest.mark.skipif(find_qemu() is None, reason="qemu-system-arm is not installed")
@pytest.mark.parametrize("toolchain", [toolchain.name for toolchain in find_toolchains("armv7em")])
@pytest.mark.parametrize("spoil", [False, True])
def test_assembly_kernels_on_qemu(tmp_path, toolchain, spoil):
    main = tmp_path / "main.c"
    main.write_text(_program(spoil))
    port = find_port(ROOT, "mps2_an386")
    sources = [main, *sorted({ROOT / source for kernel in ASSEMBLY for source in kernel.sources}), *port.sources]
    elf = build(
        sources,
        [ROOT / "include", *port.include_dirs],
        tmp_path / "x.elf",
        linker_script=port.linker_script,
        toolchain=toolchain,
        defines=["TLF_SEMIHOSTING"],
    ).elf
    answers = sum(len(case_of(kernel, 1, 1, 1, 0).expected) for kernel in ASSEMBLY) * len(SIZES)
    assert run_qemu(elf, timeout=20)[0] == (answers if spoil else 0)
