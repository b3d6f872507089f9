"""A schedule: every choice about how a model runs on a target, as a small value with a TOML form and a digest."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

FAMILIES = ("linear", "probs", "attend", "vector")  # kernels chosen together; vector: everything that is no product
PANELS = ("map", "query", "context", "input")
SPLITS = ("heads", "rows", "both")
STRIDES = ("apart", "tokens", "dense")


def family_of(op: str) -> str:
    """The family of a kernel op: `linear` of linear_rows, `vector` of everything that is no product."""
    first = op.partition("_")[0]
    return first if first in FAMILIES else "vector"


@dataclass(frozen=True)
class Attention:
    """How one attention block runs.

    heads:    heads alive at once (the head tile); the model's head count = all.
    rows:     query rows a step of the depth-first group; 0 = layer by layer, the whole map of all live heads in memory.
    map_rows: query rows a step of the innermost scores–softmax–AV (1 ≤ map_rows ≤ rows; 0 when rows = 0).
    outer:    "heads" runs the row loop inside the head loop; "rows" the head loop inside the row loop (K and V of a
              head tile are then computed again for every row step, the cheapest in memory).
    query:    "ahead" projects Q for all rows first; "rows" inside the row step.
    output:   "after" projects the whole context at the end; "rows" inside the row step; "accumulate" adds each head
              tile's share into int32 accumulators.
    """

    heads: int
    rows: int = 0
    map_rows: int = 0
    outer: str = "heads"
    query: str = "ahead"
    output: str = "after"


@dataclass(frozen=True)
class FeedForward:
    """rows a step of the depth-first pair; 0 = layer by layer, the whole hidden tensor in memory."""

    rows: int = 0


@dataclass(frozen=True)
class Schedule:
    """form: fused weights; kernels: (family, variant suffix); panels: which left-hand operands are kept as int16 panels
    (of PANELS); residual: "separate" adds, or "fused" into the epilogue of the linear before; place: which buffers prefer
    which RAM region; code: the region functions run from; split: what a core takes of the attention map; strides: of what
    attention keeps near a cluster's cores, "apart" in the banks, a copy of its "tokens" too, or "dense"; tiles: rows of
    activations near the cores at a time, 0 = all of them."""

    form: str
    attention: Attention
    feed_forward: FeedForward = field(default_factory=FeedForward)
    kernels: tuple[tuple[str, str], ...] = ()
    panels: tuple[str, ...] = ()
    residual: str = "separate"
    place: str = "first"
    code: str = "flash"
    split: str = "heads"
    strides: str = "apart"
    tiles: int = 0

    def variant(self, family: str) -> str:
        """The variant chosen for a kernel family (of FAMILIES); "ref" when nothing was chosen."""
        return dict(self.kernels).get(family, "ref")

    def describe(self) -> str:
        """The schedule in one line."""
        a = self.attention
        if a.rows == 0:
            attention = f"layer by layer, {a.heads} heads alive"
        else:
            heads = "1 head" if a.heads == 1 else f"{a.heads} heads"
            attention = f"depth-first {a.rows} rows (map {a.map_rows}), {heads}, {a.outer} outer"
            attention += f", Q {a.query}, output {a.output}"
        pair = f", FFN {self.feed_forward.rows} rows" if self.feed_forward.rows else ""
        panels = "+".join(self.panels) or "none"
        variants = ", ".join(dict.fromkeys(variant for _, variant in self.kernels)) or "ref"
        return (
            f"form {self.form}; {attention}; panels {panels}{pair}; residual {self.residual}; {variants}; "
            f"place {self.place}; code {self.code}; split {self.split}"
            + {"apart": "", "tokens": "; tokens apart", "dense": "; dense strides"}[self.strides]
            + (f"; tiles of {self.tiles} rows" if self.tiles else "")
        )

    def to_toml(self) -> str:
        """The schedule as TOML text."""
        panels = ", ".join(f'"{name}"' for name in self.panels)
        lines = [f'form = "{self.form}"', f"panels = [{panels}]"]
        lines += [f'{key} = "{getattr(self, key)}"' for key in ("residual", "place", "code", "split", "strides")]
        lines += [f"tiles = {self.tiles}"]
        lines += ["", "[kernels]", *(f'{family} = "{variant}"' for family, variant in self.kernels)]
        for title, part in (("attention", self.attention), ("feed_forward", self.feed_forward)):
            lines += ["", f"[{title}]"]
            lines += [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in asdict(part).items()]
        return "\n".join(lines) + "\n"

    def digest(self) -> str:
        """A short hash of the TOML text."""
        return sha256(self.to_toml().encode()).hexdigest()[:12]


def read_schedule(path: Path) -> Schedule:
    """The schedule of a TOML file; ValueError says where it is wrong and what is allowed."""
    try:
        table = tomllib.loads(path.read_bytes()[: 1 << 20].decode("utf-8"))
    except OSError as error:
        raise ValueError(f"schedule {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"schedule {path}: not a TOML file: {error}") from error
    return parse_schedule(table, str(path))


def parse_schedule(table: dict[str, Any], where: str) -> Schedule:
    """A schedule from its TOML table; only the form of the file is checked here, its legality by the space."""
    allowed = {f.name for f in fields(Schedule)}
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    kernels = _table(table, "kernels", where)
    for family, variant in kernels.items():
        if not isinstance(variant, str):
            raise ValueError(f"{where}: kernels.{family} must be text, got {variant!r}")
    if "form" not in table or "attention" not in table:
        raise ValueError(f"{where}: the key 'form' and the table [attention] are required")
    return Schedule(
        form=_typed(table, "form", "", where),
        attention=_part(Attention, _table(table, "attention", where), f"{where}: attention"),
        feed_forward=_part(FeedForward, _table(table, "feed_forward", where), f"{where}: feed_forward"),
        kernels=tuple(sorted(kernels.items())),
        panels=_names(table, "panels", where),
        residual=_typed(table, "residual", "separate", where),
        place=_typed(table, "place", "first", where),
        code=_typed(table, "code", "flash", where),
        split=_typed(table, "split", "heads", where),
        strides=_typed(table, "strides", "apart", where),
        tiles=_whole(table, "tiles", where),
    )


def _typed(table: dict[str, Any], key: str, default: str, where: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key} must be text, got {value!r}")
    return value


def _whole(table: dict[str, Any], key: str, where: str) -> int:
    value = table.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where}: {key} must be a whole number, got {value!r}")
    return value


def _names(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where}: {key} must be a list of text, got {value!r}")
    return tuple(value)


def _table(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{where}: [{key}] must be a table, got {value!r}")
    return value


def _part(kind: Any, table: dict[str, Any], where: str) -> Any:
    types = {f.name: (int if f.type == "int" else str) for f in fields(kind)}
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"{where}: unknown key {key!r}; allowed are {', '.join(types)}")
        if not isinstance(value, types[key]) or isinstance(value, bool):
            raise ValueError(f"{where}: {key} = {value!r} must be of type {types[key].__name__}")
    try:
        return kind(**table)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
