"""Load, replace and unload while the server runs, under the scope `admin`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from loratory.errors import LoratoryError
from loratory.protocols.routes import BODY_ERRORS, ApiError, RequestContext, ResponseSpec, Route
from loratory.serving.engine.service_registry import Service
from loratory.serving.engine.thread_isolation import run_in_new_thread
from loratory.serving.http.routes.json_bodies import json_response, parse_body
from loratory.serving.http.schemas import STRING, object_schema
from loratory.serving.http.server import Server
from loratory.specs.spec import NAME_PATTERN, NAME_RULE

LOAD_REQUEST_SCHEMA = object_schema(
    {
        "lora_name": {"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"},
        "lora_path": {"type": "string", "minLength": 1},
    },
    closed=True,
)
UNLOAD_REQUEST_SCHEMA = object_schema({"lora_name": {"type": "string", "minLength": 1}}, closed=True)
LOAD_RESPONSE = ResponseSpec(object_schema({"task": STRING, "release": STRING, "status": STRING}))


def list_adapter_routes(server: Server) -> Sequence[Route]:
    """The paths that vLLM has for adapters; a path is a run or an artifact below the server's `adapters` folder."""

    async def load(request: Request, context: RequestContext) -> Response:
        body = parse_body(await request.body(), {"lora_name": str, "lora_path": str})
        name, path = body.get("lora_name", ""), body.get("lora_path", "")
        if not NAME_PATTERN.fullmatch(name):
            raise ApiError("invalid_input", f"no name of a task; allowed: {NAME_RULE}", where="lora_name")
        if not path:
            raise ApiError("invalid_input", "there is no path", where="lora_path")
        service = await asyncio.to_thread(
            lambda: run_in_new_thread(lambda: _load_adapter(server, name, path, context.key_name))
        )
        return json_response({"task": name, "release": service.release, "status": "loaded"})

    async def unload(request: Request, context: RequestContext) -> Response:
        name = parse_body(await request.body(), {"lora_name": str}).get("lora_name", "")
        found = await asyncio.to_thread(_unload_adapter, server, name, context.key_name)
        return json_response({"task": name, "release": found.release, "status": "unloaded"})

    return [
        Route(
            "POST",
            "/v1/load_lora_adapter",
            "load_adapter",
            "Load or replace a task.",
            load,
            {200: LOAD_RESPONSE},
            LOAD_REQUEST_SCHEMA,
            errors=BODY_ERRORS,
            scope="admin",
        ),
        Route(
            "POST",
            "/v1/unload_lora_adapter",
            "unload_adapter",
            "Unload a task.",
            unload,
            {200: LOAD_RESPONSE},
            UNLOAD_REQUEST_SCHEMA,
            errors=BODY_ERRORS | {404},
            scope="admin",
        ),
    ]


def _load_adapter(server: Server, name: str, path: str, key: str | None) -> Service:
    """Read and verify an artifact, write it down, and put it on the board: all of it, also when nobody waits any more.

    Raises ApiError; what was served before is then served on.
    """
    allowed = server.spec.adapters
    if allowed is None:
        raise ApiError("forbidden", "this server loads nothing while it runs: it was started without adapters")
    folder = _resolve_below(allowed, path)
    facts = {"task": name, "path": path[:500], "key": key}
    with server.registry_lock:
        try:
            service = server.load_service(name, str(folder))
        except LoratoryError as problem:
            server.audit.record("load refused", {**facts, "reason": problem.problem})
            raise ApiError("invalid_input", problem.problem, where="lora_path") from problem
        server.audit.record("load", {**facts, "release": service.release})
        server.registry.register(service)
    return service


def _unload_adapter(server: Server, name: str, key: str | None) -> Service:
    """Write down that a task goes, and take it off the board. Raises ApiError."""
    with server.registry_lock:
        found = server.registry.get(name)
        if found is None:
            raise ApiError("not_found", f"there is no task {name[:80]!r}", where="lora_name")
        server.audit.record("unload", {"task": name, "release": found.release, "key": key})
        server.registry.unregister(name)
    return found


def _resolve_below(allowed: Path, path: str) -> Path:
    """The folder that a client means; never one that lies elsewhere, links followed."""
    try:
        folder = (allowed / path).resolve()
        if folder.is_relative_to(allowed.resolve()) and folder.is_dir():
            return folder
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise ApiError("invalid_input", "there is no such folder below the server's adapters", where="lora_path")
