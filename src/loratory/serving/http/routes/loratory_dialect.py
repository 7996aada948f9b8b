"""Our own interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from loratory.protocols import Schema
from loratory.protocols.routes import ApiError, RenderedError, RequestContext, Route
from loratory.serving.http.api_errors import OPENAI_ERROR_SCHEMA, render_openai_error
from loratory.serving.http.routes.adapter_routes import list_adapter_routes
from loratory.serving.http.routes.generate_routes import list_generate_routes
from loratory.serving.http.routes.openapi_routes import list_openapi_routes
from loratory.serving.http.routes.predict_routes import list_predict_routes
from loratory.serving.http.server import Server


class LoratoryRoutes:
    """Tasks by name: predict, generate, and load while the server runs. Its prefix is that of every other path too."""

    name: ClassVar[str] = "loratory"
    description: ClassVar[str] = "Tasks by name, typed by their contracts."
    prefixes: ClassVar[tuple[str, ...]] = ("",)
    error_schema: ClassVar[Schema] = OPENAI_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """OpenAI's shape, with the id of the request."""
        return render_openai_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """Everything below /v1 that is not OpenAI's."""
        return [
            *list_predict_routes(server),
            *list_generate_routes(server),
            *list_adapter_routes(server),
            *list_openapi_routes(server),
        ]
