"""kernels/kernels.toml -> Kernel: what variants exist, what they need, and the features their cycles are linear in."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from dse.layout import RIGHT, written_as

ISA_CHAIN: dict[str, tuple[str, ...]] = {
    "any": ("any",),
    "rv32imc": ("any", "rv32imc"),
    "xpulpv2": ("any", "rv32imc", "xpulpv2"),
    "armv7em": ("any", "armv7em"),
    "armv7em-m7": ("any", "armv7em", "armv7em-m7"),
}

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


@dataclass(frozen=True)
class Expression:
    """An integer expression over named integers: + - * // %, comparisons (0 or 1), min, max, parentheses."""

    text: str
    run: Callable[[Mapping[str, int]], int] = field(compare=False, repr=False)
    run_many: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The integers it asks for."""
        return frozenset(re.findall(r"[a-z_]+", self.text)) - {"min", "max"}

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The value at these integers; KeyError when a name is missing."""
        return self.run(values)

    def evaluate_many(self, values: Mapping[str, Any]) -> Any:
        """The values where some of the integers are int64 arrays of one shape: an array, or an int when none matters."""
        return self.run_many(values)


@cache
def parse_expression(text: str) -> Expression:
    """The expression of that text; ValueError when it holds anything but whitelisted integer arithmetic."""
    try:
        source = _source(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"expression {text!r}: {error}; allowed: names, integers, + - * // %, comparisons") from error
    one = {"__builtins__": {}, "int": int, "min": min, "max": max}
    many = {"__builtins__": {}, "int": _as_integer, "min": _each(np.minimum), "max": _each(np.maximum)}
    run = eval(f"lambda values: {source}", one)
    return Expression(text, run, FunctionType(run.__code__, many))


def _as_integer(value: Any) -> Any:
    return value * 1  # True and arrays of it are 1


def _each(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *values: reduce(function, values)


def _source(node: ast.expr) -> str:
    """Python text of a whitelisted expression, its names looked up in `values`."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return str(node.value)
    if isinstance(node, ast.Name):
        return f"values[{node.id!r}]"
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return f"({_source(node.left)} {_BINARY[type(node.op)]} {_source(node.right)})"
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        return f"int({_source(node.left)} {_COMPARE[type(node.ops[0])]} {_source(node.comparators[0])})"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2 and not node.keywords:
        name = node.func.id
        if name in ("min", "max"):
            return f"{name}({', '.join(_source(argument) for argument in node.args)})"
    raise ValueError(f"{ast.unparse(node)} is not allowed")


ALWAYS = parse_expression("1")


@dataclass(frozen=True)
class Kernel:
    """One variant. `scratch`: bytes at given arguments; `terms`: (feature name, expression) in manifest order; `layout`: of
    its right-hand operands (dse/layout.py), "" without any; `when`: not 0 where its contract holds; `worth`: not 0 for a
    model whose search is offered the variant."""

    name: str
    op: str
    symbol: str
    args: str
    isa: str
    sources: tuple[str, ...]
    scratch: Expression
    terms: tuple[tuple[str, Expression], ...]
    layout: str
    when: Expression
    align: int = 1
    worth: Expression = ALWAYS

    def serves(self, facts: Mapping[str, int]) -> bool:
        """True when the contract of the variant holds for these facts; KeyError when it asks for one that is missing."""
        return self.when.evaluate(facts) != 0


Kernels = tuple[Kernel, ...]  # one kernel, or rivals for the same calls: the first is called, the others only priced


def align_of(kernels: Kernels) -> int:
    """Bytes that the right-hand operands of a call are aligned to, whichever of these kernels makes it."""
    return max(kernel.align for kernel in kernels)


@dataclass(frozen=True, eq=False)
class Variants:
    """What a target runs. by_op: kernel op -> variants, best (last in the manifest) first."""

    by_op: Mapping[str, Kernels]
    _known: dict[tuple[object, ...], Kernels] = field(default_factory=dict)

    def named(self, op: str, variant: str) -> Kernel | None:
        """The variant of that name, if the target has it."""
        name = f"{op}_{variant}"
        return next((kernel for kernel in self.by_op.get(op, ()) if kernel.name == name), None)

    def serving(self, op: str, wanted: Sequence[str], layout: str | None, facts: Mapping[str, int]) -> Kernels:
        """For each wanted variant the kernel that serves in its place: itself, else the best that can; () when none can.

        A variant can serve when the right-hand operands it shares with others are in `layout` (None: any) and its contract
        (`when`) holds.
        """
        key = (op, *wanted, layout, *facts.values())
        if key not in self._known:
            able = [k for k in self.by_op.get(op, ()) if layout in (None, written_as(k.layout)) and k.serves(facts)]
            chosen = [next((k for k in able if k is self.named(op, name)), None) for name in wanted]
            self._known[key] = tuple(k or able[0] for k in chosen) if able else ()
        return self._known[key]


def kernels_root() -> Path:
    """The folder of the C library: beside the packages in a checkout, inside `codegen` in a wheel."""
    here = Path(__file__).resolve().parent.parent
    for root in (here / "kernels", here / "codegen" / "_kernels"):
        if (root / "kernels.toml").is_file():
            return root
    raise FileNotFoundError(f"kernels.toml: neither {here / 'kernels'} nor {here / 'codegen' / '_kernels'} holds it")


@cache
def load_kernels() -> Mapping[str, Kernel]:
    """Every variant of the manifest by name; ValueError says which entry is wrong and how."""
    path = kernels_root() / "kernels.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _kernel(name, entry, table, f"{path}: [{name}]") for name, entry in table.items()}


def _kernel(name: str, entry: Any, manifest: Mapping[str, Any], where: str) -> Kernel:
    wanted, optional = {"op", "args", "isa", "source", "scratch", "terms"}, {"layout", "when", "worth", "align"}
    if not isinstance(entry, dict) or not wanted <= set(entry) <= wanted | optional:
        raise ValueError(
            f"{where}: must have the keys {', '.join(sorted(wanted))} and may have {', '.join(sorted(optional))}"
        )
    if entry["isa"] not in ISA_CHAIN:
        raise ValueError(f"{where}: isa {entry['isa']!r} is unknown; allowed: {', '.join(ISA_CHAIN)}")
    if not name.startswith(entry["op"] + "_"):
        raise ValueError(f"{where}: a variant of {entry['op']} is called {entry['op']}_<variant>")
    if entry.get("layout", "") not in ("", *RIGHT):
        raise ValueError(f"{where}: layout {entry['layout']!r} is unknown; allowed: {', '.join(RIGHT)}")
    sources = (entry["source"],) if isinstance(entry["source"], str) else tuple(entry["source"])
    for source in sources:
        if not (kernels_root() / source).is_file():
            raise ValueError(f"{where}: source {source} does not exist under {kernels_root()}")
    features = entry["terms"]
    if isinstance(features, str):  # the features of another entry
        features = manifest.get(features, {}).get("terms")
    if not isinstance(features, dict):
        raise ValueError(f"{where}: terms must be a table, or the name of an entry that has one")
    terms = tuple((term, parse_expression(text)) for term, text in features.items())
    return Kernel(
        name=name,
        op=entry["op"],
        symbol=f"tlf_{name}",
        args=entry["args"],
        isa=entry["isa"],
        sources=sources,
        scratch=parse_expression(entry["scratch"]),
        terms=terms,
        layout=entry.get("layout", ""),
        when=parse_expression(entry.get("when", "1")),
        align=_align(entry, where),
        worth=parse_expression(entry.get("worth", "1")),
    )


def _align(entry: Mapping[str, Any], where: str) -> int:
    align = entry.get("align", 1)
    if type(align) is not int or align < 1:
        raise ValueError(f"{where}: align must be a number of bytes, got {align!r}")
    return align


def runs_on(kernel: Kernel, isa: str) -> bool:
    """True when that instruction set runs the variant."""
    return kernel.isa in ISA_CHAIN.get(isa, ("any",))


def kernels_for(op: str, isa: str, kernels: Mapping[str, Kernel]) -> tuple[Kernel, ...]:
    """The variants of an op that an instruction set runs."""
    return tuple(kernel for kernel in kernels.values() if kernel.op == op and runs_on(kernel, isa))


def variants_by_op(kernels: Mapping[str, Kernel], isa: str) -> Variants:
    """The variants an instruction set runs."""
    found: dict[str, list[Kernel]] = {}
    for kernel in kernels.values():
        if runs_on(kernel, isa):
            found.setdefault(kernel.op, []).insert(0, kernel)
    return Variants({op: tuple(variants) for op, variants in found.items()})


def comparisons_in(kernels: Iterable[Kernel]) -> tuple[Expression, ...]:
    """All that prices, scratch and contracts of these kernels can tell about integers: the comparisons they make, and names
    that they use outside any."""
    texts = {e.text for k in kernels for e in (k.scratch, k.when, *(term for _, term in k.terms))}
    found = {test for text in texts for test in _tests(ast.parse(text, mode="eval").body)}
    return tuple(parse_expression(text) for text in sorted(found))


def _tests(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Compare | ast.Name):
        yield ast.unparse(node)
        return
    for child in node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _tests(child)
