"""Figures and a front -> one self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from dse.pareto import Point
from dse.report import Figures, count

STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.15em .9em;text-align:right}
th{border-bottom:1px solid #999}td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#f4f5f7}
p{color:#555}"""
TOTALS = (
    ("cycles", "cycles", "{:,.0f}"),
    ("instructions", "instructions", "{:,.0f}"),
    ("MAC per cycle", "mac_per_cycle", "{:.3f}"),
    ("latency", "latency_ms", "{:,.3f} ms"),
    ("energy", "energy_uj", "{:,.1f} µJ"),
    ("arena", "arena_bytes", "{:,.0f} B"),
    ("flash", "flash_bytes", "{:,.0f} B"),
    ("weights in it", "weight_bytes", "{:,.0f} B"),
    ("stack", "stack_bytes", "{:,.0f} B"),
)


def html_page(title: str, predicted: Figures, executed: Figures | None, points: Sequence[Point]) -> str:
    """A page with the verdict, totals, cycles and memory by stage, the stages as a table, and the front."""
    parts = [f"<h1>{html.escape(title)}</h1>", _verdict(executed, points), _totals(predicted, executed)]
    parts += [_cycles(predicted, executed), _memory(predicted)]
    if len(points) > 1:
        parts.append(_front(points))
    parts += ["<h2>Stages</h2>", _stages(predicted, executed)]
    head = f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return head + "\n".join(parts)


def _verdict(executed: Figures | None, points: Sequence[Point]) -> str:
    lines = [f"Schedule: {points[0].schedule.describe()}."] if points else []
    if executed:
        proof = "bit-exact" if executed["bit_exact"] else "NOT bit-exact"
        canaries = "canaries intact" if executed["canaries_intact"] else "CANARIES OVERWRITTEN"
        lines.append(
            f"{executed['device']}; {executed['toolchain']}; {executed['samples']} samples {proof}, {canaries}."
        )
        lines += [f"Accuracy {name}: {100 * value:.1f} %." for name, value in executed["accuracy"].items()]
    return f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _totals(predicted: Figures, executed: Figures | None) -> str:
    def cell(figures: Figures | None, key: str, form: str) -> str:
        value = (figures or {}).get(key)
        return "–" if value is None else form.format(value)

    rows = [(label, cell(predicted, key, form), cell(executed, key, form)) for label, key, form in TOTALS]
    return _table(("", "predicted", "executed"), rows)


def _stages(predicted: Figures, executed: Figures | None) -> str:
    runs = executed["stages"] if executed else [None] * len(predicted["stages"])
    rows = []
    for stage, run in zip(predicted["stages"], runs, strict=True):
        cycles = run["cycles"] if run else stage["cycles"]
        error = f"{100 * (stage['cycles'] - cycles) / cycles:+.1f} %" if run and cycles else "–"
        speed = f"{stage['macs'] / cycles:.3f}" if stage["macs"] and cycles else "–"
        numbers = (count(stage["cycles"]), count(run["cycles"] if run else None), error, count(stage["macs"]), speed)
        row = (stage["name"], ", ".join(stage["kernels"]), *numbers, count(stage["moved_bytes"]))
        rows.append((*row, count(stage["peak_bytes"])))
    head = ("stage", "kernels", "predicted", "executed", "error", "MACs", "MAC/cycle", "bytes moved", "peak B")
    return _table(head, rows)


def _chart(figure: Any, title: str, with_library: bool = False) -> str:
    figure.update_layout(title=title, template="plotly_white", height=420, margin={"t": 60, "b": 110})
    library = "inline" if with_library else False
    return str(figure.to_html(full_html=False, include_plotlyjs=library, config={"displayModeBar": False}))


def _cycles(predicted: Figures, executed: Figures | None) -> str:
    import plotly.graph_objects as go

    names = [stage["name"] for stage in predicted["stages"]]
    series = [("predicted", predicted, "#9db7d5"), *([("executed", executed, "#1f4e8c")] if executed else [])]
    bars = [
        go.Bar(name=name, x=names, y=[stage["cycles"] for stage in figures["stages"]], marker_color=colour)
        for name, figures, colour in series
    ]
    figure = go.Figure(bars).update_layout(barmode="group", yaxis_title="cycles")
    return _chart(figure, "Cycles by stage", with_library=True)


def _memory(predicted: Figures) -> str:
    import plotly.graph_objects as go

    stages = predicted["stages"]
    bars = go.Bar(x=[s["name"] for s in stages], y=[s["peak_bytes"] for s in stages], marker_color="#6f9f6f")
    figure = go.Figure(bars).update_layout(yaxis_title="bytes alive at most")
    arena = predicted["arena_bytes"]
    figure.add_hline(arena, line_dash="dot", annotation_text=f"arena {arena:,} B", annotation_position="top left")
    return _chart(figure, "Memory by stage")


def _front(points: Sequence[Point]) -> str:
    import plotly.graph_objects as go

    line = go.Scatter(
        x=[point.cost.arena_bytes for point in points],
        y=[point.cost.cycles for point in points],
        mode="lines+markers",
        line_shape="hv",
        text=[point.schedule.describe() for point in points],
    )
    figure = go.Figure(line).update_layout(xaxis_title="arena bytes", yaxis_title="cycles")
    return _chart(figure, "Latency against memory: the front")
