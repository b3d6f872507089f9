"""The interpreter's memory: real bytes at real offsets, typed access, ownership checks and traffic counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from dse.ir import Array
from dse.layout import Right, even, panel_index
from dse.program import Buffer, Constant, Program

NUMPY = {"s8": np.int8, "u8": np.uint8, "s16": np.int16, "s32": np.int32}


class OverlapError(AssertionError):
    """A call read bytes that another buffer has overwritten, or that nothing has written: the placement is wrong."""


class CopyError(AssertionError):
    """A copy that the DMA cannot take: too large, or one too many under way."""


_IN_FLIGHT = -2
_NOBODY, _SEVERAL = -1, -2


class _Sharing:
    """Who read and wrote every byte since a parallel region began."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.readers = {region: np.full(size, _NOBODY, np.int16) for region, size in sizes.items()}
        self.writers = {region: np.full(size, _NOBODY, np.int16) for region, size in sizes.items()}

    def read(self, base: str, region: str, where: Array, core: int) -> None:
        writer = self.writers[region][where]
        if ((writer != _NOBODY) & (writer != core)).any():
            raise OverlapError(f"{base}: core {core} reads what another core writes in the same parallel region")
        reader = self.readers[region][where]
        self.readers[region][where] = np.where((reader == _NOBODY) | (reader == core), core, _SEVERAL)

    def write(self, base: str, region: str, where: Array, core: int) -> None:
        for others in (self.readers[region][where], self.writers[region][where]):
            if ((others != _NOBODY) & (others != core)).any():
                raise OverlapError(f"{base}: core {core} writes what another core touches in the same parallel region")
        self.writers[region][where] = core


class Memory:
    """One byte array a region, with the owner of every byte; flash holds the constants."""

    def __init__(self, program: Program, most_copy_bytes: int = 1 << 30, most_copies: int = 1 << 10) -> None:
        self._limits = most_copy_bytes, most_copies
        self.buffers: dict[str, Buffer] = {b.name: b for b in program.buffers}
        self.constants: dict[str, Constant] = {c.name: c for c in program.constants}
        self.arenas = {region: np.zeros(size, np.uint8) for region, size in program.arena_bytes().items()}
        self.owners = {region: np.full(size, -1, np.int32) for region, size in program.arena_bytes().items()}
        self.ids = {b.name: i for i, b in enumerate(program.buffers)}
        self.moved: Counter[tuple[str, str]] = Counter()  # (region, "read" | "write") -> bytes
        self.core = 0
        self._copies: dict[int, tuple[str, Array, Array, bool]] = {}  # under way: base, where in it, bytes, loaded
        self._tickets = 0
        self._sharing: _Sharing | None = None

    def bytes(self, base: str, index: Array) -> Array:
        """Bytes of `base` at an index array, counted as read; raises OverlapError when they are not its own."""
        if base in self.constants:
            if self.constants[base].region != "flash":
                raise OverlapError(f"{base}: a call reads {self.constants[base].region}, which only loads reach")
            self.moved["flash", "read"] += index.size
            flash: Array = np.frombuffer(self.constants[base].data, np.uint8)
            return flash[index]
        buffer = self.buffers[base]
        self._check_range(buffer, index)
        where = index + buffer.offset_bytes
        if self._sharing is not None:
            self._sharing.read(base, buffer.region, where, self.core)
        if (self.owners[buffer.region][where] != self.ids[base]).any():
            raise OverlapError(f"{base}: reads bytes it does not own in {buffer.region}")
        self.moved[buffer.region, "read"] += index.size
        values: Array = self.arenas[buffer.region][where]
        return values

    def store(self, base: str, index: Array, values: Array) -> None:
        """Write bytes of `base` at an index array and take ownership of them."""
        buffer = self.buffers[base]
        self._check_range(buffer, index)
        where = index + buffer.offset_bytes
        if self._sharing is not None:
            self._sharing.write(base, buffer.region, where, self.core)
        if (self.owners[buffer.region][where] == _IN_FLIGHT).any():
            raise OverlapError(f"{base}: writes where a copy is under way in {buffer.region}")
        self.owners[buffer.region][where] = self.ids[base]
        self.moved[buffer.region, "write"] += index.size
        self.arenas[buffer.region][where] = np.ascontiguousarray(values).view(np.uint8).reshape(index.shape)

    # ---- copies and cores ----------------------------------------------------------------------------------------

    def start_copy(
        self,
        source: tuple[str, int],
        target: tuple[str, int],
        shape: tuple[int, int],
        strides: tuple[int, int] = (0, 0),
        load: bool = False,
    ) -> int:
        """Start copying (rows, bytes of a row); returns the ticket to `arrive` with. Nobody may touch the target before.

        source, target: (base, offset); strides: bytes from row to row of the source and of the target. load: from external
        memory, which the DMA does not reach.
        """
        base, offset = target
        size = shape[0] * shape[1]
        buffer, index = self.buffers[base], row_index(offset, *shape, strides[1]).reshape(-1)
        self._check_range(buffer, index)
        data = self._source(source[0], row_index(source[1], *shape, strides[0]).reshape(-1))
        where = index + buffer.offset_bytes
        self.owners[buffer.region][where] = _IN_FLIGHT
        ticket = self._tickets
        self._tickets += 1
        constant = self.constants.get(source[0])
        if load != (constant is not None and constant.region != "flash"):
            raise CopyError(f"{base}: {source[0]} is {'' if load else 'not '}to be loaded from external memory")
        beside = sum(not loads for *_, loads in self._copies.values())
        if not load and (not 0 < size <= self._limits[0] or beside == self._limits[1]):
            raise CopyError(f"{base}: a copy of {size} bytes beside {beside} others; limits {self._limits}")
        self._copies[ticket] = (base, where, data, load)
        return ticket

    def _source(self, base: str, index: Array) -> Array:
        """The bytes a copy reads."""
        if base in self.constants:
            flash = np.frombuffer(self.constants[base].data, np.uint8)
            if index.max() >= len(flash):
                raise OverlapError(f"{base}: a copy of {index.size} bytes reaches beyond the constant")
            found: Array = flash[index]
            return found
        buffer = self.buffers[base]
        self._check_range(buffer, index)
        where = index + buffer.offset_bytes
        if (self.owners[buffer.region][where] != self.ids[base]).any():
            raise OverlapError(f"{base}: a copy reads bytes it does not own in {buffer.region}")
        values: Array = self.arenas[buffer.region][where]
        return values

    def arrive(self, tickets: Sequence[int]) -> None:
        """Wait for copies: from now on their targets can be read."""
        for ticket in tickets:
            base, where, data, _ = self._copies.pop(ticket)
            region = self.buffers[base].region
            self.arenas[region][where] = data
            self.owners[region][where] = self.ids[base]

    @contextmanager
    def parallel(self) -> Iterator[None]:
        """Inside, no core may touch what another one writes: OverlapError."""
        self._sharing = _Sharing({region: len(arena) for region, arena in self.arenas.items()})
        yield
        self._sharing, self.core = None, 0

    @staticmethod
    def _check_range(buffer: Buffer, index: Array) -> None:
        if index.size and not (index.min() >= 0 and index.max() < buffer.size_bytes):
            raise OverlapError(f"{buffer.name}: access to {index.min()}..{index.max()} of {buffer.size_bytes} bytes")

    # ---- typed views ---------------------------------------------------------------------------------------------

    def read_rows(self, base: str, offset: int, rows: int, columns: int, stride: int, dtype: str = "s8") -> Array:
        """(rows, columns) of a row-major operand; stride in bytes."""
        raw = self.bytes(base, row_index(offset, rows, columns * np.dtype(NUMPY[dtype]).itemsize, stride))
        return np.ascontiguousarray(raw).view(NUMPY[dtype]).reshape(rows, columns)

    def write_rows(self, base: str, offset: int, values: Array, stride: int) -> None:
        """Store (rows, columns) of any dtype row-major; stride in bytes."""
        values = np.ascontiguousarray(values)
        rows, columns = values.shape
        self.store(base, row_index(offset, rows, columns * values.itemsize, stride), values)

    def read_right(self, base: str, offset: int, columns: int, depth: int, stride: int, layout: Right) -> Array:
        """(columns, depth) int8 of a right-hand operand."""
        raw = self.bytes(base, layout.index(offset, columns, depth, stride))
        return layout.decode(np.ascontiguousarray(raw).view(np.int8), columns, depth)

    def write_right(self, base: str, offset: int, matrix: Array, stride: int, layout: Right) -> None:
        """Store (columns, depth) int8 as a right-hand operand, whole units."""
        columns, depth = matrix.shape
        self.store(base, layout.index(offset, columns, depth, stride), layout.encode(matrix))

    def read_panels(self, base: str, offset: int, rows: int, depth: int, stride: int) -> Array:
        """(rows, depth) int16 of panels."""
        raw = self.bytes(base, panel_index(offset, rows, depth, stride))
        return np.ascontiguousarray(raw).view("<i2")[:, :depth]

    def write_panels(self, base: str, offset: int, matrix: Array, stride: int) -> None:
        """Store (rows, depth) as panels; odd depth is padded with zero."""
        rows, depth = matrix.shape
        wide = np.zeros((rows, even(depth)), "<i2")
        wide[:, :depth] = matrix
        self.store(base, panel_index(offset, rows, depth, stride), wide.view(np.uint8))


def row_index(offset: int, rows: int, width_bytes: int, stride: int) -> Array:
    """(rows, width_bytes) byte indices of a strided block."""
    return offset + np.arange(rows)[:, None] * stride + np.arange(width_bytes)[None, :]
