"""What a server answers where it does not do what it was asked: a status, a code, and what would be allowed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from loratory.errors import Late, LoratoryError, StorageError, is_out_of_memory
from loratory.serving.cascade import Broken, Busy

# code -> status: everything that any route may refuse with, for the OpenAPI too
STATUS: Mapping[str, int] = {
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


ROUTER = {  # what the router's clients know these codes as
    "invalid_request": "INVALID_INPUT",
    "invalid_input": "INVALID_INPUT",
    "internal": "UNIFIED_CLASSIFICATION_ERROR",
}
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}  # as OpenAI's clients know them


class Refusal(Exception):
    """An answer that is none. `code` is one of STATUS, or a dialect's own with its `status`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        after: float | None = None,
        where: str = "",
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.where = code, message, where
        self.status = status or STATUS[code]
        self.after, self.allow = after, allow

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, and how to show who one is."""
        made = {"retry-after": str(max(math.ceil(self.after), 1))} if self.after is not None else {}
        made |= {"allow": ", ".join(self.allow)} if self.allow else {}
        return {**made, "www-authenticate": "Bearer"} if self.status == 401 else made

    def body(self, path: str, request_id: str) -> bytes:
        """The error in the dialect of the path."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if path.startswith("/api/v1/"):
            error["code"] = ROUTER.get(self.code, self.code)
            error["timestamp"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        else:
            error |= {"type": self._type(), "param": self.where or None, "request_id": request_id}
        return json.dumps({"error": error}, ensure_ascii=False).encode()

    def _type(self) -> str:
        return KINDS.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")


def as_json(refusal: Refusal, scope: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for a program."""
    content = refusal.body(scope["path"], scope["request_id"])
    return refusal.status, {"content-type": "application/json", **refusal.headers}, content


def of_problem(problem: Exception) -> Refusal:
    """What a client is told of an error: of our own failures, nothing but that there was one."""
    if isinstance(problem, Refusal):
        return problem
    if isinstance(problem, Busy):
        return Refusal("busy", "the server has no room for this now", after=problem.after)
    if isinstance(problem, Late):
        return Refusal("late", "the deadline passed before there was an answer")
    if isinstance(problem, StorageError):  # of ours, not of what was asked: where it lies is nobody's business
        return Refusal("unavailable", "this server could not write down what it was asked to do", after=10.0)
    if is_out_of_memory(problem):
        return Refusal(
            "unavailable", "there was not enough memory for this now; fewer or shorter texts may do", after=1.0
        )
    if isinstance(problem, LoratoryError):
        return Refusal("invalid_input", f"{problem.problem}{_allowed(problem)}", where=problem.where)
    message = "the task could not be answered" if isinstance(problem, Broken) else "something went wrong here"
    return Refusal("internal", message)


def _allowed(problem: LoratoryError) -> str:
    return f"; allowed: {problem.allowed}" if problem.allowed else ""
