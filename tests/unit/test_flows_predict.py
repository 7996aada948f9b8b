"""Inputs of `predict` follow the task's own question, not one task's field names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loratory.errors import DataError
from loratory.experiment.inference.local_prediction import (
    parse_typed_inputs,
    prediction_to_json,
    read_input_file,
    read_input_lines,
)
from loratory.protocols import Column, Prediction
from loratory.tasks.classify import Classify

CLASSIFY: Any = Classify(labels=("A", "B"))


class Choose:
    """A task whose input is a question with options."""

    columns: ClassVar[Mapping[str, Column]] = {
        "stem": Column("the question", aliases=("stem",)),
        "options": Column("the options", aliases=("options",)),
        "answer": Column("the right one", aliases=("answer",)),
    }

    def input_schema(self) -> dict[str, Any]:
        fields = {"stem": {"type": "string"}, "options": {"type": "array"}, "hint": {"type": "string"}}
        return {"type": "object", "properties": fields, "required": ["stem", "options"]}


CHOOSE: Any = Choose()


class Summarise(Choose):
    """A task whose only input is text, under another name."""

    def input_schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"document": {"type": "string"}}, "required": ["document"]}


def lines(task: Any, *raw: bytes) -> list[Any]:
    return list(read_input_lines(task, raw))


def test_lines_of_a_text_task() -> None:
    odd = [
        b"plain\n",
        b"\n",
        b'"quoted \\u00e9"\r\n',
        b'{"text": "in an object", "label": "A"}\n',
        b"{no json}\n",
        b'["a"]\n',
    ]
    assert [one["text"] for one in lines(CLASSIFY, *odd)] == ["plain", "quoted é", "in an object", "{no json}", '["a"]']
    assert lines(CLASSIFY, b'{"text": "x", "label": "A"}') == [{"text": "x"}]
    assert lines(Summarise(), b"a text") == [{"document": "a text"}]
    assert lines(CLASSIFY, "\ufeffwith a mark, and \u2028 inside\n".encode()) == [
        {"text": "with a mark, and \u2028 inside"}
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"label": "A"}', 'stdin:2: no "text" in this input\n  allowed: a line of text, or {"text": ...}'),
        (b'{"text": 5}', "stdin:2: text: the text is 5"),
        (b'{"text": null}', 'stdin:2: no "text" in this input'),
        (b"caf\xe9", "stdin:2: byte 4 of this line (0xe9) is not UTF-8"),
    ],
)
def test_a_line_that_is_no_input(raw: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        lines(CLASSIFY, b"fine\n", raw)
    assert str(caught.value).startswith(said)


def test_a_task_with_more_than_a_text_takes_objects() -> None:
    one = {"stem": "which?", "options": ["a", "b"]}
    assert lines(CHOOSE, json.dumps({**one, "answer": "a"}).encode()) == [one]
    assert parse_typed_inputs(CHOOSE, [json.dumps(one)]) == [one]
    for text in ("which?", '"which?"', "[1]"):
        with pytest.raises(
            DataError, match=r'is no input of this task\n  allowed: a JSON object {"stem": ..., "options"'
        ):
            parse_typed_inputs(CHOOSE, [text])
    with pytest.raises(DataError, match='argument 1: no "options" in this input'):
        parse_typed_inputs(CHOOSE, ['{"stem": "which?"}'])


def test_a_typed_text_is_taken_as_it_is() -> None:
    assert parse_typed_inputs(CLASSIFY, ['{"text": "x"}', '"q"', "-"]) == [
        {"text": '{"text": "x"}'},
        {"text": '"q"'},
        {"text": "-"},
    ]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,message\n1,first\n2,second\n", encoding="utf-8")
    assert read_input_file(CLASSIFY, tmp_path / "a.csv", ()) == [{"text": "first"}, {"text": "second"}]
    assert read_input_file(CLASSIFY, tmp_path / "a.csv", ["message"])[0] == {"text": "first"}
    assert read_input_file(CLASSIFY, tmp_path / "a.csv", ["text=message"])[0] == {"text": "first"}
    (tmp_path / "a.txt").write_text("first, with a comma\n\nsecond\tx\n", encoding="utf-8")
    assert read_input_file(CLASSIFY, tmp_path / "a.txt", ()) == [{"text": "first, with a comma"}, {"text": "second\tx"}]
    rows = [{"stem": "s", "options": ["a"]}, {"stem": "t", "options": ["b"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_input_file(CHOOSE, tmp_path / "a.jsonl", ()) == rows
    assert read_input_file(CHOOSE, tmp_path / "a.jsonl", ["stem=stem"]) == rows


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.csv", b"id,message\n1,first\n", ["mesage"], "there is no column 'mesage'; did you mean 'message'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 5}\n', [], "a.jsonl:2: text: the text is 5"),
        ("a.jsonl", b'{"text": "x"}\n{"id": 5}\n', [], 'a.jsonl:2: no "text"'),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', [], "a.jsonl:2: "),
        ("a.txt", b"fine\ncaf\xe9\n", [], "a.txt:2: byte 4 of this line"),
        ("a.txt", b"", [], "the file is empty"),
        ("none.csv", None, [], "no such file or folder"),
        ("none.txt", None, [], "cannot read the file"),
    ],
)
def test_a_file_that_cannot_be_answered(
    name: str, content: bytes | None, columns: list[str], said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_input_file(CLASSIFY, tmp_path / name, columns)
    assert said in str(caught.value)


def test_an_answer_as_data() -> None:
    prediction = Prediction({"label": "A"}, {"/label": {"A": 0.75, "B": 0.25}})
    assert prediction_to_json({"text": "x"}, prediction) == {
        **{"text": "x", "answer": {"label": "A"}, "confidence": 0.75},
        "probabilities": {"/label": {"A": 0.75, "B": 0.25}},
    }
    assert prediction_to_json(None, Prediction(None, reason="late")) == {
        **{"answer": None, "confidence": 0.0, "probabilities": {}, "reason": "late"}
    }
