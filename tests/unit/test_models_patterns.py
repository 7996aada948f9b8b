"""Patterns as automata: the texts that an ordinary engine finds them in, and the shortest way to an end."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import json
import random
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from loratory.backbones.constraints.regex_automata import Automaton, parse_pattern
from loratory.errors import UnsupportedTask
from loratory.formats import FORMATS

ALPHABET = "ab0- "


def a_pattern(chance: random.Random, depth: int = 3) -> str:
    kind = chance.choice(["char", "set", "class"] + ["chain", "group", "count"] * (depth > 0))
    if kind == "char":
        return chance.choice(["a", "b", "0", "-", " ", ".", r"\-", r"\.", r"\x61", r"\u0062"])
    if kind == "set":
        return chance.choice(["[ab]", "[^a]", "[a-b0]", r"[^\d]", r"[\w-]", "[0-9 ]", r"[^\s-]", "[-a]", "[a-]"])
    if kind == "class":
        return chance.choice([r"\d", r"\w", r"\s", r"\D", r"\W", r"\S"])
    if kind == "chain":
        return "".join(a_pattern(chance, depth - 1) for _ in range(chance.randint(0, 3)))
    if kind == "group":
        parts = [a_pattern(chance, depth - 1) for _ in range(chance.randint(1, 3))]
        return chance.choice(["(?:", "(", "(?P<n>" if depth == 9 else "("]) + "|".join(parts) + ")"
    count = chance.choice(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "{0}"])
    return f"(?:{a_pattern(chance, depth - 1)}){count}"


def draw_anchored_pattern(chance: random.Random) -> str:
    parts = [
        chance.choice(["", "^"]) + a_pattern(chance) + chance.choice(["", "$"]) for _ in range(chance.randint(1, 2))
    ]
    return "|".join(parts)


def accepts(automaton: Automaton, text: str) -> bool:
    state: int | None = 0
    for char in text:
        state = None if state is None else automaton.step(state, char)
    return state in automaton.accepting


TEXTS = ["".join(chars) for size in range(5) for chars in itertools.product(ALPHABET, repeat=size)]


def test_a_pattern_allows_the_texts_in_which_an_ordinary_engine_finds_it() -> None:
    for number in range(250):
        chance = random.Random(number)
        pattern = draw_anchored_pattern(chance)
        try:
            printed, automaton = parse_pattern(pattern)
        except UnsupportedTask:
            assert not any(re.search(pattern, text) for text in TEXTS), pattern
            continue
        again = parse_pattern(printed)[1]
        for text in chance.sample(TEXTS, 120):
            found = re.search(pattern, text) is not None
            assert accepts(automaton, text) == accepts(again, text) == found, (pattern, text)


def test_the_shortest_end_is_the_shortest_and_as_long_as_asked() -> None:
    for number in range(150):
        chance = random.Random(number)
        pattern = f"^(?:{a_pattern(chance)})$"
        try:
            automaton = parse_pattern(pattern)[1]
        except UnsupportedTask:
            continue
        least, most = sorted((chance.randint(0, 4), chance.randint(0, 4)))
        found = automaton.find_shortest(0, least, most)
        sizes = {len(text) for text in TEXTS if least <= len(text) <= most and re.search(pattern, text)}
        if found is None:
            assert not sizes, pattern
        else:
            assert re.search(pattern, found), (pattern, found)
            assert least <= len(found) <= min(sizes, default=most), (pattern, found)


def drawn(automaton: Automaton, chance: random.Random, size: int) -> str:
    """A text at random, ended as soon as it can be."""
    text, state = "", 0
    for _ in range(chance.randint(0, size)):
        if not automaton.moves[state]:
            break
        low, high, state = chance.choice(automaton.moves[state])
        text += chr(chance.randint(low, high))
    rest = automaton.find_shortest(state)
    assert rest is not None
    return text + rest


READERS: dict[str, Callable[[str], Any]] = {
    "date": datetime.date.fromisoformat,
    "date-time": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    **{name: uuid.UUID for name in FORMATS if name.startswith("uuid")},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_text_of_a_format_is_one(name: str) -> None:
    known = FORMATS[name]
    automaton = parse_pattern(f"^(?:{known.pattern})$")[1]
    assert known.matches(known.example)
    for number in range(200):
        text = drawn(automaton, random.Random(number), 40)
        assert re.fullmatch(known.pattern, text), text
        assert json.dumps(text) == f'"{text}"'
        READERS.get(name, str)(text)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("date", ["2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31", "0000-01-01", "2024-1-1", "24-01-01"]),
        ("date-time", ["2024-01-05T10:00:00", "2024-01-05 10:00:00Z", "2024-01-05", "2024-01-05T24:00:00Z"]),
        ("time", ["10:00:00", "10:00Z", "25:00:00Z", "10:00:60Z"]),
        ("email", ["a@b", "a@.de", "a b@c.de", "a..b@c.de", ".a@c.de", "a@c..de", "a@c.d"]),
        ("uuid", ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"]),
        ("uuid4", ["123e4567-e89b-12d3-a456-426614174000"]),
        ("ipv4", ["256.1.1.1", "1.1.1", "01.1.1.1"]),
        ("ipv6", [":::", "1:2:3:4:5:6:7", "g::", "1::2::3"]),
        ("hostname", ["-a.de", "a_b", "a..b", ""]),
        ("uri", ["example.org", "http:", "http://a b", "://a"]),
        ("duration", ["P", "PT", "1D", "P1H", "P1D2W"]),
    ],
)
def test_what_is_of_no_format(name: str, wrong: list[str]) -> None:
    assert [text for text in wrong if FORMATS[name].matches(text)] == []


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?=a)b", "looks ahead"),
        ("(?<!a)b", "looks ahead or behind"),
        ("(?i)a", "a group of another kind"),
        (r"(a)\1", r"\\1"),
        (r"\bword", r"\\b"),
        (r"\p{L}+", r"\\p"),
        ("a$b", "'b' at character 3"),
        ("(a$)", r"\$ inside"),
        ("(^a)", "'\\^' at character 2"),
        ("[]", "a set of nothing"),
        ("[b-a]", "from more to less"),
        ("a{3,1}", "from more to less"),
        ("a{x}", "'{' at character 2"),
        ("a**", "count behind a count"),
        ("(a", "does not end"),
        ("a)", r"'\)' at character 2"),
        ("[a", "does not end"),
        ("[[:alpha:]]", "POSIX"),
        ('^"$', "no text without quotes"),
        ("^(a|b)*a(a|b){20}$", "too complex"),
        ("((a{99}){99}){99}", "too many"),
        ("(" * 60 + "a" + ")" * 60, "too deeply"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(pattern: str, said: str) -> None:
    with pytest.raises(UnsupportedTask, match=said) as caught:
        parse_pattern(pattern)
    assert caught.value.remedy
    assert caught.value.allowed
