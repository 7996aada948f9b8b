"""Measures of labelled spans as additive counts: nervaluate's four ways of matching, words, and characters that leak.

Matching follows SemEval 2013 task 9.1, by nervaluate: strict (bounds and label), exact (bounds), partial (an overlap
counts half), type (label, with an overlap). Words are runs of letters and digits, or single other signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from loratory.errors import make_missing_extra
from loratory.measures.classification_metrics import CountValue, f1, ratio
from loratory.measures.ratios import Ratio, build_f1_ratio, build_ratio

Span = tuple[int, int, str]  # characters from start to end, end left out, and a label
MATCHING_MODES = ("strict", "exact", "partial", "type")
OUTCOMES = ("correct", "incorrect", "partial", "missed", "spurious")
WORD = re.compile(r"\w+|[^\w\s]")


def is_inside_word(text: str, place: int) -> bool:
    """Whether letters or digits stand on both sides of this place."""
    return 0 < place < len(text) and all(sign.isalnum() or sign == "_" for sign in text[place - 1 : place + 1])


def count_outcomes(text: str, expected: Sequence[Span], predicted: Sequence[Span]) -> dict[str, float]:
    """Marks of one text. The reward is its strict F1, 1 where there was nothing to find and nothing was found."""
    marks = {"n": 1.0, **_count_matches(expected, predicted), **_count_by_label(expected, predicted)}
    marks |= _count_words(text, expected, predicted)
    personal, marked = _collect_positions(expected), _collect_positions(predicted)
    marks |= {"characters": float(len(personal)), "leaked": float(len(personal - marked))}
    right, both = marks.get("strict/correct", 0.0), len(expected) + len(predicted)
    return marks | {"reward": 2 * right / both if both else 1.0}


def compute_scores(totals: Mapping[str, CountValue], labels: Sequence[str]) -> dict[str, CountValue]:
    """Precision, recall and F1 in each way of matching, F1 of words, F2 of personal or not, leak rate, F1 per label.

    Totals may be arrays of equal shape; so are the scores then.
    """
    found: dict[str, CountValue] = {}
    for way in MATCHING_MODES:
        precision, recall = (_compute_matching_share(totals, way, of) for of in ("spurious", "missed"))
        found |= {f"{way}_precision": precision, f"{way}_recall": recall}
        found[f"{way}_f1"] = ratio(2 * precision * recall, precision + recall)
    found["token_f1"] = _compute_f1(totals, "token")
    tp, fp, fn = (totals.get(f"personal/{kind}", 0.0) for kind in ("tp", "fp", "fn"))
    found["f2"] = ratio(5 * tp, 5 * tp + 4 * fn + fp, 1.0)
    found["leak_rate"] = ratio(totals.get("leaked", 0.0), totals.get("characters", 0.0))
    return found | {f"f1/{label}": _compute_f1(totals, f"label/{label}") for label in labels}


def get_score_ratios(score: str) -> tuple[Ratio, ...]:
    """The ratio that a score of `scores` is."""
    way, _, kind = score.rpartition("_")
    if way in MATCHING_MODES:
        return (_build_matching_ratio(way, kind),)
    if score == "token_f1":
        return (_build_f1_ratio("token"),)
    if score == "f2":
        tp, fp, fn = (f"personal/{kind}" for kind in ("tp", "fp", "fn"))
        return (Ratio({tp: 1.25}, {tp: 1.25, fn: 1.0, fp: 0.25}, {tp: 1.0, fn: 1.0}),)
    if score == "leak_rate":
        return (build_ratio("leaked", "characters"),)
    return (_build_f1_ratio(f"label/{score.removeprefix('f1/')}"),) if score.startswith("f1/") else ()


def _build_f1_ratio(of: str) -> Ratio:
    tp, fp, fn = (f"{of}/{kind}" for kind in ("tp", "fp", "fn"))
    return build_f1_ratio(tp, fp, fn, {tp: 1.0, fn: 1.0})


def _build_matching_ratio(way: str, kind: str) -> Ratio:
    """Precision, recall or F1 of a way of matching: 2PR / (P + R) is right over the mean of found and there."""
    right, wrong, half, missed, spurious = (f"{way}/{outcome}" for outcome in OUTCOMES)
    both = {right: 1.0, wrong: 1.0, half: 1.0}
    there, found = {**both, missed: 1.0}, {**both, spurious: 1.0}
    if kind == "f1":
        twice = dict.fromkeys(both, 2.0)
        return Ratio({right: 2.0, half: 1.0}, {**twice, missed: 1.0, spurious: 1.0}, there)
    whole = found if kind == "precision" else there
    return Ratio({right: 1.0, half: 0.5}, whole, whole)


def _compute_matching_share(totals: Mapping[str, CountValue], way: str, other: str) -> CountValue:
    """Correct over all that was found (other: spurious) or was there (missed); a partial match counts half."""
    right, wrong, half = (totals.get(f"{way}/{outcome}", 0.0) for outcome in ("correct", "incorrect", "partial"))
    return ratio(right + 0.5 * half, right + wrong + half + totals.get(f"{way}/{other}", 0.0))


def _compute_f1(totals: Mapping[str, CountValue], of: str) -> CountValue:
    return f1(*(totals.get(f"{of}/{kind}", 0.0) for kind in ("tp", "fp", "fn")))


def _count_matches(expected: Sequence[Span], predicted: Sequence[Span]) -> dict[str, float]:
    """Counts of every outcome in every way, zeros left out."""
    if not expected and not predicted:
        return {}
    strategies, entity = _import_nervaluate()
    true, said = (
        [entity(label, start, end - 1) for start, end, label in sorted(spans)] for spans in (expected, predicted)
    )
    tags = sorted({label for _, _, label in (*expected, *predicted)})
    marks: dict[str, float] = {}
    for way in MATCHING_MODES:
        result, _ = strategies[way].evaluate(true, said, tags)
        each = {f"{way}/{outcome}": float(getattr(result, outcome)) for outcome in OUTCOMES}
        marks |= {name: value for name, value in each.items() if value}
    return marks


def _count_by_label(expected: Sequence[Span], predicted: Sequence[Span]) -> dict[str, float]:
    """tp, fp and fn of each label by strict matches."""
    marks: dict[str, float] = {}
    there, said = set(expected), set(predicted)
    for kind, spans in (("tp", there & said), ("fp", said - there), ("fn", there - said)):
        for _, _, label in spans:
            marks[f"label/{label}/{kind}"] = marks.get(f"label/{label}/{kind}", 0.0) + 1.0
    return marks


def _count_words(text: str, expected: Sequence[Span], predicted: Sequence[Span]) -> dict[str, float]:
    """tp, fp and fn of words that carry a label, and of words that are personal at all."""
    marks: dict[str, float] = {}

    def add(name: str) -> None:
        marks[name] = marks.get(name, 0.0) + 1.0

    for word in WORD.finditer(text):
        true, said = (_find_label_at(spans, word.start(), word.end()) for spans in (expected, predicted))
        if true and said:
            add("personal/tp")
        elif true or said:
            add("personal/fn" if true else "personal/fp")
        if true and true == said:
            add("token/tp")
        else:
            for label, kind in ((true, "fn"), (said, "fp")):
                if label:
                    add(f"token/{kind}")
    return marks


def _find_label_at(spans: Sequence[Span], start: int, end: int) -> str | None:
    return next((label for first, last, label in spans if first < end and start < last), None)


def _collect_positions(spans: Sequence[Span]) -> set[int]:
    return {place for start, end, _ in spans for place in range(start, end)}


def _import_nervaluate() -> tuple[Mapping[str, Any], Any]:
    try:
        from nervaluate import strategies
        from nervaluate.entities import Entity
    except ImportError:
        raise make_missing_extra("nervaluate", "evaluation") from None
    ways = (strategies.StrictEvaluation, strategies.ExactEvaluation)
    others = (strategies.PartialEvaluation, strategies.EntityTypeEvaluation)
    return {name: way() for name, way in zip(MATCHING_MODES, (*ways, *others), strict=True)}, Entity
