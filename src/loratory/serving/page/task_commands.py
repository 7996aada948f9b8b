"""How a program asks what the page asks: curl and Python, with the server's own address and the task's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from loratory.data.task_inputs import InputFormat
from loratory.protocols import JSON
from loratory.serving.engine.service_registry import Service
from loratory.serving.page.answer_view import format_curl
from loratory.serving.page.task_examples import get_examples

PLACEHOLDER = "your text here"
KEY_VARIABLE = "LORATORY_KEY"


@dataclass(frozen=True)
class TaskCommands:
    """The same request from a terminal and from Python."""

    task: str
    curl: str
    python: str


def build_task_commands(base: str, service: Service, needs_key: bool) -> TaskCommands:
    """base: the server's address without a slash at the end. needs_key: a key is read from the environment."""
    asked = _make_input(service)
    key, imports = (f', key=os.environ["{KEY_VARIABLE}"]', "import os\n\n") if needs_key else ("", "")
    python = (
        f"{imports}from loratory.client import Client\n\n"
        f"with Client({base!r}{key}) as client:\n"
        f"    for answer in client.predict({service.name!r}, [{asked!r}]):\n"
        "        print(answer.answer, answer.confidence)"
    )
    return TaskCommands(service.name, format_curl(base, service, asked, needs_key), python)


def _make_input(service: Service) -> Mapping[str, JSON]:
    """The first example as an input, or one with a placeholder in each field that a task requires."""
    question, texts = InputFormat.from_task(service.task), get_examples(service)
    if question.text_field is not None:
        return {question.text_field: texts[0] if texts else PLACEHOLDER}
    try:
        found = json.loads(texts[0]) if texts else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else dict.fromkeys(question.required, "...")
