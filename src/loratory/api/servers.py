"""A server for as long as a `with` block: for tests, notebooks and scripts."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from loratory.api.models import Model
from loratory.errors import ArtifactError, LoratoryError, ServerError
from loratory.experiment.artifact_lookup import find_fit_folder, read_ladder

START_SECONDS = 300.0  # within which the models have to be loaded
STOP_SECONDS = 30.0  # for answers that are under way
KEPT_LINES = 200  # lines of the server's notes that are kept for an error
ERROR_PREFIX = "loratory: "
ServedSource = str | Path | Model


class RunningServer:
    """A server in a process of its own. It ends with the `with` block, or with `close()`.

    Attributes:
        url: where it answers, such as http://127.0.0.1:43211.
        tasks: the names of the tasks that it serves.
    """

    def __init__(self, process: subprocess.Popen[str], notes: deque[str]) -> None:
        self._process, self._notes = process, notes
        self.url, self.tasks = "", tuple[str, ...]()
        weakref.finalize(self, _end, process)  # nobody holds it any more, or the program ends

    def wait_until_ready(self) -> Self:
        """Wait until it answers. Raises the error that the server ended with."""
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_first_line, args=(self._process.stdout, lines), daemon=True).start()
        try:
            first = lines.get(timeout=START_SECONDS)
        except queue.Empty:
            self.close()
            raise ServerError(f"the server was not ready after {START_SECONDS:.0f} s") from None
        except KeyboardInterrupt:
            self.close()
            raise
        if not first:  # its end of the pipe is closed
            self.close()
            raise _explain_failure(list(self._notes), self._process.returncode)
        told = json.loads(first)
        self.url, self.tasks = told["url"], tuple(told["tasks"])
        return self

    def wait(self) -> None:
        """Wait until the server ends: until Ctrl-C, as `loratory serve` does."""
        self._process.wait()

    def close(self) -> None:
        """End it: what was accepted is answered first."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._process.poll() is None else ", ended"
        return f"<RunningServer {self.url} ({', '.join(self.tasks)}{state})>"


def serve(
    source: ServedSource | Mapping[str, Any] | None = None,
    *,
    contender: str | None = None,
    config: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    **settings: Any,
) -> RunningServer:
    """Serve models over HTTP in a process of their own; returns when they answer.

        with loratory.serve("runs/tickets") as server:
            httpx.post(f"{server.url}/v1/tasks/tickets/predict", json={"inputs": ["..."]})

    Args:
        source: the folder of a run, a fit, an export or an imported model; a Model; or several of them by name.
        contender: which contender of a run answers; the recommended one when left out.
        config: a server's YAML file.
        host: the address to listen at.
        port: the port; 0 takes a free one.
        **settings: keys of the server's file, such as limits={"texts": 64} (docs/server.md).

    Raises:
        SpecError: nothing to serve, or an unknown setting.
        ArtifactError: a folder holds no model.
        ServerError: the server ended before it was ready; the message is its own.
    """
    from loratory.serving.launcher import load_server_spec

    arguments = ["--host", host, "--port", str(port)]
    arguments += ["--config", str(config)] if config is not None else []
    changes = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    paths = _name_paths(source)
    spec = load_server_spec(Path(config) if config is not None else None, paths, changes, contender)
    for task in spec.tasks.values():  # a mistake is told here and now
        find_fit_folder(task.path, task.contender)
    arguments += ["--contender", contender] if contender is not None else []
    for change in changes:
        arguments += ["--set", change]
    return _start([*paths, *arguments])


def _name_paths(source: Any) -> list[str]:
    """What `loratory serve` is given for these models: folders, each with NAME= before it where it has a name."""
    if source is None:
        return []
    if isinstance(source, Mapping):
        return [f"{name}={_find_path(one)}" for name, one in source.items()]
    if isinstance(source, Model):
        return [f"{_name_run(source)}={source.folder}"]
    return [str(_find_path(source))]


def _name_run(model: Model) -> str:
    """The name under which a model is served: its run's, or its own."""
    try:
        return str(read_ladder(model.source)["name"])
    except ArtifactError:
        return model.contender


def _find_path(source: str | Path | Model) -> Path:
    return source.folder if isinstance(source, Model) else Path(source).expanduser()


def _end(process: subprocess.Popen[str]) -> None:
    """End a server in order, and by force where it does not end."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start(arguments: Sequence[str]) -> RunningServer:
    command = [sys.executable, "-m", "loratory", "serve", *arguments, "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    )
    notes: deque[str] = deque(maxlen=KEPT_LINES)
    threading.Thread(target=_keep_lines, args=(process.stderr, notes), daemon=True).start()
    return RunningServer(process, notes).wait_until_ready()


def _pass_first_line(stream: IO[str], lines: queue.Queue[str]) -> None:
    lines.put(stream.readline())
    for _ in stream:  # a full pipe would stop the server
        pass


def _keep_lines(stream: IO[str], lines: deque[str]) -> None:
    for line in stream:
        lines.append(line)


def _explain_failure(notes: Sequence[str], code: int | None) -> LoratoryError:
    """The server's own error."""
    time.sleep(0.1)  # its last lines may still be on their way
    first = next((place for place, line in enumerate(notes) if line.startswith(ERROR_PREFIX)), None)
    said = "".join(notes[first:]) if first is not None else "".join(notes[-20:])
    return ServerError(
        said.removeprefix(ERROR_PREFIX).strip() or f"the server ended with exit code {code} before it was ready"
    )
