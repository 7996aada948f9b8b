"""Who is signed in to the page: a cookie that stands for a key, in this process, for some hours."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

from loratory.serving.keys import Key, Keys

COOKIE, MOST, SECONDS = "loratory_session", 1000, 12 * 3600


@dataclass
class Sessions:
    """Tokens of signed-in browsers; the oldest goes where there are too many."""

    keys: Keys
    known: OrderedDict[str, tuple[Key, float]] = field(default_factory=OrderedDict)

    def begin(self, key: Key) -> str:
        """A cookie's value that stands for the key."""
        token = secrets.token_urlsafe(24)
        self.known[token] = (key, time.monotonic() + SECONDS)
        while len(self.known) > MOST:
            self.known.popitem(last=False)
        return token

    def find(self, header: str) -> Key | None:
        """The key that a Cookie header stands for, while the session lasts and the key is not revoked."""
        key, until = self.known.get(token_of(header), (None, 0.0))
        return key if key is not None and until > time.monotonic() and key.digest in self.keys.by_digest else None

    def end(self, header: str) -> None:
        """Forget the session of a Cookie header."""
        self.known.pop(token_of(header), None)


def token_of(header: str) -> str:
    """Our cookie in a Cookie header; empty where there is none."""
    if COOKIE not in header:
        return ""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except Exception:  # a cookie of somebody else that cannot be read
        return ""
    return morsel.value if morsel else ""
