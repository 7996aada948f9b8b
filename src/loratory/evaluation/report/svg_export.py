"""How matplotlib's figures become SVG that lives inside a page: text stays text, and colours are the page's own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from loratory.errors import make_missing_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOREGROUND, MUTED, GRID, BACKGROUND = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
)  # stand for CSS variables, see VARIABLES
SERIES_COLOURS = tuple(f"#0501{i:02x}" for i in range(8))
CSS_VARIABLES = {FOREGROUND: "ink", MUTED: "muted", GRID: "grid", BACKGROUND: "paper"} | {
    one: f"s{i}" for i, one in enumerate(SERIES_COLOURS)
}
LINE_STYLES = ("-", "--", ":", "-.")
MAX_PIXELS_PER_POINT = 1.4  # pixels to a point at most, so that text is alike in all charts
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

MATPLOTLIB_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": FOREGROUND,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.edgecolor": GRID,
    "xtick.labelcolor": FOREGROUND,
    "ytick.labelcolor": FOREGROUND,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "axes.unicode_minus": True,
}


@contextmanager
def open_figure(name: str, width: float, height: float) -> Iterator[Any]:
    """A matplotlib Figure of that size in inches; everything drawn, and turned to SVG, inside has our settings."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise make_missing_extra("matplotlib", "evaluation") from problem
    with matplotlib.rc_context({**MATPLOTLIB_SETTINGS, "svg.hashsalt": name}):
        yield Figure(figsize=(width, height), layout="constrained")


def get_colour(place: int) -> str:
    """The colour of the contender in that place of the ladder; told apart by marker and line style from eight on."""
    return SERIES_COLOURS[place % len(SERIES_COLOURS)]


def get_line_style(place: int) -> str:
    """The line style that goes with `colour`."""
    return LINE_STYLES[(place // len(SERIES_COLOURS) + place) % len(LINE_STYLES)]


def render_svg(figure: Figure, name: str, alt: str, titles: Mapping[str, str] | None = None) -> str:
    """The figure as an inline SVG element named by `alt`; a group whose gid is in `titles` gets that tooltip."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for gid, title in (titles or {}).items():
        text = text.replace(f'<g id="{gid}">', f"<g><title>{escape(title)}</title>", 1)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)  # of no use, and not unique in a page of many charts
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ((?:[a-z0-9]+ )*)([\d.]+)px [^;\"]*", r"font: \1\2px var(--font)", text)
    for sentinel, variable in CSS_VARIABLES.items():
        text = text.replace(sentinel, f"var(--{variable})")
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None  # matplotlib always writes one
    widest = f"max-width:{float(box[1].split()[2]) * MAX_PIXELS_PER_POINT / 16:.1f}rem"
    head = f'<svg class="chart" role="img" aria-label="{escape(alt)}" viewBox="{box[1]}" style="{widest}">'
    return head + text[text.index(">") + 1 :]
