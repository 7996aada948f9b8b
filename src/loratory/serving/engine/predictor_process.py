"""Predictors in pure Python in a process of their own: what they compute holds up no thread that reads requests.

Python runs one thread at a time. A fallback that answers thousands of texts under overload would take its turns from
the event loop, and both would be slow. The server keeps such predictors loaded too: it answers itself where the process
cannot.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from loratory.errors import DeadlineExceeded
from loratory.protocols import JSON, Input, Prediction
from loratory.serving.engine.predictor_worker import encode_frame, prediction_from_json, read_frame

log = logging.getLogger("loratory.serving")
WORKER_MODULE = "loratory.serving.engine.predictor_worker"
RESTART_SECONDS = 1.0  # between two starts, at least
CLOSE_SECONDS = 2.0  # that a process has to end on its own
HANG_SECONDS = 30.0  # without any answer while it owes one: the process is ended


@dataclass(frozen=True)
class PredictorSource:
    """Where a predictor was read from: its artifact, and the digest of the manifest."""

    folder: Path
    release: str


class ProcessUnavailable(Exception):
    """The process cannot answer; whoever asked answers in another way."""


@dataclass(eq=False)
class _Child:
    """One process, and what was asked of it. A thread writes to it and another reads, so that no caller blocks."""

    process: subprocess.Popen[bytes]
    waiting: dict[int, Future[Any]] = field(default_factory=dict)
    frames: queue.SimpleQueue[tuple[int, bytes] | None] = field(default_factory=queue.SimpleQueue)
    owed: set[int] = field(default_factory=set)  # written and not answered, also where nobody waits any more
    heard_at: float = field(default_factory=time.monotonic)  # of its last answer, or of a request when it owed none

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def hanging(self) -> bool:
        """Whether it has owed an answer for too long, and given none meanwhile."""
        return bool(self.owed) and time.monotonic() - self.heard_at >= HANG_SECONDS and self.running

    def write_requests(self) -> None:
        """Write frames until None; those that nobody waits for any more are left out."""
        stdin = self.process.stdin
        assert stdin is not None
        try:
            while (asked := self.frames.get()) is not None:
                if asked[0] not in self.waiting:
                    continue
                if not self.owed:
                    self.heard_at = time.monotonic()
                self.owed.add(asked[0])
                stdin.write(asked[1])
                stdin.flush()
        except OSError:
            pass  # it has ended, which the reader notices
        finally:
            with suppress(OSError):  # what it has not read stays in the buffer
                stdin.close()

    def read_answers(self) -> None:
        """Hand answers to whoever waits, until the process ends; whoever waits then is told so."""
        stdout = self.process.stdout
        assert stdout is not None
        while (answer := read_frame(stdout)) is not None:
            self.heard_at = time.monotonic()
            self.owed.discard(answer["number"])
            if (future := self.waiting.pop(answer["number"], None)) is not None:
                future.set_result(answer)
        self.process.wait()
        self.frames.put(None)
        for number in list(self.waiting):
            self.fail_request(number)
        stdout.close()

    def fail_request(self, number: int) -> None:
        """Tell whoever waits for it that the process has ended."""
        if (future := self.waiting.pop(number, None)) is not None:
            future.set_exception(ProcessUnavailable("it has ended"))


class PredictorProcess:
    """The child, started when it is first needed, and again when it has died. May be asked by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._child: _Child | None = None
        self._started_at = -RESTART_SECONDS
        self._closed = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        child = self._child
        return child.process.pid if child is not None and child.running else None

    def describe(self) -> dict[str, JSON]:
        """For operators: whether it runs, and how often it was started."""
        return {"running": self.pid is not None, "starts": self.starts}

    def predict(
        self, source: PredictorSource, inputs: Sequence[Input], deadline: float | None
    ) -> tuple[list[Prediction], float]:
        """Predictions, and the seconds that they took there.

        Raises DeadlineExceeded, and ProcessUnavailable where the child has died, cannot be started, or has failed.
        """
        asked = {"folder": str(source.folder), "release": source.release, "inputs": list(inputs), "deadline": deadline}
        answer = self._ask(asked, deadline)
        if answer.get("late"):
            raise DeadlineExceeded
        if "error" in answer:
            raise ProcessUnavailable(answer["error"])
        return [prediction_from_json(one) for one in answer["predictions"]], answer["seconds"]

    def _ask(self, asked: dict[str, Any], deadline: float | None) -> Any:
        number, future = next(self._numbers), Future[Any]()
        try:
            frame = encode_frame({"number": number, **asked})
        except (TypeError, ValueError) as problem:
            raise ProcessUnavailable(f"the input is no JSON ({type(problem).__name__})") from problem
        with self._lock:
            child = self._ensure_child()
            child.waiting[number] = future
        child.frames.put((number, frame))
        if not child.running:  # its reader may have told all others before this one waited
            child.fail_request(number)
        try:
            return _wait(child, future, deadline)
        finally:
            child.waiting.pop(number, None)

    def start(self) -> None:
        """Start the child now, so that no request waits for it."""
        with self._lock:
            self._ensure_child()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._closed, child = True, self._child
        if child is None:
            return
        child.frames.put(None)
        try:
            child.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()

    def _ensure_child(self) -> _Child:
        child = self._child
        if child is not None and child.running:
            return child
        if self._closed or time.monotonic() - self._started_at < RESTART_SECONDS:
            raise ProcessUnavailable("it has just ended")
        self._started_at = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # the cores are the server's
        # -P: modules are not looked for in the working directory, which may hold anybody's files.
        command = [sys.executable, "-P", "-m", WORKER_MODULE]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError as problem:
            raise ProcessUnavailable(str(problem)) from problem
        child = self._child = _Child(process)
        self.starts += 1
        for work in (partial(self._read_answers, child), child.write_requests):
            threading.Thread(target=work, name="predictor-process", daemon=True).start()
        return child

    def _read_answers(self, child: _Child) -> None:
        child.read_answers()
        if not self._closed:
            status = child.process.returncode
            log.error("the process for predictors without a base has ended (status %d); it is started again", status)


def _wait(child: _Child, future: Future[Any], deadline: float | None) -> Any:
    """The answer. Raises DeadlineExceeded; ends a child that hangs, which then has no answers either."""
    while True:
        left = HANG_SECONDS if deadline is None else min(max(deadline - time.monotonic(), 0), HANG_SECONDS)
        try:
            return future.result(left)
        except FutureTimeout:
            if child.hanging:
                log.error("the process for predictors without a base has not answered for %g s", HANG_SECONDS)
                child.process.kill()
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded from None
