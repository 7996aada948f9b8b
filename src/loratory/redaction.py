"""Spans of a text replaced: masked, by their label, by a keyed code, or by made-up values that stay the same."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

from loratory.errors import make_missing_extra

REDACTION_METHODS = ("type", "mask", "hash", "fake")
MASK_CHARACTER = "█"
CODE_DIGITS = 12  # hexadecimal digits of a code: 48 bits
MAX_FAKE_TRIES = 20  # made-up values, before one that equals what it stands for is taken apart


class Replacement(Protocol):
    """How a span is replaced."""

    def replace_span(self, label: str, text: str) -> str:
        """What stands in its place."""


@dataclass(frozen=True)
class MaskReplacement:
    """As many signs as the span had."""

    def replace_span(self, label: str, text: str) -> str:
        """A block (U+2588) for each character of the span."""
        return MASK_CHARACTER * len(text)


@dataclass(frozen=True)
class LabelReplacement:
    """[LABEL]."""

    def replace_span(self, label: str, text: str) -> str:
        """The label in brackets, whatever the text."""
        return f"[{label}]"


@dataclass(frozen=True)
class HmacReplacement:
    """[LABEL:code], the same for the same value under one key: HMAC-SHA256 (RFC 2104), cut to 48 bits.

    Without the key a code cannot be found by trying values; a bare hash of a card number could.
    """

    key: bytes

    def replace_span(self, label: str, text: str) -> str:
        """The label and 12 hexadecimal digits; white space and case of the text make no difference."""
        return f"[{label}:{_compute_hmac(self.key, label, text)[:CODE_DIGITS]}]"


@dataclass(frozen=True)
class FakeReplacement:
    """A made-up value of the same kind by Faker, the same for the same value under one key.

    Where Faker has nothing for the label, digits become other digits, and letters other letters.
    """

    key: bytes
    locale: str = "en_US"

    def __post_init__(self) -> None:
        """Raises MissingExtra, before a model is loaded."""
        if find_spec("faker") is None:
            raise make_missing_extra("faker", "redact")

    @cached_property
    def _faker(self) -> Any:
        from faker import Faker

        return Faker(self.locale)

    def replace_span(self, label: str, text: str) -> str:
        """A made-up value in the case of the text, never the text itself; blocks where 20 tries made no other."""
        seed = int(_compute_hmac(self.key, label, text), 16)
        self._faker.seed_instance(seed)
        chance = random.Random(seed)
        make = faker_method_of(label)
        for _ in range(MAX_FAKE_TRIES):
            made = str(make(self._faker)) if make else randomize_characters(text, chance)
            made = _match_case(" ".join(made.split()), text)
            if _normalize_value(made) != _normalize_value(text):
                return made
        return MASK_CHARACTER * len(text)


def randomize_characters(text: str, chance: random.Random) -> str:
    """Other digits for digits and other letters for letters; all else stays."""

    def other(sign: str) -> str:
        if sign.isdecimal():
            return chance.choice("0123456789")
        if sign.isalpha():
            letter = chance.choice("abcdefghijklmnopqrstuvwxyz")
            return letter.upper() if sign.isupper() else letter
        return sign

    return "".join(map(other, text))


FAKERS_BY_WORD: Mapping[str, Callable[[Any], Any]] = {  # a word of the label, from what is special to what is common
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


def faker_method_of(label: str) -> Callable[[Any], Any] | None:
    """What makes values of a label, by the words of its name."""
    words = set(re.split(r"[^A-Z]+", label.upper()))
    return next((make for word, make in FAKERS_BY_WORD.items() if word in words), None)


def redact_text(text: str, spans: Iterable[tuple[int, int, str]], replacement: Replacement) -> str:
    """The text with its spans replaced, in order and without overlap."""
    made, last = [], 0
    for start, end, label in spans:
        made += [text[last:start], replacement.replace_span(label, text[start:end])]
        last = end
    return "".join([*made, text[last:]])


def select_spans(spans: Sequence[tuple[int, int, str]], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans of these labels; of all where none is named."""
    return [span for span in spans if not labels or span[2] in labels]


def _compute_hmac(key: bytes, label: str, text: str) -> str:
    return hmac.new(key, f"{label}\0{_normalize_value(text)}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _normalize_value(text: str) -> str:
    """Values that differ in case and spaces alone are one value."""
    return " ".join(text.casefold().split())


def _match_case(replacement: str, text: str) -> str:
    letters = [sign for sign in text if sign.isalpha()]
    if letters and all(sign.isupper() for sign in letters):
        return replacement.upper()
    return replacement.lower() if letters and all(sign.islower() for sign in letters) else replacement
