"""A command in a forked process: how it ended, what it said, how long it took and how much memory it held."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0  # nothing that a stranger wrote may take longer
BYTES = 2 * 2**30
GRACE = 3.0  # times as long on a machine whose processors others use: an attempt is measured by its processor's time


COMMON = (
    "loratory.experiment.steps.preflight",
    "loratory.experiment.init.spec_writer",
    "loratory.data.readers.source_reader",
    "pyarrow.parquet",
    "openpyxl",
)


def preload(libraries: Sequence[str] = ()) -> None:
    """Import what attempts need: what a fork finds imported, it does not import again."""
    for library in (*COMMON, *libraries):
        importlib.import_module(library)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended; `seconds` are of a processor, `peak` is the largest resident memory in bytes."""

    code: int  # negative: the signal that ended it
    said: str
    seconds: float
    peak: int

    def fault(self) -> str | None:
        """Why it is no good end; None where it worked, or refused with exit code 2 and one clear message."""
        lines = [line for line in self.said.splitlines() if line.startswith("loratory: ")]
        if self.code not in (0, 2):
            return f"exit code {self.code}"
        if "Traceback" in self.said:
            return "a traceback"
        if self.code == 2 and (len(lines) != 1 or len(self.said) > 6000):
            return f"{len(lines)} messages in {len(self.said)} characters"
        if self.seconds > SECONDS or self.peak > BYTES:
            return f"{self.seconds:.1f} s, {self.peak / 2**20:.0f} MB"
        return None


def attempt(words: Sequence[str], folder: Path) -> Ending:
    """Run `loratory` with these words in `folder`, in a fork of this process: what it has imported is there already.

    What `import` does in a process of its own is done in the fork.
    """
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if process == 0:
            _run(words, folder, output.fileno())
        began = time.monotonic()
        while True:
            done, status, usage = os.wait4(process, os.WNOHANG)
            if done:
                break
            if time.monotonic() - began > GRACE * SECONDS:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    return Ending(os.waitstatus_to_exitcode(status), said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _run(words: Sequence[str], folder: Path, output: int) -> None:
    code = 99
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((0, null), (1, output), (2, output)):
            os.dup2(file, number)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(folder)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        code = _main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _main(words: Sequence[str]) -> int:
    from loratory.cli import main
    from loratory.importing import import_folder, sandbox

    def call(function: str, arguments: Sequence[object], limits: sandbox.SandboxLimits) -> object:
        return sandbox.unpack_result(sandbox.call_function(function, arguments, lambda: None))

    vars(import_folder)["call_limited"] = call
    sys.argv = ["loratory", *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
