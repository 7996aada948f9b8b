"""What regimes have in common when they refuse a task or a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loratory.protocols import Labelled, Spanned, Task

ENCODER_CAPABILITIES = (Labelled, Spanned)  # tasks that a head on an encoder answers


def check_support(
    name: str, task: Task, start: str, starts: Sequence[str], capabilities: tuple[Any, ...] = (Labelled,)
) -> str | None:
    """Why `name` cannot fulfil a task from a kind of start, or None; loads no weights."""
    if not isinstance(task, capabilities):
        spans = " or labelled spans" if Spanned in capabilities else ""
        return f"{name} needs a task whose answer is one label{spans}; {task.kind} is none"
    return None if start in starts else f"{name} starts from {' or '.join(starts)}, not from {start}"


def check_causal_support(name: str, task: Task, start: str, starts: Sequence[str]) -> str | None:
    """Why `name` cannot have a base of this kind write a task's answers, or None; loads no weights."""
    from loratory.errors import UnsupportedTask
    from loratory.predictors.prompt_templates import find_template_name, load_prompt_template

    if start not in starts:
        return f"{name} starts from {' or '.join(starts)}, not from {start}"
    try:
        return load_prompt_template(find_template_name(task)).check_support(task)
    except UnsupportedTask as problem:
        return problem.problem
