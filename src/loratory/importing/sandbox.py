"""A call in a process of its own whose memory and time end: for libraries that read what a stranger wrote.

POSIX limits (`setrlimit`, `setitimer`) hold inside of libraries too, where no Python runs. They begin behind the
imports, which are the same for everybody. Where there are none (Windows) the clock alone holds.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loratory import errors
from loratory.errors import LoratoryError

PRELOADED_LIBRARIES = (  # imported before the limits hold
    *("loratory.importing.foreign_classifier", "loratory.predictors.predictor_files", "transformers.modeling_utils"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
)
IMPORT_SECONDS = 300.0  # seconds for the imports, on a machine that does much else
WALL_CLOCK_FACTOR = 4.0  # how much longer than a processor's time a call may take, where others use the processor
CHILD_CODE = "from loratory.importing.sandbox import _serve_call; _serve_call()"
END_EXPLANATIONS = {
    "SIGXCPU": "it took more than {seconds:.0f} s",
    "SIGALRM": "it took more than {seconds:.0f} s",
    "SIGABRT": "the library ended, mostly for want of memory (limit: {megabytes:,} MB beside the libraries)",
    "SIGKILL": "it was killed, mostly for want of memory (limit: {megabytes:,} MB beside the libraries)",
}


@dataclass(frozen=True)
class SandboxLimits:
    """What a call may use behind the imports: seconds of a processor, and bytes."""

    seconds: float
    memory: int


def call_limited(function: str, arguments: Sequence[Any], limits: SandboxLimits) -> Any:
    """What `function` ("module:name") returns for these arguments, all of it JSON.

    Raises the LoratoryError that it raises, ModuleNotFoundError for a library that is not installed, and
    ChildProcessError with one line for any other end.
    """
    asked = json.dumps([function, list(arguments), limits.seconds, limits.memory])
    wait = IMPORT_SECONDS + WALL_CLOCK_FACTOR * limits.seconds
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CHILD_CODE],
            input=asked.encode(),
            capture_output=True,
            timeout=wait,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired as problem:
        raise ChildProcessError(f"it took more than {wait:.0f} s") from problem
    if os.environ.get("LORATORY_DEBUG"):
        sys.stderr.write(done.stderr.decode(errors="replace"))
    return _parse_output(done.returncode, done.stdout, limits)


def _parse_output(code: int, output: bytes, limits: SandboxLimits) -> Any:
    try:
        end = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        raise ChildProcessError(_explain_exit(code, limits)) from None
    return unpack_result(end)


def unpack_result(end: Sequence[Any]) -> Any:
    """What a call returned, from `make`; raises as `call_limited` does."""
    kind, value = end
    if kind == "returned":
        return value
    if kind == "failed":
        raise ChildProcessError(value)
    if kind == "lacks":
        raise ModuleNotFoundError(f"No module named {value!r}", name=value)
    raise getattr(errors, kind)(value.pop("problem"), **value)


def _explain_exit(code: int, limits: SandboxLimits) -> str:
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    said = END_EXPLANATIONS.get(name, "the library crashed ({name})")
    return said.format(seconds=limits.seconds, megabytes=limits.memory // 2**20, name=name)


def _serve_call() -> None:
    """In the new process: read the call from stdin, make it, and write its end as the last line of stdout."""
    output, sys.stdout = sys.stdout, sys.stderr
    function, arguments, seconds, memory = json.load(sys.stdin)
    end = call_function(function, arguments, lambda: _apply_limits(seconds, memory))
    output.write("\n" + json.dumps(end) + "\n")
    output.flush()
    os._exit(0)  # threads of libraries have nothing more to do


def call_function(function: str, arguments: Sequence[Any], apply_limits: Callable[[], None]) -> list[Any]:
    """Call `function` behind `apply_limits`, which is called behind the imports; how it ended, as JSON can hold it."""
    module, _, name = function.partition(":")
    try:
        for library in (module, *PRELOADED_LIBRARIES):
            importlib.import_module(library)
        apply_limits()
        return ["returned", getattr(importlib.import_module(module), name)(*arguments)]
    except LoratoryError as problem:
        said = {key: getattr(problem, key) for key in ("problem", "where", "allowed", "remedy")}
        return [type(problem).__name__, said]
    except ModuleNotFoundError as problem:
        return ["lacks", problem.name or ""]
    except MemoryError:
        return ["failed", "it needs more memory than its weights and the libraries explain"]
    except BaseException as problem:  # a panic of Rust is no Exception
        if os.environ.get("LORATORY_DEBUG"):
            traceback.print_exception(problem)
        return ["failed", f"{type(problem).__name__}: {errors.first_line(problem)}"]


def _apply_limits(seconds: float, memory: int) -> None:
    """Limit what this process may use from now on; nothing where the system has no such limits."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, WALL_CLOCK_FACTOR * seconds)
    if (held := _count_mapped_bytes()) is not None:
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))


def _count_mapped_bytes() -> int | None:
    """Bytes of address space that the process has; None where the system does not tell (only Linux does)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
