"""A small part of the Open Inference Protocol (KServe v2): texts in, labels or text out.

    GET  /v2/models/{name}         what the task is
    POST /v2/models/{name}/infer   {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": [..., ...]}]}

An error is `{"error": "what is wrong"}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loratory.protocols import Labelled, Schema
from loratory.protocols.routes import (
    ApiError,
    RenderedError,
    RequestContext,
    ResponseSpec,
    Route,
    ServedAnswer,
    ServingApi,
)


class Tensor(BaseModel):
    """A list of texts."""

    model_config = ConfigDict(extra="forbid")

    name: str
    datatype: str = Field("BYTES", pattern="^BYTES$")
    shape: list[int]
    data: list[str] = Field(min_length=1)


class InferRequest(BaseModel):
    """The body of POST /v2/models/{name}/infer."""

    model_config = ConfigDict(extra="forbid")

    id: str = ""
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


class InferResponse(BaseModel):
    """Its answer."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Tensor]


class ModelMetadata(BaseModel):
    """The answer of GET /v2/models/{name}."""

    name: str
    versions: list[str]
    platform: str
    labels: list[str]


class KServeRoutes:
    """The dialect: its routes and its error format."""

    name: ClassVar[str] = "kserve"
    description: ClassVar[str] = "The Open Inference Protocol, for texts."
    prefixes: ClassVar[tuple[str, ...]] = ("/v2/",)
    error_schema: ClassVar[Schema] = {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
        "additionalProperties": False,
    }
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def list_routes(self, server: ServingApi) -> Sequence[Route]:
        async def show_model(name: str) -> Response:
            service = server.get_service(name)
            made = ModelMetadata(
                name=name, versions=[service.release], platform="loratory", labels=list(service.labels)
            )
            return JSONResponse(made.model_dump())

        async def infer(name: str, request: Request, context: RequestContext) -> Response:
            service = server.get_service(name)
            asked = parse_request(await request.body())
            (tensor,) = asked.inputs
            inputs = server.validate_inputs(service, tensor.data, "inputs.0.data")
            found = await server.answer(service, inputs, context)
            texts = [to_text(service.task, one) for one in found]
            output = Tensor(name="answer", datatype="BYTES", shape=[len(texts)], data=texts)
            made = InferResponse(model_name=name, model_version=service.release, id=asked.id, outputs=[output])
            return JSONResponse(made.model_dump())

        return [
            Route(
                "GET",
                "/v2/models/{name}",
                "kserve_model",
                "What the task is.",
                show_model,
                {200: ResponseSpec(ModelMetadata)},
                errors=frozenset({404}),
                task_parameter="name",
            ),
            Route(
                "POST",
                "/v2/models/{name}/infer",
                "kserve_infer",
                "Answers to texts.",
                infer,
                {200: ResponseSpec(InferResponse)},
                InferRequest,
                errors=frozenset({400, 404, 422, 504}),
                task_parameter="name",
                select_services=lambda name: server.services_named(name),
            ),
        ]

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        where = f"{error.where}: " if error.where else ""
        return RenderedError(json.dumps({"error": f"{where}{error.message}"}).encode())


def parse_request(body: bytes) -> InferRequest:
    """Raises ApiError."""
    try:
        return InferRequest.model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        raise ApiError("invalid_request", first["msg"], where=".".join(map(str, first["loc"]))) from None


def to_text(task: Any, answer: ServedAnswer) -> str:
    """The label if the task has labels, else the answer as JSON; empty without an answer."""
    if answer.prediction.answer is None:
        return ""
    if isinstance(task, Labelled):
        return task.label_of(answer.prediction.answer)
    return json.dumps(answer.prediction.answer)
