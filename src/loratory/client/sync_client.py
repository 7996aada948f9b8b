"""The client that waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from loratory.client import requests
from loratory.client.requests import Call, RequestLimits
from loratory.client.responses import Reply, to_failed_reply, to_reply
from loratory.client.results import JSON, Answer, Generation
from loratory.client.retries import DEFAULT_RETRIES, RetryPolicy, RetryState
from loratory.client.sse import Stream

Result = TypeVar("Result")


class Client:
    """A server of `loratory serve`. Every method raises ServerError where the server does not answer."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: RetryPolicy = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(**requests.client_options(url, key, timeout), transport=transport)
        self._retries, self._sleep = retries, sleep
        self._limits: RequestLimits | None = None

    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._send_with_retries(requests.build_ready_call())

    def info(self) -> dict[str, Any]:
        """Version, machine, tasks and limits."""
        return self._send_with_retries(requests.build_info_call())

    def tasks(self) -> list[dict[str, Any]]:
        """What is told of every task: its contract, and who answers."""
        return self._send_with_retries(requests.build_tasks_call())

    def task(self, name: str) -> dict[str, Any]:
        """What is told of one task."""
        return self._send_with_retries(requests.build_task_call(name))

    def predict(
        self, task: str, inputs: Sequence[JSON], probabilities: bool = True, *, at_once: int | None = None
    ) -> list[Answer]:
        """One answer for each input, in order. `at_once`: inputs in a request; else as many as the server takes."""
        bounds = self._fetch_limits() if len(inputs) > 1 else RequestLimits()
        parts = requests.build_predict_calls(task, inputs, probabilities, bounds, at_once)
        return [answer for call in parts for answer in self._send_with_retries(call)]

    def generate(
        self,
        task: str,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        input: Mapping[str, JSON] | None = None,
        parameters: Mapping[str, JSON] | None = None,
    ) -> Generation:
        """An answer in writing to a prompt, to messages or to an input of the task."""
        asked = {"prompt": prompt, "messages": messages, "input": input}
        return self._send_with_retries(requests.build_generate_call(task, asked, parameters or {}, False))

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
        call = requests.build_generate_call(task, asked, parameters or {}, True)
        tries = RetryState(self._retries)
        while True:
            found = self._open_stream(call)
            if isinstance(found, Stream):
                return found
            if (wait := tries.next_wait(found)) is None:
                raise found.to_error()
            self._sleep(wait)

    def _send_with_retries(self, call: Call[Result]) -> Result:
        tries = RetryState(self._retries)
        while True:
            reply = self._send(call)
            wait = tries.next_wait(reply) if call.retryable else None
            if wait is None:
                return call.read(reply)
            self._sleep(wait)

    def _send(self, call: Call[Any]) -> Reply:
        try:
            return to_reply(self._http.request(call.method, call.path, content=call.body, headers=call.headers))
        except httpx.RequestError as problem:
            return to_failed_reply(problem)

    def _open_stream(self, call: Call[Any]) -> Stream | Reply:
        request = self._http.build_request(call.method, call.path, content=call.body, headers=call.headers)
        try:
            response = self._http.send(request, stream=True)
            if response.status_code == 200:
                return Stream(response)
            response.read()
            return to_reply(response)
        except httpx.RequestError as problem:
            return to_failed_reply(problem)

    def _fetch_limits(self) -> RequestLimits:
        if self._limits is None:
            self._limits = self._send_with_retries(requests.build_limits_call())
        return self._limits

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        self.close()
