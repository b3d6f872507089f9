"""The bytes of an ELF32 little-endian executable -> its loadable segments and symbols. Every offset is checked."""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM = struct.Struct("<IIIIIIII")
_SECTION = struct.Struct("<IIIIIIIIII")
_SYMBOL = struct.Struct("<IIIBBH")
_MACHINES = {40: "arm", 243: "riscv"}
_TYPE_FUNCTION, _TYPE_SECTION, _TYPE_FILE = 2, 3, 4
_PT_LOAD, _SHT_SYMTAB = 1, 2


@dataclass(frozen=True)
class Symbol:
    """Where a function (Thumb bit removed) or object lies; `size` in bytes, 0 when the linker script made it."""

    address: int
    size: int
    is_function: bool = False


@dataclass(frozen=True)
class Segment:
    """Bytes that must be at `load_address` at power-on."""

    load_address: int
    data: bytes
    is_executable: bool


@dataclass(frozen=True)
class Elf:
    """One executable: machine, entry point, non-empty segments, symbols by name."""

    machine: str
    entry: int
    segments: tuple[Segment, ...]
    symbols: dict[str, Symbol]


class ElfError(ValueError):
    """The bytes are not an ELF32 little-endian executable this reader can trust."""


def parse_elf(data: bytes) -> Elf:
    """The parsed executable; ElfError says what is wrong with the bytes."""
    if len(data) < _HEADER.size or data[:4] != b"\x7fELF":
        raise ElfError(f"not an ELF file ({len(data)} bytes)")
    if data[4] != 1 or data[5] != 1:
        raise ElfError("not a 32-bit little-endian ELF file")
    _, kind, machine, _, entry, ph_at, sh_at, _, _, ph_size, ph_count, sh_size, sh_count, _ = _HEADER.unpack_from(data)
    if kind != 2:
        raise ElfError(f"not an executable (ELF type {kind}); link it first")
    if machine not in _MACHINES:
        raise ElfError(f"machine {machine} is not one of {sorted(_MACHINES.values())}")
    programs = _table(data, _PROGRAM, ph_at, ph_size, ph_count, "program headers")
    sections = _table(data, _SECTION, sh_at, sh_size, sh_count, "section headers")
    return Elf(_MACHINES[machine], entry & ~1, _segments(data, programs), _symbols(data, sections))


def function_ranges(elf: Elf) -> tuple[list[int], list[tuple[int, str]]]:
    """Sorted start addresses and, beside each, (end address, name): look a pc up with `function_at`.

    Of several names at one address the shortest, then first in the alphabet; a size of 0 reaches to the next function.
    """
    names: dict[int, tuple[int, str]] = {}
    for name, symbol in elf.symbols.items():
        if symbol.is_function:
            size, other = names.get(symbol.address, (0, ""))
            best = min((n for n in (name, other) if n), key=lambda n: (len(n), n))
            names[symbol.address] = (max(size, symbol.size), best)
    starts = sorted(names)
    limits = [*starts[1:], 1 << 32]
    ends = [
        (start + names[start][0] if names[start][0] else limit) for start, limit in zip(starts, limits, strict=True)
    ]
    return starts, [(end, names[start][1]) for start, end in zip(starts, ends, strict=True)]


def function_at(ranges: tuple[list[int], list[tuple[int, str]]], address: int) -> str:
    """The name of the function that contains `address`, or `0x…` when none does."""
    starts, ends = ranges
    index = bisect.bisect_right(starts, address) - 1
    if index >= 0 and address < ends[index][0]:
        return ends[index][1]
    return f"0x{address:08x}"


def _table(
    data: bytes, record: struct.Struct, offset: int, stride: int, count: int, what: str
) -> list[tuple[int, ...]]:
    if count and stride < record.size:
        raise ElfError(f"{what}: entries of {stride} bytes, expected at least {record.size}")
    _span(data, offset, stride * count, what)
    return [record.unpack_from(data, offset + index * stride) for index in range(count)]


def _span(data: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise ElfError(f"{what}: bytes {offset}..{offset + size} lie outside the file of {len(data)} bytes")
    return data[offset : offset + size]


def _segments(data: bytes, programs: list[tuple[int, ...]]) -> tuple[Segment, ...]:
    segments = []
    for kind, offset, _, load_address, file_size, _, flags, _ in programs:
        if kind == _PT_LOAD and file_size:
            segments.append(Segment(load_address, _span(data, offset, file_size, "segment"), bool(flags & 1)))
    return tuple(segments)


def _symbols(data: bytes, sections: list[tuple[int, ...]]) -> dict[str, Symbol]:
    symbols: dict[str, Symbol] = {}
    for _, kind, _, _, offset, size, link, _, _, stride in sections:
        if kind != _SHT_SYMTAB:
            continue
        if link >= len(sections) or stride < _SYMBOL.size:
            raise ElfError("symbol table: no string table or too small entries")
        names = _span(data, sections[link][4], sections[link][5], "string table")
        for name_at, value, bytes_, info, _, section in _table(
            data, _SYMBOL, offset, stride, size // stride, "symbol table"
        ):
            name = _name(names, name_at)
            if not name or section == 0 or name[0] == "$" or (info & 15) in (_TYPE_SECTION, _TYPE_FILE):
                continue
            is_function = (info & 15) == _TYPE_FUNCTION
            entry = Symbol(value & ~1 if is_function else value, bytes_, is_function)
            if info >> 4 or name not in symbols:  # a global name wins over a local one
                symbols[name] = entry
    return symbols


def _name(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset)
    if offset >= len(names) or end < 0:
        raise ElfError(f"symbol table: a name at {offset} lies outside the string table of {len(names)} bytes")
    return names[offset:end].decode("utf-8", "replace")
