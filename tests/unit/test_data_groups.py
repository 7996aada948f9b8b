"""Groups: what must not be split is found, what is merely alike is not."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loratory.data.groups import PERMUTATIONS, Grouping, _bands, _shingles, group, normalise, pairs_of
from loratory.protocols import Example


def examples(texts: list[str], groups: list[str] | None = None) -> list[Example]:
    names = groups or [""] * len(texts)
    return [
        Example({"text": text}, {"label": "x"}, group=name, origin=f"a.csv:{line}")
        for line, (text, name) in enumerate(zip(texts, names, strict=True), 2)
    ]


def grouped(texts: list[str], groups: list[str] | None = None, threshold: float = 0.85) -> Grouping:
    return group(examples(texts, groups), texts, threshold)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my CARD?", "where  is my card"),
        ("I paid 12.50 twice!", "I paid £9,999 twice"),
        ("\uff46\uff55\uff4c\uff4c width", "full width"),
        ("Straße", "strasse"),
    ],
)
def test_normalise_makes_one_of_what_reads_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (":)", ":("),
        ("कि", "का"),  # vowel signs are marks, not letters
        ("my card", "my cart"),
        ("?", "!"),
    ],
)
def test_normalise_keeps_apart_what_reads_differently(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_equal_texts_share_a_group_named_by_the_smallest_origin() -> None:
    texts = ["something else entirely", "one two", "x"] + ["filler number " + "abcdefgh"[n] * 9 for n in range(8)]
    found = grouped([*texts, "One, two!"])
    assert found.groups[1] == found.groups[-1] == "a.csv:3"  # line 3, and not line 13, which sorts before it as text
    assert found.exact == ((1, 11),)
    assert len(set(found.groups)) == 11


def test_a_typo_in_ten_words_is_a_near_duplicate_and_another_question_is_not() -> None:
    base = "how long will it take until my new card comes to me"
    found = grouped([base, base.replace("until", "untill"), base.replace("card", "statement"), "where is it"])
    assert found.groups[0] == found.groups[1]
    assert len(set(found.groups)) == 3
    ((one, other, similarity),) = found.near
    assert (one, other) == (0, 1)
    assert 0.85 <= similarity < 1


def test_a_threshold_of_one_keeps_exact_duplicates_only() -> None:
    base = "how long will it take until my new card comes to me"
    found = grouped([base, base + "e", base + "!"], threshold=1.0)
    assert found.near == ()
    assert found.groups[0] == found.groups[2] != found.groups[1]


def test_given_groups_are_joined_by_what_their_members_share() -> None:
    found = grouped(["one", "two", "two", "three", "four"], ["g", "g", "h", "h", ""])
    assert found.groups == ("g", "g", "g", "g", "a.csv:6")


def test_names_do_not_depend_on_the_order_of_rows() -> None:
    rows = examples(["one", "two", "two", "three", "one!"], ["", "b", "a", "", ""])
    texts = [str(row.input["text"]) for row in rows]
    forward = dict(zip([row.origin for row in rows], group(rows, texts, 0.85).groups, strict=True))
    backward = dict(zip([row.origin for row in rows[::-1]], group(rows[::-1], texts[::-1], 0.85).groups, strict=True))
    assert forward == backward


def test_long_texts_that_only_share_their_language_stay_apart() -> None:
    words = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]
    texts = [" ".join(random.Random(seed).choices(words, k=1500)) for seed in range(6)]
    near = texts[0].split()
    near[700] = "changed"
    found = grouped([*texts, " ".join(near)])
    assert len(set(found.groups)) == 6
    assert found.groups[0] == found.groups[-1]


def test_pairs_are_told_by_origin() -> None:
    texts = ["a first text of some length", "A first text of some length.", "a first text of some lengths"]
    pairs = pairs_of(examples(texts), grouped(texts))
    assert pairs.exact == (("a.csv:2", "a.csv:3"),)
    assert [pair[:2] for pair in pairs.near] == [("a.csv:2", "a.csv:4")]


def near_by_brute_force(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    sets = [_shingles(normalise(text), 3) for text in texts]
    return {
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
    }


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("abc ", min_size=8, max_size=40), min_size=2, max_size=30, unique_by=normalise),
    st.sampled_from([0.5, 0.7, 0.85, 0.95]),
)
def test_what_is_found_is_what_comparing_all_pairs_finds(texts: list[str], threshold: float) -> None:
    found = {(one, other) for one, other, _ in grouped(texts, threshold=threshold).near}
    wanted = near_by_brute_force(texts, threshold)
    assert found <= wanted
    # The hashing may miss one pair in a hundred at the threshold itself.
    assert len(wanted - found) <= max(1, len(wanted) // 20)


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.85, 0.99, 0.9999])
def test_the_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = _bands(threshold)
    assert bands * rows <= PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= 0.99 or rows == 1


def test_thirteen_thousand_short_texts_take_seconds() -> None:
    words = "card money please transfer when never account why lost pin top up fee".split()
    draw = random.Random(6)
    texts = [" ".join(draw.choices(words, k=9)) + f" {draw.choice('abcdefgh') * 3}" for _ in range(3000)]
    begin = time.perf_counter()
    grouped(texts)
    assert time.perf_counter() - begin < 20 * 3000 / 13_000 * 2  # twice the budget, for a busy machine


def test_alike_texts_are_found_but_not_joined_where_only_the_given_groups_count() -> None:
    texts = ["privacy policy", "Privacy policy!", "we may end this contract at any time", "you pay each month"]
    made = [Example({"text": t}, {"label": "a"}, group="AB"[i % 2], origin=f"d:{i}") for i, t in enumerate(texts)]
    joined, apart = group(made, texts, 0.85), group(made, texts, 0.85, alike=False)
    assert joined.groups == ("A",) * 4  # one shared sentence makes one group of two documents
    assert apart.groups == ("A", "B", "A", "B")
    assert joined.exact == apart.exact == ((0, 1),)
