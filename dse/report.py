"""Figures, fronts and budgets -> terminal tables."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from dse.cost import Cost, Overrun
from dse.explain import Waterfall
from dse.pareto import Point

Figures = Mapping[str, Any]


def count(value: float | None) -> str:
    """A number with thousands separators; a dash for None."""
    return "–" if value is None else f"{value:,.0f}".replace(",", " ")


def stage_table(predicted: Figures, executed: Figures | None) -> Table:
    """Stage, kernels and tile, predicted and executed cycles, MACs, bytes; then the totals' row."""
    table = Table(title=f"{predicted['model']} on {predicted['target']}", title_justify="left", header_style="bold")
    for name in ("stage", "kernels, tile"):
        table.add_column(name, overflow="fold")
    for name in ("predicted", "executed", "error", "MACs", "MAC/cycle", "bytes moved", "peak B"):
        table.add_column(name, justify="right")
    alike = not executed or executed["wait_states"] == predicted["wait_states"]  # or the error means nothing
    runs = executed["stages"] if executed else [None] * len(predicted["stages"])
    for stage, run in zip(predicted["stages"], runs, strict=True):
        tile = ", ".join(f"{variable} {step}" for variable, step in stage["tile"].items())
        table.add_row(
            stage["name"], "\n".join([*stage["kernels"], *([tile] if tile else [])]), *_numbers(stage, run, alike)
        )
    table.add_section()
    moved = sum(stage["moved_bytes"] for stage in predicted["stages"])
    table.add_row("total", "", *_numbers({**predicted, "moved_bytes": moved, "peak_bytes": None}, executed, alike))
    return table


def _numbers(row: Figures, run: Figures | None, alike: bool) -> list[str]:
    cycles = run["cycles"] if run else None
    error = f"{100 * (row['cycles'] - cycles) / cycles:+.1f} %" if cycles and alike else "–"
    speed = f"{row['macs'] / (cycles or row['cycles']):.3f}" if row["macs"] else "–"
    figures = (count(row["cycles"]), count(cycles), error, count(row["macs"]), speed)
    return [*figures, count(row["moved_bytes"]), count(row["peak_bytes"])]


def totals_table(predicted: Figures, executed: Figures | None, forms: Sequence[Mapping[str, Any]]) -> Table:
    """Latency, energy, sizes, bit-exactness, accuracy: predicted beside executed."""
    table = Table(show_header=True, header_style="bold")
    table.add_column("total")
    table.add_column("predicted", justify="right")
    table.add_column("executed", justify="right")
    run = executed or {}
    clock = f"{predicted['clock_hz'] / 1e6:g} MHz, {predicted['supply_volts']:g} V"
    table.add_row("operating point", clock, f"{run.get('wait_states', predicted['wait_states'])} wait states")
    table.add_row("cycles between", count(predicted["cycles_low"]), f"and {count(predicted['cycles_high'])}")
    if beyond := predicted.get("outside_calibration"):
        table.add_row("calls outside the calibration", str(len(beyond)), beyond[0])
    if predicted["calibration"] != predicted["target"]:
        table.add_row("priced with the calibration of", predicted["calibration"], "")
    for label, key, unit in (("latency", "latency_ms", "ms"), ("energy", "energy_uj", "µJ")):
        table.add_row(label, f"{predicted[key]:,.3f} {unit}", f"{run[key]:,.3f} {unit}" if run else "–")
    if predicted["access_uj"]:
        table.add_row("  of it, accesses to memories", f"{predicted['access_uj']:,.3f} µJ", "")
    for label, key in (("arena", "arena_bytes"), ("flash", "flash_bytes"), ("stack", "stack_bytes")):
        table.add_row(label, f"{count(predicted[key])} B", f"{count(run.get(key))} B")
    if external := predicted.get("external_bytes"):
        table.add_row("external memory", f"{count(external)} B", "")
    for region in predicted["peak_bytes"]:
        size = run.get("peak_bytes", {}).get(region)
        table.add_row(f"  {region}", f"{count(predicted['peak_bytes'][region])} B", f"{count(size)} B")
    if run:
        samples = f"{run['samples']} sample{'s' if run['samples'] != 1 else ''}"
        if run.get("copy_wait_cycles"):
            share = run["copy_wait_cycles"] / run["cycles"]
            table.add_row("waiting for copies", "", f"{count(run['copy_wait_cycles'])} cycles, {100 * share:.1f} %")
        table.add_row("bit-exact", "", f"{'yes' if run['bit_exact'] else 'NO'} ({samples})")
        for name, value in run["accuracy"].items():
            table.add_row(f"accuracy {name}", "", f"{100 * value:.1f} %")
    if predicted.get("certificate"):
        table.add_row(f"{predicted['certificate']['objective']} proved", predicted["certificate"]["verdict"], "")
    for form in forms:
        verdict = "admitted" if form["admitted"] else "not admitted"
        table.add_row(f"form {form['form']}", f"{form['sqnr_db']:.1f} dB", verdict)
    return table


def certificate_line(proof: Figures) -> str:
    """What a search proved, in one line."""
    return (
        f"{proof['objective']} {proof['verdict']}: all {count(proof['schedules'])} schedules priced by their parts, "
        f"{count(proof['priced'])} of them placed as a whole"
        if proof["lower_bound"] > 0
        else f"{proof['objective']} not proved: {count(proof['schedules'])} schedules seen; more --trials see all"
    )


def front_table(points: Sequence[Point], title: str) -> Table:
    """One row a schedule of the front."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("cycles", "arena B", "flash B", "energy µJ"):
        table.add_column(name, justify="right")
    table.add_column("schedule")
    for point in points:
        table.add_row(*_point_numbers(point.cost), point.schedule.describe())
    return table


def waterfall_table(fall: Waterfall) -> Table:
    """One row a step, in the order of the network."""
    table = Table(title=fall.title, title_justify="left", header_style="bold")
    table.add_column("piece")
    table.add_column("change", justify="right")
    table.add_column("then", justify="right")
    total = fall.first
    table.add_row("first schedule", "", count(total))
    for step in fall.steps:
        total += step.change
        table.add_row(step.name, f"{'+' if step.change > 0 else '−'}{count(abs(step.change))}", count(total))
    table.add_row("second schedule", "", count(fall.last))
    return table


def waterfall_page(title: str, falls: Sequence[Waterfall]) -> str:
    """A self-contained page with one waterfall chart a quantity."""
    import plotly.graph_objects as go

    charts: list[str] = []
    for fall in falls:
        names = ["first", *(step.name for step in fall.steps), "second"]
        kinds = ["absolute", *["relative"] * len(fall.steps), "total"]
        bars = go.Waterfall(x=names, measure=kinds, y=[fall.first, *(step.change for step in fall.steps), fall.last])
        figure = go.Figure(bars).update_layout(title=fall.title)
        charts.append(figure.to_html(full_html=False, include_plotlyjs="inline" if not charts else False))
    head = f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>"
    return head + "".join(charts)


def budget_table(rows: Sequence[Mapping[str, Any]], clock_hz: int, title: str) -> Table:
    """One row a RAM budget: the best schedule within it."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("RAM budget B", "cycles", "latency ms", "arena B"):
        table.add_column(name, justify="right")
    table.add_column("schedule")
    for row in rows:
        cycles = row["cycles"]
        latency = "–" if cycles is None else f"{1e3 * cycles / clock_hz:.3f}"
        text = row.get("schedule", "nothing fits")
        table.add_row(count(row["ram_bytes"]), count(cycles), latency, count(row["arena_bytes"]), text)
    return table


def _point_numbers(cost: Cost) -> tuple[str, ...]:
    return (count(cost.cycles), count(cost.arena_bytes), count(cost.flash_bytes), f"{1e6 * cost.energy_joules:,.1f}")


def overrun_lines(
    name: str, overruns: Sequence[Overrun], nearest: Point, stage: str, alive: Sequence[tuple[str, int]], pinned: bool
) -> list[str]:
    """Why nothing fits, in at most eight lines: demand, what is alive at the peak, and the levers."""
    lines = [f"{name}: no schedule fits"]
    lines += [
        f"  {over.region}: the best schedule needs {over.demand_bytes} {over.unit}, {over.capacity_bytes} {over.unit} are"
        f" allowed ({over.excess_bytes} {over.unit} too many)"
        for over in overruns
    ]
    lines.append(f"  best schedule: {nearest.schedule.describe()}")
    shown = ", ".join(f"{buffer} {size} B" for buffer, size in alive[:6])
    more = f", {len(alive) - 6} more" if len(alive) > 6 else ""
    lines.append(f"  alive at the peak (stage {stage}): {shown}{more}")
    asked = [o for o in overruns if o.region in ("ram", "flash")]
    helps = ["other forms (drop --form)"] if pinned else []
    helps += [f"--{over.region} {-(-over.demand_bytes // 1024)}K or more" for over in asked]
    helps.append("fewer tokens, heads or channels, or a target with more memory")
    lines.append(f"  what would help: {'; '.join(helps)}")
    return lines
