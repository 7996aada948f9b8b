"""Requests as values: what is sent, and how what comes back is read. Both clients send these."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from loratory.client.answers import JSON, Answer, Written, made
from loratory.client.replies import Reply
from loratory.errors import DataError, ServerError, shown

Read = TypeVar("Read")
CONNECT = 10.0  # seconds, at most, until a connection stands
ENVELOPE = 1024  # bytes that are kept for what stands around the inputs


@dataclass(frozen=True)
class Call(Generic[Read]):
    """A request, and what its reply says."""

    path: str
    read: Callable[[Reply], Read]
    body: bytes | None = None  # JSON that is posted
    patient: bool = True  # whether it is sent again

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.body is None else {"content-type": "application/json"}


@dataclass(frozen=True)
class Bounds:
    """What a server takes in one request."""

    texts: int = 256
    body_bytes: int = 1 << 20


def settings(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What both of httpx's clients are made with. Raises ServerError for an address that is none."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise ServerError(f"{shown(url)} is no address: {problem}", allowed="http://HOST:PORT") from None
    if address.scheme not in ("http", "https") or not address.host:
        remedy = f"http://{url}" if "://" not in url else ""
        raise ServerError(f"{shown(url)} is no address of a server", allowed="http://HOST:PORT", remedy=remedy)
    headers = {"user-agent": "loratory"}
    if key and key.strip():
        if not (key.strip().isascii() and key.strip().isprintable()):
            raise ServerError("the key holds characters that no key has", remedy="check key=..., or LORATORY_KEY")
        headers["authorization"] = f"Bearer {key.strip()}"
    return {"base_url": address, "headers": headers, "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT))}


def ready() -> Call[bool]:
    """Whether it takes requests; a server that is not there does not."""
    return Call("/health/ready", lambda reply: reply.status == 200, patient=False)


def info() -> Call[dict[str, Any]]:
    """Version, machine, tasks and limits."""
    return Call("/info", _object)


def bounds() -> Call[Bounds]:
    """The limits of requests; the usual ones where the server does not tell."""
    return Call("/info", _bounds)


def _bounds(reply: Reply) -> Bounds:
    if reply.status in (403, 404):
        return Bounds()
    limits = _object(reply).get("limits")
    given = limits if isinstance(limits, dict) else {}
    return Bounds(**{name: max(int(given[name]), 1) for name in Bounds.__dataclass_fields__ if name in given})


def tasks() -> Call[list[dict[str, Any]]]:
    """What is told of every task."""
    return Call("/v1/tasks", lambda reply: list(_member(reply, "tasks")))


def task(name: str) -> Call[dict[str, Any]]:
    """What is told of one task."""
    return Call(_path(name), _object)


def predict(
    name: str, inputs: Sequence[JSON], probabilities: bool, bounds: Bounds, at_once: int | None = None
) -> Iterator[Call[list[Answer]]]:
    """Calls for inputs in order, each of as many as the server takes. Raises DataError."""
    if isinstance(inputs, str):
        raise DataError("the inputs are one text", where="inputs", allowed="a list of inputs", remedy="[text]")
    rows = [_encoded(one, f"inputs.{number}") for number, one in enumerate(inputs)]
    tail = b'],"probabilities":' + (b"true}" if probabilities else b"false}")
    for start, end in parts([len(row) for row in rows], min(at_once or bounds.texts, bounds.texts), bounds.body_bytes):
        body = b'{"inputs":[' + b",".join(rows[start:end]) + tail
        yield Call(f"{_path(name)}/predict", _answers(start, end - start), body)


def parts(sizes: Sequence[int], most: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most so many inputs and bytes; a larger input is sent alone, for the server to say so."""
    start, held = 0, 0
    for number, size in enumerate(sizes):
        if number > start and (number - start == most or held + size + 1 > most_bytes - ENVELOPE):
            yield start, number
            start, held = number, 0
        held += size + 1
    if sizes:
        yield start, len(sizes)


def _answers(first: int, count: int) -> Callable[[Reply], list[Answer]]:
    def read(reply: Reply) -> list[Answer]:
        if reply.status != 200:
            raise reply.error(first)
        found = _member(reply, "predictions")
        if len(found) != count:
            raise reply.foreign(f"there are {len(found)} answers to {count} inputs")
        return [_made(Answer, one, reply) for one in found]

    return read


def generate(name: str, asked: Mapping[str, JSON], parameters: Mapping[str, JSON], stream: bool) -> Call[Written]:
    """A call for an answer in writing; `asked` holds a prompt, messages or an input. Raises DataError."""
    given = {key: value for key, value in asked.items() if value is not None}
    if len(given) != 1:
        raise DataError(
            f"{len(given)} of them are given", where=", ".join(asked), allowed="one of them: what is to be answered"
        )
    body = {**given, **({"parameters": dict(parameters)} if parameters else {}), "stream": stream}
    return Call(f"{_path(name)}/generate", lambda reply: _made(Written, _object(reply), reply), _encoded(body, "body"))


def _path(name: str) -> str:
    return f"/v1/tasks/{quote(name, safe='')}"


def _encoded(value: JSON, where: str) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as problem:  # UnicodeEncodeError, for half a surrogate pair, is a ValueError
        raise DataError(f"{shown(value)} cannot be sent: {problem}", where=where, allowed="JSON") from None


def _object(reply: Reply) -> dict[str, Any]:
    found = reply.value()
    if not isinstance(found, dict):
        raise reply.foreign(f"it is {shown(found)}")
    return found


def _member(reply: Reply, name: str) -> list[Any]:
    found = _object(reply).get(name)
    if not isinstance(found, list):
        raise reply.foreign(f"it has no list of {name}")
    return found


def _made(kind: type[Read], facts: JSON, reply: Reply) -> Read:
    try:
        return made(kind, facts)
    except (AttributeError, TypeError, ValueError) as problem:
        raise reply.foreign(str(problem)) from None
