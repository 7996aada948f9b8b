"""The report's chart of a run under stress: a bar for each perturbation and contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.report.svg_export import FOREGROUND, get_colour, open_figure, render_svg

CHART_WIDTH = 8.6  # inches: it has a row of the page to itself
BarValues = tuple[float, float, float]  # value and interval, in percent


def draw_stress_chart(rows: Sequence[Mapping[str, Any]], places: Mapping[str, int]) -> str:
    """Share of answers that change, or of spans the change of the score, with intervals; nothing without stress."""
    rows = [row for row in rows if row.get("stress")]
    found = {
        row["name"]: {one["name"]: facts for one in row["stress"] if (facts := _get_bar_values(one))} for row in rows
    }
    names = _sort_perturbations(found)
    if not names:
        return ""
    flips = any(one.get("flips") for row in rows for one in row["stress"])
    thick = 0.8 / len(found)
    with open_figure(
        "stress", CHART_WIDTH, max(1.0 + 0.15 * len(found) * len(names) + 0.14 * len(names), 2.6)
    ) as figure:
        axes = figure.subplots()
        for number, (contender, of) in enumerate(found.items()):
            spots = [(place, of[name]) for place, name in enumerate(names) if name in of]
            heights = [place - 0.4 + thick * (number + 0.5) for place, _ in spots]
            values = [value for _, (value, _, _) in spots]
            errors = [[v - low for _, (v, low, _) in spots], [high - v for _, (v, _, high) in spots]]
            shade = get_colour(places.get(contender, number))
            axes.barh(heights, values, 0.9 * thick, color=shade, label=contender)
            axes.errorbar(values, heights, xerr=errors, fmt="none", ecolor=FOREGROUND, elinewidth=0.9, alpha=0.65)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("answers that change, %" if flips else "change of the score, points")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        said = "; ".join(
            f"{contender}: {', '.join(f'{name} {facts[0]:.1f}' for name, facts in of.items())}"
            for contender, of in found.items()
        )
        return render_svg(figure, "stress", f"Under each perturbation, in percent. {said}")


def _get_bar_values(one: Mapping[str, Any]) -> BarValues | None:
    if flips := one.get("flips"):
        return 100 * flips["value"], 100 * flips["low"], 100 * flips["high"]
    if score := one["score"]:
        low, high = (min(score["low"], score["change"]), max(score["high"], score["change"]))
        return 100 * score["change"], 100 * low, 100 * high
    return None


def _sort_perturbations(found: Mapping[str, Mapping[str, BarValues]]) -> list[str]:
    """Perturbations, the one with the largest mean on top."""
    sums: dict[str, list[float]] = {}
    for of in found.values():
        for name, (value, _, _) in of.items():
            sums.setdefault(name, []).append(abs(value))
    return sorted(sums, key=lambda name: -sum(sums[name]) / len(sums[name]))
