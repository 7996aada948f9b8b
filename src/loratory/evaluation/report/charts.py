"""The report's charts, each an inline SVG string with its alternative text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from loratory.evaluation.contender_result import ContenderResult
from loratory.evaluation.report.svg_export import (
    BACKGROUND,
    FOREGROUND,
    GRID,
    MARKERS,
    MUTED,
    SERIES_COLOURS,
    get_colour,
    get_line_style,
    open_figure,
    render_svg,
)
from loratory.evaluation.statistics.bootstrap import Floats
from loratory.evaluation.statistics.calibration import (
    ConfidenceSample,
    build_confusion_matrix,
    build_reliability_curve,
    compute_risk_coverage,
    normalise_rows,
)
from loratory.evaluation.table_cells import format_milliseconds
from loratory.protocols import Labelled, ScoredPredictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
CHART_WIDTH = 5.4  # inches: near its natural size on a phone, two side by side on a desk


def draw_seed_spread(rows: Sequence[Row], headline: str, recommended: str | None) -> str:
    """Each contender's interval, its seeds and the fit that ships; the simplest on top."""
    with open_figure("spread", CHART_WIDTH, max(0.75 + 0.34 * len(rows), 3.0)) as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            score, shade = row["metrics"][headline], SERIES_COLOURS[0] if row["name"] == recommended else MUTED
            seeds = [100 * value for value in score["seeds"]]
            axes.plot(
                [100 * score["low"], 100 * score["high"]],
                [place, place],
                color=shade,
                lw=5,
                alpha=0.3,
                solid_capstyle="round",
            )
            axes.plot(seeds, [place] * len(seeds), "o", color=shade, ms=3.6)
            axes.plot(100 * score["shipped"]["value"], place, "D", ms=6.5, mfc="none", mec=shade, mew=1.3)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"{headline} on the test set, %")
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        said = "; ".join(f"{row['name']} {100 * row['metrics'][headline]['mean']:.1f} %" for row in rows)
        return render_svg(figure, "spread", f"{headline} of each contender with its interval and seeds: {said}")


def draw_latency(rows: Sequence[Row], headline: str, recommended: str | None) -> str:
    """The headline score against the time for one text."""
    rows = [row for row in rows if row["latency_ms"].get("p50")]
    if not rows:
        return ""
    with open_figure("latency", CHART_WIDTH, 3.7) as figure:
        axes = figure.subplots()
        spots = [(row["latency_ms"]["p50"], 100 * row["metrics"][headline]["mean"]) for row in rows]
        axes.set_xscale("log")
        for place, (row, (x, y)) in enumerate(zip(rows, spots, strict=True)):
            score = row["metrics"][headline]
            axes.plot([x, x], [100 * score["low"], 100 * score["high"]], color=get_colour(place), lw=1.4, alpha=0.5)
            axes.plot(x, y, MARKERS[place % len(MARKERS)], color=get_colour(place), ms=6.5)
        middle = float(np.sqrt(min(x for x, _ in spots) * max(x for x, _ in spots)))
        names = [row["name"] for row in rows]
        _label_line_ends(axes, [end for end in zip(names, spots, strict=True) if end[1][0] >= middle], recommended)
        for name, (x, y) in zip(names, spots, strict=True):
            if x < middle:
                axes.annotate(
                    name,
                    (x, y),
                    (8, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    weight="bold" if name == recommended else "normal",
                )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set_xlabel("milliseconds for one text, median (log scale)")
        axes.set_ylabel(f"{headline}, %")
        told = zip(rows, spots, strict=True)
        said = "; ".join(f"{row['name']} {format_milliseconds(x)} ms, {y:.1f} %" for row, (x, y) in told)
        return render_svg(figure, "latency", f"{headline} against latency: {said}")


def _label_line_ends(axes: Axes, ends: Sequence[tuple[str, tuple[float, float]]], recommended: str | None) -> None:
    """Names beside the right edge, each at the height of its point, or as near as the others allow."""
    low, high = axes.get_ylim()
    heights = _space_labels([y for _, (_, y) in ends], 0.055 * (high - low))
    for (name, spot), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            spot,
            (1.03, height),
            xycoords="data",
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            textcoords=axes.get_yaxis_transform(),
            weight="bold" if name == recommended else "normal",
            arrowprops={"arrowstyle": "-", "color": GRID, "lw": 0.8, "shrinkA": 0, "shrinkB": 3},
        )
    axes.set_ylim(low, high)


def _space_labels(heights: Sequence[float], gap: float) -> list[float]:
    """The heights of text, moved just so far that no two are nearer than `gap`."""
    placed = np.array(heights, dtype=float)
    order = np.argsort(placed)
    for _ in range(200):
        for low, high in pairwise(order):
            short = gap - (placed[high] - placed[low])
            if short > 0:
                placed[low] -= short / 2
                placed[high] += short / 2
    return [float(value) for value in placed]


def draw_reliability(sample: ConfidenceSample, name: str, error: float, chance: float) -> str:
    """The share right against confidence, a point for each bin."""
    points = build_reliability_curve(sample)
    with open_figure("reliability", CHART_WIDTH, 3.7) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        axes.vlines(
            [p["confidence"] for p in points],
            [p["confidence"] for p in points],
            [p["right"] for p in points],
            color=SERIES_COLOURS[0],
            lw=1.5,
            alpha=0.5,
        )
        axes.plot([p["confidence"] for p in points], [p["right"] for p in points], "o", color=SERIES_COLOURS[0], ms=5.5)
        axes.set(xlabel="confidence, mean of the bin", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.03))
        axes.text(0.03, 0.97, f"ECE {error:.3f}\nby chance {chance:.3f}", transform=axes.transAxes, va="top")
        said = f"{len(points)} bins; calibration error {error:.3f}, by chance alone {chance:.3f}"
        return render_svg(figure, "reliability", f"Reliability of {name}, share right against confidence: {said}")


def draw_risk_coverage(
    outcomes: Mapping[str, ScoredPredictions], places: Mapping[str, int], recommended: str | None
) -> str:
    """The share wrong among the most confident part, for every coverage."""
    with open_figure("risk", CHART_WIDTH, 3.7) as figure:
        axes, ends = figure.subplots(), []
        for name, outcome in outcomes.items():
            coverage, wrong = _thin_curve(*compute_risk_coverage(outcome))
            axes.plot(
                100 * coverage,
                100 * wrong,
                get_line_style(places[name]),
                color=get_colour(places[name]),
                lw=2.4 if name == recommended else 1.2,
            )
            ends.append((name, (100.0, 100 * float(wrong[-1]))))
        axes.set(
            xlabel="coverage: share of answers, the most confident first, %",
            ylabel="risk: wrong among these, %",
            xlim=(0, 101),
        )
        axes.set_ylim(bottom=0)
        _label_line_ends(axes, ends, recommended)
        return render_svg(figure, "risk", f"Share wrong against coverage for {', '.join(outcomes)}")


def _thin_curve(coverage: Floats, wrong: Floats, max_points: int = 160) -> tuple[Floats, Floats]:
    start = max(len(coverage) // 50, 1) - 1  # among the first few a single mistake is all noise
    places = np.unique(np.linspace(start, len(coverage) - 1, max_points).astype(int))
    return coverage[places], wrong[places]


def draw_learning_curves(results: Sequence[ContenderResult], places: Mapping[str, int]) -> list[str]:
    """Training loss and validation score by epoch, a line for each seed; nothing where nothing has epochs."""
    trained = [one for one in results if any(fit.facts.get("history") for fit in one.fits)]
    if not trained:
        return []
    return [
        _draw_curves(trained, places, "loss", "training loss"),
        _draw_curves(trained, places, "score", "validation score"),
    ]


def _draw_curves(trained: Sequence[ContenderResult], places: Mapping[str, int], key: str, title: str) -> str:
    with open_figure(f"learning-{key}", CHART_WIDTH, 3.2) as figure:
        axes = figure.subplots()
        for one in trained:
            for number, fit in enumerate(one.fits):
                steps = [step for step in fit.facts.get("history", []) if step.get(key) is not None]
                axes.plot(
                    [step["epoch"] for step in steps],
                    [step[key] for step in steps],
                    get_line_style(places[one.name]),
                    color=get_colour(places[one.name]),
                    lw=2 if fit.seed == one.shipped_seed else 1,
                    alpha=1 if fit.seed == one.shipped_seed else 0.5,
                    label=one.name if number == 0 else None,
                    marker=".",
                    ms=4,
                )
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="best", handlelength=2.6)
        return render_svg(figure, f"learning-{key}", f"{title} by epoch for {', '.join(one.name for one in trained)}")


def draw_confusion_matrix(task: Labelled, outcome: ScoredPredictions, name: str) -> str:
    """The confusion matrix by row; only cells that occurred are drawn, so that 77 labels stay light and legible."""
    from matplotlib.patches import Rectangle

    counts, labels = build_confusion_matrix(task, outcome), list(task.labels or ())
    columns = len(labels) + int(counts[:, -1].any())
    shares, many = normalise_rows(counts)[:, :columns], len(labels) > 15
    inches = 0.145 * columns + 2.4 if many else 0.62 * columns + 1.8
    titles: dict[str, str] = {}
    with open_figure("confusion", inches, inches * (1 if many else 0.8)) as figure:
        axes = figure.subplots()
        for i, j in np.argwhere(counts[:, :columns] > 0).tolist():
            gid, answered = f"cell-{i}-{j}", labels[j] if j < len(labels) else "no answer"
            titles[gid] = f"{labels[i]} answered as {answered}: {counts[i, j]:.0f} ({shares[i, j]:.0%})"
            shade = SERIES_COLOURS[0] if i == j else SERIES_COLOURS[1]
            axes.add_patch(Rectangle((j, i), 1, 1, fc=shade, alpha=0.2 + 0.8 * shares[i, j], ec="none", gid=gid))
            if not many:
                axes.text(
                    j + 0.5,
                    i + 0.5,
                    f"{100 * shares[i, j]:.0f}\n({counts[i, j]:.0f})",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=BACKGROUND if shares[i, j] > 0.55 else FOREGROUND,
                )
        _label_axes(axes, labels, [*labels, "no answer"][:columns], 6.5 if many else 8.5)
        said = f"{np.trace(counts):.0f} of {counts.sum():.0f} on the diagonal"
        return render_svg(figure, "confusion", f"Confusion matrix of {name} over {len(labels)} labels: {said}", titles)


def _label_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str], size: float) -> None:
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xlabel="answered", ylabel="expected")
    crowded = max(map(len, columns)) > 9 or len(columns) > 8
    turned: Any = {"rotation": 90} if len(columns) > 15 else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=size, **(turned if crowded else {}))
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=size)
    axes.grid(False)
    axes.hlines(np.arange(len(rows) + 1), 0, len(columns), color=GRID, lw=0.4)
    axes.vlines(np.arange(len(columns) + 1), 0, len(rows), color=GRID, lw=0.4)
    for spine in axes.spines.values():
        spine.set_visible(False)
