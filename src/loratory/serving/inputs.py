"""Inputs as clients give them, held to the question of their task before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loratory.data.questions import Question
from loratory.errors import DataError, FieldError, nearest, shown
from loratory.protocols import JSON, Conversational, Input
from loratory.tasks.conversations import input_of

BY_HAND = frozenset({"type", "minLength", "maxLength", "title", "description"})  # what is checked without a library
TOLD = 3  # problems of one input that are named


class Reading:
    """Reads the inputs of one task."""

    def __init__(self, task: Any) -> None:
        self.task, self.question = task, Question.of(task)
        self._talks = isinstance(task, Conversational)
        self._schema = dict(task.question())
        fields = self.question.fields.values()
        self._strings = all(field.get("type") == "string" and BY_HAND >= field.keys() for field in fields)

    def input(self, value: JSON, where: str) -> Input:
        """An input of the task. Raises DataError."""
        if isinstance(value, Mapping):
            self._known(value, where)
        made = self.question.input(value, where)
        problems = [*self._lengths(made)] if self._strings else [*self._problems(made)]
        if problems:
            raise DataError("; ".join(problems), where=where)
        if self._talks:
            self._in_turn(made, where)
        return made

    def _known(self, value: Mapping[str, JSON], where: str) -> None:
        fields = self.question.fields
        for name in value:
            if name not in fields:
                close = nearest(name, fields)
                raise DataError(f"unknown member {shown(name)}{close}", where=where, allowed=", ".join(fields))

    def _lengths(self, made: Input) -> Iterator[str]:
        for name, text in made.items():
            least, most = (self.question.fields[name].get(key) for key in ("minLength", "maxLength"))
            if least is not None and len(text) < least:
                yield f"the {name} is empty" if not text else f"the {name} has fewer than {least} characters"
            if most is not None and len(text) > most:
                yield f"the {name} has more than {most} characters"

    def _problems(self, made: Input) -> list[str]:
        """What its schema says of an input that is more than strings."""
        from itertools import islice

        from jsonschema import Draft202012Validator

        found = islice(Draft202012Validator(self._schema).iter_errors(made), TOLD)
        return [f"{error.json_path.removeprefix('$.')}: {error.message[:200]}" for error in found]

    def _in_turn(self, made: Input, where: str) -> None:
        """Whether those who talk take turns: templates of chat models fail where they do not."""
        try:
            input_of(self.task.messages(made), where)
        except FieldError as problem:
            raise DataError(problem.problem, where=where, allowed=problem.allowed) from None
