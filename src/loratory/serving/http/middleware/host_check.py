"""By which names the server may be called (DNS rebinding)."""

from __future__ import annotations

from collections.abc import Container

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ApiError


class HostCheckMiddleware:
    """Raises ApiError (421) where the Host header names another server. `hosts`: names without a port; None: any."""

    def __init__(self, app: ASGIApp, hosts: Container[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        host = scope["context"].headers.get("host", "")
        if self._hosts is not None and strip_port(host) not in self._hosts:
            message = (
                f"this server does not answer for the host {host[:80]!r}; others are listed under hosts in its file"
            )
            raise ApiError("misdirected", message)
        await self._app(scope, receive, send)


def strip_port(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
