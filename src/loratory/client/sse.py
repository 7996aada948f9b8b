"""Server-sent events to the pieces of an answer (WHATWG HTML, section 9.2), whatever chunks they come in."""

from __future__ import annotations

import codecs
import io
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx

from loratory.client.responses import Reply, origin_of, to_failed_reply
from loratory.client.results import Generation, parse_answer
from loratory.errors import ServerError

DONE_MARKER = "[DONE]"


class SseDecoder:
    """Bytes to the data of events."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes, final: bool = False) -> Iterator[str]:
        """The data of each event that this chunk completes."""
        self._rest += self._decoder.decode(chunk, final)
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            if line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
            elif not line and self._data:
                yield "\n".join(self._data)
                self._data = []


class StreamReader:
    """What a stream says, piece by piece; `answer` is the whole, once it was told."""

    def __init__(self, where: str) -> None:
        self.answer: Generation | None = None
        self.done = False
        self._decoder, self._where = SseDecoder(), where

    def feed(self, chunk: bytes, final: bool = False) -> Iterator[str]:
        """The pieces of text that this chunk completes. Raises ServerError."""
        for event in self._decoder.feed(chunk, final):
            if event == DONE_MARKER:
                self.done = True
                return
            yield from self._read_event(event)

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
        for _ in self.feed(b"", final=True):  # a line's end that might have been half of one
            pass
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
            for chunk in self._response.iter_bytes():
                yield from self._reader.feed(chunk)
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
            async for chunk in self._response.aiter_bytes():
                for piece in self._reader.feed(chunk):
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
