"""What waits for a backbone, and how its result gets to whoever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from loratory.backbones.forward.execution import is_in_time
from loratory.protocols import InferencePlan, Input


@dataclass(eq=False)
class EngineRequest:
    """Inputs for one predictor, or requests of one whose work goes step by step."""

    plan: Callable[[Sequence[Input]], InferencePlan | None]
    inputs: Sequence[Input]
    deadline: float | None
    token_cost: int
    future: Future[Any] | LoopFuture
    batch_group: int = 0  # jobs with the same number are asked for at once
    abandoned: threading.Event | None = None  # set when nobody waits for the thread that asked
    generates: bool = False  # whether all that it asks for is written
    incremental_cost: float = (
        1.0  # the part of a pass that it needs for itself where its texts are in the batch already
    )

    @cached_property
    def sharing_key(self) -> str:
        """What tells its inputs from others', where some of a pass can be shared."""
        return str(self.inputs) if self.incremental_cost < 1 else ""

    def is_active(self) -> bool:
        """Whether somebody still waits for it."""
        left = self.abandoned is not None and self.abandoned.is_set()
        return not left and not self.future.cancelled() and is_in_time(self.deadline)


def resolve_futures(results: Iterable[tuple[EngineRequest, Any, BaseException | None]]) -> None:
    """Hand results to whoever waits; one wake-up for each event loop, however many of its jobs have ended."""
    loops: dict[Any, list[tuple[EngineRequest, Any, BaseException | None]]] = {}
    for one in results:
        job, made, problem = one
        if isinstance(job.future, LoopFuture):
            loops.setdefault(job.future.loop, []).append(one)
        else:
            _resolve_future(job.future, made, problem)
    for loop, several in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_resolve_on_loop, several)


def _resolve_on_loop(results: Iterable[tuple[EngineRequest, Any, BaseException | None]]) -> None:
    for job, made, problem in results:
        _resolve_future(job.future, made, problem)


def _resolve_future(future: Future[Any] | LoopFuture, result: object, problem: BaseException | None) -> None:
    try:
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)
    except InvalidStateError:  # nobody waits any more
        return


class LoopFuture:
    """A future that is settled on its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inner: asyncio.Future[Any] = loop.create_future()

    def set_result(self, result: object) -> None:
        """On its loop."""
        if not self.inner.done():
            self.inner.set_result(result)

    def set_exception(self, problem: BaseException) -> None:
        """On its loop."""
        if not self.inner.done():
            self.inner.set_exception(problem)

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self.inner.cancelled()
