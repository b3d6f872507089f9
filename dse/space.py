"""The schedule space of a model on a target: its knobs, what is legal, and the schedule a choice of values means."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dse.blocks import attention_blocks, feed_forward_blocks
from dse.ir import Model
from dse.kernel import Kernel, kernels_for
from dse.knobs import KNOBS, Choice, Context
from dse.knobs.nest import LAYERS
from dse.schedule import Attention, FeedForward, Schedule
from dse.target import Target

FAMILIES = ("attend", "linear", "probs")
Point = Mapping[str, Choice]


@dataclass(frozen=True)
class Space:
    """`choices`: what each knob may be. A point is one value a knob; not every point is legal."""

    context: Context
    choices: tuple[tuple[str, tuple[Choice, ...]], ...]

    @property
    def size(self) -> int:
        """Points, legal or not."""
        count = 1
        for _, values in self.choices:
            count *= len(values)
        return count

    def decode(self, point: Point) -> Schedule | None:
        """The schedule of a point; None when the combination means nothing or repeats a plainer point."""
        nest, heads = str(point["nest"]), int(point["heads"])
        rows, map_rows = (int(part) for part in str(point["rows"]).split("/"))
        attention = _attention(str(point["form"]), nest, heads, rows, map_rows, self.context, point["rows"])
        if attention is None:
            return None
        return Schedule(
            form=str(point["form"]),
            attention=attention,
            feed_forward=FeedForward(int(point["feed_forward"])),
            kernels=tuple((family, str(point["kernel"])) for family in FAMILIES),
            map_layout=str(point["map"]),
            place=str(point["place"]),
        )

    def encode(self, schedule: Schedule) -> dict[str, Choice]:
        """The point that decodes to this schedule."""
        a, first = schedule.attention, min(4, self.context.tokens)
        return {
            "form": schedule.form,
            "kernel": schedule.variant("linear"),
            "nest": f"{a.outer}/{a.query}/{a.output}" if a.rows else LAYERS,
            "heads": a.heads,
            "rows": f"{a.rows}/{a.map_rows}" if a.rows else f"{first}/{first}",
            "map": schedule.map_layout,
            "feed_forward": schedule.feed_forward.rows,
            "place": schedule.place,
        }

    def schedules(self) -> Iterator[Schedule]:
        """Every distinct legal schedule."""
        names = [name for name, _ in self.choices]
        for values in itertools.product(*(options for _, options in self.choices)):
            schedule = self.decode(dict(zip(names, values, strict=True)))
            if schedule is not None:
                yield schedule

    def axis(self, form: str, axis: str) -> tuple[dict[str, Choice], ...]:
        """The distinct legal settings of the knobs of one axis under a form, all other knobs at their plainest.

        Axes are independent: every combination of one setting from each axis is a legal point of the form.
        """
        options, plain = dict(self.choices), {name: values[0] for name, values in self.choices}
        names = [knob.name for knob in KNOBS if knob.axis == axis]
        found: dict[Schedule, dict[str, Choice]] = {}
        for values in itertools.product(*(options[name] for name in names)):
            setting = dict(zip(names, values, strict=True))
            schedule = self.decode(plain | {"form": form} | setting)
            if schedule is not None:
                found.setdefault(schedule, setting)
        return tuple(found.values())

    def families(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every kernel family with the variants it takes somewhere in the space."""
        found: dict[str, dict[str, None]] = {}
        for setting in self.axis(self.context.forms[0], "kernels"):
            schedule = self.decode({n: v[0] for n, v in self.choices} | {"form": self.context.forms[0]} | setting)
            for family, variant in schedule.kernels if schedule else ():
                found.setdefault(family, {})[variant] = None
        return tuple((family, tuple(variants)) for family, variants in found.items())

    def baselines(self) -> tuple[dict[str, Choice], ...]:
        """Plain points to start from: layer by layer, all heads; and the usual depth-first ones, per form."""
        plain = {name: options[0] for name, options in self.choices}
        best = {"kernel": self.context.variants[-1], "map": dict(self.choices)["map"][-1]}
        starts: list[dict[str, Choice]] = []
        for form in self.context.forms:
            starts.append(plain | {"form": form})
            starts.append(plain | best | {"form": form, "nest": LAYERS})
            for nest, heads in (("heads/rows/rows", self.context.heads), ("heads/rows/accumulate", 1)):
                if self.context.has_attention:
                    starts.append(plain | best | {"form": form, "nest": nest, "heads": heads})
        return tuple(starts)


def _attention(
    form: str, nest: str, heads: int, rows: int, map_rows: int, context: Context, text: Choice
) -> Attention | None:
    if nest == LAYERS:
        first = f"{min(4, context.tokens)}/{min(4, context.tokens)}"
        return Attention(heads=context.heads) if heads == context.heads and text == first else None
    outer, query, output = nest.split("/")
    fused_output = form in ("vo", "qkvo")
    every = heads == context.heads
    if fused_output and output != ("rows" if every or outer == "rows" else "accumulate"):
        return None
    if outer == "heads" and every and output == "accumulate":
        return None
    if outer == "heads" and not every and output == "rows":
        return None
    if outer == "rows" and (every or rows >= context.tokens):
        return None
    return Attention(heads=heads, rows=rows, map_rows=map_rows, outer=outer, query=query, output=output)


def check_schedule(schedule: Schedule, space: Space) -> None:
    """ValueError, naming the knob and what is allowed, when a hand-written schedule is not legal here."""
    a, context = schedule.attention, space.context
    if schedule.form not in context.forms:
        raise ValueError(f"schedule: form {schedule.form!r} is not admitted here; allowed: {', '.join(context.forms)}")
    variants = {variant for _, variant in schedule.kernels}
    if not variants <= set(context.variants):
        raise ValueError(f"schedule: kernels must be among {', '.join(context.variants)}, got {sorted(variants)}")
    for knob, value, allowed in (
        ("place", schedule.place, dict(space.choices)["place"]),
        ("map_layout", schedule.map_layout, ("rows", "panels")),
        ("attention.outer", a.outer, ("heads", "rows")),
        ("attention.query", a.query, ("ahead", "rows")),
        ("attention.output", a.output, ("after", "rows", "accumulate")),
    ):
        if value not in allowed:
            raise ValueError(f"schedule: {knob} = {value!r}; allowed: {', '.join(map(str, allowed))}")
    if context.has_attention and (a.heads < 1 or context.heads % a.heads):
        raise ValueError(f"schedule: attention.heads = {a.heads} must divide the {context.heads} heads")
    for knob, count in (("attention.rows", a.rows), ("feed_forward.rows", schedule.feed_forward.rows)):
        if not 0 <= count <= context.tokens:
            raise ValueError(f"schedule: {knob} = {count} must lie in 0..{context.tokens} (0 = layer by layer)")
    if a.rows == 0:
        if a != Attention(heads=context.heads) and context.has_attention:
            raise ValueError(
                "schedule: attention.rows = 0 (layer by layer) needs every head and no other attention knob"
            )
        return
    if not 1 <= a.map_rows <= a.rows:
        raise ValueError(f"schedule: attention.map_rows = {a.map_rows} must lie in 1..{a.rows} (attention.rows)")
    nest = f"{a.outer}/{a.query}/{a.output}"
    known = nest in dict(space.choices)["nest"]
    if not known or _attention(schedule.form, nest, a.heads, a.rows, a.map_rows, context, "") is None:
        raise ValueError(f"schedule: the nest {nest} is not possible with head tile {a.heads} and form {schedule.form}")


def build_space(models: Mapping[str, Model], target: Target, kernels: Mapping[str, Kernel]) -> Space:
    """The space over the given int8 models, one per admitted form, in the order given."""
    model = next(iter(models.values()))
    attentions, pairs = attention_blocks(model), feed_forward_blocks(model)
    variants = {name.rsplit("_", 1)[1] for name in (k.name for k in kernels_for("linear_rows", target.isa, kernels))}
    context = Context(
        tokens=model.tensors[attentions[0].input].shape[0] if attentions else model.tensors[model.input].shape[0],
        heads=attentions[0].probs.integer("heads") if attentions else 1,
        hidden=model.tensors[pairs[0].up.outputs[0]].shape[1] if pairs else 0,
        forms=tuple(models),
        variants=tuple(sorted(variants, key=lambda v: (v != "ref", v))),
        regions=len(target.ram()),
        has_attention=bool(attentions),
    )
    return Space(context, tuple((knob.name, knob.choices(context)) for knob in KNOBS))
