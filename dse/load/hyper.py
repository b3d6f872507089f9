"""Hyper-parameters (a TOML file, or numbers from the command line) -> a float Model with seeded weights."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dse.ir import Array, Model, Op, Tensor

LIMITS = {
    "s": (1, 4096),
    "e": (1, 256),
    "p": (1, 512),
    "h": (1, 64),
    "f": (0, 4096),
    "layers": (1, 16),
    "classes": (1, 4096),
    "seed": (0, 2**31 - 1),
}
MAX_WIDTH = 4096  # h·p
NORMS = ("post", "pre")
SCOPES = ("mhsa", "block", "encoder")
MAX_FILE_BYTES = 1 << 16
_REQUIRED = ("name", "s", "e", "p", "h")
_SCORE_GAIN = 1.3  # of q and k: attention scores of unit inputs get a standard deviation near 1.3² = 1.7


@dataclass(frozen=True)
class HyperParameters:
    """Sizes of an encoder: s tokens, e embedding, p head dimension, h heads, f hidden (0 = 4·e); norm: post or pre."""

    name: str
    s: int
    e: int
    p: int
    h: int
    f: int = 0
    layers: int = 1
    classes: int = 4
    seed: int = 0
    norm: str = "post"
    description: str = ""

    @property
    def hidden(self) -> int:
        """The feed-forward width."""
        return self.f or 4 * self.e


def load_hyper(source: Path | str | Mapping[str, Any]) -> HyperParameters:
    """The hyper-parameters of a TOML file, or of a mapping; ValueError says where, what it got and what is allowed."""
    if isinstance(source, Mapping):
        return parse_hyper(source, str(source.get("name", "hyper-parameters")))
    path = Path(source)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        table = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the path of a .toml of hyper-parameters") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: larger than {MAX_FILE_BYTES} bytes; hyper-parameters take a dozen lines")
    return parse_hyper({"name": path.stem, **table}, str(path))


def parse_hyper(table: Mapping[str, Any], where: str) -> HyperParameters:
    """Validated hyper-parameters; ValueError names the key, what it holds and what is allowed."""
    for key, value in table.items():
        _check_key(key, value, where)
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} missing; a model needs at least {', '.join(_REQUIRED)}")
    hyper = HyperParameters(**table)
    if hyper.h * hyper.p > MAX_WIDTH:
        raise ValueError(
            f"{where}: h·p = {hyper.h}·{hyper.p} = {hyper.h * hyper.p} must be at most {MAX_WIDTH}; "
            "take fewer heads or a smaller head dimension"
        )
    return hyper


def _check_key(key: str, value: Any, where: str) -> None:
    names = [item.name for item in fields(HyperParameters)]
    if key not in names:
        raise ValueError(f"{where}: unknown key {key!r}; allowed are {', '.join(names)}")
    if key in LIMITS:
        low, high = LIMITS[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            hint = " (0 stands for 4·e)" if key == "f" else ""
            raise ValueError(f"{where}: {key} = {value!r}; allowed is an integer in {low}..{high}{hint}")
    elif not isinstance(value, str):
        raise ValueError(f"{where}: {key} = {value!r}; allowed is text")
    elif key == "norm" and value not in NORMS:
        raise ValueError(f"{where}: norm = {value!r}; allowed are {', '.join(NORMS)}")


def sample_inputs(hyper: HyperParameters, count: int, seed: int) -> Array:
    """(count, s, e) float32: random tokens with a component common to the sample, as embedded signals have."""
    rng = np.random.default_rng((hyper.seed, seed))
    tokens = rng.standard_normal((count, hyper.s, hyper.e)) + 0.3 * rng.standard_normal((count, 1, hyper.e))
    return tokens.astype(np.float32)


def build_model(hyper: HyperParameters, scope: str) -> Model:
    """A float model with weights from the seed, input tensor `x` (s, e).

    scope: "mhsa" (one attention), "block" (one encoder block) or "encoder" (positions, all blocks, mean, classifier).
    """
    if scope not in SCOPES:
        raise ValueError(f"{hyper.name}: scope {scope!r} is unknown; allowed are {', '.join(SCOPES)}")
    draw = _Draw(hyper)
    x = draw.source()
    if scope == "mhsa":
        x = draw.attention("l0", x)
    elif scope == "block":
        x = draw.block("l0", x)
    else:
        x = draw.encoder(x)
    return Model(f"{hyper.name}-{scope}", "x", x, tuple(draw.ops), draw.tensors, draw.constants)


@dataclass
class _Draw:
    """Collects ops and seeded weights; every method adds ops and returns the tensor it wrote."""

    hyper: HyperParameters
    ops: list[Op] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.hyper.seed)

    def source(self) -> str:
        """The model input."""
        self.tensors["x"] = Tensor("x", (self.hyper.s, self.hyper.e))
        return "x"

    def _op(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: tuple[int, ...], **attributes: float | str
    ) -> str:
        roles = tuple(
            (role, f"{name}.{role}") for role in ("w", "b", "gamma", "beta") if f"{name}.{role}" in self.constants
        )
        self.ops.append(Op(kind, name, inputs, (name,), roles, tuple(attributes.items())))
        self.tensors[name] = Tensor(name, shape)
        return name

    def _weights(self, name: str, **values: Array) -> None:
        """Constants for the op `name`, to be declared before it."""
        self.constants.update({f"{name}.{role}": array.astype(np.float32) for role, array in values.items()})

    def linear(self, name: str, x: str, width: int, gain: float = 1.0) -> str:
        """x·Wᵀ + b with outputs of `gain` times the spread of the inputs."""
        rows, depth = self.tensors[x].shape
        w = self.rng.standard_normal((width, depth)) * gain / np.sqrt(depth)
        self._weights(name, w=w, b=0.1 * self.rng.standard_normal(width))
        return self._op("linear", name, (x,), (rows, width))

    def attention(self, prefix: str, x: str) -> str:
        """One multi-head self-attention."""
        z = self.hyper
        q, k, v = (self.linear(f"{prefix}.{letter}", x, z.h * z.p, _SCORE_GAIN) for letter in "qkv")
        attributes = {"heads": z.h, "scale": float(1 / np.sqrt(z.p)), "shared_keys": 0}
        e = self._op("probs", f"{prefix}.probs", (q, k), (z.h, z.s, z.s), **attributes)
        context = self._op("attend", f"{prefix}.attend", (e, v), (z.s, z.h * z.p), heads=z.h)
        return self.linear(f"{prefix}.o", context, z.e)

    def add(self, name: str, a: str, b: str) -> str:
        """A residual sum."""
        return self._op("add", name, (a, b), self.tensors[a].shape)

    def norm(self, name: str, x: str) -> str:
        """LayerNorm with parameters of its own."""
        width = self.tensors[x].shape[1]
        gamma = 1 + 0.2 * self.rng.standard_normal(width)
        self._weights(name, gamma=gamma, beta=0.1 * self.rng.standard_normal(width))
        return self._op("layernorm", name, (x,), self.tensors[x].shape, epsilon=1e-5)

    def feed_forward(self, prefix: str, x: str) -> str:
        """linear, GELU, linear."""
        up = self.linear(f"{prefix}.fc1", x, self.hyper.hidden)
        act = self._op("activation", f"{prefix}.act", (up,), self.tensors[up].shape, function="gelu")
        return self.linear(f"{prefix}.fc2", act, self.hyper.e)

    def block(self, prefix: str, x: str) -> str:
        """One encoder block, post-norm (as torch's default) or pre-norm."""
        if self.hyper.norm == "pre":
            x = self.add(f"{prefix}.add1", x, self.attention(prefix, self.norm(f"{prefix}.norm1", x)))
            return self.add(f"{prefix}.add2", x, self.feed_forward(prefix, self.norm(f"{prefix}.norm2", x)))
        x = self.norm(f"{prefix}.norm1", self.add(f"{prefix}.add1", x, self.attention(prefix, x)))
        return self.norm(f"{prefix}.norm2", self.add(f"{prefix}.add2", x, self.feed_forward(prefix, x)))

    def encoder(self, x: str) -> str:
        """Positions, every block, a last norm when pre-norm, mean over the tokens, classifier."""
        shape = self.tensors[x].shape
        self._weights("positions", b=0.5 * self.rng.standard_normal(shape))
        x = self._op("add", "positions", (x,), shape)
        for layer in range(self.hyper.layers):
            x = self.block(f"l{layer}", x)
        if self.hyper.norm == "pre":
            x = self.norm("norm", x)
        pooled = self._op("mean", "mean", (x,), (1, self.hyper.e))
        return self.linear("head", pooled, self.hyper.classes)
