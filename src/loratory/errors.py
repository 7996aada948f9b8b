"""Every error a user can see: what is wrong, where, what is allowed, and the edit or command that mends it."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# How allocators say it that raise a plain RuntimeError: torch, C++, NVIDIA's libraries, ONNX Runtime.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "Failed to allocate memory",
    "out of memory",
    "bad alloc",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
MAX_MESSAGE_CHARACTERS = 5000  # characters of a message
ENDS = 20  # lines that are kept at each end of a longer one
MAX_TYPO_CHARACTERS = 200  # characters of a name that may be a slip of the pen


class LoratoryError(Exception):
    """Something a person can mend. It is printed without a traceback, and the command ends with `exit_code`."""

    exit_code = 2

    def __init__(self, problem: str, *, where: str = "", allowed: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem, self.where, self.allowed, self.remedy = problem, where, allowed, remedy

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.problem}" if self.where else self.problem]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.remedy:
            lines.append(f"  to mend it: {self.remedy}")
        return shorten("\n".join(lines))


class SpecError(LoratoryError):
    """The YAML says something that cannot be meant. `where` is file:line: key."""


class DataError(LoratoryError):
    """A data file cannot be read, or a row is wrong. `where` is file:line: field."""


class FieldError(ValueError):
    """A row's field is wrong. Raised by `Task.read`; the reader adds file, line and the user's own column name."""

    def __init__(self, field: str, problem: str, *, allowed: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.field, self.problem, self.allowed, self.remedy = field, problem, allowed, remedy


class BaseModelError(LoratoryError):
    """A pretrained base cannot be found, verified or used."""


class ArtifactError(LoratoryError):
    """A folder is no valid artifact: no manifest, or a file differs from it."""


class ParityError(LoratoryError):
    """An exported form does not answer as the fit does. `stage` is the first that differs: tokens, layer 3, answer."""

    exit_code = 3
    stage: str = ""


class StorageError(LoratoryError):
    """The disk is full, read-only or failing. What was complete before is untouched."""


class MissingExtra(LoratoryError):
    """A library of an optional layer is not installed. `library` and `extra` are their names, where they are known."""

    library: str = ""
    extra: str | None = None


class UnsupportedTask(LoratoryError):
    """A regime cannot fulfil a task from a start; the message says which could."""


class ExtensionError(LoratoryError):
    """An extension of somebody else raised what it should not, or is not what its protocol says."""


class TrainingDiverged(LoratoryError):
    """Training met NaN, infinity or a loss that only grows."""


class ContenderPruned(LoratoryError):
    """A fit was stopped because its validation scores cannot reach those of another contender."""


class OutOfMemory(LoratoryError):
    """Memory is short, and nothing is left that could be made smaller on its own."""


class ServerError(LoratoryError):
    """A server did not answer what it was asked. `status` is HTTP's, 0 where nothing came back; `code` its own word."""

    def __init__(self, problem: str, *, where: str = "", status: int = 0, code: str = "", **more: str) -> None:
        super().__init__(problem, where=where, **more)
        self.status, self.code = status, code


class DeadlineExceeded(Exception):
    """The deadline passed before the work was done."""


class RunInterrupted(LoratoryError):
    """The user stopped the run with Ctrl-C; what is finished is kept, the rest goes on from its checkpoint."""

    exit_code = 130


def format_value(value: object) -> str:
    """A value for a message, as YAML writes it: never longer than a line, however much it holds."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 60
    brief.maxlong = 40
    brief.maxlevel = 3
    return brief.repr(value)


def shorten(text: str, most: int = MAX_MESSAGE_CHARACTERS) -> str:
    """A text for a person, of about `most` characters: the middle of long lines is left out, and that of many lines."""
    if len(text) <= most:
        return text
    lines = text.split("\n")
    if len(lines) > 2 * ENDS:
        lines = [*lines[:ENDS], f"  ... {len(lines) - 2 * ENDS:,} lines are left out ...", *lines[-ENDS:]]
    each = most // len(lines)
    return "\n".join(
        line
        if len(line) <= each
        else f"{line[: each // 2]} ... {len(line) - 3 * each // 4:,} characters are left out ... {line[-(each // 4) :]}"
        for line in lines
    )


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known word, or nothing."""
    if len(word) > MAX_TYPO_CHARACTERS:  # no slip of the pen, and comparing takes the square of the length
        return ""
    close = difflib.get_close_matches(word, [one for one in known if len(one) <= MAX_TYPO_CHARACTERS], 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def make_missing_extra(library: str, extra: str) -> MissingExtra:
    """The error for a library that belongs to an extra which is not installed."""
    problem = MissingExtra(f"{library} is not installed", remedy=f'pip install "loratory[{extra}]"')
    problem.library, problem.extra = library, extra
    return problem


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an allocation failed, here or in what this was raised from; no library is loaded to find out."""
    told: BaseException | None = problem
    while told is not None:
        if isinstance(told, MemoryError) or type(told).__name__ == "OutOfMemoryError":
            return True
        ours = isinstance(told, RuntimeError) or "onnxruntime" in type(told).__module__
        if ours and any(words in str(told) for words in OUT_OF_MEMORY):
            return True
        told = told.__cause__
    return False


def is_own_module(module: str) -> bool:
    """Whether a module is a part of Loratory, and not of an extension."""
    return module.partition(".")[0] == "loratory"


@contextmanager
def blame_extension(what: str, owner: object) -> Iterator[None]:
    """An error of Python that comes out of an extension becomes an ExtensionError that names it; ours stay as they are.

    `owner` is the extension: a class, an instance or a function; what its module is called says whose it is.
    """
    try:
        yield
    except Exception as problem:
        module = getattr(owner, "__module__", None) or type(owner).__module__
        if isinstance(problem, (LoratoryError, OSError, MemoryError)) or is_own_module(module):
            raise
        raise ExtensionError(
            f"{what} raised {type(problem).__name__}: {first_line(problem)}",
            where=f"module {module}",
            remedy="mend it there (LORATORY_DEBUG=1 shows the line), or take it out",
        ) from problem


def first_line(problem: BaseException, max_characters: int = 300) -> str:
    """The first line of what a library's error says, cut; the name of its class where it says nothing."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)[:max_characters]
