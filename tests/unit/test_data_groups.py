"""Groups: what must not be split is found, what is merely alike is not."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import splits

from loratory.data.splitting.groups import Grouping, group_examples, name_pairs_by_origin
from loratory.data.splitting.lsh import choose_bands
from loratory.data.splitting.near_duplicates import MAX_EDIT_CHAIN
from loratory.data.splitting.normalisation import fold_text, normalise_text
from loratory.data.splitting.similarity import (
    PERMUTATIONS,
    compute_edit_similarity,
    compute_minhash,
    encode_code_points,
    hash_ngrams,
)
from loratory.protocols import Example


def examples(texts: list[str], groups: list[str] | None = None) -> list[Example]:
    names = groups or [""] * len(texts)
    return [
        Example({"text": text}, {"label": "x"}, group=name, origin=f"a.csv:{line}")
        for line, (text, name) in enumerate(zip(texts, names, strict=True), 2)
    ]


def group_texts(texts: list[str], groups: list[str] | None = None, threshold: float = 0.85) -> Grouping:
    return group_examples(examples(texts, groups), texts, threshold)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my CARD?", "where  is my card"),
        ("my order 12345 has not come yet!", "my order 9,999 has not come yet"),
        ("\uff46\uff55\uff4c\uff4c width", "full width"),
        ("Straße", "strasse"),
        ("my c\u200bard\ufeff is l\u00adost", "my card is lost"),
        ("m\u0443 \u0441ard is l\u043est", "my card is lost"),  # Cyrillic
        ("\u039cY CARD \u0399S LOST", "my card is lost"),  # Greek capitals
        ("caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "cafe"),
        ("\u0130stanbul \u0142\u00f3d\u017a", "istanbul lodz"),
        ("请问我的订单12345什么时候到货", "请问我的订单99什么时候到货"),
    ],
)
def test_one_form_for_what_reads_the_same(one: str, other: str) -> None:
    assert normalise_text(one) == normalise_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (":)", ":("),
        ("कि", "का"),  # vowel signs are marks, not letters
        ("が", "か"),  # a voicing mark is no accent
        ("my card", "my cart"),
        ("?", "!"),
        ("7", "8"),
        ("3 + 4", "3 - 4"),
        ("\U0001f600", "\U0001f621"),
        ("great \U0001f600", "great \U0001f621"),
        ("What is 3 + 4", "What is 5 + 6"),
        ("What is 3 + 4", "What is 3 - 4"),
        ("room 7", "room 8"),
    ],
)
def test_another_form_for_what_reads_differently(one: str, other: str) -> None:
    assert normalise_text(one) != normalise_text(other)


def test_letters_of_one_alphabet_stay_apart() -> None:
    """But for the Greek capitals whose small letters are look-alikes of others."""
    for alphabet in ("абвгдежзийклмнопрстуфхцчшщъыьэюя".replace("й", ""), "αβγδεζηθικλμνξοπρστυφχψω"):
        assert len({normalise_text(letter).text for letter in alphabet}) == len(alphabet)


def test_exact_is_equal_but_for_case_and_white_space() -> None:
    assert fold_text(" Where  is\tmy CARD? ") == fold_text("where is my card?")
    assert fold_text("caf\u00e9") == fold_text("cafe\u0301")  # one text to Unicode
    texts = ["rule 7", "Rule 7", "rule 8", "rule  7", "rule 7!", "rule\u200b 7"]
    found = group_texts(texts)
    assert found.exact == ((0, 1), (0, 3))
    assert found.groups[0] == found.groups[4] == found.groups[5] != found.groups[2]


def test_equal_texts_share_a_group_named_by_the_smallest_origin() -> None:
    texts = ["something else entirely", "one two", "x"] + ["filler number " + "abcdefgh"[n] * 9 for n in range(8)]
    found = group_texts([*texts, "One  TWO"])
    assert found.groups[1] == found.groups[-1] == "a.csv:3"  # line 3, and not line 13, which sorts before it as text
    assert found.exact == ((1, 11),)
    assert len(set(found.groups)) == 11


def test_a_typo_in_ten_words_is_a_near_duplicate_and_another_question_is_not() -> None:
    base = "how long will it take until my new card comes to me"
    question = "how long will it take until my last statement is sent to me"
    found = group_texts([base, base.replace("until", "untill"), question, "where is it"])
    assert found.groups[0] == found.groups[1]
    assert len(set(found.groups)) == 3
    ((one, other, similarity),) = found.near
    assert (one, other) == (0, 1)
    assert 0.85 <= similarity < 1


def test_a_threshold_of_one_keeps_exact_duplicates_only() -> None:
    base = "how long will it take until my new card comes to me"
    found = group_texts([base, base + "e", base + "!"], threshold=1.0)
    assert found.near == ((0, 2, 1.0),)  # what reads the same is the same
    assert found.groups[0] == found.groups[2] != found.groups[1]


def test_given_groups_are_joined_by_what_their_members_share() -> None:
    found = group_texts(["one", "two", "two", "three", "four"], ["g", "g", "h", "h", ""])
    assert found.groups == ("g", "g", "g", "g", "a.csv:6")


def test_names_do_not_depend_on_the_order_of_rows() -> None:
    rows = examples(["one", "two", "two", "three", "one!"], ["", "b", "a", "", ""])
    texts = [str(row.input["text"]) for row in rows]
    forward = dict(zip([row.origin for row in rows], group_examples(rows, texts, 0.85).groups, strict=True))
    backward = dict(
        zip([row.origin for row in rows[::-1]], group_examples(rows[::-1], texts[::-1], 0.85).groups, strict=True)
    )
    assert forward == backward


def test_long_texts_that_only_share_their_language_stay_apart() -> None:
    words = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]
    texts = [" ".join(random.Random(seed).choices(words, k=1500)) for seed in range(6)]
    near = texts[0].split()
    near[700] = "changed"
    found = group_texts([*texts, " ".join(near)])
    assert len(set(found.groups)) == 6
    assert found.groups[0] == found.groups[-1]


def test_pairs_are_told_by_origin() -> None:
    texts = ["a first text of some length", "A first text of  some length", "a first text of some lengths"]
    pairs = name_pairs_by_origin(examples(texts), group_texts(texts))
    assert pairs.exact == (("a.csv:2", "a.csv:3"),)
    assert [pair[:2] for pair in pairs.near] == [("a.csv:2", "a.csv:4")]


def jaccard(one: str, other: str) -> float:
    a, b = ({text[at : at + 3] for at in range(max(1, len(text) - 2))} for text in (one, other))
    return len(a & b) / len(a | b)


def levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(before + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def joined_by_brute_force(texts: list[str], threshold: float) -> list[int]:
    """The group of each text where every pair is compared."""
    root = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if jaccard(normalise_text(texts[i]).text, normalise_text(texts[j]).text) >= threshold:
                root = [root[i] if one == root[j] else one for one in root]
    return [root.index(one) for one in root]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text("abc ", min_size=8, max_size=15), min_size=2, max_size=30, unique_by=lambda text: normalise_text(text)
    ),
    st.sampled_from([0.5, 0.7, 0.85, 0.95]),
)
def test_what_is_joined_is_what_comparing_all_pairs_joins(texts: list[str], threshold: float) -> None:
    groups = group_texts(texts, threshold=threshold).groups
    assert [groups.index(name) for name in groups] == joined_by_brute_force(texts, threshold)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("abc \u4e00", min_size=1, max_size=40), min_size=2, max_size=12, unique=True),
    st.sampled_from([0.3, 0.6, 0.85]),
)
def test_edits_are_those_of_the_whole_table(texts: list[str], least: float) -> None:
    one, other = (side.ravel() for side in np.indices((len(texts), len(texts))))
    found = compute_edit_similarity(encode_code_points(texts), one, other, least)
    for a, b, similarity in zip(one, other, found, strict=True):
        wanted = 1 - levenshtein(texts[a], texts[b]) / max(len(texts[a]), len(texts[b]))
        assert similarity == pytest.approx(wanted if wanted >= least - 1e-9 else 0)


def test_signatures_agree_in_the_share_that_the_jaccard_similarity_is() -> None:
    chance = random.Random(6)
    texts = ["".join(chance.choices("abcde", k=60)) for _ in range(200)]
    twins = [text[:20] + "zz" + text[25:] for text in texts]
    signs = compute_minhash(hash_ngrams([*texts, *twins], 3), 6)
    agree = (signs[:200] == signs[200:]).mean(axis=1)
    true = np.array([jaccard(one, other) for one, other in zip(texts, twins, strict=True)])
    assert abs(float((agree - true).mean())) < 0.01
    assert float((agree - true).std()) < 0.045  # of 256 permutations: sqrt(s (1 - s) / 256) = 0.03


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.85, 0.99, 0.9999])
def test_the_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = choose_bands(threshold)
    assert bands * rows <= PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= 0.9999 or rows == 1


@pytest.mark.parametrize(("kind", "size"), [("short, few words", 600), ("long", 300), ("very long", 300)])
def test_no_planted_pair_of_a_family_is_cut(kind: str, size: int) -> None:
    assert splits.count_cut_duplicates(kind, size, seed=1) == 0


def test_all_rows_of_a_family_that_is_cut_at_random_are_told() -> None:
    said, truth = splits.count_reported_rows("long", 200, seed=1)
    assert said == truth > 20


@pytest.mark.parametrize("join", [True, False])
def test_every_leaked_row_of_a_given_test_file_is_told(join: bool) -> None:
    assert splits.leaks(1, join).count(False) == 0


@pytest.mark.parametrize("change", splits.CHANGES)
def test_what_a_reader_takes_for_the_same_is_joined(change: str) -> None:
    make, changed = splits.CHANGES[change]
    found = splits.find_joined_copies(make, changed, 1)
    assert sum(found) >= splits.PROMISED.get(change, 1) * len(found)


def test_sums_numbers_and_emoji_are_joined_only_where_they_are_equal() -> None:
    assert not any(splits.arithmetic(1))


def test_few_requests_of_different_intents_are_joined() -> None:
    found = splits.intents(splits.REQUESTS[:4])
    assert sum(found) <= 0.15 * len(found)


def test_copies_are_counted_as_they_are() -> None:
    assert [splits.exact_copies(seed) for seed in range(7)] == list(range(7))


def test_edits_alone_chain_few_texts_and_the_rest_is_told() -> None:
    words = "ant bee cat cow dog elk emu fly fox gnu hen owl pig rat yak".split()
    texts = [f"my {a} met your {b} here" for a in words for b in words if a != b]
    found = group_texts(texts)
    sizes = Counter(found.groups)
    assert max(sizes.values()) <= MAX_EDIT_CHAIN
    apart = [pair for pair in found.near if found.groups[pair[0]] != found.groups[pair[1]]]
    assert len(apart) > 100


def test_a_letter_makes_another_word_of_a_very_short_text() -> None:
    found = group_texts(["lost card", "last card", "lost my card today", "last my card today"])
    assert found.groups[0] != found.groups[1]
    assert found.groups[2] == found.groups[3]


def test_alike_texts_are_found_but_not_joined_where_only_the_given_groups_count() -> None:
    texts = ["privacy policy", "Privacy  POLICY", "we may end this contract at any time", "you pay each month"]
    made = [Example({"text": t}, {"label": "a"}, group="AB"[i % 2], origin=f"d:{i}") for i, t in enumerate(texts)]
    joined, apart = group_examples(made, texts, 0.85), group_examples(made, texts, 0.85, join_duplicates=False)
    assert joined.groups == ("A",) * 4  # one shared sentence makes one group of two documents
    assert apart.groups == ("A", "B", "A", "B")
    assert joined.exact == apart.exact == ((0, 1),)
