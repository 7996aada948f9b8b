"""What regimes have in common when they refuse a task or a start."""

from __future__ import annotations

from collections.abc import Sequence

from loratory.protocols import CONTENDER, Labelled, Spanned, StartKind, Task, is_contender_kind

ENCODER_CAPABILITIES = (Labelled, Spanned)  # tasks that a head on an encoder answers


def check_start(name: str, start: StartKind, starts: Sequence[str]) -> str | None:
    """Why `name` cannot use a kind of start, where it can use these, or None."""
    if (CONTENDER if is_contender_kind(start) else start) in starts:
        return None
    known = [f"another {one}" if one == CONTENDER else one for one in starts]
    return f"{name} starts from {' or '.join(known)}, not from {start}"


def check_support(
    name: str, task: Task, start: StartKind, starts: Sequence[str], capabilities: tuple[type, ...] = (Labelled,)
) -> str | None:
    """Why `name` cannot fulfil a task from a kind of start, or None; loads no weights."""
    if not isinstance(task, capabilities):
        spans = " or labelled spans" if Spanned in capabilities else ""
        return f"{name} needs a task whose answer is one label{spans}; {task.kind} is none"
    return check_start(name, start, starts)


def check_causal_support(name: str, task: Task, start: StartKind, starts: Sequence[str]) -> str | None:
    """Why `name` cannot have a base of this kind write a task's answers, or None; loads no weights."""
    from loratory.errors import UnsupportedTask
    from loratory.predictors.prompt_templates import find_template_name, load_prompt_template

    if objection := check_start(name, start, starts):
        return objection
    try:
        return load_prompt_template(find_template_name(task)).check_support(task)
    except UnsupportedTask as problem:
        return problem.problem
