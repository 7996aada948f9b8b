"""Conversations in every form that people keep them in, contracts of their own, and marks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from loratory.errors import FieldError
from loratory.protocols import Conversational, Labelled, Prediction, total
from loratory.tasks.generate import Generate

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["card", "cash"]}, "count": {"type": "integer"}},
    "required": ["kind", "count"],
    "additionalProperties": False,
}
OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
]
SHAREGPT = [
    {"from": {"system": "system", "user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]}
    for m in OPENAI
]
WHOLE = {"prompt": "What is 2 + 2?", "system": "Be brief.", "history": OPENAI[1:3]}


@pytest.mark.parametrize(
    ("row", "input", "answer"),
    [
        ({"messages": OPENAI}, WHOLE, "4"),
        ({"messages": SHAREGPT}, WHOLE, "4"),
        ({"messages": json.dumps(OPENAI)}, WHOLE, "4"),  # a CSV or Parquet column that holds JSON
        ({"messages": OPENAI, "prompt": "of another column"}, WHOLE, "4"),
        ({"prompt": "Add.", "context": "2, 2", "completion": "4"}, {"prompt": "Add.\n\n2, 2"}, "4"),  # Alpaca
        ({"prompt": "Add.", "context": "", "completion": "4"}, {"prompt": "Add."}, "4"),
        ({"prompt": "q", "system": "s", "completion": "a"}, {"prompt": "q", "system": "s"}, "a"),
        ({"prompt": OPENAI[:-1], "completion": OPENAI[-1:]}, WHOLE, "4"),  # TRL, conversational
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                          OPENAI[-1]]},
            {"prompt": "ab"},
            "4",
        ),
        ({"messages": [{"role": "developer", "content": "s"}, OPENAI[1], OPENAI[2]]},
         {"prompt": "Hello?", "system": "s"}, "Yes?"),
    ],
)  # fmt: skip
def test_forms_of_a_conversation(row: dict[str, Any], input: dict[str, Any], answer: str) -> None:
    example = Generate().read(row)
    assert (example.input, example.answer) == (input, answer)


@pytest.mark.parametrize(
    ("row", "field", "match"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "message 1 is from 'tool'"),
        ({"messages": [{"role": "user"}]}, "messages", "message 1 says null"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "message 1 says null"),
        ({"messages": OPENAI[1:2] * 2 + OPENAI[-1:]}, "messages", "message 2 is from the user where the assistant"),
        ({"messages": OPENAI[2:]}, "messages", "message 1 is from the assistant where the user"),
        ({"messages": OPENAI[:2]}, "messages", "the answer is missing"),
        ({"messages": OPENAI[:1]}, "messages", "asks nothing"),
        ({"messages": OPENAI[-1:]}, "messages", "asks nothing"),
        ({"messages": []}, "messages", r"the conversation is \[\]"),
        ({"messages": "[1"}, "messages", "no JSON"),
        ({"messages": "hello"}, "messages", "the conversation is 'hello'"),
        ({"messages": [3]}, "messages", "message 1 is 3"),
        ({"completion": "a"}, "prompt", "what is asked is null"),
        ({"prompt": 3, "completion": "a"}, "prompt", "what is asked is 3"),
        ({"prompt": "q"}, "completion", "the answer is missing"),
        ({"prompt": "q", "completion": "  "}, "completion", "the answer is empty"),
    ],
)
def test_bad_conversations_say_what_and_where(row: dict[str, Any], field: str, match: str) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        Generate().read(row)
    assert caught.value.field == field
    assert caught.value.allowed or caught.value.remedy


def test_answers_are_held_to_the_schema_when_they_are_read() -> None:
    task = Generate(answer_schema=SCHEMA)
    assert task.read({"prompt": "q", "completion": '{"kind": "card", "count": 2}'}).answer == {
        "kind": "card",
        "count": 2,
    }
    assert task.read({"prompt": "q", "completion": {"kind": "card", "count": 2}}).answer["count"] == 2  # type: ignore[index]
    with pytest.raises(FieldError, match=r"\.count: 'two' is not of type 'integer'"):
        task.read({"prompt": "q", "completion": '{"kind": "card", "count": "two"}'})
    with pytest.raises(FieldError, match="the whole: 'count' is a required property"):
        task.read({"prompt": "q", "completion": '{"kind": "card"}'})
    with pytest.raises(FieldError, match="the answer is no JSON"):
        task.read({"prompt": "q", "completion": "card, 2"})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"answer_schema": {"type": "objct"}}, "no JSON Schema: 'objct'"),
        ({"checks": ["exct"]}, "no check called 'exct'; did you mean 'exact'"),
        ({"checks": [{"bullets": {"lst": 2}}]}, r"bullets: lst: .*allowed: least, most"),
        ({"checks": [{"exact": {"a": 1}}]}, "exact takes no options"),
        ({"checks": ["exact", {"exact": {"check": "overlap"}}]}, "two checks have one name"),
        ({"checks": [{"passed": {"check": "exact"}}]}, "passed is the name of another score"),
        ({"headline": "accuracy"}, "checks"),
    ],
)
def test_bad_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Generate(**options)


def test_marks_add_up_and_a_check_with_nothing_to_say_is_not_asked() -> None:
    task = Generate(checks=("exact", "numbers", {"short": {"check": "words", "most": 2}}))
    one = task.read({"prompt": "What is 2 + 2?", "completion": "so 4 it is"})
    marks = [
        task.mark(one, Prediction("so 4 it is")),  # exact, no number of the input, too long
        task.mark(one, Prediction("2")),
        task.mark(one, Prediction("none")),
        task.mark(one, Prediction(None, why="long")),
    ]
    assert [mark["reward"] for mark in marks] == pytest.approx([1 / 3, 2 / 3, 1 / 2, 0.0])
    scores = task.summarise(total(marks))
    assert scores["numbers"] == pytest.approx(1 / 3)  # of three: asked of a text without numbers it says nothing
    assert scores["exact"] == 0.25
    assert scores["checks"] == pytest.approx(1.5 / 4)
    assert scores["coverage"] == 0.75
    assert scores["passed"] == 0.0


def test_an_answer_is_written_in_the_schemas_order() -> None:
    inner = {"type": "object", "properties": {"y": {"type": "integer"}, "x": {"type": "integer"}}}
    schema = {
        "type": "object",
        "$defs": {"point": inner},
        "properties": {
            "b": {"type": "array", "items": {"$ref": "#/$defs/point"}},
            "a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
            "c": {"type": "integer"},
        },
    }
    task = Generate(answer_schema=schema)
    told = task.told({"a": {"x": 1, "y": 2}, "b": [{"x": 3, "y": 4}], "c": 5})
    assert told == '{"b":[{"y":4,"x":3}],"a":{"y":2,"x":1},"c":5}'
    assert task.told({"c": 1, "a": None}) == '{"a":null,"c":1}'


def test_what_counts_when_no_checks_are_named() -> None:
    assert list(Generate().made_checks()) == ["overlap"]
    assert list(Generate(answer_schema=SCHEMA).made_checks()) == ["fields"]


def test_capabilities_and_the_way_to_text_and_back() -> None:
    task = Generate(answer_schema=SCHEMA)
    assert isinstance(task, Conversational)
    assert not isinstance(task, Labelled)
    assert task.heard(task.told({"kind": "card", "count": 2})) == {"kind": "card", "count": 2}
    assert [message["role"] for message in task.messages(WHOLE)] == ["system", "user", "assistant", "user"]
    assert task.text(WHOLE) == "Hello?\nWhat is 2 + 2?"  # what the system says to all does not make inputs alike
    assert Generate.model_validate_json(task.model_dump_json()) == task
