"""The client that waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from loratory.client import calls
from loratory.client.answers import JSON, Answer, Written
from loratory.client.calls import Bounds, Call
from loratory.client.replies import Reply, lost, reply_of
from loratory.client.retries import USUAL, Retries, Tries
from loratory.client.streams import Stream

Read = TypeVar("Read")


class Client:
    """A server of `loratory serve`. Every method raises ServerError where the server does not answer."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: Retries = USUAL,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(**calls.settings(url, key, timeout), transport=transport)
        self._retries, self._sleep = retries, sleep
        self._bounds: Bounds | None = None

    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._do(calls.ready())

    def info(self) -> dict[str, Any]:
        """Version, machine, tasks and limits."""
        return self._do(calls.info())

    def tasks(self) -> list[dict[str, Any]]:
        """What is told of every task: its contract, and who answers."""
        return self._do(calls.tasks())

    def task(self, name: str) -> dict[str, Any]:
        """What is told of one task."""
        return self._do(calls.task(name))

    def predict(
        self, task: str, inputs: Sequence[JSON], probabilities: bool = True, *, at_once: int | None = None
    ) -> list[Answer]:
        """One answer for each input, in order. `at_once`: inputs in a request; else as many as the server takes."""
        bounds = self._known() if len(inputs) > 1 else Bounds()
        parts = calls.predict(task, inputs, probabilities, bounds, at_once)
        return [answer for call in parts for answer in self._do(call)]

    def generate(
        self,
        task: str,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        input: Mapping[str, JSON] | None = None,
        parameters: Mapping[str, JSON] | None = None,
    ) -> Written:
        """An answer in writing to a prompt, to messages or to an input of the task."""
        asked = {"prompt": prompt, "messages": messages, "input": input}
        return self._do(calls.generate(task, asked, parameters or {}, False))

    def stream(
        self,
        task: str,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        input: Mapping[str, JSON] | None = None,
        parameters: Mapping[str, JSON] | None = None,
    ) -> Stream:
        """As generate, heard while it is written."""
        asked = {"prompt": prompt, "messages": messages, "input": input}
        call = calls.generate(task, asked, parameters or {}, True)
        tries = Tries(self._retries)
        while True:
            found = self._begin(call)
            if isinstance(found, Stream):
                return found
            if (wait := tries.wait(found)) is None:
                raise found.error()
            self._sleep(wait)

    def _do(self, call: Call[Read]) -> Read:
        tries = Tries(self._retries)
        while True:
            reply = self._send(call)
            wait = tries.wait(reply) if call.patient else None
            if wait is None:
                return call.read(reply)
            self._sleep(wait)

    def _send(self, call: Call[Any]) -> Reply:
        try:
            return reply_of(self._http.request(call.method, call.path, content=call.body, headers=call.headers))
        except httpx.RequestError as problem:
            return lost(problem)

    def _begin(self, call: Call[Any]) -> Stream | Reply:
        request = self._http.build_request(call.method, call.path, content=call.body, headers=call.headers)
        try:
            response = self._http.send(request, stream=True)
            if response.status_code == 200:
                return Stream(response)
            response.read()
            return reply_of(response)
        except httpx.RequestError as problem:
            return lost(problem)

    def _known(self) -> Bounds:
        if self._bounds is None:
            self._bounds = self._do(calls.bounds())
        return self._bounds

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        self.close()
