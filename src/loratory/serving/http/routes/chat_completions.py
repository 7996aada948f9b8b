"""OpenAI's own paths: the models that there are, and completions of conversations. A model is a task."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from loratory.protocols import Generation, Schema
from loratory.protocols.routes import BODY_ERRORS, ApiError, RenderedError, RequestContext, ResponseSpec, Route
from loratory.serving.engine.capabilities import backbone_of, network_of
from loratory.serving.engine.fallback_chain import PredictorFailed, StagedAnswer
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.api_errors import OPENAI_ERROR_SCHEMA, render_openai_error
from loratory.serving.http.event_stream import StreamFormat, stream_response
from loratory.serving.http.public_names import public_base_name
from loratory.serving.http.routes.chat_request import find_model, parse_completion_body, parse_completion_request
from loratory.serving.http.routes.generate_routes import parse_conversation
from loratory.serving.http.routes.json_bodies import json_response
from loratory.serving.http.schemas import (
    BOOLEAN,
    INTEGER,
    MESSAGES_SCHEMA,
    NULLABLE_STRING,
    STRING,
    USAGE_SCHEMA,
    array_schema,
    object_schema,
)
from loratory.serving.http.server import Server
from loratory.serving.http.stream_session import SchemaPrecheck, StreamSession, answer_text, describe_context_overflow


@dataclass(frozen=True)
class CompletionFrame:
    """What every part of one answer says."""

    model: str
    release: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def make_object(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        """A whole answer, or a chunk of one."""
        own = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**own, "system_fingerprint": self.release[:16], "choices": choices, **more}


MODEL_SCHEMA = object_schema(
    {
        "id": STRING,
        "object": STRING,
        "created": INTEGER,
        "owned_by": STRING,
        "root": STRING,
        "parent": NULLABLE_STRING,
    }
)
CHOICE_SCHEMA = object_schema(
    {
        "index": INTEGER,
        "message": object_schema({"role": STRING, "content": NULLABLE_STRING, "refusal": NULLABLE_STRING}),
        "finish_reason": STRING,
    }
)


class OpenAIRoutes:
    """GET /v1/models, GET /v1/models/{id}, POST /v1/chat/completions."""

    name: ClassVar[str] = "openai"
    description: ClassVar[str] = "Models and chat completions, as OpenAI's clients send them."
    prefixes: ClassVar[tuple[str, ...]] = ("/v1/chat/", "/v1/models")
    error_schema: ClassVar[Schema] = OPENAI_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """OpenAI's shape."""
        return render_openai_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """A model is a task."""
        precheck, born = SchemaPrecheck(), int(time.time())

        async def list_all_models() -> Response:
            return json_response({"object": "list", "data": list(list_models(server, born).values())})

        async def get_model(id: str) -> Response:
            found = list_models(server, born).get(id)
            if found is None:
                raise ApiError("model_not_found", f"there is no model {id[:80]!r}", status=404, where="model")
            return json_response(found)

        async def complete(request: Request, context: RequestContext) -> Response:
            return await _complete(server, precheck, await request.body(), context)

        return [
            Route(
                "GET",
                "/v1/models",
                "list_models",
                "Every task as a model, and the bases.",
                list_all_models,
                {200: ResponseSpec(object_schema({"object": STRING, "data": array_schema(MODEL_SCHEMA)}))},
            ),
            Route(
                "GET",
                "/v1/models/{id:path}",
                "get_model",
                "One of them.",
                get_model,
                {200: ResponseSpec(MODEL_SCHEMA)},
                errors=frozenset({404}),
            ),
            Route(
                "POST",
                "/v1/chat/completions",
                "create_chat_completion",
                "A conversation to its next message.",
                complete,
                {200: ResponseSpec(_completion_schema)},
                _completion_request_schema,
                errors=BODY_ERRORS | {404},
                streams=True,
                select_services=server.list_services,
            ),
        ]


def _completion_request_schema(server: Server, service: Service | None) -> dict[str, Any]:
    """As OpenAI's clients send it; what is not done here is refused by name."""
    names = [one.name for one in server.registry]
    model = {"type": "string", "enum": names} if names else STRING
    asked = {"model": model, "messages": MESSAGES_SCHEMA, "stream": BOOLEAN}
    return object_schema(asked, ["model", "messages"])


def _completion_schema(server: Server, service: Service | None) -> dict[str, Any]:
    made = {"id": STRING, "object": STRING, "created": INTEGER, "model": STRING}
    return object_schema({**made, "choices": array_schema(CHOICE_SCHEMA), "usage": USAGE_SCHEMA})


async def _complete(server: Server, precheck: SchemaPrecheck, raw: bytes, context: RequestContext) -> Response:
    body = parse_completion_body(raw)
    service = find_model(server, body)
    asked = parse_completion_request(server, service, body)
    input = parse_conversation(server, service, body.get("messages"))
    where = asked.budget_field if asked.params.schema is None else "response_format"
    await precheck.check(service.stages[0], asked.params, input, where)
    session, head = StreamSession(asked.params, asked.stream, input), CompletionFrame(service.name, service.release)
    if asked.stream:
        stream_format = _chunk_format(head, service, session, asked.include_usage)
        return await stream_response(server, service, input, session, context, stream_format)
    (one,) = await server.answer(service, [input], context, session.prepare_predictor)
    return json_response(_completion_body(head, service, one, session, asked.logprobs))


def list_models(server: Server, created: int) -> dict[str, dict[str, Any]]:
    """Tasks, and the bases that they stand on: only tasks are answered for."""
    found: dict[str, dict[str, Any]] = {}
    bases: dict[str, dict[str, Any]] = {}
    for service in server.registry:
        own = {"id": service.name, "object": "model", "created": created, "owned_by": "loratory"}
        predictor = service.stages[0].predictor
        backbone = backbone_of(predictor)
        base = public_base_name(backbone.name) if backbone is not None else None
        network = network_of(predictor)
        adapted = network is not None and network.adapter is not None
        found[service.name] = {**own, "root": service.release, "parent": base if adapted else None}
        if base is not None:
            bases[base] = {**own, "id": base, "root": base, "parent": None}
    return {**bases, **found}


def _finish_reason(one: StagedAnswer, telling: StreamSession) -> str:
    """Why it ended. Raises ApiError where there is no answer that a conversation could go on with."""
    if one.status == "long":
        raise describe_context_overflow(one, telling.input)
    if one.prediction.answer is None and one.status != "abstained":
        if one.status == "late":
            raise ApiError("late", "there was no answer in time")
        raise PredictorFailed
    found = telling.usage_of(one).generation
    return "length" if found and found.finish_reason == "length" else "stop"


def _loratory_fields(one: StagedAnswer) -> dict[str, Any]:
    """What our own interface tells too."""
    return {"loratory": {name: value for name, value in one.to_json(probabilities=False).items() if name != "answer"}}


def _completion_body(
    head: CompletionFrame, service: Service, one: StagedAnswer, telling: StreamSession, logprobs: bool
) -> dict[str, Any]:
    finish, notes = _finish_reason(one, telling), telling.usage_of(one)
    gone = one.prediction.answer is None
    content = None if gone else answer_text(service.task, one.prediction.answer)
    message = {"role": "assistant", "content": content, "refusal": "the task abstains from this" if gone else None}
    odds = (
        {"content": _format_logprobs(notes.generation, one), "refusal": None} if logprobs and notes.generation else None
    )
    choice = {"index": 0, "message": message, "logprobs": odds, "finish_reason": finish}
    return head.make_object("chat.completion", [choice], usage=notes.token_counts, **_loratory_fields(one))


def _format_logprobs(found: Generation, one: StagedAnswer) -> list[dict[str, Any]]:
    """Of the tokens that were chosen, among those that were allowed."""
    backbone = backbone_of(one.stage.predictor)
    assert backbone is not None  # it has written
    spell = backbone.tokenizer.decode
    tokens = [spell((token,)) for token in found.ids]
    return [
        {
            "token": token,
            "logprob": math.log(max(odds, 1e-300)),
            "bytes": None if "\ufffd" in token else list(token.encode()),
            "top_logprobs": [],
        }
        for token, odds in zip(tokens, found.token_probabilities, strict=True)
    ]


def _chunk_format(head: CompletionFrame, service: Service, telling: StreamSession, counted: bool) -> StreamFormat:
    """Pieces as OpenAI's chunks; the first says who speaks."""
    begun = False
    usage: dict[str, Any] = {"usage": None} if counted else {}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return head.make_object("chat.completion.chunk", [choice], **usage, **more)

    def piece(text: str) -> dict[str, Any]:
        nonlocal begun
        role, begun = ({} if begun else {"role": "assistant"}), True
        return chunk({**role, "content": text})

    def end(one: StagedAnswer) -> list[Any]:
        made = [chunk({}, _finish_reason(one, telling), **_loratory_fields(one))]
        if counted:
            made.append(head.make_object("chat.completion.chunk", [], usage=telling.usage_of(one).token_counts))
        return made

    return StreamFormat(piece, end)
