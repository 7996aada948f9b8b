"""The last handler: whatever ends a command, a person reads what to do, and never a traceback."""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from loratory.cli.missing_extras import missing_extra_error, widen_extra
from loratory.cli.output import print_error
from loratory.errors import LoratoryError, MissingExtra, StorageError, first_line, is_out_of_memory

EXIT_SOFTWARE = 70  # EX_SOFTWARE of sysexits.h: an error of the program's own
EXIT_INTERRUPTED = 130  # 128 + SIGINT
DEBUG_VARIABLE = "LORATORY_DEBUG"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
ISSUES_URL = "https://github.com/loratory/loratory/issues"


def report_failure(problem: BaseException, arguments: Sequence[str]) -> int:
    """Tell of what ended the command of these words, on stderr; the exit code. SystemExit is not for here.

    2 where a person can mend it, 130 for Ctrl-C, 0 where whoever reads the output has gone, 70 for an error of ours.
    With LORATORY_DEBUG set the traceback is shown too.
    """
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(problem)
    if isinstance(problem, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(problem, BrokenPipeError):
        return _silence_output()
    said = to_user_error(problem, find_verb(arguments))
    if said is not None:
        print_error(said)
        return said.exit_code
    file = write_error_report(problem, arguments)
    where = f"; a report is in {file}" if file else ""
    more = "" if file else f" ({first_line(problem)}; {DEBUG_VARIABLE}=1 shows where)"
    sys.stderr.write(f"loratory: this is an error of loratory itself: {type(problem).__name__}{more}{where}\n")
    sys.stderr.write(
        f"  to mend it: send the report to {ISSUES_URL}\n" if file else f"  to mend it: tell us, {ISSUES_URL}\n"
    )
    return EXIT_SOFTWARE


def to_user_error(problem: BaseException, verb: str) -> LoratoryError | None:
    """An error that a person can mend, in our own words; None for an error of ours."""
    if isinstance(problem, MissingExtra):
        return widen_extra(verb, problem)
    if isinstance(problem, LoratoryError):
        return problem
    if isinstance(problem, ImportError):
        return missing_extra_error(verb, problem)
    if is_out_of_memory(problem):
        return LoratoryError(
            "there is not enough memory for this",
            remedy="stop other programs, give fewer or shorter texts, or choose a smaller base",
        )
    if isinstance(problem, RecursionError):
        return LoratoryError("an input is nested too deeply", remedy="look for brackets inside of brackets in it")
    return _from_os_error(problem) if isinstance(problem, OSError) else None


def _from_os_error(problem: OSError) -> LoratoryError | None:
    """What the system refused, with the file's name; None where it is not about a file, or a disk."""
    if problem.errno in DISK_ERRORS:
        return StorageError(f"the disk refuses: {problem.strerror}", where=str(problem.filename or ""))
    if problem.filename is None or problem.errno is None:
        return None
    return LoratoryError(
        f"the system refuses: {problem.strerror}",
        where=str(problem.filename),
        remedy="check the path and its permissions",
    )


def find_verb(arguments: Sequence[str]) -> str:
    """The verb of a command line; empty where there is none."""
    return next((word for word in arguments if not word.startswith("-")), "")


def write_error_report(problem: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write what we need to find an error of ours, readable by its owner alone; None where it cannot be written."""
    folder = _state_folder() / "errors"
    file = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as report:
            report.write(_format_report(problem, arguments))
    except (OSError, RuntimeError):
        return None
    return file


def _state_folder() -> Path:
    """Where a program keeps what it notes (XDG Base Directory Specification 0.8)."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return base / "loratory"


def _format_report(problem: BaseException, words: Sequence[str]) -> str:
    from loratory import __version__

    facts = {
        "loratory": __version__,
        "command": "loratory " + " ".join(redact_arguments(words)),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    lines = "".join(f"{name}: {value}\n" for name, value in facts.items())
    return f"{lines}\n{''.join(traceback.format_exception(problem))}".encode("utf-8", "replace").decode()


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """The verb and the names of options; of anything else, which may be a text, a key or an address, its length."""
    verb = find_verb(arguments)
    return [word if word == verb else _redact_argument(word) for word in arguments]


def _redact_argument(word: str) -> str:
    if not word.startswith("-"):
        return f"<{len(word)} characters>"
    name, equals, value = word.partition("=")
    return f"{name}=<{len(value)} characters>" if equals else name


def _silence_output() -> int:
    """Python flushes stdout once more when it ends, which would complain again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue
    return 0
