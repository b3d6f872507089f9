"""A microcontroller as data: `targets/<name>.toml` or a file the user names -> Target."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

TARGETS = Path(__file__).parent / "targets"
MAX_FILE_BYTES = 1 << 20
MOST_CYCLES = 10_000
MOST_LINES = 1024  # of the device model
STACK_PAD = 16  # between the stacks of a cluster (kernels/port/gap9)
COPIES_BYTES = 64  # numbers of the copies a stage of a cluster waits for (codegen/templates/network.c.j2)
LOADS_BYTES = 16  # the numbers of its loads, and of the last one a stage waits for (there and kernels/port/gap9)
GUARD_BYTES = 64  # 32 before and 32 after every arena (kernels/port/*/link.ld)


@dataclass(frozen=True)
class Region:
    """A span of memory. `kind` is "ram", "flash", "code": RAM that holds functions, copied there at start-up, or
    "external": memory behind that of a cluster, from which constants are loaded into its far RAM.

    With wait states on, filling one unit of a cache from it takes fill_cycles + wait_states * fill_cycles_per_wait_state
    (0: it answers at once and is not cached), a store or a line written back store_cycles. pj_per_byte: energy of a byte
    read or written in picojoules, on top of the run current; 0 where no figure is known.
    """

    name: str
    base: int
    size_bytes: int
    kind: str
    fill_cycles: int = 0
    fill_cycles_per_wait_state: int = 0
    store_cycles: int = 0
    pj_per_byte: float = 0.0


@dataclass(frozen=True)
class Cache:
    """Set-associative, least recently used. A miss fills fill_bytes of the line.

    prefetch: the unit behind a missing one is read right after it. write_back: stores stay in the cache and fetch a
    missing line; otherwise they go to memory.
    """

    size_bytes: int
    ways: int
    line_bytes: int
    fill_bytes: int
    prefetch: bool
    write_back: bool


@dataclass(frozen=True)
class Cluster:
    """What the calls of the cluster's software cost a program, and what its DMA does.

    workers: cores there are besides the controller; those that take no part sleep, but have a stack.
    fork_cycles: starting all cores on a function and waiting for the last; copy_cycles, wait_cycles: starting a copy, and
    asking for one that has ended. A copy takes copy_latency_cycles and its bytes at copy_bytes_per_cycle, one after
    another; it has at most most_copy_bytes, and at most most_copies are under way. code_cache_bytes: of all cores together.
    A load from external memory takes load_latency_cycles, and load_cycles_per_byte; loads follow one another, too.
    """

    workers: int = 0
    fork_cycles: int = 0
    copy_cycles: int = 0
    wait_cycles: int = 0
    copy_latency_cycles: int = 0
    copy_bytes_per_cycle: int = 8
    most_copy_bytes: int = 1 << 30
    most_copies: int = 1 << 10
    code_cache_bytes: int = 1 << 30
    load_latency_cycles: int = 0
    load_cycles_per_byte: int = 1


@dataclass(frozen=True)
class OperatingPoint:
    """A clock the MCU can run at, the voltage and run current there, and the flash wait states it needs."""

    clock_hz: int
    supply_volts: float
    active_amps_per_hz: float
    wait_states: int


@dataclass(frozen=True)
class Target:
    """One MCU: its instruction set, memories, clock and current.

    calibration: the target whose measured costs it uses, "" for its own. points: slowest first. source: the path of a
    target that is not built in, else "".
    """

    name: str
    description: str
    isa: str
    cpu: str
    port: str
    cores: int
    clock_hz: int
    supply_volts: float
    active_amps_per_hz: float
    wait_states: int
    max_wait_states: int
    stack_bytes: int
    regions: tuple[Region, ...]
    code_cache: Cache | None = None
    data_cache: Cache | None = None
    points: tuple[OperatingPoint, ...] = ()
    calibration: str = ""
    source: str = ""
    cluster: Cluster = Cluster()

    def at(self, clock_hz: int) -> Target:
        """This target at one of its operating points; ValueError names those there are."""
        for point in self.points:
            if point.clock_hz == clock_hz:
                return replace(self, **vars(point))
        known = ", ".join(f"{point.clock_hz / 1e6:g}M" for point in self.points)
        raise ValueError(f"--clock {clock_hz / 1e6:g}M: {self.name} runs at {known}")

    def on_cores(self, count: int) -> Target:
        """This target with that many cores at work, the others asleep; ValueError says how many there are."""
        if not 1 <= count <= self.cores:
            raise ValueError(f"--cores {count}: {self.name} has {self.cores}")
        return replace(self, cores=count)

    def with_image(self, most_bytes: int) -> Target:
        """This target with flash cut down to that, what it loses given to the RAM right behind it; where no external memory
        can hold the constants instead, the target as it is."""
        flash = next(region for region in self.regions if region.kind == "flash")
        cut = max(0, flash.size_bytes - most_bytes)
        if self.external() is None or cut == 0:
            return self
        behind = flash.base + flash.size_bytes
        changed = {flash.name: replace(flash, size_bytes=most_bytes)}
        for ram in (region for region in self.regions if region.kind == "ram" and region.base == behind):
            changed[ram.name] = replace(ram, base=ram.base - cut, size_bytes=ram.size_bytes + cut)
        return replace(self, regions=tuple(changed.get(region.name, region) for region in self.regions))

    @property
    def is_cluster(self) -> bool:
        """True when work is given to cores, however few, and constants are fetched to them."""
        return self.cores > 1 or self.cluster.workers > 0

    @property
    def calibrated_as(self) -> str:
        """The name of the calibration it is priced with."""
        return self.calibration or self.name

    def ram(self) -> tuple[Region, ...]:
        """The RAM regions with what is left for arenas: without guard bytes and, in the first, without the stack."""
        ram = [region for region in self.regions if region.kind == "ram"]
        left = [region.size_bytes - GUARD_BYTES for region in ram]
        left[0] -= (
            self.stacks_bytes() + (COPIES_BYTES if self.is_cluster else 0) + (LOADS_BYTES if self.external() else 0)
        )
        return tuple(replace(region, size_bytes=size) for region, size in zip(ram, left, strict=True))

    def near(self) -> tuple[Region, ...]:
        """The RAM that kernels work in: of a cluster the first region only."""
        return self.ram()[:1] if self.is_cluster else self.ram()

    def far(self) -> Region | None:
        """The RAM of a cluster that its DMA reaches, kernels do not work in; None without one."""
        return self.ram()[1] if self.is_cluster and len(self.ram()) > 1 else None

    def stacks_bytes(self) -> int:
        """Bytes of all stacks: of a cluster's workers and its controller, padded as its port does."""
        workers = self.cluster.workers or (self.cores if self.cores > 1 else 0)
        return self.stack_bytes + workers * (self.stack_bytes + STACK_PAD)

    def code(self) -> Region | None:
        """The RAM that functions can run from; None when they always run from flash."""
        return next((region for region in self.regions if region.kind == "code"), None)

    def external(self) -> Region | None:
        """The memory that constants are loaded from when the flash of a cluster cannot hold them; None without one."""
        return next((region for region in self.regions if region.kind == "external"), None)

    def flash_bytes(self) -> int:
        """Bytes of all flash regions."""
        return sum(region.size_bytes for region in self.regions if region.kind == "flash")

    def energy_joules(self, cycles: float) -> float:
        """Supply voltage times run current times time: `V * (A/Hz * Hz) * cycles / Hz` (data-sheet run current)."""
        return self.supply_volts * self.active_amps_per_hz * cycles

    def access_joules(self, moved_bytes: Iterable[tuple[str, str, int]]) -> float:
        """Energy of accesses as (region, "read" | "write", bytes), constants in "flash"; 0 for regions without a figure."""
        known = {region.name: region.pj_per_byte for region in self.regions}
        known |= {"flash": next(region.pj_per_byte for region in self.regions if region.kind == "flash")}
        return sum(1e-12 * known.get(name, 0.0) * count for name, _, count in moved_bytes)


_SCALARS: dict[str, type] = {
    "name": str,
    "description": str,
    "isa": str,
    "cpu": str,
    "port": str,
    "cores": int,
    "clock_hz": int,
    "supply_volts": float,
    "active_amps_per_hz": float,
    "wait_states": int,
    "max_wait_states": int,
    "stack_bytes": int,
}


def target_names() -> tuple[str, ...]:
    """The built-in targets, sorted."""
    return tuple(sorted(path.stem for path in TARGETS.glob("*.toml")))


def load_target(name: str) -> Target:
    """The target of that built-in name, or of the `.toml` file of that path; ValueError says what is wrong with it."""
    path = Path(name) if name.endswith(".toml") else TARGETS / f"{name}.toml"
    if not path.is_file():
        raise ValueError(
            f"target {name!r} is unknown: built in are {', '.join(target_names())}; "
            "for another board give the path of its .toml file"
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a target file is at most {MAX_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    target = parse_target(table, str(path))
    return replace(target, source=str(path.resolve())) if name.endswith(".toml") else target


def parse_target(table: Mapping[str, Any], where: str) -> Target:
    """A validated Target from its TOML table; ValueError names the key, what it holds and what is allowed."""
    unknown = sorted(set(table) - set(_SCALARS) - {"region", "cache", "point", "calibration", "cluster"})
    if unknown:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(_SCALARS)}, "
            "calibration, [[region]], [[point]], [cluster] and [cache.*]"
        )
    scalars = {key: _scalar(table, key, kind, where) for key, kind in _SCALARS.items()}
    regions = tuple(_region(entry, f"{where}: region {i}") for i, entry in enumerate(_array(table, "region", where)))
    points = tuple(_point(entry, f"{where}: point {i}") for i, entry in enumerate(_array(table, "point", where)))
    named = str(_scalar({"calibration": ""} | dict(table), "calibration", str, where))
    caches = _caches(table.get("cache", {}), f"{where}: cache")
    target = Target(
        regions=regions,
        code_cache=caches.get("code"),
        data_cache=caches.get("data"),
        points=tuple(sorted(points, key=lambda point: point.clock_hz)) or (_default_point(scalars),),
        calibration=named,
        cluster=_cluster(table.get("cluster", {}), f"{where}: cluster"),
        **scalars,
    )
    _check(target, where)
    return target


def _array(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    entries = table.get(key, [])
    if not isinstance(entries, list):
        raise ValueError(f"{where}: `{key}` must be an array of tables, [[{key}]]")
    return entries


def _default_point(scalars: Mapping[str, Any]) -> OperatingPoint:
    return OperatingPoint(**{key: scalars[key] for key in _POINT})


_POINT: dict[str, type] = {
    "clock_hz": int,
    "supply_volts": float,
    "active_amps_per_hz": float,
    "wait_states": int,
}


def _point(entry: object, where: str) -> OperatingPoint:
    if not isinstance(entry, dict) or set(entry) != set(_POINT):
        raise ValueError(f"{where}: must have exactly the keys {', '.join(_POINT)}")
    point = OperatingPoint(**{key: _scalar(entry, key, kind, where) for key, kind in _POINT.items()})
    if min(point.clock_hz, point.supply_volts, point.active_amps_per_hz) <= 0:
        raise ValueError(f"{where}: clock_hz, supply_volts and active_amps_per_hz must be positive")
    return point


def _check(target: Target, where: str) -> None:
    kinds = {region.kind for region in target.regions}
    if not {"ram", "flash"} <= kinds:
        raise ValueError(f"{where}: needs at least one region of kind ram and one of kind flash, got {sorted(kinds)}")
    for key in ("cores", "clock_hz", "supply_volts", "active_amps_per_hz"):
        if getattr(target, key) <= 0:
            raise ValueError(f"{where}: {key} must be positive, got {getattr(target, key)}")
    if not 0 <= target.wait_states <= target.max_wait_states <= 15:
        raise ValueError(f"{where}: 0 <= wait_states <= max_wait_states <= 15 must hold")
    for point in target.points:
        if not 0 <= point.wait_states <= target.max_wait_states:
            clock = f"{point.clock_hz / 1e6:g} MHz"
            raise ValueError(f"{where}: point {clock}: wait_states must lie in 0..{target.max_wait_states}")
    if target.max_wait_states and (target.code_cache is None or target.data_cache is None):
        raise ValueError(f"{where}: max_wait_states = {target.max_wait_states} needs [cache.code] and [cache.data]")
    if target.external() and target.far() is None:
        raise ValueError(f"{where}: a region of kind external needs [cluster] and a second region of kind ram")
    first = next(region for region in target.regions if region.kind == "ram")
    if not 0 <= target.stack_bytes < first.size_bytes:
        raise ValueError(f"{where}: stack_bytes = {target.stack_bytes} must lie in 0..{first.size_bytes - 1}")


def _scalar(table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in table:
        raise ValueError(f"{where}: the key {key!r} ({kind.__name__}) is missing")
    value = table[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where}: {key} = {value!r} must be of type {kind.__name__}")
    return value


def _region(entry: object, where: str) -> Region:
    kinds: dict[str, type] = {"name": str, "base": int, "size_bytes": int, "kind": str}
    times: dict[str, type] = dict.fromkeys(("fill_cycles", "fill_cycles_per_wait_state", "store_cycles"), int)
    may = {**times, "pj_per_byte": float}
    if not isinstance(entry, dict) or not set(kinds) <= set(entry) <= {*kinds, *may}:
        raise ValueError(f"{where}: must have the keys {', '.join(kinds)} and may have {', '.join(may)}")
    region = Region(**{key: _scalar(entry, key, (kinds | may)[key], where) for key in entry})
    if not 0 <= region.pj_per_byte < math.inf:
        raise ValueError(f"{where}: pj_per_byte = {region.pj_per_byte} must not be negative")
    if not all(0 <= getattr(region, key) <= MOST_CYCLES for key in times):
        raise ValueError(f"{where}: {', '.join(times)} must lie in 0..{MOST_CYCLES}")
    if region.kind not in ("ram", "flash", "code", "external"):
        raise ValueError(f"{where}: kind = {region.kind!r} must be ram, flash, code or external")
    if not (0 <= region.base < 2**32 and 0 < region.size_bytes <= 2**28):
        raise ValueError(f"{where}: base must be a 32-bit address and size_bytes in 1..{2**28}")
    return region


def _cluster(table: object, where: str) -> Cluster:
    keys = [field.name for field in fields(Cluster)]
    if not isinstance(table, dict) or not set(table) <= set(keys):
        raise ValueError(f"{where}: allowed are {', '.join(keys)}")
    values = {key: _scalar(table, key, int, where) for key in table}
    cluster = Cluster(**values)
    if any(value < 0 for value in values.values()) or cluster.copy_bytes_per_cycle < 1 or cluster.most_copies < 1:
        raise ValueError(f"{where}: no value may be negative; copy_bytes_per_cycle and most_copies are at least 1")
    return cluster


def _caches(table: object, where: str) -> dict[str, Cache]:
    if not isinstance(table, dict) or not set(table) <= {"code", "data"}:
        raise ValueError(f"{where}: allowed are [cache.code] and [cache.data]")
    return {name: _cache(entry, f"{where}.{name}") for name, entry in table.items()}


def _cache(entry: object, where: str) -> Cache:
    sizes = dict.fromkeys(("size_bytes", "ways", "line_bytes", "fill_bytes"), int)
    kinds: dict[str, type] = {**sizes, "prefetch": bool, "write_back": bool}
    if not isinstance(entry, dict) or set(entry) != set(kinds):
        raise ValueError(f"{where}: must have exactly the keys {', '.join(kinds)}")
    cache = Cache(**{key: _scalar(entry, key, kind, where) for key, kind in kinds.items()})
    if any((value := getattr(cache, key)) <= 0 or value & (value - 1) for key in sizes):
        raise ValueError(f"{where}: {', '.join(sizes)} must be powers of two")
    lines = cache.size_bytes // cache.line_bytes
    if not (cache.ways <= lines <= MOST_LINES and 1 <= cache.line_bytes // cache.fill_bytes <= 16):
        raise ValueError(f"{where}: needs ways <= lines <= {MOST_LINES} and 1 to 16 fills a line, got {lines} lines")
    return cache
