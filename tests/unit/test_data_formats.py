"""Files as people have them: every row has a place of its own, and no format is read as another one."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import openpyxl
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc

from loratory.data.preparation import prepare_data
from loratory.data.readers import decoding
from loratory.data.readers.source_reader import Source, read_source
from loratory.data.splitting.groups import group_examples
from loratory.errors import DataError
from loratory.protocols import Example
from loratory.specs.data import DataSpec, SplitSpec
from loratory.tasks.classify import Classify

QUIET = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = [{"text": f'text {n}, said "so"; it\'s', "label": "ab"[n % 2]} for n in range(12)]


def read(path: Path, **options: Any) -> Source:
    return read_source(DataSpec(path=path.name, **options), path.parent)


def catch_read_error(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return caught.value


def values(source: Source) -> list[dict[str, Any]]:
    return [dict(row.values) for row in source.train]


# ---- places
@QUIET
@given(st.lists(st.sampled_from([",", ", ", ",\n", "\n,\n\n  ", " ,\t"]), min_size=1, max_size=30), st.booleans())
def test_every_row_of_an_array_has_a_place_of_its_own(tmp_path: Path, between: list[str], wrapped: bool) -> None:
    rows = [{"text": f"row\u2028{n}", "n": [n]} for n in range(len(between) + 1)]
    pieces = itertools.chain.from_iterable(zip(map(json.dumps, rows), [*between, ""], strict=True))
    text = "[" + "".join(pieces) + "]"
    (tmp_path / "a.json").write_text(f'{{"version": 1, "data": {text}}}' if wrapped else text, encoding="utf-8")
    source = read(tmp_path / "a.json")
    assert values(source) == rows
    assert len({row.origin for row in source.train}) == len(rows)
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").split("\n")
    for row in source.train:  # the place is where the row begins
        rest = lines[row.line - 1][(row.column or 1) - 1 :]
        assert json.dumps(row.values) in rest
        assert row.column is None or rest.startswith(json.dumps(row.values))


def test_rows_on_one_line_are_no_group(tmp_path: Path) -> None:
    rows = [{"text": " ".join(random.Random(n).sample(WORDS, 6)), "label": "ab"[n % 2]} for n in range(60)]
    lines = [",".join(map(json.dumps, rows[at : at + 10])) for at in range(0, 60, 10)]
    (tmp_path / "a.json").write_text("[" + ",\n".join(lines) + "]", encoding="utf-8")
    made = prepare_data(Classify(), DataSpec(path="a.json", split=SplitSpec(calibration=0.0)), tmp_path)
    groups = {example.group for _, examples in made.parts.items() for example in examples}
    assert len(groups) == 60
    assert (len(made.parts.test), len(made.parts.validation)) == (12, 6)


def test_the_name_of_a_group_is_that_of_its_first_row_by_line_and_column() -> None:
    origins = ["a.json:1:200", "a.json:1:30", "a.json:10", "a.json:9:2"]
    made = group_examples([Example({"text": "same"}, origin=one) for one in origins], ["same"] * 4, 1.0)
    assert set(made.groups) == {"a.json:1:30"}


WORDS = "card fee loan cash bank visa rate cheque limit branch clerk code letter phone app swift rent tax".split()


# ---- what separates fields
TEXTS = st.text(st.sampled_from("abc ,;|\t\"'\n1.5€ü"), min_size=1, max_size=15).map(lambda text: "x" + text)


@QUIET
@given(st.sampled_from([",", ";", "\t", "|"]), st.lists(TEXTS, min_size=8, max_size=20), st.booleans(), st.booleans())
def test_what_separates_fields_is_found_or_told(
    tmp_path: Path, delimiter: str, texts: list[str], told: bool, wide: bool
) -> None:
    rows = [{"id": str(n), "text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["id", "text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    text = (f"sep={delimiter}\r\n" if told else "") + out.getvalue()
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16" if wide else "utf-8-sig"))
    source = read(tmp_path / "a.csv", encoding="utf-16" if wide else "utf-8")
    assert values(source) == rows
    assert source.train[0].line == (3 if told else 2)


@pytest.mark.parametrize("sign", ["^", "~", "\x1f", " "])
def test_any_sign_that_excel_names_separates(tmp_path: Path, sign: str) -> None:
    (tmp_path / "a.csv").write_text(f"sep={sign}\ntext{sign}label\none{sign}a\ntwo{sign}b\n")
    assert values(read(tmp_path / "a.csv")) == [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]


def test_commas_in_the_header_do_not_win_over_what_cuts_every_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name, given;text;label\nx;well, then, no;a\ny;yes;b\n")
    assert set(values(read(tmp_path / "a.csv"))[0]) == {"name, given", "text", "label"}


def test_quotes_after_a_backslash_are_read_where_all_rows_then_fit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"say \\"hi\\", now",a\n"plain",b\n')
    source = read(tmp_path / "a.csv")
    assert values(source)[0] == {"text": 'say "hi", now', "label": "a"}
    assert any("quotes inside of fields" in line for line in source.messages)
    (tmp_path / "a.csv").write_text('text,label\n"say \\"hi\\", now",a\n"one","two","three"\n')
    assert catch_read_error(tmp_path / "a.csv").where == "a.csv:2"


def test_empty_rows_and_separators_at_the_end_of_rows_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;label\none;a;\ntwo;b;;\n;;\n;\n")
    source = read(tmp_path / "a.csv")
    assert values(source) == [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
    assert any("2 empty row(s)" in line for line in source.messages)


# ---- fastText
def test_fasttext_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("__label__neg it was  bad\n\n__label__a __label__b two of them\n")
    assert values(read(tmp_path / "a.txt")) == [
        {"text": "it was  bad", "label": "neg"},
        {"text": "two of them", "label": ["a", "b"]},
    ]
    (tmp_path / "a.txt").write_text("__label__neg it was bad\nno label here\n")
    assert catch_read_error(tmp_path / "a.txt").where == "a.txt:2"


# ---- JSON around and beside the rows
def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


SHAPES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "array": lambda rows: rows,
    "under data": lambda rows: {"version": "1.0", "data": rows},
    "under rows, with others": lambda rows: {"count": len(rows), "rows": rows, "features": {"text": "string"}},
    "two objects deep": lambda rows: {"rasa_nlu_data": {"common_examples": rows}},
    "lists of columns": columns_of,
    "pandas' columns": lambda rows: {k: {str(n): v for n, v in enumerate(c)} for k, c in columns_of(rows).items()},
    "pandas' split": lambda rows: {
        "columns": list(rows[0]),
        "index": list(range(len(rows))),
        "data": [list(row.values()) for row in rows],
    },
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_json_gives_the_same_rows(tmp_path: Path, shape: str, indent: int | None) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SHAPES[shape](ROWS), indent=indent))
    source = read(tmp_path / "a.json")
    assert values(source) == ROWS
    assert len({row.origin for row in source.train}) == len(ROWS)
    if shape != "array" and "columns" not in shape and "split" not in shape:
        assert source.messages or shape == "two objects deep"


def test_a_file_with_parts_of_its_own(tmp_path: Path) -> None:
    document = {"train": ROWS[:8], "val": ROWS[8:10], "test": ROWS[10:], "oos": ROWS[:1]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    source = read(tmp_path / "a.json")
    assert source.validation is not None
    assert source.test is not None
    assert [len(source.train), len(source.validation), len(source.test)] == [8, 2, 2]
    assert any("oos" in line and "not read" in line for line in source.messages)
    (tmp_path / "b.json").write_text(json.dumps(ROWS))
    assert "parts of its own" in catch_read_error(tmp_path / "b.json", test="a.json").problem


@pytest.mark.parametrize("lines", [True, False])
def test_rows_that_are_lists_have_numbered_columns(tmp_path: Path, lines: bool) -> None:
    rows = [[row["text"], row["label"]] for row in ROWS]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    (tmp_path / "a.json").write_text(text)
    assert values(read(tmp_path / "a.json"))[0] == {"column_1": ROWS[0]["text"], "column_2": "a"}


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]},
        {"text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]},
        {"messages": [{"role": "user", "content": "x"}]},
        {"id": 1, "data": {"text": "x"}, "annotations": []},
    ],
)
def test_one_row_is_not_taken_for_a_list_of_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert values(read(tmp_path / "a.jsonl")) == [row]


# ---- Excel
def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_gives_its_first_sheet_with_rows(tmp_path: Path) -> None:
    when = datetime.datetime(2024, 3, 1, 12, 30)
    rows: list[list[Any]] = [
        ["text", "label", None],
        ["one", 1, when],
        [None, None, None],
        ["two", 0, None],
        ["", None, ""],
    ]
    workbook(tmp_path / "a.xlsx", Empty=[], Data=rows, Notes=[["note"], ["x"]])
    source = read(tmp_path / "a.xlsx")
    assert values(source) == [
        {"text": "one", "label": 1, "column_3": "2024-03-01T12:30:00"},
        {"text": "two", "label": 0, "column_3": None},
    ]
    assert [row.origin for row in source.train] == ["a.xlsx:2", "a.xlsx:4"]
    assert any("'Notes'" in line and "not read" in line for line in source.messages)
    assert values(read(tmp_path / "a.xlsx", sheet="Notes")) == [{"note": "x"}]
    error = catch_read_error(tmp_path / "a.xlsx", sheet="Note")
    assert "did you mean 'Notes'" in error.problem
    assert "no rows" in catch_read_error(tmp_path / "a.xlsx", sheet="Empty").problem


def test_a_workbook_without_a_header_and_one_by_another_name(tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx", Sheet1=[[1, "one fine day"], [0, "another"]])
    assert values(read(tmp_path / "a.xlsx"))[0] == {"column_1": 1, "column_2": "one fine day"}
    workbook(tmp_path / "a.csv", Sheet1=[["text", "label"], ["x", "y"]])
    assert values(read(tmp_path / "a.csv")) == [{"text": "x", "label": "y"}]


def test_bad_workbooks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.csv", "text,label\n")
    assert "zip archive" in catch_read_error(tmp_path / "a.zip").problem
    workbook(tmp_path / "a.xlsx", Sheet1=[["text", "text"], ["x", "y"]])
    assert "twice" in catch_read_error(tmp_path / "a.xlsx").problem
    (tmp_path / "torn.xlsx").write_bytes((tmp_path / "a.xlsx").read_bytes()[:-400])
    assert "damaged" in catch_read_error(tmp_path / "torn.xlsx").problem
    with zipfile.ZipFile(tmp_path / "odd.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<no>")
    assert "no valid Excel workbook" in catch_read_error(tmp_path / "odd.xlsx").problem
    monkeypatch.setattr(decoding, "MAX_BYTES", 8000)
    workbook(tmp_path / "big.xlsx", Sheet1=[["text", "label"], *[[f"row {n}", "y"] for n in range(400)]])
    assert "8,000 bytes" in catch_read_error(tmp_path / "big.xlsx").problem


# ---- Arrow and save_to_disk
def dataset(texts: list[str]) -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
    )
    return datasets.Dataset.from_dict({"text": texts, "label": [n % 2 for n in range(len(texts))]}, features)


def test_a_folder_of_save_to_disk_is_read_with_its_class_names(tmp_path: Path) -> None:
    splits = {
        "train": dataset(["a", "b"]),
        "validation": dataset(["c"]),
        "test": dataset(["d"]),
        "extra": dataset(["e"]),
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    source = read(tmp_path / "saved")
    assert values(source) == [{"text": "a", "label": "ham"}, {"text": "b", "label": "spam"}]
    assert source.validation is not None
    assert source.test is not None
    assert source.test[0].values == {"text": "d", "label": "ham"}
    assert any("extra" in line for line in source.messages)
    assert any("test is the split" in line for line in source.messages)
    turned = {name: splits[name] for name in ("test", "validation", "train")}
    datasets.DatasetDict(turned).save_to_disk(str(tmp_path / "turned"))
    assert not any(line.startswith("train is") for line in read(tmp_path / "turned").messages)
    single = read(tmp_path / "saved" / "train")
    assert (len(single.train), single.test) == (2, None)


def test_shards_of_save_to_disk_and_what_is_missing(tmp_path: Path) -> None:
    dataset([str(n) for n in range(10)]).save_to_disk(str(tmp_path / "saved"), num_shards=3)
    source = read(tmp_path / "saved")
    assert [row.values["text"] for row in source.train] == [str(n) for n in range(10)]
    assert len({row.origin for row in source.train}) == 10
    next((tmp_path / "saved").glob("data-00001*")).unlink()
    assert "data-00001" in catch_read_error(tmp_path / "saved").problem
    (tmp_path / "saved" / "state.json").write_text("{")
    assert "state.json cannot be read" in catch_read_error(tmp_path / "saved").problem


def test_arrow_files_and_streams(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    feather.write_feather(table, str(tmp_path / "a.feather"))
    with ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as out:
        out.write_table(table)
    assert values(read(tmp_path / "a.feather")) == values(read(tmp_path / "a.arrow")) == ROWS
    (tmp_path / "a.arrow").write_bytes(b"no arrow at all")
    assert "no valid Arrow file" in catch_read_error(tmp_path / "a.arrow").problem


# ---- found parts are said
def test_found_validation_and_test_files_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for part in ("train", "dev", "test"):
        (folder / f"{part}.csv").write_text("text,label\na,x\n")
    said = read(folder).messages
    assert any(line.startswith("test is test.csv") for line in said)
    assert any(line.startswith("validation is dev.csv") for line in said)
    beside = read(folder / "train.csv").messages
    assert any("data: test: test.csv" in line for line in beside)
    assert any("data: validation: dev.csv" in line for line in beside)


def test_labels_of_given_parts_belong_to_the_task(tmp_path: Path) -> None:
    texts = [" ".join(random.Random(n).sample(WORDS, 5)) for n in range(60)]
    rows = [f"{text},{'ab'[n % 2]}" for n, text in enumerate(texts)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(rows[:50]) + "\nonly one of it,rare\n")
    (tmp_path / "test.csv").write_text("text,label\n" + "\n".join(rows[50:]) + "\nnever seen before,new\n")
    made = prepare_data(Classify(), DataSpec(path="train.csv", test="test.csv"), tmp_path)
    assert made.task.labels == ("a", "b", "new", "rare")  # type: ignore[attr-defined]
    assert "rare" in {example.answer["label"] for example in made.parts.train if example.answer}
    only = "text,label\n" + "\n".join(f"{text},a" for text in texts)
    (tmp_path / "train.csv").write_text(only + "\n")
    with pytest.raises(DataError, match="train holds 1 label"):
        prepare_data(Classify(), DataSpec(path="train.csv", test="test.csv"), tmp_path)
