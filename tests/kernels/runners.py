"""Two places to run a kernel: this machine (ctypes) and the emulated device. Both put guard bytes around every operand."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from pathlib import Path

from cases import Case, record_fields

from codegen.build import build, build_shared, find_port
from codegen.device import Device, map_of
from dse.kernel import Kernel, kernels_root, load_kernels, runs_on
from dse.target import Target

GUARD = b"\xa7" * 16
ROOT = kernels_root()


def _operands(kernel: Kernel, case: Case) -> dict[str, bytes]:
    size = kernel.scratch.evaluate(case.integers)
    return case.operands | ({"scratch": b"\x77" * size} if size else {})


def _check(field: str, found: bytes, case: Case) -> None:
    if field != case.scratch:
        assert found == case.expected.get(field, case.operands.get(field)), field


class Host:
    """The portable kernels as a shared library."""

    def __init__(self, flags: tuple[str, ...] = ()) -> None:
        sources = sorted([*(ROOT / "ref").glob("*.c"), *(ROOT / "rv32imc").glob("*.c")])
        sources.append(Path(__file__).with_name("products_twin.c"))  # for the assembly of rv32imc
        include = [ROOT / "include", ROOT / "rv32imc"]
        self.library = ctypes.CDLL(str(build_shared(sources, "kernels", include, flags=flags)))

    def check(self, kernel: Kernel, case: Case) -> None:
        """Call the kernel and compare every operand; AssertionError names the one that differs."""
        held, record, layout = {}, [], []
        for name, is_pointer in record_fields(kernel.args):
            layout.append((name, ctypes.c_void_p if is_pointer else ctypes.c_int32))
            data = _operands(kernel, case).get(name) if is_pointer else None
            if data is not None:
                offset = 16 + (name in case.unaligned)
                held[name] = (
                    ctypes.create_string_buffer(GUARD + b"\xa7" * (offset - 16) + data + GUARD),
                    offset,
                    len(data),
                )
                record.append(ctypes.addressof(held[name][0]) + offset)
            else:
                record.append(None if is_pointer else case.integers.get(name, 0))
        args = type(kernel.args, (ctypes.Structure,), {"_fields_": layout})(*record)
        getattr(self.library, kernel.symbol)(ctypes.byref(args))
        for name, (buffer, offset, size) in held.items():
            raw = buffer.raw[:-1]
            assert set(raw[:offset] + raw[offset + size :]) <= {0xA7}, f"{name}: written outside"
            _check(name, raw[offset : offset + size], case)


def firmware(kernels: Sequence[Kernel], target: Target, toolchain: str, folder: Path) -> Path:
    """The ELF file of a program that holds these kernels."""
    names = "".join(f"    (void (*)(void)){name},\n" for name in ("main", *(kernel.symbol for kernel in kernels)))
    main, elf = folder / "main.c", folder / "k.elf"
    main.write_text(  # volatile: the compiler must keep every kernel
        '#include "tileformer.h"\nint main(void);\nextern void (*volatile keep[])(void);\n'
        f"void (*volatile keep[])(void) = {{\n{names}}};\n"
        f"int main(void) {{\n    for (int i = 0; i < {len(kernels)}; i++) {{ keep[i + 1](); }}\n    return 0;\n}}\n"
    )
    port = find_port(ROOT, target.port)
    sources = [main, *sorted({ROOT / source for kernel in kernels for source in kernel.sources}), *port.sources]
    include = [ROOT / "include", *port.include_dirs]
    build(sources, include, elf, linker_script=port.linker_script, isa=target.isa, toolchain=toolchain)
    return elf


class Board:
    """Every variant that a target runs in one firmware on its emulated device."""

    SKIP, SPAN = 0x4000, 0x14000  # in the first RAM of every target, above the stacks

    def __init__(self, toolchain: str, folder: Path, target: Target) -> None:
        self.base = next(region.base for region in target.regions if region.kind == "ram") + self.SKIP
        self.kernels = [kernel for kernel in load_kernels().values() if runs_on(kernel, target.isa)]
        elf = firmware(self.kernels, target, toolchain, folder)
        self.device = Device(elf, target.cpu, map_of(target), strict=True)
        self.device.boot()

    def check(self, kernel: Kernel, case: Case) -> None:
        """Call the kernel and compare every operand; AssertionError names the one that differs."""
        cursor, held, record = self.base, {}, []
        for name, is_pointer in record_fields(kernel.args):
            data = _operands(kernel, case).get(name) if is_pointer else None
            if data is None:
                record.append(0 if is_pointer else case.integers.get(name, 0) & 0xFFFFFFFF)
                continue
            start = cursor + 16 + (name in case.unaligned)
            self.device.write(cursor, b"\xa7" * (start - cursor) + data + GUARD)
            held[name] = (cursor, start, len(data))
            record.append(start)
            cursor = (start + len(data) + 16 + 3) // 4 * 4
        assert cursor + 4 * len(record) < self.base + self.SPAN
        self.device.write(cursor, struct.pack(f"<{len(record)}I", *record))
        self.device.call(kernel.symbol, [cursor])
        for name, (first, start, size) in held.items():
            raw = self.device.read(first, start - first + size + 16)
            inside = start - first
            assert set(raw[:inside] + raw[inside + size :]) <= {0xA7}, f"{name}: written outside"
            _check(name, raw[inside : inside + size], case)
