"""Tags and spans: there and back, against all paths tried one by one, and over windows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from loratory.predictors.bio_decoding import (
    IGNORE_INDEX,
    decode_spans,
    encode_tags,
    list_tags,
    merge_windows,
    merge_word_tokens,
    viterbi,
)

TEXT = "Ada Lund lives in Oslo."
WORDS = (
    (0, 0),
    (0, 3),
    (3, 8),
    (8, 14),
    (14, 17),
    (17, 20),
    (20, 22),
    (22, 23),
    (0, 0),
)  # the space goes with the word
LABELS = ("CITY", "PERSON")
SPANS = [(0, 8, "PERSON"), (18, 22, "CITY")]


def certain(tags: list[int], width: int) -> np.ndarray:
    odds = np.full((len(tags), width), np.log(0.01))
    for row, tag in enumerate(tags):
        odds[row, max(tag, 0)] = np.log(0.9)
    return odds


def test_there_and_back() -> None:
    tags = encode_tags(SPANS, WORDS, LABELS)
    assert list_tags(LABELS) == ("O", "B-CITY", "I-CITY", "B-PERSON", "I-PERSON")
    assert tags == [IGNORE_INDEX, 3, 4, 0, 0, 1, 2, 0, IGNORE_INDEX]
    odds = certain(tags, 5)
    places, kept = merge_windows([(WORDS, odds)])
    found = decode_spans(kept, places, LABELS, TEXT)
    assert [(one.start, one.end, one.label) for one in found] == SPANS
    assert found[0].probabilities["PERSON"] == pytest.approx(0.91)


def test_spans_that_touch_stay_apart() -> None:
    spans = [(0, 3, "PERSON"), (3, 8, "PERSON")]
    tags = encode_tags(spans, WORDS, LABELS)
    assert tags[1:3] == [3, 3]
    places, kept = merge_windows([(WORDS, certain(tags, 5))])
    assert [(one.start, one.end) for one in decode_spans(kept, places, LABELS, TEXT)] == [(0, 3), (4, 8)]


def test_the_likeliest_tags_are_the_best_of_all_that_are_allowed() -> None:
    chance = np.random.default_rng(3)
    for _ in range(40):
        odds = np.log(chance.dirichlet(np.ones(5), size=4))
        allowed = [
            path
            for path in product(range(5), repeat=4)
            if all(tag == 0 or tag % 2 or (k and path[k - 1] in (tag - 1, tag)) for k, tag in enumerate(path))
        ]
        best = max(allowed, key=lambda path: sum(odds[k, tag] for k, tag in enumerate(path)))
        assert viterbi(odds) == list(best)


def test_a_token_in_two_windows_is_believed_where_it_is_farthest_from_an_edge() -> None:
    offsets = [(k, k + 1) for k in range(10)]
    first = (((0, 0), *offsets[:7], (0, 0)), np.zeros((9, 3)))
    second = (((0, 0), *offsets[3:], (0, 0)), np.ones((9, 3)))
    places, odds = merge_windows([first, second])
    assert places == offsets
    assert odds[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_nothing() -> None:
    places, odds = merge_windows([])
    assert decode_spans(odds, places, LABELS, "") == []


def test_a_word_is_tagged_as_a_whole() -> None:
    text, offsets = "Abby Laidlaw", [(0, 4), (5, 9), (9, 12)]
    odds = np.log([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.1, 0.3]])  # O, B, I of one label; the last piece says O
    assert decode_spans(odds, offsets, ["NAME"], text)[0].end == 9
    places, words = merge_word_tokens(odds, offsets, text)
    assert places == [(0, 4), (5, 12)]
    assert np.allclose(np.exp(words).sum(1), 1.0)
    parts = np.array([0.2 * 0.6, 0.1 * 0.3, 0.7 * 0.3])  # O O, B I, I I
    assert np.allclose(np.exp(words[1]), parts / parts.sum())
    (found,) = decode_spans(words, places, ["NAME"], text)
    assert (found.start, found.end) == (0, 12)
    assert merge_word_tokens(odds, [(0, 4), (4, 5), (5, 9)], "Abby, Laid")[0] == [(0, 4), (4, 5), (5, 9)]


def test_a_text_without_a_token_has_no_word() -> None:
    places, words = merge_word_tokens(np.zeros((0, 0)), [], "")
    assert (places, len(words)) == ([], 0)
