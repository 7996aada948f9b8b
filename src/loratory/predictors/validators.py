"""Where a text holds card numbers, bank accounts and the like: by form, and by the check digits that they carry."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import regex

PATTERN_TIMEOUT_SECONDS = 0.05  # a pattern may backtrack without end: past this it found nothing more


@dataclass(frozen=True)
class Validator:
    """A form, and what has to hold of what has it."""

    pattern: str
    is_valid: Callable[[str], bool] = lambda found: True
    phrases: tuple[str, ...] = ()  # what \\L<phrases> in the pattern stands for

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of everything in the text that has the form and holds."""
        try:
            for match in self._compiled.finditer(text, timeout=PATTERN_TIMEOUT_SECONDS):
                if match.end() > match.start() and self.is_valid(match.group()):
                    yield match.span()
        except TimeoutError:
            return

    @cached_property
    def _compiled(self) -> regex.Pattern[str]:
        lists: dict[str, Any] = {"phrases": self.phrases} if self.phrases else {}
        return regex.compile(self.pattern, **lists)


def is_luhn_valid(text: str) -> bool:
    """ISO/IEC 7812-1, annex B: from the right every second digit is doubled, and the digits add up to tens."""
    digits = [int(digit) for digit in text if digit.isdecimal()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits[::-1])]
    return 12 <= len(digits) <= 19 and sum(doubled) % 10 == 0 and any(digits)


def is_iban(text: str) -> bool:
    """ISO 13616: the first four signs go to the end, letters become 10 to 35, and the number is 1 modulo 97."""
    plain = "".join(text.split()).upper()
    if not 15 <= len(plain) <= 34 or not plain.isascii() or not plain.isalnum():
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def is_social_security_number(text: str) -> bool:
    """United States: no area 000, 666 or 900 and above, no group 00, no serial 0000."""
    area, group, serial = regex.split(r"[- ]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_ip_address(text: str) -> bool:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


VALIDATORS: Mapping[str, Validator] = {
    "card": Validator(r"(?<![\d.])\d(?:[ -]?\d){11,18}(?![\d.]?\d)", is_luhn_valid),
    "iban": Validator(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)", is_iban),
    "ssn": Validator(r"(?<![\d-])\d{3}([- ])\d{2}\1\d{4}(?![\d-])", is_social_security_number),
    "email": Validator(r"(?<![\w.+-])[\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}(?![\w-])"),
    "ip": Validator(
        r"(?<![\w:.])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)",
        is_ip_address,
    ),
    "url": Validator(r"(?<!\w)(?:https?://|www\.)[^\s<>\"']+[^\s<>\"'.,;:!?)\]]"),
    "phone": Validator(r"(?<![\w.])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./-]?\(?\d{2,5}\)?){2,5}(?:x\d{1,6})?(?![\w-])"),
}
