"""Formats of JSON Schema that are held while an answer is written, and checked in the data: each by one pattern.

Each pattern allows only what its standard allows, and of that what readers agree on: an offset stands behind every time
(RFC 3339), a day is one of the calendar, and the domain of an e-mail address has a dot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Format:
    """What a text of this format is; `longest` in characters."""

    pattern: str
    example: str
    max_length: int | None = None

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def matches(self, text: str) -> bool:
        """Whether a text is of the format."""
        return self._compiled.fullmatch(text) is not None and (self.max_length is None or len(text) <= self.max_length)


YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
LEAP_DIGITS = "(?:0[48]|[2468][048]|[13579][26])"  # two digits that four divides, 00 left out
DATE = (
    f"(?:{YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
    f"02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{{2}}{LEAP_DIGITS}|{LEAP_DIGITS}00)-02-29)"
)
MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = rf"{MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{MINUTE})"  # RFC 3339, 5.6, without leap seconds
DNS_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1
EMAIL_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"  # RFC 5322, 3.2.3
HEX = "[0-9a-fA-F]"
OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"{OCTET}(?:\.{OCTET}){{3}}"
IPV6_GROUP = f"{HEX}{{1,4}}"
IPV6 = "|".join(  # RFC 4291, 2.2
    [
        f"(?:{IPV6_GROUP}:){{7}}{IPV6_GROUP}",
        f"(?:{IPV6_GROUP}:){{1,7}}:",
        *(f"(?:{IPV6_GROUP}:){{1,{k}}}(?::{IPV6_GROUP}){{1,{7 - k}}}" for k in range(6, 0, -1)),
        f":(?:(?::{IPV6_GROUP}){{1,7}}|:)",
        f"::(?:[fF]{{4}}:)?{IPV4}",
    ]
)
PCHAR = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"  # RFC 3986, appendix A
SEGMENTS = f"(?:/{PCHAR}*)*"
URI = (
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?://(?:{PCHAR}*@)?[A-Za-z0-9._~-]+(?::[0-9]{{1,5}})?{SEGMENTS}|{PCHAR}+{SEGMENTS})"
    rf"(?:\?(?:{PCHAR}|[/?])*)?(?:#(?:{PCHAR}|[/?])*)?"
)
HOURS = "T(?:[0-9]+H(?:[0-9]+M)?(?:[0-9]+S)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
DAYS = "(?:[0-9]+Y(?:[0-9]+M)?(?:[0-9]+D)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"

FORMATS: Mapping[str, Format] = {
    "date": Format(DATE, "2024-02-29"),
    "date-time": Format(f"{DATE}T{TIME}", "2024-02-29T12:30:00Z"),
    "time": Format(TIME, "12:30:00Z"),
    "duration": Format(f"P(?:[0-9]+W|{DAYS}(?:{HOURS})?|{HOURS})", "P3DT4H"),  # ISO 8601
    "email": Format(rf"{EMAIL_ATOM}(?:\.{EMAIL_ATOM})*@(?:{DNS_LABEL}\.)+[A-Za-z]{{2,63}}", "ann@example.org", 254),
    "uuid": Format(f"{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}", "123e4567-e89b-12d3-a456-426614174000"),
    **{
        f"uuid{version}": Format(
            f"{HEX}{{8}}-{HEX}{{4}}-{version}{HEX}{{3}}-[89abAB]{HEX}{{3}}-{HEX}{{12}}",
            f"123e4567-e89b-{version}2d3-a456-426614174000",
        )
        for version in (1, 3, 4, 5, 6, 7, 8)  # pydantic's names; RFC 9562
    },
    "ipv4": Format(IPV4, "192.0.2.1"),
    "ipv6": Format(IPV6, "2001:db8::1"),
    "hostname": Format(rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "www.example.org", 253),
    "uri": Format(URI, "https://example.org/a?b=c"),
}
UNCHECKED_TEXT_FORMATS = frozenset(
    ("password", "binary", "path", "file-path", "directory-path")
)  # they say nothing of the characters
INTEGER_RANGES: Mapping[str, tuple[int, int]] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}  # OpenAPI's
UNCHECKED_NUMBER_FORMATS = frozenset(("float", "double", "decimal"))


def matches_format(name: str, value: object) -> bool:
    """Whether a value is of a format; a format says nothing of values of another type."""
    if isinstance(value, str) and name in FORMATS:
        return FORMATS[name].matches(value)
    if isinstance(value, int) and not isinstance(value, bool) and name in INTEGER_RANGES:
        least, most = INTEGER_RANGES[name]
        return least <= value <= most
    return True
