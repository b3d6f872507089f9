"""Hyper-parameters (a TOML file, or numbers from the command line) -> a float Model with seeded weights."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dse.ir import Array, Model, Op, Tensor

LIMITS = {
    "s": (1, 4096),
    "e": (1, 256),
    "p": (1, 512),
    "h": (1, 64),
    "f": (1, 4096),
    "layers": (1, 16),
    "classes": (1, 4096),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class HyperParameters:
    """Sizes of an encoder: s tokens, e embedding, p head dimension, h heads, f hidden (0 = 4·e)."""

    name: str
    s: int
    e: int
    p: int
    h: int
    f: int = 0
    layers: int = 1
    classes: int = 4
    seed: int = 0
    description: str = ""

    @property
    def hidden(self) -> int:
        """The feed-forward width."""
        return self.f or 4 * self.e


def load_hyper(path: Path) -> HyperParameters:
    """The hyper-parameters of a TOML file; ValueError says what is wrong with it."""
    try:
        table = tomllib.loads(path.read_bytes()[: 1 << 16].decode("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    return parse_hyper({"name": path.stem, **table}, str(path))


def parse_hyper(table: Mapping[str, Any], where: str) -> HyperParameters:
    """Validated hyper-parameters; ValueError names the key, what it holds and what is allowed."""
    names = [f.name for f in fields(HyperParameters)]
    for key, value in table.items():
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r}; allowed are {', '.join(names)}")
        if key in LIMITS:
            low, high = (0, LIMITS[key][1]) if key == "f" else LIMITS[key]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{where}: {key} = {value!r} must be an integer in {low}..{high}")
        elif not isinstance(value, str):
            raise ValueError(f"{where}: {key} = {value!r} must be text")
    missing = [key for key in ("name", "s", "e", "p", "h") if key not in table]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} missing; a model needs at least s, e, p and h")
    return HyperParameters(**table)


def sample_inputs(hyper: HyperParameters, count: int, seed: int) -> Array:
    """(count, s, e) float: random tokens with a common component, as embedded signals have."""
    rng = np.random.default_rng((hyper.seed, seed))
    return rng.standard_normal((count, hyper.s, hyper.e)) + 0.3 * rng.standard_normal((count, 1, hyper.e))


def build_model(hyper: HyperParameters, scope: str) -> Model:
    """A float model of scope "mhsa" (one attention), "block" (one post-norm encoder block) or "encoder" (all blocks,
    positions, mean-pool and classifier), with weights from the seed."""
    draw = _Draw(hyper)
    x = draw.source()
    if scope == "mhsa":
        x = draw.attention("l0", x)
    elif scope == "block":
        x = draw.block("l0", x)
    else:
        x = draw.positions(x)
        for layer in range(hyper.layers):
            x = draw.block(f"l{layer}", x)
        x = draw.classifier(x)
    name = f"{hyper.name}-{scope}"
    return Model(name, "x", x, tuple(draw.ops), draw.tensors, draw.constants)


class _Draw:
    """Collects ops and seeded weights."""

    def __init__(self, hyper: HyperParameters) -> None:
        self.hyper = hyper
        self.rng = np.random.default_rng(hyper.seed)
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, Array] = {}

    def source(self) -> str:
        self.tensors["x"] = Tensor("x", (self.hyper.s, self.hyper.e))
        return "x"

    def _op(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: tuple[int, ...], weights: dict[str, Array], **attrs: Any
    ) -> str:
        self.constants |= {f"{name}.{role}": array for role, array in weights.items()}
        roles = tuple((role, f"{name}.{role}") for role in weights)
        self.ops.append(Op(kind, name, inputs, (name,), roles, tuple(attrs.items())))
        self.tensors[name] = Tensor(name, shape)
        return name

    def linear(self, name: str, x: str, width: int, gain: float = 1.0) -> str:
        rows, depth = self.tensors[x].shape
        w = self.rng.standard_normal((width, depth)) * gain / np.sqrt(depth)
        return self._op("linear", name, (x,), (rows, width), {"w": w, "b": 0.1 * self.rng.standard_normal(width)})

    def attention(self, prefix: str, x: str) -> str:
        z = self.hyper
        q, k, v = (self.linear(f"{prefix}.{letter}", x, z.h * z.p, 1.3) for letter in "qkv")
        shape = (z.h, z.s, z.s)
        attrs = {"heads": z.h, "scale": 1 / np.sqrt(z.p), "shared_keys": 0}
        e = self._op("probs", f"{prefix}.probs", (q, k), shape, {}, **attrs)
        context = self._op("attend", f"{prefix}.attend", (e, v), (z.s, z.h * z.p), {}, heads=z.h)
        return self.linear(f"{prefix}.o", context, z.e)

    def _add(self, name: str, a: str, b: str) -> str:
        return self._op("add", name, (a, b), self.tensors[a].shape, {})

    def _norm(self, name: str, x: str) -> str:
        width = self.tensors[x].shape[1]
        gamma = 1 + 0.2 * self.rng.standard_normal(width)
        weights = {"gamma": gamma, "beta": 0.1 * self.rng.standard_normal(width)}
        return self._op("layernorm", name, (x,), self.tensors[x].shape, weights, epsilon=1e-5)

    def block(self, prefix: str, x: str) -> str:
        x = self._norm(f"{prefix}.norm1", self._add(f"{prefix}.add1", x, self.attention(prefix, x)))
        up = self.linear(f"{prefix}.fc1", x, self.hyper.hidden)
        act = self._op("activation", f"{prefix}.act", (up,), self.tensors[up].shape, {}, function="gelu")
        down = self.linear(f"{prefix}.fc2", act, self.hyper.e)
        return self._norm(f"{prefix}.norm2", self._add(f"{prefix}.add2", x, down))

    def positions(self, x: str) -> str:
        shape = self.tensors[x].shape
        return self._op("add", "positions", (x,), shape, {"b": 0.5 * self.rng.standard_normal(shape)})

    def classifier(self, x: str) -> str:
        pooled = self._op("mean", "mean", (x,), (1, self.tensors[x].shape[1]), {})
        return self.linear("head", pooled, self.hyper.classes)
