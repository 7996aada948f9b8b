"""Texts to click: the examples that whoever serves a task has written for its page, never texts of its data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from loratory.serving.engine.service_registry import Service


@dataclass(frozen=True)
class ExampleLink:
    """A text, and the address of the page with this text in its box: it works without a script."""

    text: str
    address: str


@dataclass(frozen=True)
class TaskExamples:
    """The examples of a task."""

    task: str
    links: Sequence[ExampleLink]


def get_examples(service: Service) -> Sequence[str]:
    """`examples:` of the task in the server's file, or else of `serve:` in the run's spec."""
    return service.task_spec.examples if service.task_spec else ()


def list_examples(services: Iterable[Service]) -> list[TaskExamples]:
    """The tasks that have examples, each with its links."""
    return [
        TaskExamples(
            service.name,
            [
                ExampleLink(text, f"/?{urlencode({'task': service.name, 'example': number})}#try")
                for number, text in enumerate(get_examples(service))
            ],
        )
        for service in services
        if get_examples(service)
    ]


def find_example(service: Service | None, number: str) -> str:
    """The text of an address of `list_examples`; empty where there is none of that number."""
    texts = get_examples(service) if service else ()
    return {str(place): text for place, text in enumerate(texts)}.get(number, "")
