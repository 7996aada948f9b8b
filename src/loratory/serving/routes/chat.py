"""OpenAI's own paths: the models that there are, and completions of conversations. A model is a task."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.protocols import Written
from loratory.serving.cascade import Answered, Broken
from loratory.serving.engine import innermost, trunk_of
from loratory.serving.naming import public
from loratory.serving.refusals import Refusal
from loratory.serving.routes.bodies import respond
from loratory.serving.routes.completions import asked_of, body_of, service_of
from loratory.serving.routes.writing import talk
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.serving.streams import Dialect, stream
from loratory.serving.writing import Telling, Trials, said, too_long


@dataclass(frozen=True)
class Completion:
    """What every part of one answer says."""

    model: str
    release: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def part(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        """A whole answer, or a chunk of one."""
        own = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**own, "system_fingerprint": self.release[:16], "choices": choices, **more}


def routes(server: Server) -> Routes:
    """GET /v1/models, GET /v1/models/{id}, POST /v1/chat/completions."""
    router, trials = Routes(), Trials()
    born = int(time.time())

    @router.get("/v1/models")
    async def models() -> Response:
        return respond({"object": "list", "data": list(known_models(server, born).values())})

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        found = known_models(server, born).get(name)
        if found is None:
            raise Refusal("model_not_found", f"there is no model {name[:80]!r}", status=404, where="model")
        return respond(found)

    @router.post("/v1/chat/completions", server.every)
    async def complete(request: Request) -> Response:
        body = body_of(await request.body())
        service = service_of(server, body)
        asked = asked_of(server, service, body)
        input = talk(server, service, body.get("messages"))
        where = asked.budget if asked.wish.schema is None else "response_format"
        await trials.hold(service.stages[0], asked.wish, input, where)
        telling, head = Telling(asked.wish, asked.stream, input), Completion(service.name, service.release)
        if asked.stream:
            dialect = _chunks(head, service, telling, asked.counted)
            return await stream(server, service, input, telling, request, dialect)
        (one,) = await server.answer(service, [input], request.scope["served"], telling.prepare)
        return respond(_whole(head, service, one, telling, asked.logprobs))

    return router


def known_models(server: Server, created: int) -> dict[str, dict[str, Any]]:
    """Tasks, and the bases that they stand on: only tasks are answered for."""
    found: dict[str, dict[str, Any]] = {}
    bases: dict[str, dict[str, Any]] = {}
    for service in server.board:
        own = {"id": service.name, "object": "model", "created": created, "owned_by": "loratory"}
        predictor = service.stages[0].predictor
        trunk = trunk_of(predictor)
        base = public(trunk.name) if trunk is not None else None
        adapted = getattr(getattr(innermost(predictor), "network", None), "adapter", None) is not None
        found[service.name] = {**own, "root": service.release, "parent": base if adapted else None}
        if base is not None:
            bases[base] = {**own, "id": base, "root": base, "parent": None}
    return {**bases, **found}


def _finish(one: Answered, telling: Telling) -> str:
    """Why it ended. Raises Refusal where there is no answer that a conversation could go on with."""
    if one.status == "long":
        raise too_long(one, telling.input)
    if one.prediction.answer is None and one.status != "abstained":
        if one.status == "late":
            raise Refusal("late", "there was no answer in time")
        raise Broken
    found = telling.notes(one).written
    return "length" if found and found.finish == "length" else "stop"


def _beside(one: Answered) -> dict[str, Any]:
    """What our own interface tells too."""
    return {"loratory": {name: value for name, value in one.facts(probabilities=False).items() if name != "answer"}}


def _whole(head: Completion, service: Service, one: Answered, telling: Telling, logprobs: bool) -> dict[str, Any]:
    finish, notes = _finish(one, telling), telling.notes(one)
    gone = one.prediction.answer is None
    content = None if gone else said(service.task, one.prediction.answer)
    message = {"role": "assistant", "content": content, "refusal": "the task abstains from this" if gone else None}
    odds = {"content": _logprobs(notes.written, one), "refusal": None} if logprobs and notes.written else None
    choice = {"index": 0, "message": message, "logprobs": odds, "finish_reason": finish}
    return head.part("chat.completion", [choice], usage=notes.usage, **_beside(one))


def _logprobs(found: Written, one: Answered) -> list[dict[str, Any]]:
    """Of the tokens that were chosen, among those that were allowed."""
    spell = trunk_of(one.stage.predictor).tokenizer.read
    tokens = [spell((token,)) for token in found.ids]
    return [
        {
            "token": token,
            "logprob": math.log(max(odds, 1e-300)),
            "bytes": None if "\ufffd" in token else list(token.encode()),
            "top_logprobs": [],
        }
        for token, odds in zip(tokens, found.odds, strict=True)
    ]


def _chunks(head: Completion, service: Service, telling: Telling, counted: bool) -> Dialect:
    """Pieces as OpenAI's chunks; the first says who speaks."""
    begun = False
    usage: dict[str, Any] = {"usage": None} if counted else {}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return head.part("chat.completion.chunk", [choice], **usage, **more)

    def piece(text: str) -> dict[str, Any]:
        nonlocal begun
        role, begun = ({} if begun else {"role": "assistant"}), True
        return chunk({**role, "content": text})

    def end(one: Answered) -> list[Any]:
        made = [chunk({}, _finish(one, telling), **_beside(one))]
        if counted:
            made.append(head.part("chat.completion.chunk", [], usage=telling.notes(one).usage))
        return made

    return Dialect(piece, end)
