"""Server-sent events: an answer piece by piece, and an orderly end whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import StreamingResponse

from loratory.protocols import Input
from loratory.serving.cascade import Answered
from loratory.serving.refusals import of_problem
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.serving.writing import Telling, said

log = logging.getLogger("loratory.serving")
DONE = b"data: [DONE]\n\n"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True)
class Dialect:
    """How pieces and the end of an answer are told."""

    piece: Callable[[str], Any]
    end: Callable[[Answered], Iterable[Any]]  # raises Refusal where what came is no answer in this dialect


def event(value: Any) -> bytes:
    """One event."""
    return b"data: " + to_json(value, inf_nan_mode="null") + b"\n\n"


async def stream(
    server: Server, service: Service, input: Input, telling: Telling, request: Request, dialect: Dialect
) -> StreamingResponse:
    """Begins when the first piece is there: what goes wrong before is an ordinary error, or another one's answer."""
    work = asyncio.create_task(server.answer(service, [input], request.scope["served"], telling.prepare))
    work.add_done_callback(lambda _: telling.pieces.put_nowait(None))
    route = asyncio.current_task()
    assert route is not None
    route.add_done_callback(lambda _: work.cancel())  # however the request ends
    try:
        first = await telling.pieces.get()
        if first is None:
            dialect.end(work.result()[0])
    except BaseException:
        work.cancel()
        raise
    told = _events(work, first, telling, dialect, request)
    return StreamingResponse(told, media_type="text/event-stream", headers=HEADERS)


async def _events(
    work: asyncio.Task[list[Answered]], piece: str | None, telling: Telling, dialect: Dialect, request: Request
) -> AsyncIterator[bytes]:
    heard = piece is not None
    try:
        while piece is not None:
            yield event(dialect.piece(piece))
            piece = await telling.pieces.get()
        (one,) = work.result()
        whole = "" if heard else said(one.stage.predictor.task, one.prediction.answer)
        if whole:
            yield event(dialect.piece(whole))
        for value in dialect.end(one):
            yield event(value)
        yield DONE
    except Exception as problem:
        refusal = of_problem(problem)
        if refusal.status == 500:
            log.exception("request %s", request.scope["request_id"])
        yield event(json.loads(refusal.body(request.url.path, request.scope["request_id"])))
    finally:
        work.cancel()
