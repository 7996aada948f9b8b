"""How often a key may ask: a token bucket for each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ANYBODY, ApiError
from loratory.serving.http.auth.api_keys import ApiKey


@dataclass
class TokenBucket:
    """A token bucket: `burst` requests at once, `rate` a second on average."""

    rate: float
    burst: int
    tokens: float = 0.0
    updated_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = float(self.burst)

    def take(self) -> float:
        """Seconds until there is a token; 0 where one was taken."""
        now = time.monotonic()
        self.tokens, self.updated_at = min(self.burst, self.tokens + (now - self.updated_at) * self.rate), now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


class RateLimitMiddleware:
    """Raises ApiError (429). Routes that need no key are not limited; all requests without a key share a bucket."""

    def __init__(self, app: ASGIApp, per_second: float | None, burst: int) -> None:
        self._app, self._per_second, self._burst = app, per_second, burst
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if self._per_second is not None and scope["routed"].scope is not ANYBODY:
            key: ApiKey | None = scope["key"]
            name = key.digest if key else ""
            bucket = self._buckets.setdefault(name, TokenBucket(self._per_second, self._burst))
            if wait := bucket.take():
                raise ApiError("busy", "this key has sent too many requests", retry_after=wait)
        await self._app(scope, receive, send)
