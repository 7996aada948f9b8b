"""Forms of the page, as browsers send them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from loratory.data.questions import Question
from loratory.errors import FieldError
from loratory.protocols import JSON, Conversational
from loratory.serving.refusals import Refusal
from loratory.serving.services import Service
from loratory.tasks.conversations import ROLES, input_of, messages_of

FIELDS = 16  # at most
TRY, TABLE = ("task", "text", "system", "turns"), ("task", "column", "table")


@dataclass(frozen=True)
class Choice:
    """A task to choose."""

    name: str
    kind: str
    labels: int
    has_system: bool  # it can be told how to answer
    has_turns: bool  # it can be told what was said before


def choice_of(service: Service) -> Choice:
    """As the list of tasks shows it."""
    fields = Question.of(service.task).fields
    return Choice(service.name, service.task.kind, len(service.labels), "system" in fields, _talks(service))


def _talks(service: Service) -> bool:
    return isinstance(service.task, Conversational) and "history" in Question.of(service.task).fields


def read(body: bytes, known: Collection[str]) -> dict[str, str]:
    """The known fields of an application/x-www-form-urlencoded body. Raises Refusal.

    Lines end as in files: browsers send CR LF for every end of a line in a text area, whatever was typed or pasted.
    """
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise Refusal("invalid_request", "the form cannot be read") from None
    return {name: found.get(name, [""])[0].replace("\r\n", "\n") for name in known}


def asked(service: Service, form: Mapping[str, str]) -> JSON:
    """What a form asks of a task: its text with what was said before, or JSON where it takes more than a text."""
    text, system, turns = (form.get(name, "") for name in ("text", "system", "turns"))
    if not text.strip():
        raise Refusal("invalid_input", "there is no text", where="text")
    question = Question.of(service.task)
    if question.text is None:
        return _json(text, question)
    told = {"system": system} if system.strip() and "system" in question.fields else {}
    if turns.strip() and _talks(service):
        return _conversation(turns, told, text)
    return {question.text: text, **told}


def _conversation(turns: str, told: Mapping[str, str], text: str) -> JSON:
    """Turns as a list in JSON, or a line each. Raises Refusal where they do not lead to what the user says now."""
    system = [{"role": "system", "content": one} for one in told.values()]
    try:
        before = messages_of(turns if turns.lstrip().startswith("[") else _lines(turns), "turns")
        return input_of([*system, *before, {"role": "user", "content": text}], "turns")
    except FieldError as problem:
        raise Refusal("invalid_input", f"{problem.problem}; allowed: {problem.allowed}", where="turns") from None


def _lines(text: str) -> list[dict[str, str]]:
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


def _json(text: str, question: Question) -> JSON:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise Refusal(
            "invalid_input", f"this is no JSON ({problem}); this task takes {question.said()}", where="text"
        ) from None
