"""`generate`: an answer in writing to a conversation: text, or JSON of a schema that the user gives."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from loratory.discovery import find
from loratory.errors import FieldError, SpecError, missing_extra, shown
from loratory.formats import FORMATS, WHOLE, holds
from loratory.measures.checks import Check
from loratory.measures.labels import ratio
from loratory.measures.ratios import Ratio, share
from loratory.protocols import JSON, Answer, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.schemas import resolved, without_annotations, written
from loratory.tasks.conversations import (
    Message,
    are_messages,
    check_weight,
    input_of,
    messages_from,
    messages_of,
    split_answer,
)
from loratory.tasks.fields import group_of, is_missing

TEXT: Schema = {"type": "string"}
OWN = ("checks", "passed", "coverage")  # scores that are no check's
PREFERENCES = (
    "of preferences (chosen, rejected) only what was chosen can be learnt: data: completion: chosen, or "
    "data: messages: chosen where it is a whole conversation"
)
TOLD = 3  # problems of one answer that are named


class Generate(BaseModel):
    """The answer is text, or JSON of `answer_schema`; checks say how good it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "messages": Column(
            "a whole conversation; what the assistant says last is the answer",
            required=False,
            guesses=("messages", "conversations", "conversation", "dialog"),
        ),
        "prompt": Column(
            "what is asked, where there is no conversation",
            required=False,
            guesses=("prompt", "instruction", "question", "query", "input"),
        ),
        "context": Column(
            "what the question is about; it is put behind it",
            required=False,
            guesses=("context", "input"),
        ),
        "system": Column("what the system says", required=False, guesses=("system", "system_prompt")),
        "completion": Column(
            "the answer",
            required=False,
            guesses=("completion", "output", "response", "answer", "target", "expected"),
        ),
        "group": Column(
            "examples of one group never cross a split",
            required=False,
            guesses=("group", "family", "template_id", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset()

    kind: Literal["generate"] = "generate"
    answer_schema: dict[str, Any] | None = Field(
        None, description="JSON Schema (2020-12) that every answer is held to while it is written; left out: text"
    )
    checks: tuple[str | dict[str, dict[str, Any] | None], ...] = Field(
        (),
        description="names of checks, or name: {options}; a name of your own with {check: ..., options}; left out: "
        "overlap of words for text, fields for JSON",
    )
    headline: Literal["checks", "passed"] = Field(
        "checks",
        description="what the verdict goes by: the mean over checks, or the share of answers that pass all of them",
    )

    @field_validator("answer_schema")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            problem = _jsonschema().SchemaError
            try:
                _jsonschema().Draft202012Validator.check_schema(without_annotations(schema))
            except problem as error:
                raise ValueError(f"this is no JSON Schema: {error.message} at {_place(error)}") from None
        return schema

    @field_validator("checks")
    @classmethod
    def _known(cls, checks: tuple[Any, ...]) -> tuple[Any, ...]:
        named = [name for name, _, _ in _parts(checks)]
        if len(set(named)) < len(named):
            raise ValueError("two checks have one name; give one another: mine: {check: ..., options}")
        for name, check, options in _parts(checks):
            if name in OWN:
                raise ValueError(f"{name} is the name of another score; give it another: mine: {{check: {check}}}")
            made_check(name, check, options)
        return checks

    # -- Task
    def question(self) -> Schema:
        said = {"role": {"enum": ["user", "assistant"]}, "content": TEXT}
        turn = {"type": "object", "properties": said, "required": list(said)}
        return {
            "type": "object",
            "properties": {"prompt": TEXT, "system": TEXT, "history": {"type": "array", "items": turn}},
            "required": ["prompt"],
            "additionalProperties": False,
        }

    def contract(self, input: Input | None = None) -> Schema:
        return TEXT if self.answer_schema is None else self.answer_schema

    def check(self, input: Input, answer: Answer) -> list[str]:
        """Nothing: checks say how good an answer is, not whether it is one."""
        return []

    def read(self, row: Mapping[str, JSON]) -> Example:
        """An example; raises FieldError for a conversation that is none, and an answer outside the contract."""
        if row.get("messages") is not None:
            input, said = _conversation(row)
            field = "messages"
        else:
            input, said, field = self._asked(row), _said(row.get("completion")), "completion"
        if said is None:
            raise _unanswered(field)
        return Example(input, self._answer(said, field), group=group_of(row.get("group")))

    def _asked(self, row: Mapping[str, JSON]) -> Input:
        prompt, system, context = row.get("prompt"), row.get("system"), row.get("context")
        if isinstance(prompt, Sequence) and not isinstance(prompt, str):
            return input_of(messages_of(prompt, "prompt"), "prompt")
        if not isinstance(prompt, str):
            raise FieldError(
                "prompt",
                f"what is asked is {shown(prompt)}",
                allowed="text in a column prompt or instruction, or a conversation in a column messages",
                remedy=f"say which column it is: data: prompt: COLUMN (or messages: COLUMN); {PREFERENCES}",
            )
        made = {"prompt": "\n\n".join(text for text in (prompt, _context(context)) if text.strip())}
        said = _system(system)
        return made | ({"system": said} if said else {})

    def _answer(self, said: Any, field: str) -> Answer:
        if self.answer_schema is None:
            text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
            if not text.strip():
                raise FieldError(field, "the answer is empty", remedy="fill it in or remove the row")
            return text
        value, problem = _parsed(said)
        problems = [] if problem else self._problems(value)
        if isinstance(said, str) and (problem or problems) and not self._problems(said):
            return said  # JSON text of its own: the schema allows this very text
        if problem:
            raise FieldError(field, f"the answer is no JSON ({problem}): {shown(said)}", allowed="JSON")
        if problems:
            raise FieldError(
                field,
                f"the answer is not of the task's schema: {'; '.join(problems[:TOLD])}",
                allowed="what task: answer_schema: allows",
                remedy="mend the row or the schema",
            )
        return value

    def _problems(self, value: Any) -> list[str]:
        schema = without_annotations(self.answer_schema)
        found = _jsonschema().Draft202012Validator(schema, format_checker=_formats()).iter_errors(value)
        return [f"{error.json_path.replace('$', '', 1) or 'the whole'}: {_message(error)}" for error in found]

    def settle(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """As it is: nothing is left open."""
        return self

    def mark(self, example: Example, prediction: Prediction) -> Counts:
        found: dict[str, float] = {}
        for name, check in self.made_checks().items():
            answered = prediction.answer is not None
            value = check(example.input, prediction.answer, example.answer) if answered else 0.0
            if value is not None:
                found[name] = min(max(float(value), 0.0), 1.0)
        reward = sum(found.values()) / len(found) if found else 1.0
        each = {f"{part}/{name}": v for name, value in found.items() for part, v in (("held", value), ("asked", 1.0))}
        return {
            "n": 1.0,
            "reward": reward,
            "answered": float(prediction.answer is not None),
            "passed": float(all(value == 1 for value in found.values())),
            **each,
        }

    def summarise(self, totals: Counts) -> Scores:
        n = totals.get("n", 0.0)
        scores = {
            "checks": ratio(totals.get("reward", 0.0), n),
            "passed": ratio(totals.get("passed", 0.0), n),
            "coverage": ratio(totals.get("answered", 0.0), n),
        }
        for name in self.made_checks():
            scores[name] = ratio(totals.get(f"held/{name}", 0.0), totals.get(f"asked/{name}", 0.0), 1.0)
        return scores

    def made_checks(self) -> Mapping[str, Check]:
        """The checks, ready to be called, by name."""
        asked = self.checks or (("overlap",) if self.answer_schema is None else ("fields",))
        return {name: made_check(name, check, options) for name, check, options in _parts(asked)}

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        whole = {"checks": share("reward", "n"), "passed": share("passed", "n"), "coverage": share("answered", "n")}
        return (whole[score] if score in whole else share(f"held/{score}", f"asked/{score}"),)

    # -- Conversational
    def messages(self, input: Input) -> list[Message]:
        return messages_from(input)

    def text(self, input: Input) -> str:
        return "\n".join(message["content"] for message in messages_from(input) if message["role"] == "user")

    def told(self, answer: Answer) -> str:
        if self.answer_schema is None:
            return str(answer)
        return written(in_order(answer, self.answer_schema))

    def heard(self, text: str) -> Answer:
        return text if self.answer_schema is None else json.loads(text)


def in_order(value: JSON, schema: Schema, root: Schema | None = None) -> JSON:
    """The value with its properties in the schema's order, which is that in which a grammar of the schema writes."""
    root = schema if root is None else root
    schema = resolved(schema, root)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        whole = {**resolved(branch, root), **{key: root[key] for key in ("$defs", "definitions") if key in root}}
        if _jsonschema().Draft202012Validator(whole).is_valid(value):
            return in_order(value, branch, root)
    for part in schema.get("allOf", ()):
        value = in_order(value, part, root)
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        names = [*(name for name in known if name in value), *(name for name in value if name not in known)]
        return {name: in_order(value[name], known.get(name, {}), root) for name in names}
    if isinstance(value, (list, tuple)) and isinstance(schema.get("items"), Mapping):
        return [in_order(inner, schema["items"], root) for inner in value]
    return value


def made_check(name: str, check: str, options: Mapping[str, Any]) -> Check:
    """A check, ready to be called; raises ValueError for one that is not there, or options that it does not take."""
    try:
        found = find("checks", check)
    except SpecError as problem:
        raise ValueError(f"{problem.problem} (allowed: {problem.allowed})") from None
    if not inspect.isclass(found):
        if options:
            raise ValueError(f"the check {name} takes no options")
        made: Check = found
        return made
    cls: Any = found
    try:
        ready: Check = cls(**options)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ": ".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']} (allowed: {', '.join(cls.model_fields)})") from None
    return ready


def _parts(checks: Sequence[str | Mapping[str, Mapping[str, Any] | None]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, check and options of each."""
    parts = []
    for one in checks:
        for name, options in ({one: None} if isinstance(one, str) else one).items():
            rest = dict(options or {})
            parts.append((name, str(rest.pop("check", name)), rest))
    return parts


def _conversation(row: Mapping[str, JSON]) -> tuple[Input, str | None]:
    """Input and answer of a whole conversation; what a column says for the system stands before it."""
    given = _listed(row["messages"])
    messages, system = messages_of(given, "messages"), _system(row.get("system"))
    own = messages[0]["content"].strip() if messages[0]["role"] == "system" else ""
    if system and own not in ("", system.strip()):
        raise FieldError(
            "system",
            "the system says one thing in this column and another in the conversation",
            allowed="one of the two",
            remedy="keep one, or take the other column away: rename it in the file",
        )
    if system and not own:
        messages = [{"role": "system", "content": system}, *messages]
    input, said = split_answer(messages, "messages")
    check_weight(given, "messages")
    return input, said


def _listed(value: JSON) -> JSON:
    """A conversation that a table holds as JSON text; messages_of says what is wrong with it."""
    parsed, problem = _parsed(value)
    return value if problem else parsed


def _parsed(said: JSON) -> tuple[JSON, str]:
    """The value of JSON text, anything else as it is; and what is wrong with the text."""
    try:
        return (json.loads(said) if isinstance(said, str) else said), ""
    except (ValueError, RecursionError) as problem:
        return None, str(problem) or "nested too deeply"


def _system(value: JSON) -> str:
    """What a column says for the system; "" where it says nothing."""
    if not is_missing(value) and not isinstance(value, str):
        raise FieldError("system", f"the system says {shown(value)}", allowed="text")
    return "" if is_missing(value) else str(value)


def _context(value: JSON) -> str:
    """Text as it is, anything else as JSON; "" where there is none."""
    if is_missing(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _said(completion: JSON) -> JSON:
    """The answer of a column: text, JSON, or TRL's list of one message. Falsy answers are answers; None is none."""
    listed = _listed(completion) if isinstance(completion, str) and completion.lstrip().startswith("[") else completion
    if not are_messages(listed):
        return completion
    completion = listed
    messages = messages_of(completion, "completion")
    if len(messages) == 1 and messages[0]["role"] == "assistant":
        check_weight(completion, "completion")
        return messages[0]["content"]
    raise FieldError(
        "completion",
        f"the answer is a conversation of {len(messages)} message{'s' if len(messages) > 1 else ''}",
        allowed="text, JSON, or a list of one message of the assistant",
        remedy="where this column holds the whole conversation, say data: messages: COLUMN instead of completion",
    )


def _unanswered(field: str) -> FieldError:
    return FieldError(
        field,
        "the answer is missing",
        allowed="a message of the assistant at the end" if field == "messages" else "text or JSON in this column",
        remedy=f"add it, or remove the row; where another column holds the answers: data: completion: "
        f"COLUMN; {PREFERENCES}",
    )


def _jsonschema() -> Any:
    try:
        import jsonschema
    except ImportError:
        raise missing_extra("jsonschema", "evaluation") from None
    return jsonschema


@lru_cache(1)
def _formats() -> Any:
    """A checker of the formats that are held while writing, by the same patterns."""
    checker = _jsonschema().FormatChecker(formats=())
    for name in (*FORMATS, *WHOLE):
        checker.checks(name)(partial(holds, name))
    return checker


def _message(error: Any) -> str:
    """What is wrong with a value; for a format also what one looks like."""
    known = FORMATS.get(str(error.validator_value)) if error.validator == "format" else None
    return str(error.message)[:200] + (f" (such as {known.example})" if known else "")


def _place(error: Any) -> str:
    return "/".join(map(str, error.absolute_path)) or "its beginning"
