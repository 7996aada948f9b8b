"""The report: one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from loratory.data.quality.quality_report import format_quality_lines as quality_lines
from loratory.errors import make_missing_extra
from loratory.evaluation import table_cells
from loratory.evaluation.contender_result import UNFITTED_STATUSES, ContenderResult
from loratory.evaluation.ladder import format_operating_lines
from loratory.evaluation.report import charts
from loratory.evaluation.report.glossary import build_glossary, find_term
from loratory.evaluation.report.key_facts import build_key_facts, name_score
from loratory.evaluation.report.next_commands import list_next_commands
from loratory.evaluation.report.stress_chart import draw_stress_chart
from loratory.evaluation.statistics.calibration import collect_confidences, find_confident_mistakes, find_confused_pairs
from loratory.protocols import JSON, Labelled, ScoredPredictions, Task

MAX_LISTED_EXAMPLES = 20  # rows of a list of examples
MAX_RIGHT_ANSWERS = 6  # rows of the list of right answers
FACT_NAMES: Mapping[str, str] = {"says": "in words", "tuned": "tuned option", "given": "files given"}
MAX_DRAWN_LABELS = 300  # of a confusion matrix: beyond them it takes minutes to draw and nobody can read it


def render_report(
    ladder: Mapping[str, Any],
    results: Sequence[ContenderResult],
    task: Task,
    quality: Mapping[str, JSON] | None,
    folder: Path | None = None,
) -> str:
    """The page for a ladder that `build_ladder` made from the same results; every user text is escaped.

    quality: what data.quality.inspect_data made, or None. folder: the run's, for the next commands; None: without them.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as problem:
        raise make_missing_extra("jinja2", "evaluation") from problem
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": _format_percent,
        "signed": _format_signed,
        "probability": _format_probability,
        "milliseconds": table_cells.format_milliseconds,
        "seconds": table_cells.format_seconds,
        "size": table_cells.format_bytes,
        "amount": table_cells.format_amount,
        "sure": table_cells.format_confidence,
        "capitalize_first": _capitalize_first,
    }
    template = environment.from_string(
        files("loratory.evaluation.report").joinpath("report.html.jinja").read_text("utf-8")
    )
    return template.render(
        **_collect_template_facts(ladder, quality or {}, folder), **_draw_charts(ladder, results, task)
    )


def _collect_template_facts(
    ladder: Mapping[str, Any], quality: Mapping[str, JSON], folder: Path | None
) -> dict[str, Any]:
    rows = ladder["contenders"]
    recommended = _find_recommended_row(ladder)
    suspects = quality.get("suspects") or {}
    return {
        "ladder": ladder,
        "verdict": ladder["verdict"],
        "headline": ladder["headline"],
        "score": name_score(ladder["headline"]),
        "recommended": recommended,
        "key_facts": build_key_facts(ladder, recommended),
        "commands": list_next_commands(folder, recommended["name"]) if folder and recommended else [],
        "glossary": build_glossary(ladder),
        "star": "best on validation" if ladder["verdict"]["case"] == "nothing-learnt" else "recommended",
        "heads": _link_columns(ladder),
        "rows": [(row, table_cells.build_cells(ladder, row)) for row in rows],
        "unfitted": [(row, UNFITTED_STATUSES[row["status"]]) for row in rows if row["status"] in UNFITTED_STATUSES],
        "labels": list((recommended or {}).get("metrics", {}).get("per_label", {}).items()),
        "operating": format_operating_lines(recommended) if recommended and recommended.get("operating") else [],
        "point": (recommended or {}).get("facts", {}).get("operating", {}),
        "stress": [_build_stress_row(row) for row in (recommended or {}).get("stress", [])],
        "suspects": (suspects.get("examples") or [])[:MAX_LISTED_EXAMPLES],
        "suspected": suspects.get("count", 0),
        "quality": quality_lines(quality) if quality else [],
        "split": _summarise_facts(ladder["split"]),
        "budget": _summarise_facts(ladder["budget"]),
    }


def _link_columns(ladder: Mapping[str, Any]) -> list[tuple[table_cells.TableColumn, str]]:
    """The columns of the ladder, each with its entry in the glossary; an empty id where it has none."""
    known = {entry.id for entry in build_glossary(ladder)}
    found = [(column, find_term(column.key, ladder["headline"])) for column in table_cells.select_columns(ladder)]
    return [(column, id if id in known else "") for column, id in found]


def _draw_charts(ladder: Mapping[str, Any], results: Sequence[ContenderResult], task: Task) -> dict[str, Any]:
    """The charts and lists of examples; empty strings and lists where there is nothing to show."""
    name, headline = ladder["verdict"]["recommended"], ladder["headline"]
    fitted = [row for row in ladder["contenders"] if row["status"] == "fitted"]
    by_name = {one.name: one for one in results if one.fits}
    drawn: dict[str, Any] = dict.fromkeys(("spread", "latency", "reliability", "risk", "confusion", "flips"), "")
    drawn |= {"learning": [], "pairs": [], "mistakes": [], "right": []}
    if name is None:
        return drawn
    places = {row["name"]: place for place, row in enumerate(fitted)}
    drawn |= {
        "spread": charts.draw_seed_spread(fitted, headline, name),
        "latency": charts.draw_latency(fitted, headline, name),
        "flips": draw_stress_chart(fitted, places),
        "learning": charts.draw_learning_curves(list(by_name.values()), places),
        **_draw_confidence_charts(ladder, by_name, places),
    }
    test = by_name[name].shipped_fit.test
    if isinstance(task, Labelled):
        drawn["pairs"] = find_confused_pairs(task, test)
        if len(task.labels or ()) <= MAX_DRAWN_LABELS:
            drawn["confusion"] = charts.draw_confusion_matrix(task, test, name)
    drawn["mistakes"] = [_format_example(row) for row in find_confident_mistakes(test)]
    drawn["right"] = [_format_example(row) for row in _find_right_answers(test)]
    return drawn


def _format_example(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{key: _format_value(row[key]) for key in ("input", "expected", "answer")}}


def _find_right_answers(test: ScoredPredictions) -> list[dict[str, Any]]:
    """The first right answer of each kind, in the order of the test set, with the keys of a confident mistake."""
    found: dict[str, dict[str, Any]] = {}
    for example, prediction, marks in zip(test.examples, test.predictions, test.counts, strict=True):
        kind = json.dumps(example.answer, sort_keys=True)
        if marks["reward"] < 1 - 1e-9 or prediction.answer is None or kind in found:
            continue
        found[kind] = {
            "origin": example.origin,
            "input": example.input,
            "expected": example.answer,
            "answer": prediction.answer,
            "confidence": prediction.confidence,
        }
        if len(found) == MAX_RIGHT_ANSWERS:
            break
    return list(found.values())


def _draw_confidence_charts(
    ladder: Mapping[str, Any], by_name: Mapping[str, ContenderResult], places: Mapping[str, int]
) -> dict[str, str]:
    name = ladder["verdict"]["recommended"]
    tests = {one: measured.shipped_fit.test for one, measured in by_name.items()}
    known = {one: test for one, test in tests.items() if collect_confidences(test) is not None}
    drawn = {"risk": charts.draw_risk_coverage(known, places, name)} if known else {}
    ship = collect_confidences(by_name[name].shipped_fit.test)
    score = (_find_recommended_row(ladder) or {})["metrics"].get("ece")
    if ship is not None and score is not None:
        drawn["reliability"] = charts.draw_reliability(ship, name, score["shipped"]["value"], score["chance"])
    return drawn


def _build_stress_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A perturbation for the page: the labels whose right answers turn wrong, the worst first, and its examples."""
    labels = [(label, facts["broken"]) for label, facts in row.get("labels", {}).items() if facts["broken"]["value"]]
    shown = [{**one, **{key: _format_value(one[key]) for key in ("before", "after")}} for one in row["examples"]]
    return {**row, "worst": sorted(labels, key=lambda label: -label[1]["value"])[:3], "examples": shown}


def _find_recommended_row(ladder: Mapping[str, Any]) -> Mapping[str, Any] | None:
    name = ladder["verdict"]["recommended"]
    return next((row for row in ladder["contenders"] if row["name"] == name), None)


def _format_value(value: JSON) -> str:
    """An input or answer as a person would write it: a single field without its name."""
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value.values())))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _summarise_facts(facts: Mapping[str, JSON]) -> list[tuple[str, str]]:
    """The facts that fit a line: numbers, short texts, and mappings of such."""
    found = []
    for key, value in facts.items():
        if isinstance(value, Mapping) and all(map(_is_plain, value.values())):
            said = ", ".join(
                f"{inner}{'=' if isinstance(one, str) else ' '}{_format_plain(one)}" for inner, one in value.items()
            )
        elif isinstance(value, list):
            said = f"{len(value)} listed" if value else ""
        else:
            said = _format_plain(value) if _is_plain(value) else ""
        if 0 < len(said) <= 160:
            found.append((FACT_NAMES.get(key, key.replace("_", " ")), said))
    return found


def _is_plain(value: JSON) -> bool:
    return isinstance(value, (int, float, str))


def _format_plain(value: JSON) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _format_percent(value: float | None) -> str:
    return table_cells.EMPTY_CELL if value is None else f"{100 * value:.1f}"


def _format_signed(value: float | None) -> str:
    return table_cells.EMPTY_CELL if value is None else f"{100 * value:+.1f}"


def _format_probability(value: float | None) -> str:
    if value is None:
        return table_cells.EMPTY_CELL
    return "<1e-9" if value < 1e-9 else f"{value:.1e}" if value < 0.0005 else f"{value:.3f}"
