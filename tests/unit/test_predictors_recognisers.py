"""Numbers with check digits: public test numbers hold, the same ones with a digit changed do not."""

from __future__ import annotations

import time

import pytest

from loratory.predictors.validators import VALIDATORS, Validator

GOOD = {
    "card": ("4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"),
    "iban": ("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO9386011117947"),
    "ssn": ("219-09-9999", "078 05 1120"),
    "email": ("ada.lund+news@mail.example.org", "x@y.example"),
    "ip": ("192.0.2.1", "2001:db8::1", "::1"),
    "url": ("https://example.org/a?b=c", "www.example.org"),
    "phone": ("+47 22 85 50 50", "(212) 555-0100", "0049-30-1234567"),
}
BAD = {
    "card": ("4111 1111 1111 1112", "0000 0000 0000 0000", "1234"),
    "iban": ("GB82 WEST 1234 5698 7654 33", "DE00370400440532013000"),
    "ssn": ("000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "219-09 9999"),
    "email": ("ada@lund", "@example.org"),
    "ip": ("256.1.1.1", "1.2.3.4.5", "12:30"),
    "url": ("example", "http:/x"),
    "phone": ("12", "3.14"),
}


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, listed in GOOD.items() for number in listed])
def test_what_holds_is_found_where_it_stands(kind: str, number: str) -> None:
    text = f"Please note {number}, thank you."
    assert (12, 12 + len(number)) in list(VALIDATORS[kind].find(text))


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, listed in BAD.items() for number in listed])
def test_what_does_not_hold_is_not_found(kind: str, number: str) -> None:
    assert list(VALIDATORS[kind].find(f"Please note {number}, thank you.")) == []


def test_a_catastrophic_pattern_ends_in_time() -> None:
    started = time.monotonic()
    assert list(Validator(r"(?:a|aa)+$").find("a" * 5000 + "b")) == []
    assert time.monotonic() - started < 5
