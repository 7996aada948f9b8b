"""Checks of written answers, each against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from loratory.discovery import list_names, load_named
from loratory.measures.answer_checks import (
    Bullets,
    Contains,
    Hashtags,
    Refuses,
    Words,
    exact,
    fields,
    iterate_leaves,
    numbers,
    overlap,
)

ASKED = {"prompt": "It cost 1,200.50 euros in 2024; 7 were sold."}


def test_every_check_can_be_called_or_made_and_says_what_it_does() -> None:
    for name in list_names("checks"):
        check = load_named("checks", name)
        assert callable(check)
        assert check.__doc__


@pytest.mark.parametrize(
    ("answer", "expected", "share"),
    [
        ("a b", "a  b\n", 1.0),
        ("a b", "b a", 0.0),
        ({"a": 1}, {"a": 1.0}, 1.0),
        ({"a": True}, {"a": 1}, 0.0),
        ([1, 2], [1], 0.0),
        ("x", None, None),
    ],
)
def test_exact(answer: Any, expected: Any, share: float | None) -> None:
    assert exact({}, answer, expected) == share


@pytest.mark.parametrize(
    ("answer", "expected", "share"),
    [("the red fox", "The fox!", 0.8), ("", "", 1.0), ("one", "two", 0.0), ("a a", "a", 2 / 3), ("x", None, None)],
)
def test_overlap_is_the_f1_of_words(answer: str, expected: str | None, share: float | None) -> None:
    assert overlap({}, answer, expected) == pytest.approx(share)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("1200.5 euros", 1.0),
        ("1,200.50 euros and 8 sold", 0.5),
        ("1. first\n2) second", None),  # numbers of lines are no facts
        ("nothing", None),
        ("in 2025", 0.0),
        ("in 2024.", 1.0),
    ],
)
def test_numbers_have_to_come_from_the_input(answer: str, share: float | None) -> None:
    assert numbers(ASKED, answer, None) == share


def test_numbers_are_looked_for_in_the_whole_conversation() -> None:
    asked = {"prompt": "how many?", "history": [{"role": "user", "content": "there are 31"}]}
    assert numbers(asked, "31", None) == 1.0


@pytest.mark.parametrize(
    ("answer", "expected", "share"),
    [
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, 1.0),
        ({"a": 1, "b": "y"}, {"a": 1, "b": "x"}, 0.5),
        ({"a": 1, "c": 2}, {"a": 1}, 0.5),  # what was not asked for counts against it
        ({"a": [1, 2]}, {"a": [1, 3]}, 0.5),
        ({"a": []}, {"a": []}, 1.0),
        ({"a": None}, {}, 0.0),
        (True, 1, 0.0),
    ],
)
def test_fields(answer: Any, expected: Any, share: float) -> None:
    assert fields({}, answer, expected) == share


def test_leaves_are_named_by_json_pointers() -> None:
    assert dict(iterate_leaves({"a/b": {"~": [1, {"c": None}]}, "e": {}})) == {
        "/a~1b/~0/0": 1,
        "/a~1b/~0/1/c": None,
        "/e": {},
    }


def test_counts_of_words_bullets_and_hashtags() -> None:
    text = "- one\n* two\n3. three #now #then\nnot - this a#b"
    assert Bullets(least=3, most=3)({}, text, None) == 1.0
    assert Bullets(most=2)({}, text, None) == 0.0
    assert Hashtags(least=2, most=2)({}, text, None) == 1.0
    assert Words(least=1, most=2)({}, "a, b", None) == 1.0
    assert Words(least=3)({}, "a, b", None) == 0.0
    with pytest.raises(ValidationError, match="most is less than least"):
        Words(least=3, most=2)


def test_contains() -> None:
    check = Contains(all=("Price",), any=("please", "thank"), none=("guarantee",))
    assert check({}, "The price, please.", None) == 1.0
    assert check({}, "The price.", None) == pytest.approx(2 / 3)
    assert check({}, "We guarantee it", None) == 0.0
    with pytest.raises(ValidationError, match="under all, any or none"):
        Contains()


def test_refusals_are_right_only_where_they_are_expected() -> None:
    check = Refuses()
    assert check({}, "I can\u2019t help with that.", "I cannot do this.") == 1.0
    assert check({}, "Sure: first ...", "I cannot do this.") == 0.0
    assert check({}, "I cannot.", "Here it is") == 0.0
    assert check({}, "I cannot.", None) is None
