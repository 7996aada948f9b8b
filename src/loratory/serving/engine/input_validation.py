"""Inputs as clients give them, held to the question of their task before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loratory.data.task_inputs import InputFormat
from loratory.errors import DataError, FieldError, format_value, suggest_nearest
from loratory.protocols import JSON, Conversational, Input, Task
from loratory.tasks.conversations import build_input

FAST_CHECKED_KEYWORDS = frozenset(
    {"type", "minLength", "maxLength", "title", "description"}
)  # what is checked without a library
MAX_REPORTED_PROBLEMS = 3  # problems of one input that are named


class InputValidator:
    """Reads the inputs of one task."""

    def __init__(self, task: Task) -> None:
        self.task, self.question = task, InputFormat.from_task(task)
        self._conversational = task if isinstance(task, Conversational) else None
        self._schema = dict(task.input_schema())
        fields = self.question.fields.values()
        self._strings_only = all(
            field.get("type") == "string" and FAST_CHECKED_KEYWORDS >= field.keys() for field in fields
        )

    def validate(self, value: JSON, where: str) -> Input:
        """An input of the task. Raises DataError."""
        if isinstance(value, Mapping):
            self._check_members(value, where)
        made = self.question.parse_input(value, where)
        problems = [*self._check_lengths(made)] if self._strings_only else [*self._check_schema(made)]
        if problems:
            raise DataError("; ".join(problems), where=where)
        if self._conversational is not None:
            _check_turns(self._conversational, made, where)
        return made

    def _check_members(self, value: Mapping[str, JSON], where: str) -> None:
        fields = self.question.fields
        for name in value:
            if name not in fields:
                close = suggest_nearest(name, fields)
                raise DataError(f"unknown member {format_value(name)}{close}", where=where, allowed=", ".join(fields))

    def _check_lengths(self, made: Input) -> Iterator[str]:
        for name, text in made.items():
            least, most = (self.question.fields[name].get(key) for key in ("minLength", "maxLength"))
            if least is not None and len(text) < least:
                yield f"the {name} is empty" if not text else f"the {name} has fewer than {least} characters"
            if most is not None and len(text) > most:
                yield f"the {name} has more than {most} characters"

    def _check_schema(self, made: Input) -> list[str]:
        """What its schema says of an input that is more than strings."""
        from itertools import islice

        from jsonschema import Draft202012Validator

        found = islice(Draft202012Validator(self._schema).iter_errors(made), MAX_REPORTED_PROBLEMS)
        return [f"{error.json_path.removeprefix('$.')}: {error.message[:200]}" for error in found]


def _check_turns(task: Conversational, made: Input, where: str) -> None:
    """Whether those who talk take turns: templates of chat models fail where they do not."""
    try:
        build_input([dict(turn) for turn in task.messages(made)], where)
    except FieldError as problem:
        raise DataError(problem.problem, where=where, allowed=problem.allowed) from None
