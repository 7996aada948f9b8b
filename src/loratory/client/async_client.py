"""The client that is awaited: several parts of a long list are on their way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from loratory.client import requests
from loratory.client.requests import Call, RequestLimits
from loratory.client.responses import Reply, to_failed_reply, to_reply
from loratory.client.results import JSON, Answer, Generation
from loratory.client.retries import DEFAULT_RETRIES, RetryPolicy, RetryState
from loratory.client.sse import AsyncStream

Result = TypeVar("Result")
MAX_CONCURRENT_REQUESTS = 4  # parts that are on their way


class AsyncClient:
    """As Client, for asyncio. Every method raises ServerError where the server does not answer."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: RetryPolicy = DEFAULT_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(**requests.client_options(url, key, timeout), transport=transport)
        self._retries, self._sleep = retries, sleep
        self._limits: RequestLimits | None = None

    async def ready(self) -> bool:
        """Whether it takes requests."""
        return await self._send_with_retries(requests.build_ready_call())

    async def info(self) -> dict[str, Any]:
        """Version, machine, tasks and limits."""
        return await self._send_with_retries(requests.build_info_call())

    async def tasks(self) -> list[dict[str, Any]]:
        """What is told of every task: its contract, and who answers."""
        return await self._send_with_retries(requests.build_tasks_call())

    async def task(self, name: str) -> dict[str, Any]:
        """What is told of one task."""
        return await self._send_with_retries(requests.build_task_call(name))

    async def predict(
        self, task: str, inputs: Sequence[JSON], probabilities: bool = True, *, at_once: int | None = None
    ) -> list[Answer]:
        """One answer for each input, in order. `at_once`: inputs in a request; else as many as the server takes."""
        bounds = await self._fetch_limits() if len(inputs) > 1 else RequestLimits()
        parts = requests.build_predict_calls(task, inputs, probabilities, bounds, at_once)
        room = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

        async def ask(call: Call[list[Answer]]) -> list[Answer]:
            async with room:
                return await self._send_with_retries(call)

        asked = [asyncio.create_task(ask(call)) for call in parts]
        try:
            return [answer for one in asked for answer in await one]
        finally:  # of a failure the rest need not be answered
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def generate(
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
        return await self._send_with_retries(requests.build_generate_call(task, asked, parameters or {}, False))

    async def stream(
        self,
        task: str,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        input: Mapping[str, JSON] | None = None,
        parameters: Mapping[str, JSON] | None = None,
    ) -> AsyncStream:
        """As generate, heard while it is written."""
        asked = {"prompt": prompt, "messages": messages, "input": input}
        call = requests.build_generate_call(task, asked, parameters or {}, True)
        tries = RetryState(self._retries)
        while True:
            found = await self._open_stream(call)
            if isinstance(found, AsyncStream):
                return found
            if (wait := tries.next_wait(found)) is None:
                raise found.to_error()
            await self._sleep(wait)

    async def _send_with_retries(self, call: Call[Result]) -> Result:
        tries = RetryState(self._retries)
        while True:
            reply = await self._send(call)
            wait = tries.next_wait(reply) if call.retryable else None
            if wait is None:
                return call.read(reply)
            await self._sleep(wait)

    async def _send(self, call: Call[Any]) -> Reply:
        try:
            return to_reply(await self._http.request(call.method, call.path, content=call.body, headers=call.headers))
        except httpx.RequestError as problem:
            return to_failed_reply(problem)

    async def _open_stream(self, call: Call[Any]) -> AsyncStream | Reply:
        request = self._http.build_request(call.method, call.path, content=call.body, headers=call.headers)
        try:
            response = await self._http.send(request, stream=True)
            if response.status_code == 200:
                return AsyncStream(response)
            await response.aread()
            return to_reply(response)
        except httpx.RequestError as problem:
            return to_failed_reply(problem)

    async def _fetch_limits(self) -> RequestLimits:
        if self._limits is None:
            self._limits = await self._send_with_retries(requests.build_limits_call())
        return self._limits

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        await self.close()
