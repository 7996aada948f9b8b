"""Spans of a text replaced: masked, by their label, by a keyed code, or by made-up values that stay the same."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from loratory.errors import missing_extra

MASK = "█"
CODE = 12  # hexadecimal digits of a code: 48 bits
TRIES = 20  # made-up values, before one that equals what it stands for is taken apart


class Way(Protocol):
    """How a span is replaced."""

    def put(self, label: str, text: str) -> str:
        """What stands in its place."""


@dataclass(frozen=True)
class Masked:
    """As many signs as the span had."""

    def put(self, label: str, text: str) -> str:
        return MASK * len(text)


@dataclass(frozen=True)
class Typed:
    """[LABEL]."""

    def put(self, label: str, text: str) -> str:
        return f"[{label}]"


@dataclass(frozen=True)
class Hashed:
    """[LABEL:code], the same for the same value under one key: HMAC-SHA256 (RFC 2104), cut to 48 bits.

    Without the key a code cannot be found by trying values; a bare hash of a card number could.
    """

    key: bytes

    def put(self, label: str, text: str) -> str:
        return f"[{label}:{_digest(self.key, label, text)[:CODE]}]"


@dataclass(frozen=True)
class Faked:
    """A made-up value of the same kind by Faker, the same for the same value under one key.

    Where Faker has nothing for the label, digits become other digits, and letters other letters.
    """

    key: bytes
    locale: str = "en_US"

    @cached_property
    def _faker(self) -> Any:
        try:
            from faker import Faker
        except ImportError:
            raise missing_extra("faker", "redact") from None
        return Faker(self.locale)

    def put(self, label: str, text: str) -> str:
        seed = int(_digest(self.key, label, text), 16)
        self._faker.seed_instance(seed)
        chance = random.Random(seed)
        make = maker_of(label)
        for _ in range(TRIES):
            made = str(make(self._faker)) if make else shaped(text, chance)
            made = _in_case(" ".join(made.split()), text)
            if _plain(made) != _plain(text):
                return made
        return MASK * len(text)


def shaped(text: str, chance: random.Random) -> str:
    """Other digits for digits and other letters for letters; all else stays."""

    def other(sign: str) -> str:
        if sign.isdecimal():
            return chance.choice("0123456789")
        if sign.isalpha():
            letter = chance.choice("abcdefghijklmnopqrstuvwxyz")
            return letter.upper() if sign.isupper() else letter
        return sign

    return "".join(map(other, text))


MAKERS: Mapping[str, Callable[[Any], Any]] = {  # a word of the label, from what is special to what is common
    "EMAIL": lambda faker: faker.safe_email(),
    "PHONE": lambda faker: faker.numerify("555-01##"),
    "CARD": lambda faker: faker.credit_card_number(),
    "IBAN": lambda faker: faker.iban(),
    "SSN": lambda faker: faker.ssn(),
    "IP": lambda faker: faker.ipv4_private(),
    "URL": lambda faker: f"https://{faker.safe_domain_name()}",
    "DOMAIN": lambda faker: faker.safe_domain_name(),
    "ZIP": lambda faker: faker.postcode(),
    "POSTCODE": lambda faker: faker.postcode(),
    "STREET": lambda faker: faker.street_address(),
    "ADDRESS": lambda faker: faker.street_address(),
    "CITY": lambda faker: faker.city(),
    "GPE": lambda faker: faker.city(),
    "LOCATION": lambda faker: faker.city(),
    "LOC": lambda faker: faker.city(),
    "COUNTRY": lambda faker: faker.country(),
    "ORGANIZATION": lambda faker: faker.company(),
    "ORG": lambda faker: faker.company(),
    "COMPANY": lambda faker: faker.company(),
    "USERNAME": lambda faker: faker.user_name(),
    "TITLE": lambda faker: faker.prefix(),
    "JOB": lambda faker: faker.job(),
    "FIRSTNAME": lambda faker: faker.first_name(),
    "LASTNAME": lambda faker: faker.last_name(),
    "SURNAME": lambda faker: faker.last_name(),
    "PERSON": lambda faker: faker.name(),
    "PER": lambda faker: faker.name(),
    "NAME": lambda faker: faker.name(),
}


def maker_of(label: str) -> Callable[[Any], Any] | None:
    """What makes values of a label, by the words of its name."""
    words = set(re.split(r"[^A-Z]+", label.upper()))
    return next((make for word, make in MAKERS.items() if word in words), None)


def redacted(text: str, spans: Iterable[tuple[int, int, str]], way: Way) -> str:
    """The text with its spans replaced, in order and without overlap."""
    made, last = [], 0
    for start, end, label in spans:
        made += [text[last:start], way.put(label, text[start:end])]
        last = end
    return "".join([*made, text[last:]])


def kept(spans: Sequence[tuple[int, int, str]], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans of these labels; of all where none is named."""
    return [span for span in spans if not labels or span[2] in labels]


def _digest(key: bytes, label: str, text: str) -> str:
    return hmac.new(key, f"{label}\0{_plain(text)}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _plain(text: str) -> str:
    """Values that differ in case and spaces alone are one value."""
    return " ".join(text.casefold().split())


def _in_case(made: str, text: str) -> str:
    letters = [sign for sign in text if sign.isalpha()]
    if letters and all(sign.isupper() for sign in letters):
        return made.upper()
    return made.lower() if letters and all(sign.islower() for sign in letters) else made
