"""API keys, sessions of the page, and the scope that a route declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ANYBODY, ApiError
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys
from loratory.serving.http.auth.login_sessions import LoginSessions


class AuthenticationMiddleware:
    """Puts the key (scope["key"]: ApiKey | None) into the scope. Raises ApiError (401, 403)."""

    def __init__(
        self, app: ASGIApp, keys: ApiKeys, sessions: LoginSessions, check_keys: Callable[[bool], None]
    ) -> None:
        """`check_keys` looks at the file of keys, which may have changed: at once where it is given True."""
        self._app, self._keys, self._sessions, self._check_keys = app, keys, sessions, check_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        context = scope["context"]
        scope["key"] = key = self._authenticate(context.headers)
        context.key_name = key.name if key else None
        needed = scope["routed"].scope
        if needed is not ANYBODY:
            if self._keys and key is None:
                raise ApiError("unauthorized", "this needs a key: send it as Authorization: Bearer KEY")
            if key is not None and needed not in key.scopes:
                raise ApiError("forbidden", f"this key has no scope {needed}")
        await self._app(scope, receive, send)

    def _authenticate(self, headers: Mapping[str, str]) -> ApiKey | None:
        self._check_keys(False)
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            return self._sessions.find(headers.get("cookie", ""))
        found = self._keys.find(secret.strip())
        if found is None:  # it may be a new one
            self._check_keys(True)
            found = self._keys.find(secret.strip())
        return found
