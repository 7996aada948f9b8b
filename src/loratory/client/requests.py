"""Requests as values: what is sent, and how what comes back is read. Both clients send these."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from loratory.client.responses import Reply
from loratory.client.results import JSON, Answer, Generation, parse_answer
from loratory.errors import DataError, ServerError, format_value

Result = TypeVar("Result")
MAX_CONNECT_SECONDS = 10.0  # seconds, at most, until a connection stands
ENVELOPE_BYTES = 1024  # bytes that are kept for what stands around the inputs


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A request, and what its reply says."""

    path: str
    read: Callable[[Reply], Result]
    body: bytes | None = None  # JSON that is posted
    retryable: bool = True  # whether it is sent again

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.body is None else {"content-type": "application/json"}


@dataclass(frozen=True)
class RequestLimits:
    """What a server takes in one request."""

    texts: int = 256
    body_bytes: int = 1 << 20


def client_options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What both of httpx's clients are made with. Raises ServerError for an address that is none."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise ServerError(f"{format_value(url)} is no address: {problem}", allowed="http://HOST:PORT") from None
    if address.scheme not in ("http", "https") or not address.host:
        remedy = f"http://{url}" if "://" not in url else ""
        raise ServerError(f"{format_value(url)} is no address of a server", allowed="http://HOST:PORT", remedy=remedy)
    headers = {"user-agent": "loratory"}
    if key and key.strip():
        if not (key.strip().isascii() and key.strip().isprintable()):
            raise ServerError("the key holds characters that no key has", remedy="check key=..., or LORATORY_KEY")
        headers["authorization"] = f"Bearer {key.strip()}"
    return {
        "base_url": address,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, MAX_CONNECT_SECONDS)),
    }


def build_ready_call() -> Call[bool]:
    """Whether it takes requests; a server that is not there does not."""
    return Call("/health/ready", lambda reply: reply.status == 200, retryable=False)


def build_info_call() -> Call[dict[str, Any]]:
    """Version, machine, tasks and limits."""
    return Call("/info", _parse_object)


def build_limits_call() -> Call[RequestLimits]:
    """The limits of requests; the usual ones where the server does not tell."""
    return Call("/info", _parse_limits)


def _parse_limits(reply: Reply) -> RequestLimits:
    if reply.status in (403, 404):
        return RequestLimits()
    limits = _parse_object(reply).get("limits")
    given = limits if isinstance(limits, dict) else {}
    return RequestLimits(
        **{name: max(int(given[name]), 1) for name in RequestLimits.__dataclass_fields__ if name in given}
    )


def build_tasks_call() -> Call[list[dict[str, Any]]]:
    """What is told of every task."""
    return Call("/v1/tasks", lambda reply: list(_parse_list(reply, "tasks")))


def build_task_call(name: str) -> Call[dict[str, Any]]:
    """What is told of one task."""
    return Call(_task_path(name), _parse_object)


def build_predict_calls(
    name: str, inputs: Sequence[JSON], probabilities: bool, limits: RequestLimits, at_once: int | None = None
) -> Iterator[Call[list[Answer]]]:
    """Calls for inputs in order, each of as many as the server takes. Raises DataError."""
    if isinstance(inputs, str):
        raise DataError("the inputs are one text", where="inputs", allowed="a list of inputs", remedy="[text]")
    rows = [_encode_json(one, f"inputs.{number}") for number, one in enumerate(inputs)]
    tail = b'],"probabilities":' + (b"true}" if probabilities else b"false}")
    for start, end in split_parts(
        [len(row) for row in rows], min(at_once or limits.texts, limits.texts), limits.body_bytes
    ):
        body = b'{"inputs":[' + b",".join(rows[start:end]) + tail
        yield Call(f"{_task_path(name)}/predict", _answers_parser(start, end - start), body)


def split_parts(sizes: Sequence[int], max_inputs: int, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most so many inputs and bytes; a larger input is sent alone, for the server to say so."""
    start, held = 0, 0
    for number, size in enumerate(sizes):
        if number > start and (number - start == max_inputs or held + size + 1 > max_bytes - ENVELOPE_BYTES):
            yield start, number
            start, held = number, 0
        held += size + 1
    if sizes:
        yield start, len(sizes)


def _answers_parser(first: int, count: int) -> Callable[[Reply], list[Answer]]:
    def read(reply: Reply) -> list[Answer]:
        if reply.status != 200:
            raise reply.to_error(first)
        found = _parse_list(reply, "predictions")
        if len(found) != count:
            raise reply.unexpected_reply(f"there are {len(found)} answers to {count} inputs")
        return [_parse_answer(Answer, one, reply) for one in found]

    return read


def build_generate_call(
    name: str, source: Mapping[str, JSON], parameters: Mapping[str, JSON], stream: bool
) -> Call[Generation]:
    """A call for an answer in writing; `asked` holds a prompt, messages or an input. Raises DataError."""
    given = {key: value for key, value in source.items() if value is not None}
    if len(given) != 1:
        raise DataError(
            f"{len(given)} of them are given", where=", ".join(source), allowed="one of them: what is to be answered"
        )
    body = {**given, **({"parameters": dict(parameters)} if parameters else {}), "stream": stream}
    return Call(
        f"{_task_path(name)}/generate",
        lambda reply: _parse_answer(Generation, _parse_object(reply), reply),
        _encode_json(body, "body"),
    )


def _task_path(name: str) -> str:
    return f"/v1/tasks/{quote(name, safe='')}"


def _encode_json(value: JSON, where: str) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as problem:  # UnicodeEncodeError, for half a surrogate pair, is a ValueError
        raise DataError(f"{format_value(value)} cannot be sent: {problem}", where=where, allowed="JSON") from None


def _parse_object(reply: Reply) -> dict[str, Any]:
    found = reply.parse_json()
    if not isinstance(found, dict):
        raise reply.unexpected_reply(f"it is {format_value(found)}")
    return found


def _parse_list(reply: Reply, name: str) -> list[Any]:
    found = _parse_object(reply).get(name)
    if not isinstance(found, list):
        raise reply.unexpected_reply(f"it has no list of {name}")
    return found


def _parse_answer(kind: type[Result], facts: JSON, reply: Reply) -> Result:
    try:
        return parse_answer(kind, facts)
    except (AttributeError, TypeError, ValueError) as problem:
        raise reply.unexpected_reply(str(problem)) from None
