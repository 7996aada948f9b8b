"""Whether it lives, whether it is ready, what it is, and how it does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from loratory.protocols import JSON, Schema
from loratory.protocols.routes import ANYBODY, ApiError, RenderedError, RequestContext, ResponseSpec, Route
from loratory.serving.http.api_errors import OPENAI_ERROR_SCHEMA, render_openai_error
from loratory.serving.http.public_names import public_base_name
from loratory.serving.http.routes.json_bodies import json_response
from loratory.serving.http.schemas import NUMBER, OBJECT, STRING, object_schema
from loratory.serving.http.server import Server

STATUS_SCHEMA = object_schema({"status": STRING})
NAMES_SCHEMA = {"type": "object", "additionalProperties": STRING}
INFO_SCHEMA = object_schema({"uptime_seconds": NUMBER, "tasks": NAMES_SCHEMA, "roles": NAMES_SCHEMA, "limits": OBJECT})


class HealthRoutes:
    """/health/live, /health/ready, /metrics, /info."""

    name: ClassVar[str] = "health"
    description: ClassVar[str] = "Liveness, readiness, metrics, and what the server is."
    prefixes: ClassVar[tuple[str, ...]] = ("/health/", "/metrics", "/info")
    error_schema: ClassVar[Schema] = OPENAI_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """As our own interface."""
        return render_openai_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """What a balancer and an operator ask."""

        async def check_live() -> Response:
            return json_response({"status": "live"})

        async def check_ready() -> Response:
            return json_response({"status": "ready" if server.ready else "leaving"}, 200 if server.ready else 503)

        async def show_metrics() -> Response:
            update_queue_metrics(server)
            return Response(server.metrics.render(), media_type=CONTENT_TYPE_LATEST)

        async def show_info() -> Response:
            return json_response(
                {
                    **server.info,
                    "uptime_seconds": round(time.monotonic() - server.started_at, 1),
                    "tasks": {one.name: one.release for one in server.registry},
                    "roles": server.registry.roles,
                    "limits": server.spec.limits.model_dump(),
                    **_describe_process(server),
                }
            )

        status = ResponseSpec(STATUS_SCHEMA)
        leaving = ResponseSpec(STATUS_SCHEMA, description="it is leaving")
        return [
            Route(
                "GET", "/health/live", "check_live", "The process answers.", check_live, {200: status}, scope=ANYBODY
            ),
            Route(
                "GET",
                "/health/ready",
                "check_ready",
                "It takes requests.",
                check_ready,
                {200: status, 503: leaving},
                scope=ANYBODY,
            ),
            Route(
                "GET",
                "/metrics",
                "show_metrics",
                "Counters for Prometheus.",
                show_metrics,
                {200: ResponseSpec(STRING, "text/plain", "text")},
            ),
            Route(
                "GET",
                "/info",
                "show_info",
                "Version, machine, tasks and limits.",
                show_info,
                {200: ResponseSpec(INFO_SCHEMA)},
            ),
        ]


def _describe_process(server: Server) -> dict[str, JSON]:
    """The process for predictors without a base, where the server has one."""
    process = server.engine.process
    return {} if process is None else {"predictor_process": process.describe()}


def update_queue_metrics(server: Server) -> None:
    """Set the gauges of every backbone's queue to what they are now."""
    workers = list(server.engine.list_workers().values())
    for name in {public_base_name(worker.name) for worker in workers}:  # two paths may end alike
        mine = [worker for worker in workers if public_base_name(worker.name) == name]
        server.metrics.queued_tokens.labels(name).set(sum(worker.queued_tokens for worker in mine))
        server.metrics.backbone_batches.labels(name).set(sum(worker.batches for worker in mine))
        server.metrics.backbone_texts.labels(name).set(sum(worker.rows for worker in mine))
