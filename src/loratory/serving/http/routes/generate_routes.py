"""Answers in writing: whole, or piece by piece."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.errors import FieldError
from loratory.protocols import JSON, Conversational, Input
from loratory.protocols.routes import BODY_ERRORS, ApiError, RequestContext, ResponseSpec, Route
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.event_stream import StreamFormat, stream_response
from loratory.serving.http.routes.json_bodies import json_response, parse_body
from loratory.serving.http.schemas import (
    ANSWER_FIELDS,
    MESSAGES_SCHEMA,
    NUMBER,
    STRING,
    USAGE_SCHEMA,
    answer_reference,
    array_schema,
    input_schema,
    object_schema,
    text_schema,
)
from loratory.serving.http.server import Server
from loratory.serving.http.stream_session import SchemaPrecheck, StreamSession, answer_text, parse_sampling_params
from loratory.specs.generation import GenerationSpec
from loratory.tasks.conversations import build_input, parse_messages

INPUT_FIELDS = ("prompt", "messages", "input")


def list_generate_routes(server: Server) -> Sequence[Route]:
    """POST /v1/tasks/{task}/generate."""
    precheck = SchemaPrecheck()

    async def generate(task: str, request: Request, context: RequestContext) -> Response:
        started = time.perf_counter()
        service = server.get_service(task)
        known = {"prompt": str, "messages": list, "input": dict, "parameters": dict, "stream": bool}
        body = parse_body(await request.body(), known)
        input = _parse_input(server, service, body)
        sampling_params = parse_sampling_params(body.get("parameters", {}), server.spec.limits.new_tokens)
        await precheck.check(service.stages[0], sampling_params, input, "parameters.max_new_tokens")
        aloud = body.get("stream", False)
        session = StreamSession(sampling_params, aloud, input)

        def facts(one: StagedAnswer) -> dict[str, Any]:
            spent = round((time.perf_counter() - started) * 1000, 3)
            return {"task": service.name, **format_generation(service, one, session), "milliseconds": spent}

        if aloud:
            stream_format = StreamFormat(lambda piece: {"text": piece}, lambda one: [facts(one)])
            return await stream_response(server, service, input, session, context, stream_format)
        (one,) = await server.answer(service, [input], context, session.prepare_predictor)
        return json_response(facts(one))

    return [
        Route(
            "POST",
            "/v1/tasks/{task}/generate",
            "generate",
            "An answer in writing, whole or piece by piece.",
            generate,
            {200: ResponseSpec(_response_schema)},
            _request_schema,
            errors=BODY_ERRORS | {404},
            streams=True,
            task_parameter="task",
            select_services=server.services_named,
        )
    ]


def _request_schema(server: Server, service: Service) -> dict[str, Any]:
    """Exactly one of prompt, messages and input; the other bounds of parameters stand in `writing:` of a spec."""
    parameters = dict(GenerationSpec.model_json_schema()["properties"])
    parameters["stop"] = {"anyOf": [STRING, array_schema(STRING)]}
    asked = {
        "prompt": text_schema(server),
        "messages": MESSAGES_SCHEMA,
        "input": input_schema(server, service),
        "parameters": object_schema(parameters, [], closed=True),
        "stream": {"type": "boolean", "default": False},
    }
    return {**object_schema(asked, [], closed=True), "oneOf": [{"required": [name]} for name in INPUT_FIELDS]}


def _response_schema(server: Server, service: Service) -> dict[str, Any]:
    made = {"task": STRING, "answer": answer_reference(service), "text": STRING, "finish_reason": STRING}
    whole = {**made, **ANSWER_FIELDS, "usage": USAGE_SCHEMA, "milliseconds": NUMBER}
    return object_schema(whole, [name for name in whole if name != "finish_reason"])


def _parse_input(server: Server, service: Service, body: Mapping[str, Any]) -> Input:
    given = [name for name in INPUT_FIELDS if name in body]
    if len(given) != 1:
        raise ApiError("invalid_input", f"one of {', '.join(INPUT_FIELDS)} is needed, and only one", where="body")
    (name,) = given
    if body[name] == "":
        raise ApiError("invalid_input", "the prompt is empty", where=name)
    return (
        parse_conversation(server, service, body[name])
        if name == "messages"
        else parse_task_input(server, service, body[name], name)
    )


def parse_conversation(server: Server, service: Service, messages: JSON) -> Input:
    """A conversation as the task's input: all of it where it is one, else what the user says last. Raises ApiError."""
    try:
        turns = parse_messages(messages, "messages")
        if isinstance(service.task, Conversational):
            return parse_task_input(server, service, build_input(turns, "messages"), "messages")
    except FieldError as problem:
        raise ApiError("invalid_input", f"{problem}; allowed: {problem.allowed}", where=problem.field) from None
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    if not asked:
        raise ApiError(
            "invalid_input", "the conversation asks nothing; allowed: a message of the user", where="messages"
        )
    return parse_task_input(server, service, asked[-1], "messages")


def parse_task_input(server: Server, service: Service, value: JSON, where: str) -> Input:
    """An input of the task, its conversation one that takes turns. Raises ApiError."""
    (made,) = server.validate_inputs(service, [value], where)
    if not isinstance(service.task, Conversational):
        return made
    try:
        return build_input(parse_messages(service.task.messages(made), where), where)
    except FieldError as problem:
        raise ApiError("invalid_input", f"{problem}; allowed: {problem.allowed}", where=where) from None
    except (TypeError, ValueError):
        raise ApiError("invalid_input", "the conversation is none", where=where) from None


def format_generation(service: Service, one: StagedAnswer, session: StreamSession) -> dict[str, Any]:
    """An answer as plain data, with how it was written."""
    notes, own = session.usage_of(one), one.to_json(probabilities=False)
    finish = {"finish_reason": notes.generation.finish_reason} if notes.generation else {}
    text = answer_text(service.task, one.prediction.answer)
    return {"answer": own.pop("answer"), "text": text, **finish, **own, "usage": notes.token_counts}
