"""Perturbations: pure, never the identity where they claim a change, and spans stay where they were."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loratory.discovery import list_names, load_named
from loratory.perturbations.changes import Edit, Perturbation, PerturbedText
from loratory.perturbations.lookalikes import Lookalikes
from loratory.perturbations.perturbation_specs import DEFAULT_PERTURBATIONS, create_perturbations
from loratory.perturbations.phrases import Prefix, Suffix
from loratory.perturbations.surface import KEY_NEIGHBOURS, Case, Punctuation, Spacing, Typos

NAMES = list_names("perturbations")
SOME = (
    "",
    "a",
    "?",
    " ",
    "My card was blocked, and nobody answers. Please help!",
    "Call 020 7946 0018 at 10:30; code AB-12cd, e-mail ann.smith@example.org",
    "\u043c\u043e\u044f \u043a\u0430\u0440\u0442\u0430 \u0437\u0430\u0431\u043b\u043e\u043a\u0438\u0440\u043e\u0432",
    "\u6211\u7684\u5361\u88ab\u51bb\u7ed3\u4e86\u3002",
    "\u0645\u0631\u062d\u0628\u0627\u060c \u0628\u0637\u0627\u0642\u062a\u064a \u0645\u0633\u0631\u0648\u0642\u0629",
    "stra\u00dfe \u0130stanbul \U0001f600 e\u0301t\u00e9",
    "half \ud83d of a pair",
)
TEXTS = st.one_of(st.sampled_from(SOME), st.text(max_size=60), st.text("ab cDE.,;1 2", max_size=40))
SEEDS = st.integers(0, 50)
STRENGTHS = st.sampled_from((0.05, 0.3, 1.0))


def of(name: str, strength: float | None = None) -> Perturbation:
    made: Perturbation = load_named("perturbations", name)(**({} if strength is None else {"strength": strength}))
    return made


def spans_in(text: str, data: st.DataObject) -> list[tuple[int, int]]:
    """Spans in order that do not overlap and are no white space alone."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [(start, end) for start, end in pairs if text[start:end].strip()]


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS, seed=SEEDS, strength=STRENGTHS)
def test_each_is_pure_and_changes_what_it_claims_to(name: str, text: str, seed: int, strength: float) -> None:
    one = of(name, strength)
    found = one(text, seed)
    assert found == of(name, strength)(text, seed)
    if found is not None:
        assert found.original == text
        assert found.text != text
        assert found.text.strip() or not text.strip()


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS, seed=SEEDS, strength=STRENGTHS, data=st.data())
def test_spans_move_along(name: str, text: str, seed: int, strength: float, data: st.DataObject) -> None:
    spans = spans_in(text, data)
    found = of(name, strength)(text, seed, spans)
    if found is None:
        return
    assert all(a.end <= b.start for a, b in zip(found.edits, found.edits[1:], strict=False))
    last = 0
    for start, end in spans:
        first, stop = found.map_span(start, end)
        assert last <= first < stop <= len(found.text)
        now, was = found.text[first:stop], text[start:end]
        if name == "lookalikes":
            assert len(now) >= len(was)
            assert plain(now) == plain(was)
        elif name == "case":
            assert now.upper().casefold() == was.upper().casefold()
            if any(c.isdigit() for c in was):
                assert now == was
        else:
            assert now == was
        last = stop


def plain(text: str) -> str:
    """What a reader sees."""
    from loratory.perturbations.lookalikes import FULL_WIDTH_OFFSET, LETTER_LOOKALIKES, ZERO_WIDTH

    letters = (c for c in text if c not in ZERO_WIDTH)
    narrow = (chr(ord(c) - FULL_WIDTH_OFFSET) if "\uff01" <= c <= "\uff5e" else c for c in letters)
    return "".join(min(c, LETTER_LOOKALIKES.get(c, c)) for c in narrow)


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_an_ordinary_text_and_seeds_differ(name: str) -> None:
    texts = {found.text for seed in range(20) if (found := of(name)(SOME[4], seed))}
    assert len(texts) > 1


def test_ours_are_all_there() -> None:
    assert set(DEFAULT_PERTURBATIONS) <= set(NAMES)
    for name in NAMES:
        assert load_named("perturbations", name).__doc__


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_more_strength_is_more_change(strength: float) -> None:
    text = "Somebody charged the account twice yesterday without asking anyone about anything whatever"
    found = Typos(strength=strength)(text, 1)
    assert found is not None
    longer = [word for word in text.split() if len(word) > 3]
    assert len(found.edits) == round(strength * len(longer))


def test_a_slip_keeps_the_first_and_last_letter_and_short_words() -> None:
    text = "not is the wonderful machinery"
    for seed in range(60):
        found = Typos(strength=1.0)(text, seed)
        assert found is not None
        words = found.text.split()
        assert words[:3] == ["not", "is", "the"]
        for now, was in zip(words[3:], ("wonderful", "machinery"), strict=True):
            assert now != was
            assert (now[0], now[-1]) == (was[0], was[-1])


def test_keys_are_neighbours_of_each_other() -> None:
    assert set(KEY_NEIGHBOURS["s"]) == set("adwezx")
    assert all(key in KEY_NEIGHBOURS[other] for key, others in KEY_NEIGHBOURS.items() for other in others)


def test_codes_numbers_and_addresses_stay() -> None:
    text = SOME[5]
    for seed in range(40):
        for one in (Typos(strength=1.0), Case(), Punctuation(), Spacing(strength=1.0, styles=("missing",))):
            found = one(text, seed)
            assert found is not None
            assert "AB-12cd" in found.text
            assert "10:30" in found.text
            assert "020 7946 0018" in found.text
        assert "example.org" in str(Punctuation()(text, seed))


@pytest.mark.parametrize(
    ("one", "text", "expected"),
    [
        (Case(style="upper"), "my card", "MY CARD"),
        (Case(style="lower"), "MY Card", "my card"),
        (Case(style="upper"), "MY CARD", None),
        (Case(), "\u6211\u7684\u5361", None),
        (Punctuation(style="removed"), "Help, now! It is 1.5", "Help now It is 1.5"),
        (Punctuation(style="doubled"), "Help, now!", "Help,, now!!"),
        (Punctuation(style="removed"), "?!", None),  # nothing would be left
        (Spacing(strength=1.0, styles=("doubled",)), "a b c", "a  b  c"),
        (Spacing(strength=1.0, styles=("missing",)), "a b 1 2", "ab1 2"),
        (Spacing(strength=1.0, styles=("fixed",)), "a b", "a\u00a0b"),
        (Prefix(phrases=("Hello,",)), "my card", "Hello, my card"),
        (Suffix(phrases=("Thank you.",)), "my card", "my card Thank you."),
        (Suffix(phrases=("Thank you.",)), "", "Thank you."),
        (Lookalikes(strength=1.0, styles=("letters",)), "cap", "\u0441\u0430\u0440"),
        (Lookalikes(strength=1.0, styles=("full-width",)), "a 1", "\uff41 \uff11"),
        (Lookalikes(styles=("zero-width",)), "a", None),
        (Typos(), "a 1 of", None),
    ],
)
def test_what_becomes_of_a_text(one: Perturbation, text: str, expected: str | None) -> None:
    found = one(text, 3)
    assert (found and found.text) == expected


@pytest.mark.parametrize(
    ("edits", "span", "now"),
    [
        ([Edit(0, 0, "xx")], (0, 2), (2, 4)),
        ([Edit(2, 2, "xx")], (0, 2), (0, 2)),
        ([Edit(1, 1, "xx")], (0, 2), (0, 4)),
        ([Edit(1, 2, "SS")], (1, 3), (1, 4)),
        ([Edit(0, 1, "")], (1, 3), (0, 2)),
        ([Edit(3, 4, "")], (1, 3), (1, 3)),
    ],
)
def test_moved(edits: Sequence[Edit], span: tuple[int, int], now: tuple[int, int]) -> None:
    assert PerturbedText("abcde", tuple(edits)).map_span(*span) == now


def test_within_is_what_a_span_holds() -> None:
    assert not Edit(2, 2, "x").overlaps([(2, 4), (0, 2)])
    assert Edit(3, 3, "x").overlaps([(2, 4)])
    assert Edit(1, 3, "x").overlaps([(2, 4)])
    assert not Edit(1, 2, "x").overlaps([(2, 4)])


def test_names_options_and_mistakes() -> None:
    ready = create_perturbations(("typos", {"hard": {"perturbation": "typos", "strength": 0.9}}))
    assert [type(one) for one in ready.values()] == [Typos, Typos]
    assert ready["hard"].strength == 0.9
    with pytest.raises(ValueError, match="no perturbation called 'typo'; did you mean 'typos'"):
        create_perturbations(("typo",))
    with pytest.raises(ValueError, match=r"hard: strength.*allowed: strength"):
        create_perturbations(({"hard": {"perturbation": "typos", "strength": 7}},))
    with pytest.raises(ValueError, match="two perturbations are called case"):
        create_perturbations(("case", {"case": {"style": "upper"}}))


def test_a_span_begins_and_ends_where_a_word_does() -> None:
    found = Spacing(strength=1.0, styles=("missing",))("please call Ann Smith today again", 1, [(12, 21)])
    assert found is not None
    assert found.text == "pleasecall Ann Smith todayagain"
