"""What the process tells on stderr: a JSON line for each request, and what went wrong here."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class RedactingFormatter(logging.Formatter):
    """Of an error its kind and where it was raised; its message may hold what a client sent."""

    def formatException(self, ei: ExceptionInfo) -> str:
        """The traceback without messages, the errors that it came from first."""
        kind, problem, _ = ei
        parts: list[str] = []
        while problem is not None:
            raised = f"{type(problem).__module__}.{type(problem).__qualname__}"
            parts.append("".join(traceback.format_tb(problem.__traceback__)) + raised)
            problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
        return "\n".join(reversed(parts)) if kind is not None else ""


def configure_logging(include_texts: bool, quiet: bool = False) -> None:
    """`include_texts`: whether logs may hold what clients send; `quiet`: only warnings and errors are logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((logging.Formatter if include_texts else RedactingFormatter)("%(message)s"))
    for name in ("loratory.access", "loratory.serving"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
