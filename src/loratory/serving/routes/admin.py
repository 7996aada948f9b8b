"""Load, replace and unload while the server runs, under the scope `admin`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from loratory.errors import LoratoryError
from loratory.serving.refusals import Refusal
from loratory.serving.routes.bodies import object_of, respond
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.specs.frame import NAME, NAMED


def routes(server: Server) -> APIRouter:
    """The paths that vLLM has for adapters; a path is a run or an artifact below the server's `adapters` folder."""
    router = APIRouter()

    @router.post("/v1/load_lora_adapter", include_in_schema=False)
    async def load(request: Request) -> Response:
        body = object_of(await request.body(), {"lora_name": str, "lora_path": str})
        name, path = body.get("lora_name", ""), body.get("lora_path", "")
        if not NAME.fullmatch(name):
            raise Refusal("invalid_input", f"no name of a task; allowed: {NAMED}", where="lora_name")
        service = await asyncio.to_thread(_change, server, name, path)
        _note(server, request, "load", name, service.release)
        return respond({"task": name, "release": service.release, "status": "loaded"})

    @router.post("/v1/unload_lora_adapter", include_in_schema=False)
    async def unload(request: Request) -> Response:
        name = object_of(await request.body(), {"lora_name": str}).get("lora_name", "")
        found = server.board.drop(name)
        if found is None:
            raise Refusal("not_found", f"there is no task {name[:80]!r}", where="lora_name")
        _note(server, request, "unload", name, found.release)
        return respond({"task": name, "release": found.release, "status": "unloaded"})

    return router


def _change(server: Server, name: str, path: str) -> Service:
    """Read and verify an artifact, and put it on the board. Raises Refusal."""
    allowed = server.spec.adapters
    if allowed is None:
        raise Refusal("forbidden", "this server loads nothing while it runs: it was started without adapters")
    folder = (allowed / path).resolve()
    if not path or not folder.is_relative_to(allowed.resolve()) or not folder.is_dir():
        raise Refusal("invalid_input", "there is no such folder below the server's adapters", where="lora_path")
    with server.changing:
        try:
            service = server.load(name, str(folder))
        except LoratoryError as problem:
            raise Refusal("invalid_input", problem.problem, where="lora_path") from problem
        server.board.put(service)
    return service


def _note(server: Server, request: Request, event: str, name: str, release: str) -> None:
    key = request.scope.get("key")
    server.audit.note(event, {"task": name, "release": release, "key": key.name if key else None})
