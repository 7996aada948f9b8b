"""Load, replace and unload while the server runs, under the scope `admin`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from loratory.errors import LoratoryError
from loratory.serving.refusals import Refusal
from loratory.serving.routes.bodies import object_of, respond
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.serving.threads import apart
from loratory.specs.frame import NAME, NAMED


def routes(server: Server) -> Routes:
    """The paths that vLLM has for adapters; a path is a run or an artifact below the server's `adapters` folder."""
    router = Routes()

    @router.post("/v1/load_lora_adapter")
    async def load(request: Request) -> Response:
        body = object_of(await request.body(), {"lora_name": str, "lora_path": str})
        name, path = body.get("lora_name", ""), body.get("lora_path", "")
        if not NAME.fullmatch(name):
            raise Refusal("invalid_input", f"no name of a task; allowed: {NAMED}", where="lora_name")
        if not path:
            raise Refusal("invalid_input", "there is no path", where="lora_path")
        service = await asyncio.to_thread(lambda: apart(lambda: _change(server, name, path, _who(request))))
        return respond({"task": name, "release": service.release, "status": "loaded"})

    @router.post("/v1/unload_lora_adapter")
    async def unload(request: Request) -> Response:
        name = object_of(await request.body(), {"lora_name": str}).get("lora_name", "")
        found = await asyncio.to_thread(_unload, server, name, _who(request))
        return respond({"task": name, "release": found.release, "status": "unloaded"})

    return router


def _change(server: Server, name: str, path: str, key: str | None) -> Service:
    """Read and verify an artifact, write it down, and put it on the board: all of it, also when nobody waits any more.

    Raises Refusal; what was served before is then served on.
    """
    allowed = server.spec.adapters
    if allowed is None:
        raise Refusal("forbidden", "this server loads nothing while it runs: it was started without adapters")
    folder = _below(allowed, path)
    facts = {"task": name, "path": path[:500], "key": key}
    with server.changing:
        try:
            service = server.load(name, str(folder))
        except LoratoryError as problem:
            server.audit.note("load refused", {**facts, "why": problem.problem})
            raise Refusal("invalid_input", problem.problem, where="lora_path") from problem
        server.audit.note("load", {**facts, "release": service.release})
        server.board.put(service)
    return service


def _unload(server: Server, name: str, key: str | None) -> Service:
    """Write down that a task goes, and take it off the board. Raises Refusal."""
    with server.changing:
        found = server.board.get(name)
        if found is None:
            raise Refusal("not_found", f"there is no task {name[:80]!r}", where="lora_name")
        server.audit.note("unload", {"task": name, "release": found.release, "key": key})
        server.board.drop(name)
    return found


def _below(allowed: Path, path: str) -> Path:
    """The folder that a client means; never one that lies elsewhere, links followed."""
    try:
        folder = (allowed / path).resolve()
        if folder.is_relative_to(allowed.resolve()) and folder.is_dir():
            return folder
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise Refusal("invalid_input", "there is no such folder below the server's adapters", where="lora_path")


def _who(request: Request) -> str | None:
    key = request.scope.get("key")
    return key.name if key else None
