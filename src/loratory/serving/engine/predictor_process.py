"""Predictors in pure Python in a process of their own: what they compute holds up no thread that reads requests.

Python runs one thread at a time. A fallback that answers thousands of texts under overload would take its turns from
the event loop, and both would be slow. The server keeps such predictors loaded too: it answers itself where the process
cannot.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.errors import DeadlineExceeded
from loratory.protocols import Input, Prediction
from loratory.serving.engine.predictor_worker import prediction_from_json, read_frame, write_frame

log = logging.getLogger("loratory.serving")
WORKER_MODULE = "loratory.serving.engine.predictor_worker"
RESTART_SECONDS = 1.0  # between two starts, at least
CLOSE_SECONDS = 2.0  # that a process has to end on its own


@dataclass(frozen=True)
class PredictorSource:
    """Where a predictor was read from: its artifact, and the digest of the manifest."""

    folder: Path
    release: str


class ProcessUnavailable(Exception):
    """The process cannot answer; whoever asked answers in another way."""


class PredictorProcess:
    """The child, started when it is first needed, and again when it has died. May be asked by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._started_at = -RESTART_SECONDS
        self._closed = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def predict(
        self, source: PredictorSource, inputs: Sequence[Input], deadline: float | None
    ) -> tuple[list[Prediction], float]:
        """Predictions, and the seconds that they took there.

        Raises DeadlineExceeded, and ProcessUnavailable where the child has died, cannot be started, or has failed.
        """
        number, future = next(self._numbers), Future[Any]()
        asked = {"number": number, "folder": str(source.folder), "release": source.release}
        with self._lock:
            child = self._ensure_child()
            self._waiting[number] = future
            try:
                assert child.stdin is not None
                write_frame(child.stdin, {**asked, "inputs": list(inputs), "deadline": deadline})
            except (OSError, ValueError) as problem:
                self._waiting.pop(number, None)
                raise ProcessUnavailable(str(problem)) from problem
        try:
            answer = future.result(None if deadline is None else max(deadline - time.monotonic(), 0))
        except FutureTimeout:
            raise DeadlineExceeded from None
        finally:
            self._waiting.pop(number, None)
        if answer.get("late"):
            raise DeadlineExceeded
        if "error" in answer:
            raise ProcessUnavailable(answer["error"])
        return [prediction_from_json(one) for one in answer["predictions"]], answer["seconds"]

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
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _ensure_child(self) -> subprocess.Popen[bytes]:
        child = self._child
        if child is not None and child.poll() is None:
            return child
        if self._closed or time.monotonic() - self._started_at < RESTART_SECONDS:
            raise ProcessUnavailable("it has just ended")
        self._started_at = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # the cores are the server's
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        except OSError as problem:
            raise ProcessUnavailable(str(problem)) from problem
        self._child, self.starts = child, self.starts + 1
        threading.Thread(target=self._read_answers, args=(child,), name="predictor-process", daemon=True).start()
        return child

    def _read_answers(self, child: subprocess.Popen[bytes]) -> None:
        """Hand answers to whoever waits, until the child ends; then nobody waits for it any more."""
        assert child.stdout is not None
        while (answer := read_frame(child.stdout)) is not None:
            if (future := self._waiting.get(answer["number"])) is not None and not future.done():
                future.set_result(answer)
        code = child.wait()
        if not self._closed:
            log.error("the process for predictors without a base has ended (status %d); it is started again", code)
        with self._lock:
            for future in list(self._waiting.values()) if self._child is child else []:
                if not future.done():
                    future.set_exception(ProcessUnavailable("it has ended"))
