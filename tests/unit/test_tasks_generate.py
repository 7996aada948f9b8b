"""Conversations in every form that people keep them in, contracts of their own, and marks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from loratory.errors import FieldError
from loratory.protocols import Conversational, Labelled, Prediction, sum_counts
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
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages",
            "a part of type 'image_url'",
        ),
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
        ({"checks": ["exact", {"exact": {"check": "overlap"}}]}, "two checks are called exact"),
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
        task.score_example(one, Prediction("so 4 it is")),  # exact, no number of the input, too long
        task.score_example(one, Prediction("2")),
        task.score_example(one, Prediction("none")),
        task.score_example(one, Prediction(None, reason="long")),
    ]
    assert [mark["reward"] for mark in marks] == pytest.approx([1 / 3, 2 / 3, 1 / 2, 0.0])
    scores = task.summarise(sum_counts(marks))
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
    told = task.render({"a": {"x": 1, "y": 2}, "b": [{"x": 3, "y": 4}], "c": 5})
    assert told == '{"b":[{"y":4,"x":3}],"a":{"y":2,"x":1},"c":5}'
    assert task.render({"c": 1, "a": None}) == '{"a":null,"c":1}'


def test_what_counts_when_no_checks_are_named() -> None:
    assert list(Generate().build_checks()) == ["overlap"]
    assert list(Generate(answer_schema=SCHEMA).build_checks()) == ["fields"]


def test_capabilities_and_the_way_to_text_and_back() -> None:
    task = Generate(answer_schema=SCHEMA)
    assert isinstance(task, Conversational)
    assert not isinstance(task, Labelled)
    assert task.parse(task.render({"kind": "card", "count": 2})) == {"kind": "card", "count": 2}
    assert [message["role"] for message in task.messages(WHOLE)] == ["system", "user", "assistant", "user"]
    assert task.text(WHOLE) == "Hello?\nWhat is 2 + 2?"  # what the system says to all does not make inputs alike
    assert Generate.model_validate_json(task.model_dump_json()) == task


# --- every form that tools export


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HELLO, YES = said("user", "Hello?"), said("assistant", "Yes?")


@pytest.mark.parametrize(
    ("row", "input", "answer"),
    [
        ({"messages": SHAREGPT[1:3], "system": "Be kind."}, {"prompt": "Hello?", "system": "Be kind."}, "Yes?"),
        ({"messages": [said("system", ""), HELLO, YES]}, {"prompt": "Hello?"}, "Yes?"),
        ({"messages": [said("system", ""), HELLO, YES], "system": "s"}, {"prompt": "Hello?", "system": "s"}, "Yes?"),
        ({"messages": [said("system", ""), said("developer", "d"), HELLO, YES]}, {"prompt": "Hello?", "system": "d"},
         "Yes?"),
        ({"messages": [said("system", "s"), HELLO, YES], "system": "s"}, {"prompt": "Hello?", "system": "s"}, "Yes?"),
        ({"messages": [HELLO, said("assistant", "Yes?", name="ann", weight=1, tool_calls=None)]}, {"prompt": "Hello?"},
         "Yes?"),
        ({"messages": [HELLO, said("assistant", "no", weight=0), HELLO, YES]},
         {"prompt": "Hello?", "history": [HELLO, said("assistant", "no")]}, "Yes?"),
        ({"messages": [{"role": None, "from": "human", "value": "Hello?", "content": None}, YES]}, {"prompt": "Hello?"},
         "Yes?"),  # a table fills up what a row does not have
        ({"messages": [HELLO, said("assistant", {"a": 0})]}, {"prompt": "Hello?"}, '{"a": 0}'),
        ({"messages": [HELLO, said("assistant", 0)]}, {"prompt": "Hello?"}, "0"),
        ({"prompt": "Add.", "context": 0, "completion": "4"}, {"prompt": "Add.\n\n0"}, "4"),
        ({"prompt": "", "context": "2, 2", "completion": "4"}, {"prompt": "2, 2"}, "4"),
        ({"prompt": "q", "context": {"a": [1]}, "completion": "4"}, {"prompt": 'q\n\n{"a": [1]}'}, "4"),
        ({"prompt": "q", "context": None, "system": "", "completion": "4"}, {"prompt": "q"}, "4"),
        ({"prompt": "q", "completion": json.dumps([YES])}, {"prompt": "q"}, "Yes?"),
        ({"prompt": "q", "completion": [{"from": "gpt", "value": "Yes?"}]}, {"prompt": "q"}, "Yes?"),
        *(({"prompt": "q", "completion": value}, {"prompt": "q"}, text)
          for value, text in [(0, "0"), (False, "false"), ([], "[]"), ({}, "{}"), (0.0, "0.0")]),
    ],
)  # fmt: skip
def test_what_tools_export_is_read(row: dict[str, Any], input: dict[str, Any], answer: str) -> None:
    example = Generate().read(row)
    assert (example.input, example.answer) == (input, answer)


@pytest.mark.parametrize(
    ("row", "field", "match", "remedy"),
    [
        ({"messages": [HELLO, said("assistant", None, tool_calls=[{"id": "c"}]), said("tool", "12"), YES]}, "messages",
         r"message 2 calls a tool \(tool_calls\)", "tools are not called"),
        ({"messages": [HELLO, said("function", "12", name="f"), YES]}, "messages", "from 'function'", "tools are not"),
        *(({"conversations": None, "messages": [SHAREGPT[1], {"from": role, "value": "{}"}, SHAREGPT[2]]}, "messages",
           f"message 2 is from '{role}'", "tools are not called") for role in ("function_call", "observation", "tool")),
        ({"messages": [YES, HELLO, YES]}, "messages", "message 1 is from the assistant", "greeting"),
        ({"messages": [said("system", "s"), YES, HELLO, YES]}, "messages", "message 2 is from the assistant",
         "greeting"),
        ({"messages": [HELLO, YES, said("system", "s"), HELLO, YES]}, "messages", "message 3 is from the system",
         "to the beginning"),
        ({"messages": [HELLO, HELLO, YES]}, "messages", "message 2 is from the user", "join messages 1 and 2"),
        ({"messages": [said("system", "s"), HELLO, YES, YES]}, "messages", "asks nothing", "join messages"),
        ({"messages": [HELLO, said("assistant", "Yes?", weight=0)]}, "messages", "has the weight 0", "remove the row"),
        ({"messages": json.dumps([HELLO, said("assistant", "Yes?", weight=0)])}, "messages", "has the weight 0",
         "remove the row"),
        ({"messages": [HELLO, said("assistant", "Yes?", weight=0.5)]}, "messages", "has the weight 0.5", "remove"),
        ({"prompt": "q", "completion": [said("assistant", "a", weight=0)]}, "completion", "has the weight 0", "remove"),
        ({"messages": [said("system", "a"), HELLO, YES], "system": "b"}, "system", "one thing in this column", "keep"),
        ({"messages": [HELLO, YES], "system": 5}, "system", "the system says 5", ""),
        ({"messages": [said("user", 5), YES]}, "messages", "message 1 says 5", "fill it in"),
        ({"messages": "Hello"}, "messages", "the conversation is 'Hello'", "data: prompt"),
        ({"prompt": "q"}, "completion", "the answer is missing", "data: completion: chosen"),  # DPO
        ({}, "prompt", "what is asked is null", "data: messages: chosen"),  # ORPO
        ({"prompt": "q", "completion": [HELLO, YES]}, "completion", "a conversation of 2", "data: messages: COLUMN"),
        ({"prompt": "q", "completion": [HELLO]}, "completion", "a conversation of 1", "data: messages: COLUMN"),
        ({"prompt": "q", "completion": ""}, "completion", "the answer is empty", "fill it in"),
        ({"prompt": "q", "completion": "a", "group": [1]}, "group", r"the group is \[1\]", "one value for each row"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_how_to_mend_it(row: dict[str, Any], field: str, match: str, remedy: str) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        Generate().read(row)
    assert caught.value.field == field
    assert re.search(remedy, caught.value.remedy), caught.value.remedy


@pytest.mark.parametrize(
    ("schema", "completion", "answer"),
    [
        ({"type": "integer"}, 0, 0),
        ({"type": "integer"}, "0", 0),
        ({"type": "boolean"}, False, False),
        ({"type": "array", "items": {"type": "null"}}, [], []),
        ({"type": "object", "properties": {}}, {}, {}),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "5", "5"),  # the text itself is of the schema, the number in it is not
        ({"type": "string"}, '"5"', "5"),
        ({"enum": ["card", "cash"]}, "card", "card"),
        ({"type": ["null", "integer"]}, "null", None),
    ],
)
def test_falsy_and_plain_answers_of_a_schema(schema: Any, completion: Any, answer: Any) -> None:
    assert Generate(answer_schema=schema).read({"prompt": "q", "completion": completion}).answer == answer
