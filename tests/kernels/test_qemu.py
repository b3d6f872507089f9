"""The assembly kernels once on QEMU, which traps what Unicorn forgives: operands and answers are part of the firmware."""

import pytest
from cases import case_of, record_fields

from codegen.build import build, find_port, find_toolchains
from codegen.device import find_qemu, run_qemu
from dse.kernel import kernels_root, load_kernels

ROOT = kernels_root()
PACKED = [kernel for kernel in load_kernels().values() if kernel.name.endswith("_packed")]
SIZES = ((1, 1, 1), (3, 2, 3), (2, 5, 18), (5, 3, 33), (4, 8, 50))


def _bytes(name: str, data: bytes, offset: int) -> str:
    values = ",".join(str(value) for value in bytes(offset) + data)
    return f"static uint8_t {name}[{offset + len(data)}] __attribute__((aligned(4))) = {{{values}}};\n"


def _program(spoil: bool) -> str:
    """A C program that exits with the number of operands that differ after their call."""
    head, body = '#include <stdint.h>\n#include "tileformer.h"\n#include "tlf_port.h"\nint main(void);\n', ""
    for kernel in PACKED:
        for seed, sizes in enumerate(SIZES):
            case, stem, values = case_of(kernel, *sizes, seed), f"{kernel.name}_{seed}", []
            for field, is_pointer in record_fields(kernel.args):
                offset = int(field in case.unaligned)
                if is_pointer:
                    head += _bytes(f"{stem}_{field}", case.operands[field], offset)
                    values.append(f"(void *)({stem}_{field} + {offset})")
                else:
                    values.append(f"{case.integers.get(field, 0)}")
            body += f"    {{ {kernel.args} args = {{{', '.join(values)}}}; {kernel.symbol}(&args); }}\n"
            for field, data in case.expected.items():
                wrong = bytes([data[0] ^ 1]) + data[1:] if spoil else data
                head += _bytes(f"{stem}_{field}_after", wrong, 0)
                body += f"    wrong += differs({stem}_{field} + {int(field in case.unaligned)}, "
                body += f"{stem}_{field}_after, {len(data)});\n"
    differs = "static int differs(const uint8_t *a, const uint8_t *b, int n)\n{\n    int d = 0;\n"
    differs += "    for (int i = 0; i < n; i++) { d |= a[i] != b[i]; }\n    return d;\n}\n"
    return f"{head}{differs}int main(void)\n{{\n    int wrong = 0;\n    tlf_port_init();\n{body}    return wrong;\n}}\n"


@pytest.mark.skipif(find_qemu() is None, reason="qemu-system-arm is not installed")
@pytest.mark.parametrize("toolchain", [toolchain.name for toolchain in find_toolchains("armv7em")])
@pytest.mark.parametrize("spoil", [False, True])
def test_packed_kernels_on_qemu(tmp_path, toolchain, spoil):
    main = tmp_path / "main.c"
    main.write_text(_program(spoil))
    port = find_port(ROOT, "mps2_an386")
    sources = [main, *sorted({ROOT / kernel.source for kernel in PACKED}), *port.sources]
    elf = build(
        sources,
        [ROOT / "include", *port.include_dirs],
        tmp_path / "x.elf",
        linker_script=port.linker_script,
        toolchain=toolchain,
        defines=["TLF_SEMIHOSTING"],
    ).elf
    assert run_qemu(elf, timeout=20)[0] == (len(PACKED) * len(SIZES) if spoil else 0)
