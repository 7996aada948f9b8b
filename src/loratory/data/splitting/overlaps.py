"""Texts that occur more than once: in one part, across parts, or under two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from loratory.data.dataset import Dataset, Parts
from loratory.data.splitting.groups import DuplicatePairs
from loratory.data.splitting.normalisation import NormalisedText, fold_text, normalise_text
from loratory.protocols import Labelled

MAX_SHOWN_EXAMPLES = 10  # examples of each finding that the report lists


def find_label_conflicts(parts: Parts) -> dict[str, Any]:
    """Texts under two labels: exact duplicates, so numbers and signs count, for they may decide."""
    if not isinstance(parts.task, Labelled):
        return {"count": 0, "examples": []}
    carried: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for _, examples in parts.items():
        for example, text, label in zip(examples, examples.texts, examples.labels, strict=True):
            carried[fold_text(text)][label].append(example.origin)
    found = [{"text": text[:200], "labels": dict(labels)} for text, labels in carried.items() if len(labels) > 1]
    return {"count": len(found), "examples": found[:MAX_SHOWN_EXAMPLES]}


@dataclass(frozen=True)
class Leak:
    """Origins of an example of the earlier part and of one of the later that has its text: equal, and nearly equal."""

    exact: Sequence[tuple[str, str]]
    near: Sequence[tuple[str, str]]


def find_leaks(parts: Parts, pairs: DuplicatePairs) -> dict[tuple[str, str], Leak]:
    """(earlier part, later part) -> every example of the later that is equal or nearly equal to one of the earlier."""
    held = {name: _index_part(part) for name, part in parts.items()}
    alike = _map_near_texts(held, pairs)
    order = combinations(("train", "validation", "calibration", "test"), 2)
    return {(one, other): _find_leak(held[one], held[other], alike) for one, other in order}


def summarise_leaks(parts: Parts, leaks: Mapping[tuple[str, str], Leak]) -> list[dict[str, Any]]:
    """Leakage: how many examples of the later part have an equal or nearly equal text in the earlier."""
    return [
        {
            "parts": [one, other],
            "exact": len(leak.exact),
            "near": len(leak.near),
            "share": (len(leak.exact) + len(leak.near)) / len(getattr(parts, other)),
            "examples": [list(pair) for pair in (*leak.exact, *leak.near)[:MAX_SHOWN_EXAMPLES]],
        }
        for (one, other), leak in leaks.items()
        if leak.exact or leak.near
    ]


def find_leaked_test_examples(parts: Parts, leaks: Mapping[tuple[str, str], Leak]) -> list[str]:
    """Origins of all test examples that are equal or nearly equal to one of train or validation, in their order.

    Fits learn from the one and are chosen by the other; the calibration part teaches nothing.
    """
    seen = [leaks[name, "test"] for name in ("train", "validation")]
    known = {origin for leak in seen for _, origin in (*leak.exact, *leak.near)}
    return [example.origin for example in parts.test if example.origin in known]


@dataclass(frozen=True)
class _PartTexts:
    """The texts of one part: (origin, folded text, form) of each row, and the first origin of each text and form."""

    rows: tuple[tuple[str, str, NormalisedText], ...]
    texts: Mapping[str, str]
    normalised: Mapping[NormalisedText, str]


def _index_part(examples: Dataset) -> _PartTexts:
    forms: dict[str, NormalisedText] = {}
    rows = []
    for example, text in zip(examples, examples.texts, strict=True):
        folded = fold_text(text)
        if folded not in forms:
            forms[folded] = normalise_text(text)
        rows.append((example.origin, folded, forms[folded]))
    backward = rows[::-1]
    return _PartTexts(
        tuple(rows), {text: origin for origin, text, _ in backward}, {one: origin for origin, _, one in backward}
    )


def _find_leak(
    earlier: _PartTexts, later: _PartTexts, near_texts: Mapping[NormalisedText, Sequence[NormalisedText]]
) -> Leak:
    exact, near = [], []
    for origin, text, one in later.rows:
        if text in earlier.texts:
            exact.append((earlier.texts[text], origin))
        elif like := [other for other in (one, *near_texts.get(one, ())) if other in earlier.normalised]:
            near.append((earlier.normalised[like[0]], origin))
    return Leak(exact, near)


def _map_near_texts(
    part_texts: Mapping[str, _PartTexts], pairs: DuplicatePairs
) -> dict[NormalisedText, list[NormalisedText]]:
    """Form -> the forms that are nearly it."""
    form_of = {origin: one for part in part_texts.values() for origin, _, one in part.rows}
    alike: dict[NormalisedText, list[NormalisedText]] = defaultdict(list)
    for one, other, _ in pairs.near:
        if one in form_of and other in form_of and form_of[one] != form_of[other]:
            alike[form_of[one]].append(form_of[other])
            alike[form_of[other]].append(form_of[one])
    return alike
