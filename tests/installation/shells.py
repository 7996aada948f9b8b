"""Two ways to type commands in a folder: a process for each, and a child that is forked from one warm process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


class Shell(Protocol):
    """Types commands in one folder."""

    folder: Path

    def run(self, *words: str, stdin: str = "") -> Done:
        """`loratory WORDS`."""

    def run_python(self, code: str) -> Done:
        """`python -c CODE`."""

    def start(self, *words: str) -> Any:
        """A context in which `loratory WORDS` runs; gives a function that reads what it has printed so far."""


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without paths of this tree, and with one thread."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LORATORY_DEBUG")}
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1", **more}


class ProcessShell:
    """The commands of an environment, each a process of its own."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self._bin = folder, bin_folder
        self._environment = clean_environment({"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"})

    def run(self, *words: str, stdin: str = "") -> Done:
        return self._run([str(self._bin / "loratory"), *words], stdin)

    def run_python(self, code: str) -> Done:
        return self._run([str(self._bin / "python"), "-c", code], "")

    def _run(self, words: Sequence[str], stdin: str) -> Done:
        done = subprocess.run(
            words, input=stdin, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *words: str) -> Iterator[Any]:
        with tempfile.TemporaryFile("w+") as out:
            command = [str(self._bin / "loratory"), *words]
            process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=out, stderr=out)
            try:
                yield lambda: os.pread(out.fileno(), 1 << 20, 0).decode()
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


class ForkShell:
    """The package of a folder on PYTHONPATH; the libraries are imported once for all commands."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("command_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=clean_environment({"PYTHONPATH": str(path)}),
        )

    def close(self) -> None:
        """End the warm process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def run(self, *words: str, stdin: str = "") -> Done:
        return self._run({"words": words}, stdin)

    def run_python(self, code: str) -> Done:
        return self._run({"code": code}, "")

    def _run(self, request: Mapping[str, Any], stdin: str) -> Done:
        with tempfile.TemporaryDirectory() as place:
            files = self._make_files(Path(place), stdin)
            pid = self._ask({**request, "folder": str(self.folder), "files": list(map(str, files))})["pid"]
            code = self._ask({"wait": pid})["code"]
            return Done(code, files[1].read_text(encoding="utf-8"), files[2].read_text(encoding="utf-8"))

    @contextmanager
    def start(self, *words: str) -> Iterator[Any]:
        with tempfile.TemporaryDirectory() as place:
            files = self._make_files(Path(place), "")
            request = {"words": words, "folder": str(self.folder), "files": list(map(str, files))}
            pid = self._ask(request)["pid"]
            try:
                yield lambda: files[1].read_text(encoding="utf-8") + files[2].read_text(encoding="utf-8")
            finally:
                os.kill(pid, signal.SIGTERM)
                self._ask({"wait": pid})

    def _make_files(self, place: Path, stdin: str) -> list[Path]:
        files = [place / name for name in ("in", "out", "err")]
        for file in files:
            file.write_text(stdin if file.name == "in" else "", encoding="utf-8")
        return files

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def wait_for(found: Any, seconds: float = 120) -> Any:
    """What `found` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return value
