"""Threads for predictors that need no trunk, or go step by step.

Python runs one thread at a time, so they take turns: many at once would only hold up the event loop. What is accepted
is counted in seconds of turns, by what predictors of that kind have lately needed for a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from loratory.errors import Late
from loratory.models.execution import in_time
from loratory.protocols import Input, Prediction, Predictor
from loratory.serving.averages import moving_average

PATIENCE = 0.1  # seconds that a thread waits for its turn
SPARE = 1.5  # times what is expected has to fit before a deadline: an answer that comes too late is work for nothing
EACH = 16  # calls that wait for each thread, at most

Run = Callable[[threading.Event, "Turn"], Callable[..., list[Any]]]  # `run` until somebody has gone


class Full(Exception):
    """There is no room, or no time, for more work. `after`: seconds after which there may be."""

    def __init__(self, after: float) -> None:
        super().__init__(f"no room for {after:.1f} s")
        self.after = after


def fits(seconds: float, by: float | None) -> bool:
    """Whether what is expected to take so long is surely done by then."""
    return by is None or time.monotonic() + SPARE * seconds <= by


class Turn:
    """One thread of many at a time. Who has waited for a while goes on without it: another may be waiting for something
    else than Python.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.taken = self._lock.acquire(timeout=PATIENCE)
        self._mine.since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._mine.held = self.held + time.perf_counter() - self._mine.since
        if self._mine.taken:
            self._lock.release()

    @property
    def held(self) -> float:
        """Seconds that this thread has had its turn, of all its work so far."""
        return getattr(self._mine, "held", 0.0)

    @contextlib.contextmanager
    def given_up(self) -> Iterator[None]:
        """Others have it meanwhile."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


class Plain:
    """The threads, and what is known of those who work in them."""

    def __init__(self, threads: int) -> None:
        self.turn = Turn()
        self._most = threads * EACH
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="plain")
        self._each: dict[type, float] = {}  # seconds of a token, by kind of predictor
        self._lock = threading.Lock()
        self._calls, self._seconds = 0, 0.0  # accepted and not done; the seconds are estimated

    def admit(self, kind: type, cost: int, by: float | None) -> None:
        """Raises Full where a call for so many tokens has no room, or would not be answered in time."""
        needed = self._seconds + self._each.get(kind, 0.0) * cost
        if self._calls >= self._most or (self._calls and not fits(needed, by)):
            raise Full(self._seconds)

    async def predict(
        self, predictor: Predictor, kind: type, inputs: Sequence[Input], cost: int, by: float | None, run: Run
    ) -> list[Prediction]:
        """By a thread that asks trunks with `run`. Raises Full, Late, and whatever the predictor raises."""
        self.admit(kind, cost, by)
        gone = threading.Event()
        bound = run(gone, self.turn)

        def predict() -> list[Prediction] | None:
            before = self.turn.held
            with self.turn:
                if not in_time(by) or gone.is_set():
                    return None
                made = predictor.predict(inputs, bound)
            self._learn(kind, (self.turn.held - before) / max(cost, 1))
            return made

        work = self._pool.submit(predict)
        self._count(work, self._each.get(kind, 0.0) * cost)
        try:
            made = await asyncio.wait_for(asyncio.wrap_future(work), None if by is None else by - time.monotonic())
        except TimeoutError:
            raise Late from None
        finally:
            gone.set()
        if made is None:
            raise Late
        return made

    def _count(self, work: Future[Any], seconds: float) -> None:
        """As accepted, until it is done."""

        def done(_: object) -> None:
            with self._lock:
                self._calls, self._seconds = self._calls - 1, self._seconds - seconds

        with self._lock:
            self._calls, self._seconds = self._calls + 1, self._seconds + seconds
        work.add_done_callback(done)

    def _learn(self, kind: type, each: float) -> None:
        with self._lock:
            self._each[kind] = moving_average(self._each.get(kind, each), each)

    def close(self) -> None:
        """End the threads when what they do is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)
