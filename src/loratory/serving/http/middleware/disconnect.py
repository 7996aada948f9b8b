"""A route ends when its client goes away: nobody waits for what it computes."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ClientDisconnected(Exception):
    """The client has gone away: nobody is left to answer."""


class DisconnectMiddleware:
    """Runs the route until it is done, or cancels it and raises ClientDisconnected.

    The body has to be one message (BodyMiddleware): what comes behind it is the end of the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        unread = [await receive()]
        gone = asyncio.Event()
        route = asyncio.current_task()

        async def replay() -> Message:
            if unread:
                return unread.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if route is not None:
                route.cancel()

        watcher = asyncio.create_task(watch())

        async def stop_watching_at_end(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                watcher.cancel()  # it is answered: a client that leaves now takes nothing along
            await send(message)

        try:
            await self._app(scope, replay, stop_watching_at_end)
        except asyncio.CancelledError:
            if not gone.is_set() or route is None or route.uncancel():  # somebody else ends it
                raise
            raise ClientDisconnected from None
        finally:
            watcher.cancel()
