"""The process: uvicorn around the application, and an orderly end.

SIGTERM or Ctrl-C: /health/ready says 503 and answers close their connections, so that balancers and clients go
elsewhere; what was accepted is answered; then the sockets close. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

import uvicorn

from loratory.serving.gate import Gate
from loratory.serving.server import Server

LINGER = 0.3  # seconds in which clients learn that they should leave, at least


class Process(uvicorn.Server):
    """A server that leaves in order."""

    def __init__(self, gate: Gate, server: Server, announce: Callable[[str], None]) -> None:
        spec = server.spec
        super().__init__(
            uvicorn.Config(
                gate,
                interface="asgi3",
                host=spec.host,
                port=spec.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                date_header=True,
                lifespan="off",
                ws="none",
                backlog=2048,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=max(int(spec.limits.drain_ms / 1000), 1),
            )
        )
        self.gate, self.server, self._announce = gate, server, announce
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            self._announce(f"http://{shown}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's, which would stop listening at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def leave(self) -> None:
        """Begin to leave; when called again, leave now."""
        if self._leaving is not None:
            self.force_exit = True
            self.should_exit = True
            return
        self.server.ready = False
        self._leaving = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(LINGER)
        self.should_exit = True  # uvicorn closes its sockets, and waits for what is being answered
