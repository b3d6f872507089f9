"""What kernels may look at in the numbers of a model, and which parts of it they cannot tell apart.

A part's price depends on the weights only through comparisons that kernels make: `bound < 8388608` in a contract,
`shift >= 17` in a feature. Blocks of one shape whose numbers answer all of them alike cost the same, whatever the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from dse import quant
from dse.blocks import Part
from dse.ir import Model, Op
from dse.kernel import Expression
from dse.layout import is_high

REQUANTISATION = frozenset({"round", "preshift", "shift", "mult", "mult_a", "mult_b", "epsilon", "guard"})
_FACTS: WeakKeyDictionary[Model, dict[str, dict[str, int]]] = WeakKeyDictionary()


def facts_of(model: Model, op: Op) -> dict[str, int]:
    """What the contracts (`when`) of an op's kernels may ask: name -> value; kernels/kernels.toml says what they mean."""
    known = _FACTS.setdefault(model, {})
    if op.name not in known:
        known[op.name] = _FIND[op.kind](model, op) if op.kind in _FIND else {}
    return known[op.name]


def _linear(model: Model, op: Op) -> dict[str, int]:
    weights, bias = (model.constants[op.constant(role)] for role in ("w", "bias"))
    return {"bound": int(quant.accumulator_bound(weights, bias).max())}


def _probs(model: Model, op: Op) -> dict[str, int]:
    tokens, width = model.tensors[op.inputs[0]].shape
    depth, shift = width // op.integer("heads"), op.integer("shift")
    bound, mult = quant.score_bound(depth), int(model.constants[op.constant("mult")].max())
    facts = {"n": tokens, "k": depth, "bound": bound, "mult": mult}
    return facts | {"half": 1 << shift >> 1, "steps": mult * bound >> shift}


def _attend(model: Model, op: Op) -> dict[str, int]:
    tokens, width = model.tensors[op.inputs[-1]].shape
    probs = model.producer(op.inputs[0])
    assert probs is not None
    return {"n": width // probs.integer("heads"), "k": tokens, "bound": 255 * 127 * tokens}


_FIND = {"linear": _linear, "probs": _probs, "attend": _attend, "attend_sum": _attend}


def likeness(model: Model, part: Part, tests: Sequence[Expression]) -> tuple[object, ...]:
    """What the price of a part depends on: kinds, shapes, wiring and attributes; equal parts cost the same.

    Of the numbers of requantisation and weights only the answers to `tests` count (`dse.kernel.comparisons_in`).
    """
    ids: dict[str, int] = {}
    for name in (part.input, *(name for op in part.ops for name in op.outputs)):
        ids.setdefault(name, len(ids))
    each = tuple(
        (
            op.kind,
            tuple(ids[name] for name in op.inputs),
            tuple((ids[name], model.tensors[name].shape) for name in op.outputs),
            tuple((role, model.constants[name].shape) for role, name in op.constants),
            tuple(item for item in op.attributes if item[0] not in REQUANTISATION),
            _answers(model, op, tests),
        )
        for op in part.ops
    )
    return (each, model.tensors[part.input].shape, ids[part.output], part.input == model.input)


def _answers(model: Model, op: Op, tests: Sequence[Expression]) -> tuple[object, ...]:
    """Of every test what this op makes it; of one that also asks for what only a call knows, the op's numbers in it."""
    values = {name: value for name, value in op.attributes if isinstance(value, int)} | facts_of(model, op)
    if op.kind == "linear":
        numbers = (op.integer(name) for name in ("round", "preshift", "shift"))
        values["high"] = int(is_high(model.constants[op.constant("mult")], *numbers))
    answers: list[object] = []
    for test in tests:
        known = sorted(test.names & values.keys())
        if known:
            answers.append(test.evaluate(values) if test.names <= values.keys() else tuple(values[n] for n in known))
    return tuple(answers)
