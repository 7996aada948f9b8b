"""Columns are given, guessed by name or by content; rows become examples, or an error that a person can act on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from loratory.data.columns import ColumnMapping, get_value_at, match_columns
from loratory.data.dataset import Dataset
from loratory.data.examples import to_examples
from loratory.data.rows import Row
from loratory.errors import DataError, FieldError
from loratory.protocols import Column, Example
from loratory.tasks.classify import Classify


def rows(*values: Mapping[str, Any]) -> list[Row]:
    return [Row(one, "a.csv", line) for line, one in enumerate(values, 2)]


def match_values(*values: Mapping[str, Any], **given: str) -> dict[str, str]:
    return dict(match_columns(rows(*values), Classify.columns, given).columns)


# ---- matching
def test_names_are_guessed_whatever_their_case_and_said() -> None:
    matching = match_columns(rows({"Message": "a", "CATEGORY": "x"}), Classify.columns, {})
    assert matching.columns == {"text": "Message", "label": "CATEGORY"}
    assert len(matching.messages) == 2
    assert "'Message' is read as text" in matching.messages[0]


def test_a_guess_reaches_into_json_text_and_objects() -> None:
    assert match_values({"instruction": "i", "input": "a", "output": '{"label": "x"}'})["label"] == "output.label"
    assert match_values({"input": "a", "output": {"label": "x"}})["label"] == "output.label"
    assert match_values({"input": "a", "output": "x"})["label"] == "output"


def test_given_columns_win_and_are_not_used_twice() -> None:
    assert match_values({"text": "a", "body": "b", "label": "x"}, text="body") == {"text": "body", "label": "label"}
    assert match_values({"text": "a", "label": "x", "category": "y"}, group="label")["label"] == "category"
    assert match_values({"text": "a", "label": "x", "family": "f"})["group"] == "family"


def test_content_is_looked_at_when_no_name_tells() -> None:
    many = [
        {"id": str(n), "x": f"a sentence about number {n}", "kind": "odd" if n % 2 else "even", "n": n % 2}
        for n in range(20)
    ]
    matching = match_columns(rows(*many), Classify.columns, {})
    assert matching.columns == {"text": "x", "label": "kind"}
    assert all("guessed from what it holds" in line for line in matching.messages)


def test_a_label_that_never_recurs_is_not_guessed() -> None:
    with pytest.raises(DataError, match="'label'") as caught:
        match_values(*({"id": str(n), "x": f"a sentence about number {n}"} for n in range(20)))
    assert "'id', 'x'" in caught.value.allowed
    assert "data: label: COLUMN" in caught.value.remedy


def test_an_unknown_given_column_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'category'") as caught:
        match_values({"text": "a", "category": "x"}, label="categorie")
    assert "'text', 'category'" in caught.value.allowed
    with pytest.raises(DataError, match="did you mean 'label'"):
        match_values({"text": "a", "category": "x"}, lable="category")


def test_a_given_column_may_be_empty_at_first() -> None:
    late = [{"text": "a", "meta": {}}] * 2500 + [{"text": "a", "meta": {"label": "x"}}]
    assert match_values(*late, label="meta.label")["label"] == "meta.label"


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ({"seq.in": "own", "seq": {"in": "inner"}}, "seq.in", "own"),
        ({"a": {"b": {"c": 1}}}, "a.b.c", 1),
        ({"a": '{"b": {"c": 1}}'}, "a.b.c", 1),
        ({"a.b": {"c": 1}}, "a.b.c", 1),
        ({"a": [{"b": 1}]}, "a.0.b", 1),
        ({"a": [1]}, "a.1", None),
        ({"a": {}}, "a.b", None),
        ({"a": None}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_pick_reaches_in(value: Mapping[str, Any], path: str, expected: object) -> None:
    assert get_value_at(Row(value, "f", 1), path) == expected


def test_pick_refuses_broken_json_text_with_its_place() -> None:
    with pytest.raises(DataError) as caught:
        get_value_at(Row({"output": '{"label": '}, "a.jsonl", 7), "output.label")
    assert caught.value.where == "a.jsonl:7: output"


# ---- examples
MATCHING = ColumnMapping({"text": "body", "label": "kind", "group": "family"}, ())


def examples(*values: Mapping[str, Any], task: Any = None, limit: int = 50) -> list[Example]:
    return list(to_examples(rows(*values), task or Classify(), MATCHING, limit))


def catch_column_error(*values: Mapping[str, Any], task: Any = None) -> DataError:
    with pytest.raises(DataError) as caught:
        examples(*values, task=task)
    return caught.value


def test_an_example_knows_its_origin_and_group() -> None:
    one, two = examples({"body": "a", "kind": "x", "family": "f"}, {"body": " b ", "kind": 1, "family": None})
    assert one == Example({"text": "a"}, {"label": "x"}, group="f", origin="a.csv:2")
    assert (two.input["text"], two.answer, two.group, two.origin) == (" b ", {"label": "1"}, "", "a.csv:3")


@pytest.mark.parametrize(
    ("row", "where", "problem"),
    [
        ({"body": None, "kind": "x"}, "a.csv:2: body", "missing"),
        ({"body": 3, "kind": "x"}, "a.csv:2: body", "3"),
        ({"body": "a"}, "a.csv:2: kind", "missing"),
        ({"body": "a", "kind": " "}, "a.csv:2: kind", "' '"),
        ({"body": " \n", "kind": "x"}, "a.csv:2: body", "empty"),
        ({"body": "y" * 10_000_000, "kind": "x"}, "a.csv:2: body", "10,000,000 characters"),
    ],
)
def test_a_bad_row_is_told_by_the_users_own_column(row: Mapping[str, Any], where: str, problem: str) -> None:
    error = catch_column_error(row)
    assert error.where == where
    assert problem in error.problem
    assert len(str(error)) < 500


def test_the_remedy_for_a_long_text_names_the_option() -> None:
    assert "max_characters" in catch_column_error({"body": "y" * 51, "kind": "x"}).remedy
    assert len(examples({"body": "y" * 50, "kind": "x"})) == 1


def test_an_unknown_label_names_the_nearest() -> None:
    error = catch_column_error({"body": "a", "kind": "FRUAD"}, task=Classify(labels=("FRAUD", "INFO")))
    assert "did you mean 'FRAUD'" in error.problem
    assert error.where == "a.csv:2: kind"


def test_five_problems_are_told_and_the_others_counted() -> None:
    error = catch_column_error(*({"body": "", "kind": "x"} for _ in range(8)), {"body": "a", "kind": "x"})
    assert [f"a.csv:{line}: body" in str(error) for line in range(2, 10)] == [True] * 5 + [False] * 3
    assert "and 3 more" in str(error)


# ---- a task without labels goes the same way
@dataclass(frozen=True)
class Fill:
    """Strings at any depth; the answer may not repeat the question."""

    columns: ClassVar[Mapping[str, Column]] = {"text": Column("a question"), "label": Column("an answer")}
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    kind: str = "fill"
    headline: str = "reward"

    def input_schema(self) -> dict[str, Any]:
        return {}

    def contract(self, input: Any = None) -> dict[str, Any]:
        return {}

    def check_answer(self, input: Any, answer: Any) -> list[str]:
        return ["the answer is the question"] if input["messages"][0]["text"] == answer else []

    def read(self, row: Mapping[str, Any]) -> Example:
        if row["label"] is None:
            raise FieldError("label", "missing")
        return Example({"messages": [{"text": row["text"]}], "system": json.dumps("be brief")}, row["label"])

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Fill:
        return self

    def score_example(self, example: Example, prediction: Any) -> dict[str, float]:
        return {}

    def summarise(self, totals: Any) -> dict[str, float]:
        return {}


def test_strings_are_checked_wherever_the_input_holds_them() -> None:
    error = catch_column_error({"body": " ", "kind": "x"}, task=Fill())
    assert error.where == "a.csv:2: messages.0.text"
    assert catch_column_error({"body": "same", "kind": "same"}, task=Fill()).problem == "the answer is the question"
    one = examples({"body": "a", "kind": "x"}, task=Fill())
    assert Dataset.of(Fill(), one).texts == ('a\n"be brief"',)
