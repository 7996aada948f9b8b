"""GET /openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import Response

from loratory import __version__
from loratory.protocols.routes import ResponseSpec, Route
from loratory.serving.http.openapi import build_openapi
from loratory.serving.http.routes.json_bodies import json_response
from loratory.serving.http.schemas import OBJECT, STRING, object_schema
from loratory.serving.http.server import Server

TITLE = "Loratory"
DOCUMENT_SCHEMA = object_schema({"openapi": STRING, "info": OBJECT, "paths": OBJECT, "components": OBJECT})


def cache_document(server: Server) -> Callable[[], dict[str, Any]]:
    """A function that gives the document of what is served now; it is built anew when that changes."""
    built: dict[tuple[Any, ...], dict[str, Any]] = {}

    def get_document() -> dict[str, Any]:
        now = tuple(server.registry)
        if now not in built:
            built.clear()
            built[now] = build_openapi(server, TITLE, __version__)
        return built[now]

    return get_document


def list_openapi_routes(server: Server) -> Sequence[Route]:
    """The document for programs; /docs shows it to people."""
    get_document = cache_document(server)

    async def show_openapi() -> Response:
        return json_response(get_document())

    return [
        Route(
            "GET",
            "/openapi.json",
            "show_openapi",
            "This document.",
            show_openapi,
            {200: ResponseSpec(DOCUMENT_SCHEMA)},
        )
    ]
