"""Server-sent events: an answer piece by piece, and an orderly end whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.responses import StreamingResponse

from loratory.protocols import JSON, Input
from loratory.protocols.routes import RequestContext
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.api_errors import to_api_error
from loratory.serving.http.server import Server
from loratory.serving.http.stream_session import StreamSession, answer_text

log = logging.getLogger("loratory.serving")
DONE_EVENT = b"data: [DONE]\n\n"
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True)
class StreamFormat:
    """How pieces and the end of an answer are told."""

    format_chunk: Callable[[str], JSON]
    format_end: Callable[[StagedAnswer], Iterable[JSON]]  # raises ApiError where what came is no answer in this dialect


def encode_event(value: JSON) -> bytes:
    """One event."""
    return b"data: " + to_json(value, inf_nan_mode="null") + b"\n\n"


async def stream_response(
    server: Server,
    service: Service,
    input: Input,
    session: StreamSession,
    context: RequestContext,
    stream_format: StreamFormat,
) -> StreamingResponse:
    """Begins when the first piece is there: what goes wrong before is an ordinary error, or another one's answer."""
    work = asyncio.create_task(server.answer(service, [input], context, session.prepare_predictor))
    work.add_done_callback(lambda _: session.pieces.put_nowait(None))
    route = asyncio.current_task()
    assert route is not None
    route.add_done_callback(lambda _: work.cancel())  # however the request ends
    try:
        first = await session.pieces.get()
        if first is None:
            stream_format.format_end(work.result()[0])
    except BaseException:
        work.cancel()
        raise
    told = _generate_events(work, first, session, stream_format, context)
    return StreamingResponse(told, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _generate_events(
    work: asyncio.Task[list[StagedAnswer]],
    piece: str | None,
    session: StreamSession,
    stream_format: StreamFormat,
    context: RequestContext,
) -> AsyncIterator[bytes]:
    heard = piece is not None
    try:
        while piece is not None:
            yield encode_event(stream_format.format_chunk(piece))
            piece = await session.pieces.get()
        (one,) = work.result()
        whole = "" if heard else answer_text(one.stage.predictor.task, one.prediction.answer)
        if whole:
            yield encode_event(stream_format.format_chunk(whole))
        for value in stream_format.format_end(one):
            yield encode_event(value)
        yield DONE_EVENT
    except Exception as problem:
        refusal = to_api_error(problem)
        if refusal.status == 500:
            log.exception("request %s", context.request_id)
        assert context.dialect is not None
        body = context.dialect.render_error(refusal, context).body
        yield b"".join(b"data: " + line + b"\n" for line in body.splitlines()) + b"\n"
    finally:
        work.cancel()
