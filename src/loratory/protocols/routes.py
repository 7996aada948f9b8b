"""HTTP by declaration: a route says once what it takes, answers and refuses; a dialect is a group of routes with one
shape of errors. Routing, the OpenAPI document, /docs, scopes and error bodies all come from these declarations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel

from loratory.protocols.tasks import Task
from loratory.protocols.values import JSON, Input, Prediction, Schema

if TYPE_CHECKING:
    from starlette.responses import Response

# code -> HTTP status: what any route may refuse with
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
# What middleware may answer in the place of any route, in the shape of the route's dialect.
MIDDLEWARE_ERRORS = frozenset({401, 403, 408, 413, 421, 429, 431, 500, 503})
BODY_ERRORS = frozenset({400, 422, 504})  # of a route that reads a body and asks a predictor
ANYBODY = None  # the scope of a route that needs no key

RouteScope = Literal["infer", "admin"] | None
HttpMethod = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class ApiError(Exception):
    """A request that is not answered. `code` is one of ERROR_STATUSES, or a dialect's own with its `status`."""

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
        if status is None and code not in ERROR_STATUSES:
            raise ValueError(f"there is no error code {code!r}: give its status, or one of {', '.join(ERROR_STATUSES)}")
        self.code, self.message, self.where = code, message, where
        self.status = status or ERROR_STATUSES[code]
        self.retry_after, self.allowed_methods = retry_after, allowed_methods

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in seconds, Allow and WWW-Authenticate, where they belong to the error."""
        made = {"retry-after": str(max(math.ceil(self.retry_after), 1))} if self.retry_after is not None else {}
        made |= {"allow": ", ".join(self.allowed_methods)} if self.allowed_methods else {}
        return {**made, "www-authenticate": "Bearer"} if self.status == 401 else made


@dataclass(frozen=True)
class RenderedError:
    """An error as one dialect writes it."""

    body: bytes
    media_type: str = "application/json"
    status: int | None = None  # where it is not the error's own: a browser is sent elsewhere
    headers: Mapping[str, str] = field(default_factory=dict)  # beside the error's own


@dataclass(eq=False)
class RequestContext:
    """One request beside what it asks. Deadlines count from `arrived_at` (monotonic seconds)."""

    arrived_at: float = field(default_factory=time.monotonic)
    body_bytes: int = 0
    log_fields: dict[str, Any] = field(default_factory=dict)  # task, contender, why another answered
    path: str = ""
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    key_name: str | None = None  # of the API key; None where no key was needed
    dialect: Dialect[Any] | None = None  # whose shape an error of this request has


class ServedTask(Protocol):
    """A task of the server, with those who answer it."""

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> Task:
        """The contract."""

    @property
    def release(self) -> str:
        """SHA-256 of the manifest of the artifact that answers first."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def generates(self) -> bool:
        """Whether the answer is written, so that it can be streamed."""


class ServedAnswer(Protocol):
    """One answer, with who gave it."""

    @property
    def prediction(self) -> Prediction: ...
    @property
    def status(self) -> str:
        """`answered`, `abstained`, or why there is no answer: invalid, long, late, failed."""

    def to_json(self, probabilities: bool = True) -> dict[str, JSON]:
        """Answer, status, confidence, who answered, and the fallback, as plain data."""


class ServingApi(Protocol):
    """What a route may ask of the server."""

    def get_service(self, name: str) -> ServedTask:
        """The task of that name. Raises ApiError (not_found)."""

    def list_services(self) -> Sequence[ServedTask]:
        """Every task of now."""

    def services_named(self, task: str) -> Sequence[ServedTask]:
        """The task of that name in a list, or an empty list: for `Route.select_services`."""

    def validate_inputs(self, service: ServedTask, given: Sequence[JSON], where: str = "inputs") -> list[Input]:
        """Inputs that hold to the task's schema and to the server's limits. Raises ApiError (invalid_input,
        too_large), whose `where` begins with the `where` that is given here.
        """

    async def answer(
        self, service: ServedTask, inputs: Sequence[Input], context: RequestContext
    ) -> Sequence[ServedAnswer]:
        """One answer for each input, by the fallback chain, within the deadline. What it raises is rendered by the
        dialect: a handler need not catch it.
        """


SchemaSource = type[BaseModel] | Schema | Callable[[Any, Any], Schema]
# A pydantic model, a JSON Schema, or a function of (server, the task of the path or None) -> a JSON Schema: for schemas
# that hold a task's own labels and the server's limits.

ServiceSelector = Callable[
    ..., Iterable[Any]
]  # the named parts of the path -> the tasks of which one at least is asked
Handler = Callable[..., Awaitable["Response"]]


@dataclass(frozen=True)
class ResponseSpec:
    """An answer that is no error."""

    schema: SchemaSource | None = None  # None: an object of which nothing is promised, or text
    media_type: str = "application/json"
    description: str = "an answer"


@dataclass(frozen=True)
class Route:
    """One method of one path.

    `handler` is an async function that gives a Starlette Response. It is given what its parameters name: `request` (a
    Starlette Request), `context` (the RequestContext), and the named parts of the path.
    """

    method: HttpMethod
    path: str  # as Starlette writes it: /v2/models/{name}/infer, /v1/models/{id:path}
    operation_id: str  # unique in the server
    summary: str
    handler: Handler
    responses: Mapping[int, ResponseSpec] = field(default_factory=lambda: {200: ResponseSpec()})
    request: SchemaSource | None = None  # None: no body
    request_media_type: str = "application/json"
    errors: frozenset[int] = frozenset()  # statuses beside MIDDLEWARE_ERRORS
    scope: RouteScope = "infer"
    streams: bool = False  # may answer with server-sent events
    task_parameter: str = (
        ""  # the part of the path that names a task; the document then has one operation for each task
    )
    select_services: ServiceSelector | None = None  # for a POST: an overloaded server refuses before it reads the body

    @property
    def error_statuses(self) -> frozenset[int]:
        """Every status of an error, those of middleware included."""
        return (self.errors | MIDDLEWARE_ERRORS) - self.responses.keys()


ServerT = TypeVar("ServerT", contravariant=True)


class Dialect(Protocol[ServerT]):
    """Routes whose errors have one shape. An entry point of `loratory.routes` names a class without parameters."""

    name: ClassVar[str]  # the entry point's
    description: ClassVar[str]  # of the tag in the OpenAPI document
    prefixes: ClassVar[tuple[str, ...]]  # an error at an unknown path that begins so has this dialect's shape
    error_schema: ClassVar[Schema]
    error_media_types: ClassVar[tuple[str, ...]]

    def list_routes(self, server: ServerT) -> Sequence[Route]:
        """Called once, when the server starts."""

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """The body of an error. Must not raise."""
