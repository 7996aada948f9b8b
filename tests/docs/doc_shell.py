"""Runs the command blocks of a page: bash as bash, Python in this process, and `loratory` in this process too.

`loratory` on the blocks' PATH is a small client: it hands its words, folder, environment and stdin to this process,
which runs the command line's `main` on them. So pipes, here-documents and redirections are bash's own, and torch
is imported once. `loratory serve` is forked, on a free port, and stays until the page ends or another takes its port.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
import types
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from doc_blocks import Block

SHORT_PATH = 90  # a Unix socket's path has about 104 bytes
PORT = re.compile(r"(?<=localhost:)\d{4}\b|(?<=127\.0\.0\.1:)\d{4}\b|(?<=--port )\d{4}\b")
DEFAULT_PORT = "8000"
KEPT_VARIABLES = ("LORATORY_", "MODEL_DIR", "HF_", "NO_COLOR")  # of a block's own environment
CLIENT = """#!{python} -ISE
import json, os, socket, sys
given = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ), "stdin": sys.stdin.read()}}
with socket.socket(socket.AF_UNIX) as line:
    line.connect({socket!r})
    line.sendall(json.dumps(given).encode())
    line.shutdown(socket.SHUT_WR)
    told = json.loads(b"".join(iter(lambda: line.recv(65536), b"")))
try:
    sys.stderr.write(told["err"]); sys.stderr.flush()
    sys.stdout.write(told["out"]); sys.stdout.flush()
except BrokenPipeError:  # `| head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.exit(told["code"])
"""
HEADER = "set -eE -o pipefail; trap 'echo \"@@$LINENO@@$BASH_COMMAND@@\" >&2' ERR\n"
FAILED = re.compile(r"@@(\d+)@@(.*?)@@\n", re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """A block that did not do what it says: the line of the page, the command, and all that it printed."""

    page: str
    line: int
    command: str
    output: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}\n    {self.command}\n" + indent_output(self.output)


def indent_output(output: str, most: int = 40) -> str:
    return "\n".join(f"      {line}" for line in output.strip().split("\n")[-most:])


@dataclass
class PageShell:
    """What runs the blocks of one page, in its own folder."""

    page: str
    folder: Path
    tools: Path
    shorter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # words of a command: options put behind it
    servers: dict[str, int] = field(default_factory=dict)  # port of the page -> process
    ports: dict[str, str] = field(default_factory=dict)  # port of the page -> free one
    module: types.ModuleType = field(init=False)

    def __post_init__(self) -> None:
        self.module = types.ModuleType("__main__")  # pydantic looks a class's module up in sys.modules
        self.tools.mkdir(exist_ok=True)
        self.socket = self.tools / "s"
        assert len(str(self.socket)) < SHORT_PATH
        client = self.tools / "loratory"
        client.write_text(CLIENT.format(python=sys.executable, socket=str(self.socket)), encoding="utf-8")
        client.chmod(0o755)
        for name in ("python", "python3"):
            (self.tools / name).symlink_to(sys.executable)

    def run(self, block: Block) -> Failure | None:
        text = self.move_ports(block.script)
        return self.run_python(block, text) if block.language == "python" else self.run_bash(block, text)

    def move_ports(self, text: str) -> str:
        """The text with each port replaced by the free one that stands for it on this page."""
        return PORT.sub(lambda found: self.free_port(found[0]), text)

    def free_port(self, port: str) -> str:
        if port not in self.ports:
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                self.ports[port] = str(one.getsockname()[1])
        return self.ports[port]

    # -- bash

    def run_bash(self, block: Block, text: str) -> Failure | None:
        environment = {**os.environ, "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.folder)}
        with (self.tools / "output").open("w+", encoding="utf-8") as output, self.listen() as listener:
            done = subprocess.Popen(
                ["bash", "-c", HEADER + text],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            while done.poll() is None:
                self.answer_one(listener)
            output.seek(0)
            said = output.read()
        failed = FAILED.search(said)
        if done.returncode == 0:
            return None
        line = int(failed[1]) - 1 if failed else 1
        command = failed[2] if failed else text
        return Failure(self.page, block.line + line, command, FAILED.sub("", said) + f"\nexit code {done.returncode}")

    @contextmanager
    def listen(self) -> Iterator[socket.socket]:
        self.socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.socket))
            listener.listen()
            listener.settimeout(0.02)
            yield listener

    def answer_one(self, listener: socket.socket) -> None:
        try:
            line, _ = listener.accept()
        except TimeoutError:
            return
        with line:
            asked = json.loads(b"".join(iter(lambda: line.recv(65536), b"")))
            line.sendall(json.dumps(self.do(**asked)).encode())
            line.shutdown(socket.SHUT_WR)  # a forked server holds this end too

    def do(self, words: list[str], folder: str, environment: dict[str, str], stdin: str) -> dict[str, str | int]:
        """What a `loratory` of a block does: code, out and err."""
        own = {key: value for key, value in environment.items() if key.startswith(KEPT_VARIABLES)}
        more = self.shorter.get(" ".join(["loratory", *words[:2]]), ())
        with work_in(Path(folder), own):
            if words[:1] == ["serve"]:
                return self.serve(words)
            code, out, err = run_command([*words, *more], stdin)
            return {"code": code, "out": out, "err": err}

    # -- python

    def run_python(self, block: Block, text: str) -> Failure | None:
        """Statements one by one, as in a notebook: `await` may stand at the top."""
        source, printed = "\n" * block.line + text, io.StringIO()
        kept, sys.modules["__main__"] = sys.modules["__main__"], self.module
        with work_in(self.folder, {}), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                code = compile(source, self.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                coroutine = eval(code, self.module.__dict__)
                if inspect.iscoroutine(coroutine):
                    asyncio.run(coroutine)
            except (Exception, SystemExit) as problem:
                line = find_line(problem, self.page) or block.line
                command = source.split("\n")[line - 1].strip()
                said = printed.getvalue() + "".join(traceback.format_exception(problem))
                return Failure(self.page, line, command, said)
            finally:
                sys.modules["__main__"] = kept
        return None

    # -- servers

    def serve(self, words: list[str]) -> dict[str, str | int]:
        """Fork `loratory serve` and come back when it is ready to answer."""
        port = next((port for port, free in self.ports.items() if free in words), DEFAULT_PORT)
        self.stop(port)
        free = self.free_port(port)
        log = self.tools / f"serve-{free}"
        pid = os.fork()
        if pid == 0:
            become_server([*words, "--port", free], log)
        self.servers[port] = pid
        if wait_until_ready(f"http://127.0.0.1:{free}/health/ready", pid):
            return {"code": 0, "out": "", "err": log.read_text(encoding="utf-8")}
        self.servers.pop(port)
        return {"code": 1, "out": "", "err": log.read_text(encoding="utf-8") + "\nthe server did not become ready"}

    def stop(self, port: str) -> None:
        pid = self.servers.pop(port, None)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)

    def close(self) -> None:
        for port in list(self.servers):
            self.stop(port)


def find_line(problem: BaseException, page: str) -> int | None:
    """The line of the page that an error comes from."""
    places = [one.lineno for one in traceback.extract_tb(problem.__traceback__) if one.filename == page]
    return places[-1] if places else getattr(problem, "lineno", None)


@contextmanager
def work_in(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """This process with another working folder and some variables more."""
    before = dict(os.environ)
    os.environ.update(environment)
    with contextlib.chdir(folder):
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def run_command(words: list[str], stdin: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line's `main`."""
    from loratory.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    kept = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["loratory", *words], io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as done:
        code = done.code
    finally:
        sys.argv, sys.stdin = kept
    told = [one.buffer.getvalue().decode("utf-8", "replace") for one in (out, err)]
    return (code if isinstance(code, int) else 0 if code is None else 1), told[0], told[1]


def become_server(words: list[str], log: Path) -> None:
    """The child: never comes back."""
    code = 70
    try:
        place = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        for number in (1, 2):
            os.dup2(place, number)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        sys.argv = ["loratory", *words]
        from loratory.cli import main

        main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait_until_ready(url: str, pid: int, seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
