"""Whether it lives, whether it is ready, what it is, and how it does."""

from __future__ import annotations

import time

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from loratory.serving.http.public_names import public_base_name
from loratory.serving.http.routes.json_bodies import json_response
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server


def make_routes(server: Server) -> HttpRouter:
    """/health/live, /health/ready, /metrics, /info."""
    router = HttpRouter()

    @router.get("/health/live")
    async def live() -> Response:
        return json_response({"status": "live"})

    @router.get("/health/ready")
    async def ready() -> Response:
        return json_response({"status": "ready" if server.ready else "leaving"}, 200 if server.ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        workers = list(server.engine.list_workers().values())
        for name in {public_base_name(worker.name) for worker in workers}:  # two paths may end alike
            mine = [worker for worker in workers if public_base_name(worker.name) == name]
            server.metrics.queued_tokens.labels(name).set(sum(worker.queued_tokens for worker in mine))
            server.metrics.backbone_batches.labels(name).set(sum(worker.batches for worker in mine))
            server.metrics.backbone_texts.labels(name).set(sum(worker.rows for worker in mine))
        return Response(server.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/info")
    async def info() -> Response:
        return json_response(
            {
                **server.info,
                "uptime_seconds": round(time.monotonic() - server.started_at, 1),
                "tasks": {one.name: one.release for one in server.registry},
                "roles": server.registry.roles,
                "limits": server.spec.limits.model_dump(),
            }
        )

    return router
