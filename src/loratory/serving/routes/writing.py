"""Answers in writing: whole, or piece by piece."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.errors import FieldError
from loratory.protocols import Conversational, Input
from loratory.serving.cascade import Answered
from loratory.serving.refusals import Refusal
from loratory.serving.routes.bodies import object_of, respond
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.serving.streams import Dialect, stream
from loratory.serving.writing import Telling, Trials, said, wish_of
from loratory.tasks.conversations import input_of, messages_of

ASKED = ("prompt", "messages", "input")


def routes(server: Server) -> Routes:
    """POST /v1/tasks/{task}/generate."""
    router, trials = Routes(), Trials()

    @router.post("/v1/tasks/{task}/generate", server.named)
    async def generate(task: str, request: Request) -> Response:
        started = time.perf_counter()
        service = server.service(task)
        known = {"prompt": str, "messages": list, "input": dict, "parameters": dict, "stream": bool}
        body = object_of(await request.body(), known)
        input = _input(server, service, body)
        wish = wish_of(body.get("parameters", {}), server.spec.limits.new_tokens)
        await trials.hold(service.stages[0], wish, input, "parameters.max_new_tokens")
        aloud = body.get("stream", False)
        telling = Telling(wish, aloud, input)

        def facts(one: Answered) -> dict[str, Any]:
            spent = round((time.perf_counter() - started) * 1000, 3)
            return {"task": service.name, **told(service, one, telling), "milliseconds": spent}

        if aloud:
            dialect = Dialect(lambda piece: {"text": piece}, lambda one: [facts(one)])
            return await stream(server, service, input, telling, request, dialect)
        (one,) = await server.answer(service, [input], request.scope["served"], telling.prepare)
        return respond(facts(one))

    return router


def _input(server: Server, service: Service, body: Mapping[str, Any]) -> Input:
    given = [name for name in ASKED if name in body]
    if len(given) != 1:
        raise Refusal("invalid_input", f"one of {', '.join(ASKED)} is needed, and only one", where="body")
    (name,) = given
    if body[name] == "":
        raise Refusal("invalid_input", "the prompt is empty", where=name)
    return talk(server, service, body[name]) if name == "messages" else whole(server, service, body[name], name)


def talk(server: Server, service: Service, messages: Any) -> Input:
    """A conversation as the task's input: all of it where it is one, else what the user says last. Raises Refusal."""
    try:
        turns = messages_of(messages, "messages")
        if isinstance(service.task, Conversational):
            return whole(server, service, input_of(turns, "messages"), "messages")
    except FieldError as problem:
        raise Refusal("invalid_input", f"{problem}; allowed: {problem.allowed}", where=problem.field) from None
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    if not asked:
        raise Refusal(
            "invalid_input", "the conversation asks nothing; allowed: a message of the user", where="messages"
        )
    return whole(server, service, asked[-1], "messages")


def whole(server: Server, service: Service, value: Any, where: str) -> Input:
    """An input of the task, its conversation one that takes turns. Raises Refusal."""
    (made,) = server.inputs(service, [value], where)
    if not isinstance(service.task, Conversational):
        return made
    try:
        return input_of(messages_of(service.task.messages(made), where), where)
    except FieldError as problem:
        raise Refusal("invalid_input", f"{problem}; allowed: {problem.allowed}", where=where) from None
    except (TypeError, ValueError):
        raise Refusal("invalid_input", "the conversation is none", where=where) from None


def told(service: Service, one: Answered, telling: Telling) -> dict[str, Any]:
    """An answer as plain data, with how it was written."""
    notes, own = telling.notes(one), one.facts(probabilities=False)
    finish = {"finish": notes.written.finish} if notes.written else {}
    text = said(service.task, one.prediction.answer)
    return {"answer": own.pop("answer"), "text": text, **finish, **own, "usage": notes.usage}
