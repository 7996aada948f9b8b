"""Who is signed in to the page: a cookie that stands for a key, in this process, for some hours."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

from loratory.serving.keys import Key, Keys

COOKIE, SECONDS = "loratory_session", 12 * 3600
MOST = 1000  # sessions in all
EACH = 100  # of one key


@dataclass
class Sessions:
    """Tokens of signed-in browsers. Where there are too many, a key's own oldest goes: never another key's, as long as
    it has any.
    """

    keys: Keys
    known: OrderedDict[str, tuple[Key, float]] = field(default_factory=OrderedDict)

    def begin(self, key: Key) -> str:
        """A cookie's value that stands for the key."""
        self._forget()
        counts = Counter(other.digest for other, _ in self.known.values())
        if counts[key.digest] >= EACH:
            self._drop_oldest(key.digest)
        elif len(self.known) >= MOST:
            ((most, _),) = counts.most_common(1)
            self._drop_oldest(key.digest if counts[key.digest] else most)
        token = secrets.token_urlsafe(24)
        self.known[token] = (key, time.monotonic() + SECONDS)
        return token

    def find(self, header: str) -> Key | None:
        """The key that a Cookie header stands for, while the session lasts and the key is as it was."""
        key, until = self.known.get(token_of(header), (None, 0.0))
        return key if key is not None and self._lasts(key, until) else None

    def end(self, header: str) -> None:
        """Forget the session of a Cookie header."""
        self.known.pop(token_of(header), None)

    def _lasts(self, key: Key, until: float) -> bool:
        return until > time.monotonic() and self.keys.by_digest.get(key.digest) == key

    def _forget(self) -> None:
        """Those that are over: they take no room from others."""
        for token in [token for token, one in self.known.items() if not self._lasts(*one)]:
            del self.known[token]

    def _drop_oldest(self, digest: str) -> None:
        del self.known[next(token for token, (key, _) in self.known.items() if key.digest == digest)]


def token_of(header: str) -> str:
    """Our cookie in a Cookie header; empty where there is none."""
    if COOKIE not in header:
        return ""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except Exception:  # a cookie of somebody else that cannot be read
        return ""
    return morsel.value if morsel else ""
