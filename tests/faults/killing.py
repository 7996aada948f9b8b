"""Ends this process by SIGKILL right before its n-th call that changes a file or folder below a folder.

Installed in a child of the process pool by what the environment says; the calls are those of Python, which are all that
the artifacts are made of, but for the bytes that safetensors writes on its own between two of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AT = "LORATORY_TEST_KILL_AT"  # the number of the call, from 1; 0: only count
NOTE = "LORATORY_TEST_KILL_NOTE"  # a file outside of the folder: each call, and each checkpoint that was announced
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")


class Killer:
    """Counts the calls, notes each before it is made, and ends the process at the one."""

    def __init__(self, at: int, note: Path, folder: Path) -> None:
        self.at, self.count, self.folder = at, 0, str(folder.resolve())
        self.note = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, line: str) -> None:
        os.write(self.note, line.encode() + b"\n")

    def meet(self, what: str) -> None:
        self.count += 1
        self.write(f"call {what}")
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(args[2], int) and args[2] & WRITING and self.is_inside(args[0]):
                self.meet("open")
        elif event in CHANGES and (self.is_inside(args[0]) or args[-1] not in (-1, args[0])):
            self.meet(event)

    def is_inside(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(self.folder)


def install(environment: Mapping[str, str], folder: Path) -> None:
    """Where the environment asks for it."""
    import sys

    from loratory.training.checkpoints import FolderCheckpoints

    if AT not in environment:
        return
    killer = Killer(int(environment[AT]), Path(environment[NOTE]), folder)
    keep, sync = FolderCheckpoints.save, os.fsync

    def save_and_announce(self: FolderCheckpoints, state: Any) -> None:
        keep(self, state)
        killer.write(f"announced {state.facts['step']}")

    def meet_and_sync(handle: Any) -> None:
        killer.meet("fsync")
        sync(handle)

    FolderCheckpoints.save = save_and_announce  # type: ignore[method-assign]
    os.fsync = meet_and_sync  # type: ignore[assignment]
    sys.addaudithook(killer.hook)
