"""What regimes have in common when they refuse a task or a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loratory.protocols import Labelled, Spanned, Task

ENCODED = (Labelled, Spanned)  # tasks that a head on an encoder answers


def refuse(
    name: str, task: Task, start: str, starts: Sequence[str], capabilities: tuple[Any, ...] = (Labelled,)
) -> str | None:
    """Why `name` cannot fulfil a task from a kind of start, or None; loads no weights."""
    if not isinstance(task, capabilities):
        spans = " or labelled spans" if Spanned in capabilities else ""
        return f"{name} needs a task whose answer is one label{spans}; {task.kind} is none"
    return None if start in starts else f"{name} starts from {' or '.join(starts)}, not from {start}"


def refuse_writing(name: str, task: Task, start: str, starts: Sequence[str]) -> str | None:
    """Why `name` cannot have a base of this kind write a task's answers, or None; loads no weights."""
    from loratory.errors import Unfit
    from loratory.predictors.wordings import WORDINGS, wording_of

    if start not in starts:
        return f"{name} starts from {' or '.join(starts)}, not from {start}"
    try:
        return WORDINGS[wording_of(task)].refuses(task)
    except Unfit as problem:
        return problem.problem
