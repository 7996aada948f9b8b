"""What a server answers where it does not do what it was asked: a status, a code, and what would be allowed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from loratory.errors import DeadlineExceeded, LoratoryError, StorageError, is_out_of_memory
from loratory.serving.engine.fallback_chain import Overloaded, PredictorFailed

# code -> status: everything that any route may refuse with, for the OpenAPI too
ERROR_STATUSES: Mapping[str, int] = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout_of_request": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "misdirected": 421,
    "invalid_input": 422,
    "busy": 429,
    "headers_too_large": 431,
    "internal": 500,
    "unavailable": 503,
    "late": 504,
}


ROUTER_ERROR_CODES = {  # what the router's clients know these codes as
    "invalid_request": "INVALID_INPUT",
    "invalid_input": "INVALID_INPUT",
    "internal": "UNIFIED_CLASSIFICATION_ERROR",
}
OPENAI_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}  # as OpenAI's clients know them


class ApiError(Exception):
    """An answer that is none. `code` is one of STATUS, or a dialect's own with its `status`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        where: str = "",
        allowed_methods: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.where = code, message, where
        self.status = status or ERROR_STATUSES[code]
        self.retry_after, self.allowed_methods = retry_after, allowed_methods

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, and how to show who one is."""
        made = {"retry-after": str(max(math.ceil(self.retry_after), 1))} if self.retry_after is not None else {}
        made |= {"allow": ", ".join(self.allowed_methods)} if self.allowed_methods else {}
        return {**made, "www-authenticate": "Bearer"} if self.status == 401 else made

    def body(self, path: str, request_id: str) -> bytes:
        """The error in the dialect of the path."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if path.startswith("/api/v1/"):
            error["code"] = ROUTER_ERROR_CODES.get(self.code, self.code)
            error["timestamp"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        else:
            error |= {"type": self._openai_type(), "param": self.where or None, "request_id": request_id}
        return json.dumps({"error": error}, ensure_ascii=False).encode()

    def _openai_type(self) -> str:
        return OPENAI_ERROR_TYPES.get(self.status) or (
            "server_error" if self.status >= 500 else "invalid_request_error"
        )


def render_error(error: ApiError, scope: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for a program."""
    content = error.body(scope["path"], scope["request_id"])
    return error.status, {"content-type": "application/json", **error.headers}, content


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
