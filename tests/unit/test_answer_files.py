"""Files of answers: columns, collisions, formulas, and an old file that stays until the new one is whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import DataError
from loratory.experiment.inference.answer_files import check_answer_file, format_cell, write_answers
from loratory.experiment.inference.local_prediction import (
    InputRow,
    InputSource,
    add_columns,
    answer_rows,
    read_rows,
    rename_column,
)
from loratory.protocols import Prediction
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

CLASSIFY: Any = Classify(labels=("A", "B"))
YES = Prediction({"label": "A"}, {"/label": {"A": 0.75, "B": 0.25}})


def write(file: Path, task: Any, rows: Sequence[InputRow], made: Sequence[Prediction], *more: bool) -> list[list[str]]:
    no_facts: dict[str, Any] = {}
    answered = ((row, (one, no_facts)) for row, one in zip(rows, made, strict=True))
    assert list(write_answers(file, task, rows, answered, *more)) == list(made)
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened, delimiter="\t" if file.suffix == ".tsv" else ","))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=SUM(A1)", "'=SUM(A1)"),
        ("+SUM", "'+SUM"),
        ("-cmd", "'-cmd"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("-5", "-5"),
        ("+49", "+49"),
        ("-1.5e-3", "-1.5e-3"),
        ("-1,000.5", "-1,000.5"),
        ("-5+cmd", "'-5+cmd"),
        ("a=b", "a=b"),
        ("", ""),
        (None, ""),
        (-5, "-5"),
        (True, "true"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    assert format_cell(value) == cell


def test_the_added_column_yields_where_a_name_is_taken() -> None:
    assert rename_column("label", ("text",)) == "label"
    assert rename_column("label", ("text", "label")) == "predicted_label"
    assert rename_column("label", ("predicted_label", "label")) == "predicted_predicted_label"
    assert add_columns({"answer": 1}, {"answer": 2, "reason": 3}) == {"answer": 1, "predicted_answer": 2, "reason": 3}


def test_a_table_of_labels(tmp_path: Path) -> None:
    rows = [InputRow({"id": "1", "text": "x", "label": "B"}, {"text": "x"}), InputRow({"id": "2", "more": "m"}, None)]
    table = write(tmp_path / "a.csv", CLASSIFY, rows, [YES, Prediction(None, reason="blank")], True)
    assert table == [
        "id,text,label,more,predicted_label,confidence,reason,probability_A,probability_B".split(","),
        ["1", "x", "B", "", "A", "0.75", "", "0.75", "0.25"],
        ["2", "", "", "m", "", "", "blank", "", ""],
    ]


def test_other_answers_are_one_cell_or_a_cell_each(tmp_path: Path) -> None:
    rows = [InputRow({"text": "a\tb"}, {"text": "a\tb"})]
    spans = [{"start": 0, "end": 1, "label": "L", "text": "a"}]
    tag: Any = Tag(labels=("L",))
    table = write(tmp_path / "a.tsv", tag, rows, [Prediction({"spans": spans})])
    assert table[0] == ["text", "spans", "confidence", "reason"]
    assert (table[1][0], json.loads(table[1][1])) == ("a\tb", spans)
    generate: Any = Generate()
    rows = [InputRow({"prompt": "p"}, {"prompt": "p"})]
    assert write(tmp_path / "b.csv", generate, rows, [Prediction("said,\nso")])[1][:2] == ["p", "said,\nso"]
    with pytest.raises(DataError, match="no fixed labels"):
        write(tmp_path / "c.csv", generate, rows, [Prediction("x")], True)
    assert not (tmp_path / "c.csv").exists()


def test_json_lines_have_one_name_for_a_column(tmp_path: Path) -> None:
    rows = [InputRow({"text": "x"}, {"text": "x"}), InputRow({"text": "y", "answer": "mine"}, {"text": "y"})]
    write(tmp_path / "a.jsonl", CLASSIFY, rows, [YES, YES])
    made = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [one["predicted_answer"] for one in made] == [{"label": "A"}] * 2
    assert made[1]["answer"] == "mine"


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    row = InputRow({"text": "x"}, {"text": "x"})

    def broken() -> Iterator[tuple[InputRow, tuple[Prediction, Mapping[str, Any]]]]:
        yield row, (YES, {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_answers(tmp_path / "a.csv", CLASSIFY, [row], broken()))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.csv", "old")]


@pytest.mark.parametrize(("name", "said"), [("a.xlsx", "as .xlsx"), ("a", "without a suffix"), ("d.csv", "a folder")])
def test_files_that_answers_cannot_be_written_to(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match=said):
        check_answer_file(tmp_path / name, None)


def rows_of(tmp_path: Path, name: str, text: str) -> list[InputRow]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return list(read_rows(CLASSIFY, InputSource((), tmp_path / name, (), ())))


def test_rows_keep_blank_texts_and_other_columns(tmp_path: Path) -> None:
    made = rows_of(tmp_path, "a.csv", "id,message\n1,first\n2, \n3,\n")
    assert [row.input for row in made] == [{"text": "first"}, None, None]
    assert [row.values["id"] for row in made] == ["1", "2", "3"]
    made = rows_of(tmp_path, "a.jsonl", '{"text": "x", "n": [1]}\n{"text": null}\n{"text": ""}\n')
    assert [row.input for row in made] == [{"text": "x"}, None, None]
    assert made[0].values == {"text": "x", "n": [1]}
    with pytest.raises(DataError, match=r'a\.jsonl:2: no "text" in this input'):
        rows_of(tmp_path, "a.jsonl", '{"text": "x"}\n{"id": 5}\n')
    assert [row.input for row in rows_of(tmp_path, "a.txt", "x\n\n \ny")] == [{"text": "x"}, None, None, {"text": "y"}]
    lines = [b'{"text": "x", "id": 7}\n', b"\n", b'{"text": " "}\n', b"y"]
    made = list(read_rows(CLASSIFY, InputSource((), None, (), lines)))
    assert [row.input for row in made] == [{"text": "x"}, None, None, {"text": "y"}]
    assert made[0].values == {"text": "x", "id": 7}


def test_answers_stay_beside_their_rows_over_batches() -> None:
    rows = [InputRow({}, None if number % 3 == 0 else {"n": number}) for number in range(700)]
    asked: list[int] = []

    def answer(inputs: Any) -> list[str]:
        asked.append(len(inputs))
        return [str(one["n"]) for one in inputs]

    found = list(answer_rows(rows, answer, lambda _: "blank"))
    assert [made for _, made in found] == ["blank" if n % 3 == 0 else str(n) for n in range(700)]
    assert [row for row, _ in found] == rows
    assert len(asked) == 3
