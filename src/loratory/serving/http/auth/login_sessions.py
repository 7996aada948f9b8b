"""Who is signed in to the page: a cookie that stands for a key, in this process, for some hours."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys

SESSION_COOKIE, SESSION_SECONDS = "loratory_session", 12 * 3600
MAX_SESSIONS = 1000  # sessions in all
MAX_SESSIONS_PER_KEY = 100  # of one key


@dataclass
class LoginSessions:
    """Tokens of signed-in browsers. Where there are too many, a key's own oldest goes: never another key's, as long as
    it has any.
    """

    keys: ApiKeys
    by_token: OrderedDict[str, tuple[ApiKey, float]] = field(default_factory=OrderedDict)

    def begin(self, key: ApiKey) -> str:
        """A cookie's value that stands for the key."""
        self._drop_expired()
        counts = Counter(other.digest for other, _ in self.by_token.values())
        if counts[key.digest] >= MAX_SESSIONS_PER_KEY:
            self._drop_oldest(key.digest)
        elif len(self.by_token) >= MAX_SESSIONS:
            ((most, _),) = counts.most_common(1)
            self._drop_oldest(key.digest if counts[key.digest] else most)
        token = secrets.token_urlsafe(24)
        self.by_token[token] = (key, time.monotonic() + SESSION_SECONDS)
        return token

    def find(self, header: str) -> ApiKey | None:
        """The key that a Cookie header stands for, while the session lasts and the key is as it was."""
        key, until = self.by_token.get(parse_session_cookie(header), (None, 0.0))
        return key if key is not None and self._is_valid(key, until) else None

    def end(self, header: str) -> None:
        """Forget the session of a Cookie header."""
        self.by_token.pop(parse_session_cookie(header), None)

    def _is_valid(self, key: ApiKey, until: float) -> bool:
        return until > time.monotonic() and self.keys.by_digest.get(key.digest) == key

    def _drop_expired(self) -> None:
        """Those that are over: they take no room from others."""
        for token in [token for token, one in self.by_token.items() if not self._is_valid(*one)]:
            del self.by_token[token]

    def _drop_oldest(self, digest: str) -> None:
        del self.by_token[next(token for token, (key, _) in self.by_token.items() if key.digest == digest)]


def parse_session_cookie(header: str) -> str:
    """Our cookie in a Cookie header; empty where there is none."""
    if SESSION_COOKIE not in header:
        return ""
    try:
        morsel = SimpleCookie(header).get(SESSION_COOKIE)
    except Exception:  # a cookie of somebody else that cannot be read
        return ""
    return morsel.value if morsel else ""
