"""Forms of the page, as browsers send them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from loratory.data.task_inputs import InputFormat
from loratory.errors import FieldError
from loratory.protocols import JSON, Conversational
from loratory.protocols.routes import ApiError
from loratory.serving.engine.service_registry import Service
from loratory.tasks.conversations import ROLES, build_input, parse_messages

MAX_FORM_FIELDS = 16  # at most
TRY_FIELDS, TABLE_FIELDS = ("task", "text", "system", "turns"), ("task", "column", "table")


@dataclass(frozen=True)
class TaskChoice:
    """A task to choose."""

    name: str
    kind: str
    labels: int
    has_system: bool  # it can be told how to answer
    has_turns: bool  # it can be told what was said before


def describe_task(service: Service) -> TaskChoice:
    """As the list of tasks shows it."""
    fields = InputFormat.from_task(service.task).fields
    return TaskChoice(service.name, service.task.kind, len(service.labels), "system" in fields, _takes_turns(service))


def _takes_turns(service: Service) -> bool:
    return isinstance(service.task, Conversational) and "history" in InputFormat.from_task(service.task).fields


def parse_form(body: bytes, known: Collection[str]) -> dict[str, str]:
    """The known fields of an application/x-www-form-urlencoded body. Raises ApiError.

    Lines end as in files: browsers send CR LF for every end of a line in a text area, whatever was typed or pasted.
    """
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise ApiError("invalid_request", "the form cannot be read") from None
    return {name: found.get(name, [""])[0].replace("\r\n", "\n") for name in known}


def input_from_form(service: Service, form: Mapping[str, str]) -> JSON:
    """What a form asks of a task: its text with what was said before, or JSON where it takes more than a text."""
    text, system, turns = (form.get(name, "") for name in ("text", "system", "turns"))
    if not text.strip():
        raise ApiError("invalid_input", "there is no text", where="text")
    question = InputFormat.from_task(service.task)
    if question.text_field is None:
        return _parse_json(text, question)
    told = {"system": system} if system.strip() and "system" in question.fields else {}
    if turns.strip() and _takes_turns(service):
        return _parse_conversation(turns, told, text)
    return {question.text_field: text, **told}


def _parse_conversation(turns: str, told: Mapping[str, str], text: str) -> JSON:
    """Turns as a list in JSON, or a line each. Raises ApiError where they do not lead to what the user says now."""
    system = [{"role": "system", "content": one} for one in told.values()]
    try:
        before = parse_messages(turns if turns.lstrip().startswith("[") else _parse_turns(turns), "turns")
        return build_input([*system, *before, {"role": "user", "content": text}], "turns")
    except FieldError as problem:
        raise ApiError("invalid_input", f"{problem.problem}; allowed: {problem.allowed}", where="turns") from None


def _parse_turns(text: str) -> list[dict[str, str]]:
    """`user: ...` and `assistant: ...`; a line that begins with neither goes on with the turn before."""
    found: list[dict[str, str]] = []
    for line in text.strip().split("\n"):
        role, colon, said = line.partition(":")
        if colon and role.strip().casefold() in ROLES:
            found.append({"role": role.strip(), "content": said.strip()})
        elif found:
            found[-1]["content"] += f"\n{line}"
        else:
            raise FieldError("turns", "the first line says nobody's turn", allowed="user: ..., or assistant: ...")
    return found


def _parse_json(text: str, question: InputFormat) -> JSON:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ApiError(
            "invalid_input", f"this is no JSON ({problem}); this task takes {question.describe()}", where="text"
        ) from None
