"""Forms of the page, as browsers send them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from loratory.data.questions import Question
from loratory.protocols import JSON
from loratory.serving.refusals import Refusal
from loratory.serving.services import Service

FIELDS = 16  # at most
TRY, TABLE = ("task", "text", "system"), ("task", "column", "table")


@dataclass(frozen=True)
class Choice:
    """A task to choose."""

    name: str
    kind: str
    labels: int
    has_system: bool  # it can be told how to answer


def choice_of(service: Service) -> Choice:
    """As the list of tasks shows it."""
    system = "system" in Question.of(service.task).fields
    return Choice(service.name, service.task.kind, len(service.labels), system)


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
    """What a form asks of a task: its text with what the system says, or JSON where it takes more than a text."""
    text, system = form.get("text", ""), form.get("system", "")
    if not text.strip():
        raise Refusal("invalid_input", "there is no text", where="text")
    question = Question.of(service.task)
    if question.text is None:
        return _json(text, question)
    told = {"system": system} if system.strip() and "system" in question.fields else {}
    return {question.text: text, **told}


def _json(text: str, question: Question) -> JSON:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise Refusal(
            "invalid_input", f"this is no JSON ({problem}); this task takes {question.said()}", where="text"
        ) from None
