"""`generate`: an answer in writing to a conversation: text, or JSON of a schema that the user gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.discovery import NamedSpec, create_named, split_named
from loratory.errors import ExtensionError, FieldError, blame_extension, format_value, make_missing_extra
from loratory.formats import FORMATS, INTEGER_RANGES, matches_format
from loratory.measures.classification_metrics import ratio
from loratory.measures.ratios import Ratio, build_ratio
from loratory.protocols import JSON, Answer, Check, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.schemas import resolve_reference, strip_annotations, to_compact_json
from loratory.tasks.conversations import (
    ChatMessage,
    build_input,
    build_messages,
    check_message_weight,
    is_message_list,
    parse_messages,
    split_answer,
)
from loratory.tasks.row_values import is_missing, parse_group

if TYPE_CHECKING:
    from jsonschema import ValidationError

TEXT_SCHEMA: Schema = {"type": "string"}
RESERVED_SCORES = ("checks", "passed", "coverage")  # scores that are no check's
PREFERENCE_HINT = (
    "of preferences (chosen, rejected): data: completion: chosen and rejected: rejected, or data: messages: chosen "
    "where they are whole conversations"
)
MAX_NAMED_PROBLEMS = 3  # problems of one answer that are named


def run_check(name: str, check: Check, example: Example, answer: Answer) -> float | None:
    """A check's share in [0, 1], or None where it does not apply. Raises ExtensionError for anything else."""
    with blame_extension(f"the check {name}", check):
        value = check(example.input, answer, example.answer)
        if value is None:
            return None
        share = float(value)
    if not 0.0 <= share <= 1.0:  # NaN is neither
        raise ExtensionError(f"the check {name} gave {value}", allowed="a share from 0 to 1, or None", where=name)
    return share


class Generate(BaseModel):
    """The answer is text, or JSON that follows `answer_schema`. Checks score it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "messages": Column(
            "a whole conversation; the last message of the assistant is the answer",
            required=False,
            aliases=("messages", "conversations", "conversation", "dialog"),
        ),
        "prompt": Column(
            "the question or instruction, for files without conversations",
            required=False,
            aliases=("prompt", "instruction", "question", "query", "input"),
        ),
        "context": Column(
            "the text that the question is about; it is added after the prompt",
            required=False,
            aliases=("context", "input"),
        ),
        "system": Column("the system message", required=False, aliases=("system", "system_prompt")),
        "completion": Column(
            "the expected answer",
            required=False,
            aliases=("completion", "output", "response", "answer", "target", "expected", "chosen"),
        ),
        "rejected": Column(
            "a worse answer, for training on preferences",
            required=False,
            aliases=("rejected",),
        ),
        "group": Column(
            "examples with the same value stay in the same split",
            required=False,
            aliases=("group", "family", "template_id", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset()

    kind: Literal["generate"] = "generate"
    answer_schema: dict[str, Any] | None = Field(
        None,
        description="JSON Schema (2020-12) that constrains decoding: every answer follows it. Default: the answer is "
        "free text.",
    )
    checks: tuple[NamedSpec, ...] = Field(
        (),
        description="Checks that score answers: a list of names, or name: {options}. To use a name of your own: mine: "
        "{check: words, most: 50}. Default: `overlap` for text, `fields` for JSON.",
    )
    headline: Literal["checks", "passed"] = Field(
        "checks",
        description="Score that the verdict uses: checks (mean of all checks) or passed (share of answers that pass "
        "every check).",
    )

    @field_validator("answer_schema")
    @classmethod
    def _check_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            problem = _import_jsonschema().SchemaError
            try:
                _import_jsonschema().Draft202012Validator.check_schema(strip_annotations(schema))
            except problem as error:
                raise ValueError(f"this is no JSON Schema: {error.message} at {_locate_error(error)}") from None
        return schema

    @field_validator("checks")
    @classmethod
    def _check_checks(cls, checks: tuple[Any, ...]) -> tuple[Any, ...]:
        for name, check, _ in split_named("checks", checks):
            if name in RESERVED_SCORES:
                raise ValueError(f"{name} is the name of another score; give it another: mine: {{check: {check}}}")
        create_named("checks", checks)
        return checks

    # -- Task
    def input_schema(self) -> Schema:
        said = {"role": {"enum": ["user", "assistant"]}, "content": TEXT_SCHEMA}
        turn = {"type": "object", "properties": said, "required": list(said)}
        return {
            "type": "object",
            "properties": {"prompt": TEXT_SCHEMA, "system": TEXT_SCHEMA, "history": {"type": "array", "items": turn}},
            "required": ["prompt"],
            "additionalProperties": False,
        }

    def contract(self, input: Input | None = None) -> Schema:
        return TEXT_SCHEMA if self.answer_schema is None else self.answer_schema

    def check_answer(self, input: Input, answer: Answer) -> list[str]:
        """Nothing: checks say how good an answer is, not whether it is one."""
        return []

    def read(self, row: Mapping[str, JSON]) -> Example:
        """An example; raises FieldError for a conversation that is none, and an answer outside the contract."""
        if row.get("messages") is not None:
            input, said = _split_conversation(row)
            field = "messages"
        else:
            input, said, field = self._read_prompt(row), _read_completion(row.get("completion")), "completion"
        if said is None:
            raise _build_missing_answer_error(field)
        answer = self._parse_answer(said, field)
        return Example(input, answer, group=parse_group(row.get("group")), rejected=self._read_rejected(row, input))

    def _read_rejected(self, row: Mapping[str, JSON], input: Input) -> Answer | None:
        """The worse answer of a column: an answer, or a whole conversation that asks the same."""
        given = row.get("rejected")
        if is_missing(given):
            return None
        listed: Any = _parse_json_list(given) if isinstance(given, str) and given.lstrip().startswith("[") else given
        if not is_message_list(listed) or len(listed) == 1:
            return self._parse_answer(_read_completion(given, "rejected"), "rejected")
        asked, said = _split_conversation({"messages": listed, "system": row.get("system")}, "rejected")
        if said is None or asked != input:
            raise FieldError(
                "rejected",
                "the rejected conversation " + ("has no answer" if said is None else "asks something else"),
                allowed="the conversation of the expected answer, with another answer of the assistant at its end",
                remedy="correct the row, or leave this column empty",
            )
        return self._parse_answer(said, "rejected")

    def _read_prompt(self, row: Mapping[str, JSON]) -> Input:
        prompt, system, context = row.get("prompt"), row.get("system"), row.get("context")
        if isinstance(prompt, Sequence) and not isinstance(prompt, str):
            return build_input(parse_messages(prompt, "prompt"), "prompt")
        if not isinstance(prompt, str):
            raise FieldError(
                "prompt",
                f"what is asked is {format_value(prompt)}",
                allowed="text in a column prompt or instruction, or a conversation in a column messages",
                remedy=f"say which column it is: data: prompt: COLUMN (or messages: COLUMN); {PREFERENCE_HINT}",
            )
        made = {"prompt": "\n\n".join(text for text in (prompt, _read_context(context)) if text.strip())}
        said = _read_system(system)
        return made | ({"system": said} if said else {})

    def _parse_answer(self, raw: JSON, field: str) -> Answer:
        if self.answer_schema is None:
            text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
            if not text.strip():
                raise FieldError(field, "the answer is empty", remedy="fill it in or remove the row")
            return text
        value, problem = _parse_json(raw)
        problems = [] if problem else self._find_problems(value)
        if isinstance(raw, str) and (problem or problems) and not self._find_problems(raw):
            return raw  # JSON text of its own: the schema allows this very text
        if problem:
            raise FieldError(field, f"the answer is no JSON ({problem}): {format_value(raw)}", allowed="JSON")
        if problems:
            raise FieldError(
                field,
                f"the answer is not of the task's schema: {'; '.join(problems[:MAX_NAMED_PROBLEMS])}",
                allowed="what task: answer_schema: allows",
                remedy="mend the row or the schema",
            )
        return value

    def _find_problems(self, value: JSON) -> list[str]:
        schema = strip_annotations(self.answer_schema)
        found = (
            _import_jsonschema().Draft202012Validator(schema, format_checker=_build_format_checker()).iter_errors(value)
        )
        return [f"{error.json_path.replace('$', '', 1) or 'the whole'}: {_describe_error(error)}" for error in found]

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """As it is: nothing is left open."""
        return self

    def score_example(self, example: Example, prediction: Prediction) -> Counts:
        found: dict[str, float] = {}
        for name, check in self.build_checks().items():
            answered = prediction.answer is not None
            if not answered:
                found[name] = 0.0
            elif (value := run_check(name, check, example, prediction.answer)) is not None:
                found[name] = value
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
        for name in self.build_checks():
            scores[name] = ratio(totals.get(f"held/{name}", 0.0), totals.get(f"asked/{name}", 0.0), 1.0)
        return scores

    def build_checks(self) -> Mapping[str, Check]:
        """The checks, ready to be called, by name."""
        asked = self.checks or (("overlap",) if self.answer_schema is None else ("fields",))
        return create_named("checks", asked)

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        whole = {
            "checks": build_ratio("reward", "n"),
            "passed": build_ratio("passed", "n"),
            "coverage": build_ratio("answered", "n"),
        }
        return (whole[score] if score in whole else build_ratio(f"held/{score}", f"asked/{score}"),)

    # -- Conversational
    def messages(self, input: Input) -> list[ChatMessage]:
        return build_messages(input)

    def text(self, input: Input) -> str:
        return "\n".join(message["content"] for message in build_messages(input) if message["role"] == "user")

    def render(self, answer: Answer) -> str:
        if self.answer_schema is None:
            return str(answer)
        return to_compact_json(order_properties(answer, self.answer_schema))

    def parse(self, text: str) -> Answer:
        return text if self.answer_schema is None else json.loads(text)


def order_properties(value: JSON, schema: Schema, root: Schema | None = None) -> JSON:
    """The value with its properties in the schema's order, which is that in which a grammar of the schema writes."""
    root = schema if root is None else root
    schema = resolve_reference(schema, root)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        whole = {
            **resolve_reference(branch, root),
            **{key: root[key] for key in ("$defs", "definitions") if key in root},
        }
        if _import_jsonschema().Draft202012Validator(whole).is_valid(value):
            return order_properties(value, branch, root)
    for part in schema.get("allOf", ()):
        value = order_properties(value, part, root)
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        names = [*(name for name in known if name in value), *(name for name in value if name not in known)]
        return {name: order_properties(value[name], known.get(name, {}), root) for name in names}
    if isinstance(value, (list, tuple)) and isinstance(schema.get("items"), Mapping):
        return [order_properties(inner, schema["items"], root) for inner in value]
    return value


def _split_conversation(row: Mapping[str, JSON], field: str = "messages") -> tuple[Input, str | None]:
    """Input and answer of a whole conversation; what a column says for the system stands before it."""
    given = _parse_json_list(row["messages"])
    messages, system = parse_messages(given, field), _read_system(row.get("system"))
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
    input, said = split_answer(messages, field)
    check_message_weight(given, field)
    return input, said


def _parse_json_list(value: JSON) -> JSON:
    """A conversation that a table holds as JSON text; messages_of says what is wrong with it."""
    parsed, problem = _parse_json(value)
    return value if problem else parsed


def _parse_json(raw: JSON) -> tuple[JSON, str]:
    """The value of JSON text, anything else as it is; and what is wrong with the text."""
    try:
        return (json.loads(raw) if isinstance(raw, str) else raw), ""
    except (ValueError, RecursionError) as problem:
        return None, str(problem) or "nested too deeply"


def _read_system(value: JSON) -> str:
    """What a column says for the system; "" where it says nothing."""
    if not is_missing(value) and not isinstance(value, str):
        raise FieldError("system", f"the system says {format_value(value)}", allowed="text")
    return "" if is_missing(value) else str(value)


def _read_context(value: JSON) -> str:
    """Text as it is, anything else as JSON; "" where there is none."""
    if is_missing(value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_completion(completion: JSON, field: str = "completion") -> JSON:
    """The answer of a column: text, JSON, or TRL's list of one message. Falsy answers are answers; None is none."""
    listed = (
        _parse_json_list(completion)
        if isinstance(completion, str) and completion.lstrip().startswith("[")
        else completion
    )
    if not is_message_list(listed):
        return completion
    completion = listed
    messages = parse_messages(completion, field)
    if len(messages) == 1 and messages[0]["role"] == "assistant":
        check_message_weight(completion, field)
        return messages[0]["content"]
    raise FieldError(
        field,
        f"the answer is a conversation of {len(messages)} message{'s' if len(messages) > 1 else ''}",
        allowed="text, JSON, or a list of one message of the assistant",
        remedy="where this column holds the whole conversation, say data: messages: COLUMN instead of completion",
    )


def _build_missing_answer_error(field: str) -> FieldError:
    return FieldError(
        field,
        "the answer is missing",
        allowed="a message of the assistant at the end" if field == "messages" else "text or JSON in this column",
        remedy=f"add it, or remove the row; where another column holds the answers: data: completion: "
        f"COLUMN; {PREFERENCE_HINT}",
    )


def _import_jsonschema() -> Any:
    try:
        import jsonschema
    except ImportError:
        raise make_missing_extra("jsonschema", "evaluation") from None
    return jsonschema


@lru_cache(1)
def _build_format_checker() -> Any:
    """A checker of the formats that are held while writing, by the same patterns."""
    checker = _import_jsonschema().FormatChecker(formats=())
    for name in (*FORMATS, *INTEGER_RANGES):
        checker.checks(name)(partial(matches_format, name))
    return checker


def _describe_error(error: ValidationError) -> str:
    """What is wrong with a value; for a format also what one looks like."""
    known = FORMATS.get(str(error.validator_value)) if error.validator == "format" else None
    return str(error.message)[:200] + (f" (such as {known.example})" if known else "")


def _locate_error(error: ValidationError) -> str:
    return "/".join(map(str, error.absolute_path)) or "its beginning"
