"""The ELF reader: refuses what it cannot trust."""

import struct

import pytest

from codegen.device.elf import Elf, ElfError, Symbol, function_at, function_ranges, parse_elf


def minimal_elf(*, kind: int = 2, machine: int = 40, segment_offset: int = 84, segment_bytes: int = 4) -> bytes:
    """A header, one program header and four bytes of code."""
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, kind, machine, 1, 0x0800_0001, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    program = struct.pack("<IIIIIIII", 1, segment_offset, 0x0800_0000, 0x0800_0000, segment_bytes, 4, 5, 4)
    return header + program + b"\x00\xbf\x70\x47"


def test_reads_segments_and_entry() -> None:
    elf = parse_elf(minimal_elf())
    assert (elf.machine, elf.entry, elf.symbols) == ("arm", 0x0800_0000, {})
    assert elf.segments[0].data == b"\x00\xbf\x70\x47"
    assert elf.segments[0].load_address == 0x0800_0000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF"),
        (b"\x7fELF" + bytes(60), "32-bit little-endian"),
        (minimal_elf()[:60], "program headers"),
        (minimal_elf()[:86], "segment"),
        (minimal_elf(kind=1), "not an executable"),
        (minimal_elf(machine=62), "machine 62"),
        (minimal_elf(segment_offset=1 << 31), "segment"),
        (minimal_elf(segment_bytes=1 << 30), "segment"),
    ],
)
def test_refuses_damage(data: bytes, message: str) -> None:
    with pytest.raises(ElfError, match=message):
        parse_elf(data)


def test_functions_are_found_by_address() -> None:
    symbols = {
        "first": Symbol(0x100, 8, True),
        "first_alias": Symbol(0x100, 0, True),
        "unsized": Symbol(0x120, 0, True),
        "last": Symbol(0x140, 4, True),
        "table": Symbol(0x108, 8, False),
    }
    ranges = function_ranges(Elf("arm", 0x100, (), symbols))
    names = [function_at(ranges, address) for address in (0xFF, 0x100, 0x107, 0x108, 0x120, 0x13F, 0x143, 0x144)]
    assert names == ["0x000000ff", "first", "first", "0x00000108", "unsized", "unsized", "last", "0x00000144"]
