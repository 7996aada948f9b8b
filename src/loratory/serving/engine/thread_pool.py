"""Threads for predictors that need no backbone, or go step by step.

Python runs one thread at a time, so they take turns: many at once would only hold up the event loop. What is accepted
is counted in seconds of turns, by what predictors of that kind have lately needed for a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from loratory.backbones.forward.execution import is_in_time
from loratory.errors import DeadlineExceeded
from loratory.protocols import Input, Prediction
from loratory.serving.engine.capabilities import ServedPredictor
from loratory.serving.engine.moving_average import update_moving_average
from loratory.serving.engine.predictor_process import PredictorProcess, PredictorSource, ProcessUnavailable

log = logging.getLogger("loratory.serving")

WARNING_SECONDS = 10.0  # between two warnings that the process for predictors cannot answer
LOCK_TIMEOUT_SECONDS = 0.1  # seconds that a thread waits for its turn
DEADLINE_SAFETY_FACTOR = (
    1.5  # times what is expected has to fit before a deadline: an answer that comes too late is work for nothing
)
MAX_CALLS_PER_THREAD = 16  # calls that wait for each thread, at most

RunnerFactory = Callable[[threading.Event, "FairLock"], Callable[..., list[Any]]]  # `run` until somebody has gone


class CapacityExceeded(Exception):
    """There is no room, or no time, for more work. `after`: seconds after which there may be."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"no room for {retry_after:.1f} s")
        self.retry_after = retry_after


def fits_deadline(seconds: float, deadline: float | None) -> bool:
    """Whether what is expected to take so long is surely done by then."""
    return deadline is None or time.monotonic() + DEADLINE_SAFETY_FACTOR * seconds <= deadline


class FairLock:
    """One thread of many at a time. Who has waited for a while goes on without it: another may be waiting for something
    else than Python.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_state = threading.local()

    def __enter__(self) -> None:
        self._thread_state.taken = self._lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
        self._thread_state.since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._thread_state.held = self.held_seconds + time.perf_counter() - self._thread_state.since
        if self._thread_state.taken:
            self._lock.release()

    @property
    def held_seconds(self) -> float:
        """Seconds that this thread has had its turn, of all its work so far."""
        return getattr(self._thread_state, "held", 0.0)

    @contextlib.contextmanager
    def release_temporarily(self) -> Iterator[None]:
        """Others have it meanwhile."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


class ThreadPoolBackend:
    """The threads, and what is known of those who work in them."""

    def __init__(self, threads: int, process: PredictorProcess | None = None) -> None:
        self.lock, self._process = FairLock(), process
        self._max_calls = threads * MAX_CALLS_PER_THREAD
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="plain")
        self._seconds_per_token: dict[type, float] = {}  # seconds of a token, by kind of predictor
        self._lock = threading.Lock()
        self._warned_at = -WARNING_SECONDS  # of an answer that the process could not give
        self._pending_calls, self._pending_seconds = 0, 0.0  # accepted and not done; the seconds are estimated

    def admit(self, kind: type, token_cost: int, deadline: float | None) -> None:
        """Raises CapacityExceeded where a call for so many tokens has no room, or would not be answered in time."""
        needed = self._pending_seconds + self._seconds_per_token.get(kind, 0.0) * token_cost
        if self._pending_calls >= self._max_calls or (self._pending_calls and not fits_deadline(needed, deadline)):
            raise CapacityExceeded(self._pending_seconds)

    async def predict(
        self,
        predictor: ServedPredictor,
        kind: type,
        inputs: Sequence[Input],
        token_cost: int,
        deadline: float | None,
        run: RunnerFactory,
        source: PredictorSource | None = None,
    ) -> list[Prediction]:
        """By a thread that asks backbones with `run`, or where `source` is given by the process for such predictors,
        while the thread waits. Where the process cannot, the thread does it itself.

        Raises CapacityExceeded, DeadlineExceeded, and what the predictor raises.
        """
        self.admit(kind, token_cost, deadline)
        gone = threading.Event()
        bound = run(gone, self.lock)

        def predict() -> list[Prediction] | None:
            if source is not None and self._process is not None and is_in_time(deadline) and not gone.is_set():
                try:
                    found, seconds = self._process.predict(source, inputs, deadline)
                    self._update_speed(kind, seconds / max(token_cost, 1))
                    return found
                except ProcessUnavailable as problem:
                    self._warn_of_process(str(problem))
            before = self.lock.held_seconds
            with self.lock:
                if not is_in_time(deadline) or gone.is_set():
                    return None
                made = predictor.predict(inputs, bound)
            self._update_speed(kind, (self.lock.held_seconds - before) / max(token_cost, 1))
            return made

        work = self._pool.submit(predict)
        self._track_pending(work, self._seconds_per_token.get(kind, 0.0) * token_cost)
        try:
            made = await asyncio.wait_for(
                asyncio.wrap_future(work), None if deadline is None else deadline - time.monotonic()
            )
        except TimeoutError:
            raise DeadlineExceeded from None
        finally:
            gone.set()
        if made is None:
            raise DeadlineExceeded
        return made

    def _warn_of_process(self, reason: str) -> None:
        """Once in a while: under load this happens thousands of times a second."""
        now = time.monotonic()
        with self._lock:
            told = now - self._warned_at < WARNING_SECONDS
            self._warned_at = self._warned_at if told else now
        if not told:
            log.warning("answered in the server's own process: %s", reason)

    def _track_pending(self, work: Future[Any], seconds: float) -> None:
        """As accepted, until it is done."""

        def done(_: object) -> None:
            with self._lock:
                self._pending_calls, self._pending_seconds = self._pending_calls - 1, self._pending_seconds - seconds

        with self._lock:
            self._pending_calls, self._pending_seconds = self._pending_calls + 1, self._pending_seconds + seconds
        work.add_done_callback(done)

    def _update_speed(self, kind: type, seconds_per_token: float) -> None:
        with self._lock:
            self._seconds_per_token[kind] = update_moving_average(
                self._seconds_per_token.get(kind, seconds_per_token), seconds_per_token
            )

    def close(self) -> None:
        """End the threads when what they do is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)
