"""The cells of the ladder's table, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class TableColumn:
    """A column."""

    key: str
    title: str
    number: bool = True


TABLE_COLUMNS = (
    TableColumn("name", "contender", False),
    TableColumn("headline", "headline"),
    TableColumn("macro_f1", "macro-F1"),
    TableColumn("f2", "F2"),
    TableColumn("leak_rate", "leaks"),
    TableColumn("surprise", "log-loss"),
    TableColumn("against", "vs best simpler"),
    TableColumn("p50", "p50 ms"),
    TableColumn("train", "train"),
    TableColumn("trained", "trained"),
    TableColumn("gate", "gate", False),
)
SCORE_COLUMNS = {
    "macro_f1": "macro_f1",
    "f2": "f2",
    "leak_rate": "leak_rate",
    "surprise": "log_loss",
}  # shown where there
EMPTY_CELL = "-"
SCORER_PREFIX = "scorer/"  # of the metrics that scorers gave


def select_columns(ladder: Mapping[str, Any]) -> list[TableColumn]:
    """The columns that a ladder has something to show in, the headline's under its own name."""
    gated = any(contender.get("gate") for contender in ladder["contenders"])
    scored = {name for contender in ladder["contenders"] for name in contender.get("metrics", ())}
    unknown = {key for key, name in SCORE_COLUMNS.items() if name not in scored}
    empty = {ladder["headline"]} | unknown | (set() if gated else {"gate"})  # macro-F1 is not shown twice
    named = [replace(head, title=ladder["headline"]) if head.key == "headline" else head for head in TABLE_COLUMNS]
    return [head for head in (*named, *_list_scorer_columns(ladder)) if head.key not in empty]


def _list_scorer_columns(ladder: Mapping[str, Any]) -> list[TableColumn]:
    """A column for each scorer of the run, by its name."""
    metrics = (contender.get("metrics", {}) for contender in ladder["contenders"])
    kinds = dict.fromkeys(key for each in metrics for key in each if key.startswith(SCORER_PREFIX))
    return [TableColumn(kind, kind.removeprefix(SCORER_PREFIX)) for kind in kinds]


def build_cells(ladder: Mapping[str, Any], contender: Mapping[str, Any]) -> dict[str, str]:
    """Column key -> text, for one contender."""
    name = contender["name"] + (" *" if contender["name"] == ladder["verdict"]["recommended"] else "")
    if contender["status"] != "fitted":
        empty = {head.key: EMPTY_CELL for head in (*TABLE_COLUMNS, *_list_scorer_columns(ladder))}
        return empty | {"name": name, "headline": contender["status"]}
    scores = contender["metrics"]
    return {
        "name": name,
        "headline": format_with_interval(scores[ladder["headline"]]),
        **{key: format_percent(scores, key) for key in ("macro_f1", "f2", "leak_rate")},
        "surprise": f"{scores['log_loss']['mean']:.3f}" if "log_loss" in scores else EMPTY_CELL,
        "against": format_against(ladder, contender["name"]),
        "p50": format_milliseconds(contender["latency_ms"].get("p50")),
        "train": format_seconds(contender["train_seconds"]),
        "trained": format_amount(contender["parameters"]["trained"]),
        **{head.key: format_percent(scores, head.key) for head in _list_scorer_columns(ladder)},
        "gate": EMPTY_CELL if not contender["gate"] else "passes" if contender["gate"]["holds"] else "fails",
    }


def format_with_interval(score: Mapping[str, Any]) -> str:
    """`92.3 [91.3, 93.2]`, in percent."""
    return f"{100 * score['mean']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def format_percent(scores: Mapping[str, Any], name: str) -> str:
    """The mean over seeds in percent."""
    return f"{100 * scores[name]['mean']:.1f}" if name in scores else EMPTY_CELL


def find_comparison(ladder: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The contender's comparison with the best simpler one; with the simplest where that is the same."""
    found = [row for row in ladder["comparisons"] if row["contender"] == name]
    return found[-1] if found else None


def format_against(ladder: Mapping[str, Any], name: str) -> str:
    """`+1.2 better`: points against the best simpler contender, and the decision."""
    row = find_comparison(ladder, name)
    if row is None:
        return EMPTY_CELL
    return f"{100 * row['difference']:+.1f} {'?' if row['decision'] == 'undecided' else row['decision']}"


def format_milliseconds(value: float | None) -> str:
    """Two figures that count."""
    if value is None:
        return EMPTY_CELL
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def format_seconds(value: float) -> str:
    """`0.4 s`, `38 s`, `12 min`, `3.4 h`."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def format_amount(value: int) -> str:
    """`0`, `950`, `29.6 k`, `22.7 M`, `1.1 G`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)


def format_bytes(value: int) -> str:
    """Bytes as kB or MB."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def format_points(share: float) -> str:
    """A share of 1 as percentage points in words."""
    words = {0.0: "no margin", 0.5: "half a point", 1.0: "one point", 2.0: "two points"}
    value = round(100 * share, 10)
    return words.get(value, f"{value:.1f} points")


def format_confidence(confidence: float) -> str:
    """`95%`, `97.5%`."""
    return f"{100 * confidence:g}%"


def join_names(names: Sequence[str], word: str) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " ".join((", ".join(names[:-1]), word, names[-1])) if len(names) > 1 else names[0]


def join_names_with_verb(names: Sequence[str]) -> str:
    """`a is`, `a and b are`."""
    return f"{join_names(names, 'and')} {'is' if len(names) == 1 else 'are'}"
