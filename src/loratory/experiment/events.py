"""What flows tell the outside while they work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING_MESSAGE = b"\nstopping at the next safe point (what is finished is kept); Ctrl-C once more stops at once\n"
EventListener = Callable[
    [str, Mapping[str, Any]], None
]  # (event, values); events: stage said fit step epoch kept failed


def ignore_event(event: str, values: Mapping[str, Any]) -> None:
    """Tell nobody."""


@contextmanager
def catch_interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C (and SIGTERM) once: `stopping()` turns true and work ends at the next safe point. Twice: at once."""
    flag = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()
        _write_stopping_message()

    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_stopping_message() -> None:
    """Straight to the descriptor: a signal may come in the middle of a write through Python's buffers."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, STOPPING_MESSAGE)
    except (OSError, ValueError):
        pass
