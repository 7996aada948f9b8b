"""A run in a notebook: its verdict, and its ladder with the confidence intervals drawn.

Colours come from the notebook's own theme (currentColor), so that it reads on light and on dark.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loratory.api.scores import Score
    from loratory.evaluation.table_cells import TableColumn

CELL = "padding:0.25em 0.75em;white-space:nowrap"
CHART_WIDTH, CHART_HEIGHT = 160, 14  # pixels of a drawn interval
ACCENT = "#2a78d6"  # of the recommended contender: readable on white and on black


def render_run(ladder: Mapping[str, Any], report: str) -> str:
    """The verdict, the ladder, and where the report is."""
    where = f"<p>Report: <code>{html.escape(report)}</code></p>"
    return render_verdict(ladder["verdict"]) + render_ladder(ladder) + where


def render_verdict(verdict: Mapping[str, Any]) -> str:
    """The headline, warnings, and the reasons folded away."""
    warnings = "".join(f"<li><b>Warning:</b> {html.escape(one)}</li>" for one in verdict["warnings"])
    reasons = "".join(f"<li>{html.escape(one)}</li>" for one in verdict["reason"])
    return (
        f'<p style="font-size:1.15em"><b>{html.escape(verdict["headline"])}</b></p>'
        + (f"<ul>{warnings}</ul>" if warnings else "")
        + (f"<details><summary>Why</summary><ul>{reasons}</ul></details>" if reasons else "")
    )


def render_ladder(ladder: Mapping[str, Any]) -> str:
    """The ladder as a table; the headline's interval is drawn on one scale for all contenders."""
    from loratory.evaluation.table_cells import format_confidence, select_columns

    columns = select_columns(ladder)
    scale = _find_scale(ladder)
    heads = "".join(
        f'<th style="{CELL};text-align:{"right" if column.number else "left"}">{html.escape(column.title)}</th>'
        + (f'<th style="{CELL};text-align:left">{_format_scale(scale)}</th>' if column.key == "headline" else "")
        for column in columns
    )
    rows = "".join(_render_row(ladder, row, columns, scale) for row in ladder["contenders"])
    confidence = format_confidence(ladder["evidence"]["confidence"])
    caption = html.escape(f"{ladder['name']}: mean over seeds [{confidence} interval]; * recommended")
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;padding:0.25em 0.75em">{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def render_scores(scores: Mapping[str, Score], n: int) -> str:
    """Scores with their intervals."""
    rows = "".join(
        f'<tr><td style="{CELL};text-align:left">{html.escape(name)}</td>'
        f'<td style="{CELL};text-align:right">{score.value:.4f}</td>'
        f'<td style="{CELL};text-align:left">{_format_interval(score)}</td></tr>'
        for name, score in scores.items()
    )
    return f"<table><tbody>{rows}</tbody></table><p>{n:,} examples</p>"


def render_lines(lines: Sequence[str], warnings: Sequence[str]) -> str:
    """What a check found, warnings first."""
    told = "".join(f"<li><b>Warning:</b> {html.escape(one)}</li>" for one in warnings)
    return f"<ul>{told}</ul><pre>{html.escape(chr(10).join(lines))}</pre>"


def _render_row(
    ladder: Mapping[str, Any], row: Mapping[str, Any], columns: Sequence[TableColumn], scale: tuple[float, float]
) -> str:
    from loratory.evaluation.table_cells import build_cells

    cells = build_cells(ladder, row)
    best = row["name"] == ladder["verdict"]["recommended"]
    made = ""
    for column in columns:
        align = "right" if column.number else "left"
        made += f'<td style="{CELL};text-align:{align}">{html.escape(cells[column.key])}</td>'
        if column.key == "headline":
            drawn = _draw_interval(row.get("metrics", {}).get(ladder["headline"]), scale, best)
            made += f'<td style="{CELL};text-align:left">{drawn}</td>'
    weight = ' style="font-weight:bold"' if best else ""
    return f"<tr{weight}>{made}</tr>"


def _find_scale(ladder: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest and the highest bound of the headline, a little room beside them."""
    found = [row["metrics"][ladder["headline"]] for row in ladder["contenders"] if row["status"] == "fitted"]
    bounds = [bound for one in found for bound in (one.get("low", one["mean"]), one.get("high", one["mean"]))]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _format_scale(scale: tuple[float, float]) -> str:
    low, high = scale
    inner = f"<span>{100 * max(low, 0):.0f}</span><span>{100 * min(high, 1):.0f}</span>"
    return (
        f'<span style="display:inline-flex;width:{CHART_WIDTH}px;justify-content:space-between;font-weight:normal">'
        f"{inner}</span>"
    )


def _draw_interval(score: Mapping[str, Any] | None, scale: tuple[float, float], best: bool) -> str:
    """A dot at the mean, and a line from the lower to the upper bound."""
    if score is None:
        return ""
    low, high = scale
    bounds = (score.get("low", score["mean"]), score.get("high", score["mean"]), score["mean"])
    left, right, dot = ((value - low) / (high - low) * CHART_WIDTH for value in bounds)
    middle, colour = CHART_HEIGHT / 2, ACCENT if best else "currentColor"
    label = html.escape(f"{100 * score['mean']:.1f}, from {100 * score.get('low', score['mean']):.1f}")
    return (
        f'<svg role="img" aria-label="{label}" width="{CHART_WIDTH}" height="{CHART_HEIGHT}" '
        f'style="color:inherit;vertical-align:middle"><line x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" '
        f'y2="{middle}" stroke="{colour}" stroke-width="2"/><circle cx="{dot:.1f}" cy="{middle}" r="4" '
        f'fill="{colour}"/></svg>'
    )


def _format_interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"[{score.low:.4f}, {score.high:.4f}]"
