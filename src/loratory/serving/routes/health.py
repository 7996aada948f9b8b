"""Whether it lives, whether it is ready, what it is, and how it does."""

from __future__ import annotations

import time

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from loratory.serving.naming import public
from loratory.serving.routes.bodies import respond
from loratory.serving.routing import Routes
from loratory.serving.server import Server


def routes(server: Server) -> Routes:
    """/health/live, /health/ready, /metrics, /info."""
    router = Routes()

    @router.get("/health/live")
    async def live() -> Response:
        return respond({"status": "live"})

    @router.get("/health/ready")
    async def ready() -> Response:
        return respond({"status": "ready" if server.ready else "leaving"}, 200 if server.ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        lanes = list(server.engine.lanes().values())
        for name in {public(lane.name) for lane in lanes}:  # two paths may end alike
            mine = [lane for lane in lanes if public(lane.name) == name]
            server.metrics.queued.labels(name).set(sum(lane.tokens for lane in mine))
            server.metrics.batches.labels(name).set(sum(lane.batches for lane in mine))
            server.metrics.rows.labels(name).set(sum(lane.rows for lane in mine))
        return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/info")
    async def info() -> Response:
        return respond(
            {
                **server.facts,
                "uptime_seconds": round(time.monotonic() - server.started, 1),
                "tasks": {one.name: one.release for one in server.board},
                "roles": server.board.roles,
                "limits": server.spec.limits.model_dump(),
            }
        )

    return router
