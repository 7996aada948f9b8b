"""Span counts against nervaluate's own evaluator over whole sets, and against cases worked out by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from loratory.measures.span_metrics import MATCHING_MODES, Span, compute_scores, count_outcomes
from loratory.protocols import sum_counts

TEXT = "Ada Lund lives in Oslo, and pays with 4111 1111."
NAME, CITY, CARD = (0, 8, "PERSON"), (18, 22, "CITY"), (38, 47, "CARD")


def some_spans(chance: random.Random) -> list[Span]:
    """Spans without overlap in a text of 60 characters."""
    places = sorted(chance.sample(range(60), 2 * chance.randint(0, 4)))
    return [(a, b, chance.choice("XYZ")) for a, b in zip(places[::2], places[1::2], strict=True) if b > a]


def _touch(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_sums_over_texts_are_what_nervaluate_says_of_the_whole_set() -> None:
    from nervaluate import Evaluator

    chance = random.Random(4)
    true = [some_spans(chance) for _ in range(300)]
    said = [[one for one in spans if chance.random() < 0.7] + some_spans(chance)[:1] for spans in true]
    said = [
        [one for i, one in enumerate(spans) if not any(_touch(one, other) for other in spans[:i])] for spans in said
    ]
    as_dicts: Any = [
        [[{"label": label, "start": start, "end": end - 1} for start, end, label in sorted(spans)] for spans in side]
        for side in (true, said)
    ]
    whole = Evaluator(as_dicts[0], as_dicts[1], tags=["X", "Y", "Z"]).evaluate()["overall"]
    ours = compute_scores(
        sum_counts(count_outcomes("a" * 60, t, s) for t, s in zip(true, said, strict=True)), ("X", "Y", "Z")
    )
    for way, other in zip(MATCHING_MODES, ("strict", "exact", "partial", "ent_type"), strict=True):
        for measure in ("precision", "recall", "f1"):
            assert ours[f"{way}_{measure}"] == pytest.approx(getattr(whole[other], measure), abs=1e-9)


def test_words_leaks_and_labels() -> None:
    marks = count_outcomes(TEXT, [NAME, CITY, CARD], [(0, 3, "PERSON"), (18, 22, "PERSON")])
    found = compute_scores(marks, ("PERSON", "CITY", "CARD"))
    # words: Ada Lund | Oslo | 4111 1111; found: Ada, and Oslo under another label
    assert found["token_f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 4))
    assert found["f2"] == pytest.approx(5 * 2 / (5 * 2 + 4 * 3 + 0))
    assert found["leak_rate"] == pytest.approx((5 + 9) / (8 + 4 + 9))
    assert found["f1/CARD"] == 0.0
    assert marks["reward"] == 0.0


def test_nothing_to_find() -> None:
    assert count_outcomes("hello", [], []) == {"n": 1.0, "characters": 0.0, "leaked": 0.0, "reward": 1.0}
    marks = count_outcomes("hello", [], [(0, 5, "PERSON")])
    assert marks["reward"] == 0.0
    assert marks["personal/fp"] == 1.0
    assert compute_scores(marks, ("PERSON",))["leak_rate"] == 0.0
