"""The OpenAPI 3.1 document: made from the declarations of the routes and the tasks' own contracts alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel

from loratory.protocols import JSON
from loratory.protocols.routes import ERROR_STATUSES, Dialect, Route, SchemaSource
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.auth.login_sessions import SESSION_COOKIE
from loratory.serving.http.schemas import COMPONENTS_PREFIX, STRING, answer_schema_name, object_schema
from loratory.serving.http.server import Server

REQUEST_ID_HEADER = {"X-Request-Id": {"schema": STRING, "description": "as it was sent, or made up"}}
RETRY_AFTER_HEADER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "seconds"}}
RETRYABLE_STATUSES = (429, 503)
PATH_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
EVENT_STREAM_SCHEMA = object_schema({"data": STRING})


def build_openapi(server: Server, title: str, version: str) -> dict[str, Any]:
    """The document of the server as it is now. A route of a task stands there once for each task."""
    paths: dict[str, dict[str, Any]] = {}
    for dialect, route in server.routes:
        for service in server.list_services() if route.task_parameter else [None]:
            operation = _build_operation(server, dialect, route, service)
            paths.setdefault(_document_path(route, service), {})[route.method.lower()] = operation
    dialects = list(dict.fromkeys(dialect for dialect, _ in server.routes))
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "tags": [{"name": one.name, "description": one.description} for one in dialects],
        "paths": paths,
        "components": {
            "schemas": {
                **_list_model_definitions(server.routes),
                **{_error_schema_name(one): dict(one.error_schema) for one in dialects},
                **{answer_schema_name(one): _component(answer_schema_name(one), one) for one in server.registry},
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "an API key; scopes: infer, admin"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "of the page"},
            },
        },
        **({"security": [{"key": []}, {"session": []}]} if server.keys else {}),
    }


def _component(name: str, service: Service) -> Any:
    return relocate_references(service.task.contract(), f"{COMPONENTS_PREFIX}{name}")


def _error_schema_name(dialect: Dialect[Any]) -> str:
    return f"{dialect.name.capitalize()}Error"


def _document_path(route: Route, service: Service | None) -> str:
    """The path with the task's name in it, and its other parts as OpenAPI writes them."""
    path = PATH_PARAMETER.sub(r"{\1}", route.path)
    return path if service is None else path.replace(f"{{{route.task_parameter}}}", service.name)


def _build_operation(server: Server, dialect: Dialect[Any], route: Route, service: Service | None) -> dict[str, Any]:
    suffix = "" if service is None else f"_{service.name}"
    made: dict[str, Any] = {
        "operationId": f"{route.operation_id}{suffix}",
        "tags": [dialect.name],
        "summary": route.summary if service is None else f"{route.summary} Task: {service.name}.",
        "responses": _build_responses(server, dialect, route, service),
    }
    names = [name for name in PATH_PARAMETER.findall(route.path) if service is None or name != route.task_parameter]
    if names:
        made["parameters"] = [{"name": name, "in": "path", "required": True, "schema": STRING} for name in names]
    if route.request is not None:
        schema = resolve_schema(route.request, server, service)
        made["requestBody"] = {"required": True, "content": {route.request_media_type: {"schema": schema}}}
    if route.scope is None:
        made["security"] = []
    elif server.keys:
        made["security"] = [{"key": [route.scope]}, {"session": [route.scope]}]
    return made


def _build_responses(server: Server, dialect: Dialect[Any], route: Route, service: Service | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for status, response in route.responses.items():
        content: dict[str, Any] = {}
        if response.media_type:
            schema = {} if response.schema is None else resolve_schema(response.schema, server, service)
            content[response.media_type] = {"schema": schema or STRING}
        if route.streams and status == 200:
            content["text/event-stream"] = {"schema": EVENT_STREAM_SCHEMA}
        if status >= 400:  # an answer that is no error here may be one of middleware too
            content |= _error_content(dialect) if response.media_type not in dialect.error_media_types else {}
        made[str(status)] = {"description": response.description, "headers": REQUEST_ID_HEADER, "content": content}
    return made | _error_responses(dialect, sorted(route.error_statuses))


def _error_responses(dialect: Dialect[Any], statuses: Sequence[int]) -> dict[str, Any]:
    codes = {status: code for code, status in ERROR_STATUSES.items()}
    return {
        str(status): {
            "description": codes.get(status, "error").replace("_", " "),
            "headers": {**REQUEST_ID_HEADER, **(RETRY_AFTER_HEADER if status in RETRYABLE_STATUSES else {})},
            "content": _error_content(dialect),
        }
        for status in statuses
    }


def _error_content(dialect: Dialect[Any]) -> dict[str, Any]:
    reference = {"$ref": f"{COMPONENTS_PREFIX}{_error_schema_name(dialect)}"}
    return {
        media_type: {"schema": reference if media_type == "application/json" else STRING}
        for media_type in dialect.error_media_types
    }


def resolve_schema(source: SchemaSource, server: Server, service: Service | None) -> dict[str, Any]:
    """The JSON Schema that a declaration means, for this server and task. A pydantic model stands whole where it is
    used; its own definitions are among the document's schemas.
    """
    if isinstance(source, type) and issubclass(source, BaseModel):
        made = source.model_json_schema(ref_template=f"{COMPONENTS_PREFIX}{{model}}")
        return {key: value for key, value in made.items() if key != "$defs"}
    if isinstance(source, Mapping):
        return dict(source)
    factory: Any = source  # a function: what else may stand here was looked at above
    return dict(factory(server, service))


def _list_model_definitions(routes: Sequence[tuple[Dialect[Any], Route]]) -> dict[str, Any]:
    """What the pydantic models of requests and responses refer to."""
    made: dict[str, Any] = {}
    for _, route in routes:
        for source in [route.request, *(response.schema for response in route.responses.values())]:
            if isinstance(source, type) and issubclass(source, BaseModel):
                made |= source.model_json_schema(ref_template=f"{COMPONENTS_PREFIX}{{model}}").get("$defs", {})
    return made


def relocate_references(schema: JSON, prefix: str) -> JSON:
    """A schema that stands at another place of the document, its own references with it."""
    if isinstance(schema, Mapping):
        own = {key: value for key, value in schema.items() if key not in ("$id", "$schema") or not _is_text(value)}
        reference = own.get("$ref")
        if _is_text(reference) and reference.startswith("#"):
            own["$ref"] = prefix + reference[1:]
        return {key: value if key == "$ref" else relocate_references(value, prefix) for key, value in own.items()}
    return [relocate_references(one, prefix) for one in schema] if isinstance(schema, (list, tuple)) else schema


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
