"""Server-sent events to the pieces of an answer. httpx-sse parses them (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Self

import httpx
from httpx_sse import EventSource

from loratory.client.responses import Reply, origin_of, to_failed_reply
from loratory.client.results import Generation, parse_answer
from loratory.errors import ServerError

DONE_MARKER = "[DONE]"


class StreamReader:
    """The events of one stream, one by one; `answer` is the whole, once it was told."""

    def __init__(self, where: str) -> None:
        self.answer: Generation | None = None
        self.done = False
        self._where = where

    def read(self, data: str) -> Iterator[str]:
        """The piece of text that an event holds, if any. Raises ServerError."""
        if data == DONE_MARKER:
            self.done = True
        elif data:
            yield from self._read_event(data)

    def _read_event(self, event: str) -> Iterator[str]:
        reply = Reply(200, event.encode(), self._where)
        facts = reply.parse_json()
        if not isinstance(facts, dict):
            raise reply.unexpected_reply("an event is no object")
        if "error" in facts:
            raise reply.to_error()
        if "answer" not in facts:
            yield str(facts.get("text", ""))
            return
        try:
            self.answer = parse_answer(Generation, facts)
        except ValueError as problem:
            raise reply.unexpected_reply(str(problem)) from None

    def finish(self) -> None:
        """Raises ServerError where the stream ended too early."""
        if self.answer is None or not self.done:
            raise ServerError("the stream ended before its answer was whole", where=self._where, code="cut")


def stream_reader_of(response: httpx.Response) -> StreamReader:
    """For a response whose stream begins."""
    return StreamReader(f"{origin_of(response.request.url)}{response.request.url.path}")


class Stream:
    """Pieces of an answer while it is written. Behind the last one, `answer` is the whole. Raises ServerError."""

    def __init__(self, response: httpx.Response) -> None:
        self._response, self._reader = response, stream_reader_of(response)

    @property
    def answer(self) -> Generation | None:
        """The whole answer, once all was heard."""
        return self._reader.answer

    def __iter__(self) -> Iterator[str]:
        try:
            for event in EventSource(self._response).iter_sse():
                yield from self._reader.read(event.data)
                if self._reader.done:
                    break
            self._reader.finish()
        except httpx.RequestError as problem:
            raise to_failed_reply(problem).to_error() from None
        finally:
            self.close()

    def close(self) -> None:
        """Go away; the server stops to write."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        self.close()


class AsyncStream:
    """As Stream, for `async for`."""

    def __init__(self, response: httpx.Response) -> None:
        self._response, self._reader = response, stream_reader_of(response)

    @property
    def answer(self) -> Generation | None:
        """The whole answer, once all was heard."""
        return self._reader.answer

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async with aclosing(EventSource(self._response).aiter_sse()) as events:
                async for event in events:
                    for piece in self._reader.read(event.data):
                        yield piece
                    if self._reader.done:
                        break
            self._reader.finish()
        except httpx.RequestError as problem:
            raise to_failed_reply(problem).to_error() from None
        finally:
            await self.close()

    async def close(self) -> None:
        """Go away; the server stops to write."""
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        await self.close()
