"""The schedule space of a model on a target: its knobs, what is legal, and the schedule a choice of values means."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dse.blocks import attention_blocks, feed_forward_blocks
from dse.facts import facts_of
from dse.ir import Model
from dse.kernel import Kernel, runs_on
from dse.knobs import KNOBS, Choice, Context, place
from dse.knobs.nest import LAYERS
from dse.layout import RIGHT
from dse.schedule import FAMILIES, PANELS, SPLITS, STRIDES, Attention, FeedForward, Schedule, family_of
from dse.target import Target

Point = Mapping[str, Choice]

_FAMILIES = sorted(FAMILIES)


@dataclass(frozen=True)
class Space:
    """`choices`: what each knob may be. A point is one value a knob; not every point is legal."""

    context: Context
    choices: tuple[tuple[str, tuple[Choice, ...]], ...]
    _agreed: dict[object, bool] = field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Points, legal or not."""
        count = 1
        for _, values in self.choices:
            count *= len(values)
        return count

    def restricted(self, kept: Mapping[str, Sequence[Choice]]) -> Space:
        """The subspace in which each of these knobs may only be one of the choices given for it."""
        return Space(self.context, tuple((name, tuple(kept.get(name, values))) for name, values in self.choices))

    def thinned(self, most: int, seed: int) -> Space:
        """A subspace of at most `most` legal schedules: knobs thinned at random, the largest first, by the seed.

        The plainest choice of every knob stays, so that the baselines do. A space that is small enough stays as it is.
        """
        rng, space = random.Random(seed), self
        while space.size > 40 * most or sum(1 for _ in itertools.islice(space.schedules(), most + 1)) > most:
            name, values = max(space.choices, key=lambda item: (len(item[1]), rng.random()))
            kept = sorted(rng.sample(range(1, len(values)), max(1, len(values) // 2) if len(values) > 2 else 0))
            space = space.restricted({name: (values[0], *(values[i] for i in kept))})
        return space

    def decode(self, point: Point) -> Schedule | None:
        """The schedule of a point; None when the combination means nothing or repeats a plainer point."""
        nest, heads = str(point["nest"]), int(point["heads"])
        rows, map_rows = (int(part) for part in str(point["rows"]).split("/"))
        attention = _attention(str(point["form"]), nest, heads, rows, map_rows, self.context, point["rows"])
        if attention is None:
            return None
        kernels = tuple([(family, str(point[family])) for family in _FAMILIES])
        panels = tuple([name for name in str(point["panels"]).split("+") if name != "none"])
        asked = (point["form"], heads, kernels, panels)
        if asked not in self._agreed:
            self._agreed[asked] = self._kernels_agree(str(point["form"]), heads, dict(kernels), panels)
        if not self._agreed[asked]:
            return None
        return Schedule(
            form=str(point["form"]),
            attention=attention,
            feed_forward=FeedForward(int(point["feed_forward"])),
            kernels=kernels,
            panels=panels,
            residual=str(point["residual"]),
            place=str(point["place"]),
            code=str(point["code"]),
            split=str(point["split"]),
            strides=str(point["strides"]),
            tiles=int(point["tiles"]),
        )

    def _kernels_agree(self, form: str, tile: int, kernels: Mapping[str, str], panels: tuple[str, ...]) -> bool:
        """True when the product kernels share a right-hand layout that knows panels, and that and the one of the weights
        hold tiles of that many heads."""
        own = [RIGHT[self.context.layouts.get((family, kernels[family]), "columns")] for family in FAMILIES[:3]]
        layouts = {right.written for right in own}
        if not self.context.has_attention:
            return not panels
        if len(layouts) > 1:
            return False
        right = RIGHT[layouts.pop()]
        if panels and not right.reads_panels:
            return False
        whole, group = tile in (1, self.context.heads), max(layout.group for layout in own)
        return whole or all(tile * right.depth(width) % group == 0 for width in self.context.widths[form])

    def encode(self, schedule: Schedule) -> dict[str, Choice]:
        """The point that decodes to this schedule."""
        a, first = schedule.attention, min(4, self.context.tokens)
        return {
            "form": schedule.form,
            **{family: schedule.variant(family) for family in FAMILIES},
            "nest": f"{a.outer}/{a.query}/{a.output}" if a.rows else LAYERS,
            "heads": a.heads,
            "rows": f"{a.rows}/{a.map_rows}" if a.rows else f"{first}/{first}",
            "panels": "+".join(schedule.panels) or "none",
            "residual": schedule.residual,
            "feed_forward": schedule.feed_forward.rows,
            "place": schedule.place,
            "code": schedule.code,
            "split": schedule.split,
            "strides": schedule.strides,
            "tiles": schedule.tiles,
        }

    def schedules(self) -> Iterator[Schedule]:
        """Every distinct legal schedule."""
        names = [name for name, _ in self.choices]
        for values in itertools.product(*(options for _, options in self.choices)):
            schedule = self.decode(dict(zip(names, values, strict=True)))
            if schedule is not None:
                yield schedule

    def settings(self, axis: str) -> tuple[dict[str, Choice], ...]:
        """Every combination of the knobs of one axis, legal or not."""
        options = dict(self.choices)
        names = [knob.name for knob in KNOBS if knob.axis == axis]
        values = itertools.product(*(options[name] for name in names))
        return tuple(dict(zip(names, chosen, strict=True)) for chosen in values)

    def layouts(self, point: Point) -> str:
        """Right-hand layout and alignment of a point's product kernels: others of the same change nothing else."""
        variants = [(family, str(point[family])) for family in FAMILIES[:3]]
        return "/".join(f"{self.context.layouts.get(v, '-')} {self.context.aligns.get(v, 1)}" for v in variants)

    def plain(self) -> dict[str, Choice]:
        """The plainest value of every knob."""
        return {name: values[0] for name, values in self.choices}

    def baselines(self) -> tuple[dict[str, Choice], ...]:
        """Plain points to start from: layer by layer, all heads; and the usual depth-first ones, per form."""
        plain = {name: options[0] for name, options in self.choices}
        best: dict[str, Choice] = {family: variants[-1] for family, variants in self.context.variants.items()}
        best |= {"panels": dict(self.choices)["panels"][-1], "residual": dict(self.choices)["residual"][-1]}
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
    for family, variant in schedule.kernels:
        if variant not in context.variants.get(family, ()):
            allowed_variants = "; ".join(f"{name}: {', '.join(found)}" for name, found in context.variants.items())
            raise ValueError(f"schedule: kernels.{family} = {variant!r} is not known; allowed: {allowed_variants}")
    for operand in schedule.panels:
        if operand not in PANELS:
            raise ValueError(f"schedule: panels holds {operand!r}; allowed: {', '.join(PANELS)}")
    for knob, value, allowed in (
        ("code", schedule.code, context.code),
        ("split", schedule.split, SPLITS),
        ("strides", schedule.strides, STRIDES if context.cores > 1 else STRIDES[:1]),
        ("residual", schedule.residual, ("separate", "fused")),
        ("tiles > 0", schedule.tiles > 0, (False, True) if context.far else (False,)),
        ("attention.outer", a.outer, ("heads", "rows")),
        ("attention.query", a.query, ("ahead", "rows")),
        ("attention.output", a.output, ("after", "rows", "accumulate")),
    ):
        if value not in allowed:
            raise ValueError(f"schedule: {knob} = {value!r}; allowed: {', '.join(map(str, allowed))}")
    place.preferences(schedule.place, {}, context.regions)
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


def _can_serve(kernel: Kernel, models: Sequence[Model], linears: Mapping[str, int]) -> bool:
    """False when a variant of probs or attend is made for other sizes than those of any attention of the models, or one of
    linear is worth nothing to them."""
    family, easy = family_of(kernel.op), {"bound": 1, "mult": 1, "half": 2, "steps": 1}
    if family == "linear":
        return kernel.worth.evaluate(linears) != 0
    if family not in ("probs", "attend"):
        return True
    blocks = [(model, block) for model in models for block in attention_blocks(model)]
    found = [facts_of(model, block.probs if family == "probs" else block.attend) for model, block in blocks]
    return not found or any(kernel.serves(easy | {size: facts[size] for size in "nk"}) for facts in found)


def _linears(models: Sequence[Model]) -> dict[str, int]:
    """depth: the least that a linear call may have, a head's share of W_O included; bound: of the largest sum."""
    linears = [(model, op) for model in models for op in model.ops if op.kind == "linear"]
    depths = [model.tensors[op.inputs[0]].shape[1] for model, op in linears]
    depths += [
        facts_of(model, b.attend)["n"] for model in models for b in attention_blocks(model) if b.output is not None
    ]
    bounds = [facts_of(model, op)["bound"] for model, op in linears]
    return {"depth": min(depths, default=0), "bound": max(bounds, default=0)}


def _own(kernels: Sequence[Kernel], target: Target) -> list[Kernel]:
    """Of a cluster what is written for its instruction set where that has a kernel for the op: portable code takes several
    times the cycles and saves little but scratch, which calls of a region share, whatever their family. Of another core
    portable code and, of the assembly, what is written in the order of that core where it has the op in that layout."""
    if target.is_cluster:
        made = {kernel.op for kernel in kernels if kernel.isa == target.isa}
        return [kernel for kernel in kernels if kernel.op not in made or kernel.isa == target.isa]
    ordered = {(kernel.op, kernel.layout) for kernel in kernels if kernel.isa == target.isa and kernel.layout}
    return [k for k in kernels if k.isa in ("any", target.isa) or (k.op, k.layout) not in ordered]


def _variants(family: str, kernels: Sequence[Kernel]) -> tuple[str, ...]:
    """The variants of a family, "ref" first, then in the order of the manifest."""
    found = {k.name.removeprefix(k.op + "_"): None for k in kernels if family_of(k.op) == family}
    return tuple(sorted(found, key=lambda variant: variant != "ref"))


def _widths(models: Mapping[str, Model]) -> dict[str, tuple[int, ...]]:
    """form -> the head widths whose tiles must start at a column group: scores and values."""
    widths = {}
    for form, model in models.items():
        blocks = attention_blocks(model)
        found = {
            model.tensors[op.outputs[0]].shape[1] // block.probs.integer("heads")
            for block in blocks
            for op in (block.query, block.key)
            if op is not None
        }
        widths[form] = tuple(sorted(found))
    return widths


def build_space(models: Mapping[str, Model], target: Target, kernels: Mapping[str, Kernel]) -> Space:
    """The space over the given int8 models, one per admitted form, in the order given."""
    model = next(iter(models.values()))
    attentions, pairs = attention_blocks(model), feed_forward_blocks(model)
    forms = tuple(models.values())
    linears = _linears(forms)
    known = [k for k in kernels.values() if runs_on(k, target.isa) and _can_serve(k, forms, linears)]
    products = {(family_of(k.op), k.name.removeprefix(k.op + "_")): k for k in known if k.layout}
    tokens, width = model.tensors[attentions[0].input if attentions else model.input].shape
    context = Context(
        tokens=tokens,
        width=width,
        heads=attentions[0].probs.integer("heads") if attentions else 1,
        hidden=model.tensors[pairs[0].up.outputs[0]].shape[1] if pairs else 0,
        forms=tuple(models),
        variants={family: _variants(family, _own(known, target)) for family in FAMILIES},
        layouts={variant: k.layout for variant, k in products.items()},
        aligns={variant: k.align for variant, k in products.items()},
        widths=_widths(models),
        has_residual=any(op.kind == "add" and len(op.inputs) == 2 for op in model.ops),
        regions=tuple(region.name for region in target.near()),
        far=far.name if (far := target.far()) else "",
        near_bytes=target.near()[0].size_bytes,
        cores=target.cores,
        code=("flash", *((region.name,) if (region := target.code()) else ())),
        has_attention=bool(attentions),
    )
    return Space(context, tuple((knob.name, knob.choices(context)) for knob in KNOBS))
