"""Where the events of a run go, and how a person stops it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from loratory.artifacts.manifests import MANIFEST, hash_file
from loratory.protocols.events import ArtifactReference, Event, EventListener

STOPPING_MESSAGE = b"\nstopping at the next safe point; finished work is kept (Ctrl-C again stops at once)\n"


@dataclass(frozen=True)
class EventBus:
    """Passes each event on to its listeners, in their order."""

    listeners: Sequence[EventListener]

    def __call__(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def reference_artifact(folder: Path) -> ArtifactReference:
    """An artifact as events name it; raises OSError where the folder has no manifest."""
    return ArtifactReference(folder, hash_file(folder / MANIFEST))


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
