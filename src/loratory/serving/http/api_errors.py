"""Exceptions to what a client is told, and the two shapes of errors that our own dialects have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from loratory.errors import DeadlineExceeded, LoratoryError, StorageError, is_out_of_memory
from loratory.protocols import JSON, Schema
from loratory.protocols.routes import ApiError, RenderedError, RequestContext
from loratory.serving.engine.fallback_chain import Overloaded, PredictorFailed
from loratory.serving.http.schemas import NULLABLE_STRING, STRING, object_schema

OPENAI_ERROR_TYPES: Mapping[int, str] = {  # as OpenAI's clients know them
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
OPENAI_ERROR_SCHEMA: Schema = object_schema(
    {
        "error": object_schema(
            {"code": STRING, "message": STRING, "type": STRING, "param": NULLABLE_STRING, "request_id": STRING},
            closed=True,
        )
    }
)
ROUTER_ERROR_CODES: Mapping[str, str] = {  # what the semantic router's clients know these codes as
    "invalid_request": "INVALID_INPUT",
    "invalid_input": "INVALID_INPUT",
    "internal": "UNIFIED_CLASSIFICATION_ERROR",
}
ROUTER_ERROR_SCHEMA: Schema = object_schema(
    {
        "error": object_schema(
            {"code": STRING, "message": STRING, "timestamp": {**STRING, "format": "date-time"}}, closed=True
        )
    }
)


def render_openai_error(error: ApiError, context: RequestContext) -> RenderedError:
    """`{"error": {code, message, type, param, request_id}}`: OpenAI's, with the id of the request; our own too."""
    kind = OPENAI_ERROR_TYPES.get(error.status) or ("server_error" if error.status >= 500 else "invalid_request_error")
    facts = {"code": error.code, "message": error.message, "type": kind, "param": error.where or None}
    return _render_json({"error": {**facts, "request_id": context.request_id}})


def render_router_error(error: ApiError, context: RequestContext) -> RenderedError:
    """`{"error": {code, message, timestamp}}`, with the semantic router's codes."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    code = ROUTER_ERROR_CODES.get(error.code, error.code)
    return _render_json({"error": {"code": code, "message": error.message, "timestamp": now}})


def _render_json(value: JSON) -> RenderedError:
    return RenderedError(json.dumps(value, ensure_ascii=False).encode())


def to_api_error(problem: Exception) -> ApiError:
    """What a client is told of an error: of our own failures, nothing but that there was one."""
    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, Overloaded):
        return ApiError("busy", "the server has no room for this now", retry_after=problem.retry_after)
    if isinstance(problem, DeadlineExceeded):
        return ApiError("late", "the deadline passed before there was an answer")
    if isinstance(problem, StorageError):  # of ours, not of what was asked: where it lies is nobody's business
        return ApiError("unavailable", "this server could not write down what it was asked to do", retry_after=10.0)
    if is_out_of_memory(problem):
        return ApiError(
            "unavailable", "there was not enough memory for this now; fewer or shorter texts may do", retry_after=1.0
        )
    if isinstance(problem, LoratoryError):
        return ApiError("invalid_input", f"{problem.problem}{_format_allowed(problem)}", where=problem.where)
    message = "the task could not be answered" if isinstance(problem, PredictorFailed) else "something went wrong here"
    return ApiError("internal", message)


def _format_allowed(problem: LoratoryError) -> str:
    return f"; allowed: {problem.allowed}" if problem.allowed else ""
