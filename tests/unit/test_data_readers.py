"""Readers: every format, every way a file can be bad, and odd characters through and through."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from loratory.data.readers import decoding
from loratory.data.readers.source_reader import Source, read_source
from loratory.errors import DataError
from loratory.specs.data import DataSpec

ROWS = [{"text": "where is my card", "label": "card"}, {"text": 'two, three; "four"', "label": "fee"}]


def read(path: Path, **options: Any) -> Source:
    return read_source(DataSpec(path=path.name, **options), path.parent)


def catch_read_error(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return caught.value


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.csv": lambda path: path.write_text(as_csv(ROWS), encoding="utf-8", newline=""),
    "semicolons.csv": lambda path: path.write_text(as_csv(ROWS, ";"), encoding="utf-8", newline=""),
    "rows.tsv": lambda path: path.write_text(as_csv(ROWS, "\t"), encoding="utf-8", newline=""),
    "rows.txt": lambda path: path.write_text(as_csv(ROWS, "\t"), encoding="utf-8", newline=""),
    "rows.json": lambda path: path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8"),
    "lines.json": lambda path: path.write_text(as_lines(ROWS), encoding="utf-8"),
    "rows.jsonl": lambda path: path.write_text(as_lines(ROWS), encoding="utf-8"),
    "mark.jsonl": lambda path: path.write_text(as_lines(ROWS), encoding="utf-8-sig"),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(as_lines(ROWS).encode())),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(as_csv(ROWS).encode())),
    "rows.parquet": lambda path: parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
    "nameless_lines": lambda path: path.write_text(as_lines(ROWS), encoding="utf-8"),
    "nameless_table": lambda path: path.write_text(as_csv(ROWS), encoding="utf-8", newline=""),
    "nameless_columns": lambda path: parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    source = read(tmp_path / name)
    assert [row.values for row in source.train] == ROWS
    assert {row.file for row in source.train} == {name}
    assert source.test is None
    assert source.validation is None


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\",\n\r\t;\u2028\u2029\u0085\x00\x1c'\\"))
TABLES = st.lists(st.fixed_dictionaries({"text": TEXTS, "label": st.sampled_from(["a", "b"])}), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLES)
def test_csv_and_json_lines_bring_back_any_text(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    (tmp_path / "odd.csv").write_bytes(as_csv(rows).encode())
    (tmp_path / "odd.jsonl").write_bytes(as_lines(rows).encode())
    (tmp_path / "odd.json").write_text(json.dumps(rows), encoding="utf-8")
    for name in ("odd.csv", "odd.jsonl", "odd.json"):
        assert [dict(row.values) for row in read(tmp_path / name).train] == rows, name


def test_a_row_knows_the_line_it_starts_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"one\ntwo",x\n\nthree,y\n')
    assert [row.origin for row in read(tmp_path / "a.csv").train] == ["a.csv:2", "a.csv:5"]
    (tmp_path / "a.json").write_text('[\n {"t": 1},\n\n {"t":\n 2}, {"t": 3}\n]')
    assert [row.line for row in read(tmp_path / "a.json").train] == [2, 4, 5]
    (tmp_path / "a.jsonl").write_text('{"t": "\u2028"}\n\n{"t": 2}\n', encoding="utf-8")
    assert [row.line for row in read(tmp_path / "a.jsonl").train] == [1, 3]


def test_a_field_may_be_longer_than_the_csv_modules_default(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(f"text,label\n{'x' * 200_000},a\n")
    assert len(read(tmp_path / "a.csv").train[0].values["text"]) == 200_000
    assert csv.field_size_limit() == before


# ---- without a header
HEADERLESS = 'ham\tgo until the river\nspam\tyou have won, "call" now\nham\t"ok" see you then\n'


def test_a_first_line_whose_label_recurs_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "sms").write_text(HEADERLESS)
    source = read(tmp_path / "sms")
    assert [row.values["column_1"] for row in source.train] == ["ham", "spam", "ham"]
    assert source.train[2].values["column_2"] == '"ok" see you then'  # no quoting in such files
    assert any("not a header" in line for line in source.messages)


def test_a_header_stays_a_header_when_its_word_is_a_label_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("message,spam\n" + "you have won a big prize,spam\nsee you at the river,ham\n" * 3)
    assert set(read(tmp_path / "a.csv").train[0].values) == {"message", "spam"}
    (tmp_path / "b.csv").write_text("0,1\nyes,1\nno,1\n")
    assert len(read(tmp_path / "b.csv").train) == 2


def test_given_columns_decide_whether_there_is_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("ham\tone fine day\nspam\tanother one\n")
    assert len(read(tmp_path / "a.tsv").train) == 1
    assert len(read(tmp_path / "a.tsv", columns={"label": "column_1"}).train) == 2
    (tmp_path / "sms").write_text(HEADERLESS)
    assert len(read(tmp_path / "sms", columns={"label": "ham"}).train) == 2


def test_a_small_test_file_is_read_as_train_was(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(HEADERLESS)
    (tmp_path / "test.tsv").write_text("spam\tclaim your prize\n")
    source = read(tmp_path)
    assert source.test is not None
    assert source.test[0].values == {"column_1": "spam", "column_2": "claim your prize"}


def test_a_rare_line_without_a_tab_goes_on_with_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "sms").write_text(HEADERLESS + "and more of it\n" + HEADERLESS * 5)
    source = read(tmp_path / "sms")
    assert source.train[2].values["column_2"] == '"ok" see you then\nand more of it'
    assert any("line 4 has no tab" in line for line in source.messages)
    (tmp_path / "sms").write_text(HEADERLESS + "more\nmore\n" + HEADERLESS * 10)
    assert catch_read_error(tmp_path / "sms").where == "sms:4"


def test_a_repeated_header_is_passed_over_aloud(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,x\ntext,label\nb,y\n")
    source = read(tmp_path / "a.csv")
    assert len(source.train) == 2
    assert any("repeat the header" in line for line in source.messages)


def test_plain_lines_are_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Well, one line\n\nanother, with a comma\n")
    assert [(row.line, row.values) for row in read(tmp_path / "a.txt").train] == [
        (1, {"text": "Well, one line"}),
        (3, {"text": "another, with a comma"}),
    ]


# ---- bad input: place, what is wrong, remedy
BAD: dict[str, tuple[str, bytes, str, str]] = {
    "empty": ("a.csv", b"", "a.csv", "empty"),
    "blank": ("a.jsonl", b"\n \n", "a.jsonl", "empty"),
    "header only": ("a.csv", b"text,label\n", "a.csv:1", "no rows"),
    "not utf-8": ("a.csv", b"text,label\nfine,a\ncaf\xe9,b\n", "a.csv:3", "byte 21 (0xe9) is not utf-8"),
    "utf-16": ("a.csv", "text,label\na,b\n".encode("utf-16"), "a.csv", "UTF-16"),
    "broken line": ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', "a.jsonl:2", "column 13"),
    "no object": ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl:2", "expected an object"),
    "one object": ("a.json", b'{\n"rows": []\n}', "a.json:1", "one object"),
    "array of strings": ("a.json", b'[{"t": 1},\n"b"]', "a.json:2", "expected an object"),
    "open array": ("a.json", b'[{"t": 1},\n{"t": 2}', "a.json:2", "closing bracket"),
    "comma at the end": ("a.json", b'[{"t": 1},\n]', "a.json:2", "comma"),
    "after the array": ("a.json", b'[{"t": 1}]\n[', "a.json:2", "follows"),
    "empty array": ("a.json", b"[]", "a.json", "no rows"),
    "NaN": ("a.jsonl", b'{"text": NaN}\n', "a.jsonl:1", "NaN"),
    "nested": ("a.jsonl", b"[" * 100_000, "a.jsonl:1", "nested"),
    "half a pair": ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1", "surrogate"),
    "too many fields": ("a.csv", b"text,label\na,b\nwell, then,b\n", "a.csv:3", "3 field(s), the header 2"),
    "too few fields": ("a.csv", b"text,label\na\n", "a.csv:2", "1 field(s), the header 2"),
    "open quote": ("a.csv", b'text,label\na,b\n"c,d\ne,f\n', "a.csv:3", "never closed"),
    "quote in the middle": ("a.csv", b'text,label\n"c" d,e\n', "a.csv:2", "text follows"),
    "column twice": ("a.csv", b"text,text\na,b\n", "a.csv:1", "twice"),
    "torn gzip": ("a.csv.gz", gzip.compress(b"text,label\na,b\n" * 99)[:-9], "a.csv.gz", "gzip"),
    "excel": ("a.xlsx", b"PK\x03\x04....", "a.xlsx", "Excel"),
    "torn parquet": ("a.parquet", b"PAR1....", "a.parquet", "Parquet"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, kind: str) -> None:
    name, data, where, problem = BAD[kind]
    (tmp_path / name).write_bytes(data)
    error = catch_read_error(tmp_path / name)
    assert error.where == where
    assert problem in error.problem
    assert error.remedy


def test_the_remedy_for_an_encoding_works(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\ncaf\xe9,b\n")
    assert "encoding: cp1252" in catch_read_error(tmp_path / "a.csv").remedy
    assert read(tmp_path / "a.csv", encoding="cp1252").train[0].values["text"] == "café"
    (tmp_path / "b.csv").write_bytes("text,label\ncafé,b\n".encode("utf-16"))
    assert read(tmp_path / "b.csv", encoding="utf-16").train[0].values["text"] == "café"
    assert "utf-8" in catch_read_error(tmp_path / "a.csv", encoding="utf-99").allowed


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "messages.csv").write_text("text,label\na,b\n")
    error = catch_read_error(tmp_path / "mesages.csv")
    assert "did you mean 'messages.csv'" in error.problem
    assert str(tmp_path / "mesages.csv") in error.remedy


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\n" + b"a,b\n" * 1000))
    assert "1,000 bytes" in catch_read_error(tmp_path / "a.csv.gz").problem
    parquet.write_table(pyarrow.table({"text": [str(number) for number in range(2000)]}), tmp_path / "a.parquet")
    monkeypatch.setattr(decoding, "MAX_BYTES", 12_000)
    assert "12,000 bytes" in catch_read_error(tmp_path / "a.parquet").problem


# ---- parquet
def test_parquet_gives_json_values_and_class_names(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b", "c"], "label": [1, 0, -1], "score": [1.0, float("nan"), None]})
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet").train
    assert [row.values["label"] for row in rows] == ["yes", "no", None]
    assert [row.values["score"] for row in rows] == [1.0, None, None]
    assert [row.line for row in rows] == [1, 2, 3]


# ---- folders
def write_parts(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_text(f"text,label\n{name},x\n")


def texts(source: Source) -> list[list[str] | None]:
    parts = (source.train, source.validation, source.test)
    return [None if rows is None else [row.values["text"] for row in rows] for rows in parts]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train.csv", "test.csv"), [["train.csv"], None, ["test.csv"]]),
        (("train.csv", "valid.csv", "test.csv"), [["train.csv"], ["valid.csv"], ["test.csv"]]),
        (("train.csv", "dev.csv", "train_5.csv"), [["train.csv"], ["dev.csv"], None]),
        (
            ("train-00000-of-00002.csv", "train-00001-of-00002.csv", "val.csv"),
            [["train-00000-of-00002.csv", "train-00001-of-00002.csv"], ["val.csv"], None],
        ),
        (("messages.csv",), [["messages.csv"], None, None]),
    ],
)
def test_a_folder_gives_its_parts(tmp_path: Path, names: tuple[str, ...], expected: list[list[str] | None]) -> None:
    write_parts(tmp_path, *names)
    assert texts(read(tmp_path)) == expected
    write_parts(tmp_path / "outer" / "data", *names)
    if len(names) > 1:
        assert texts(read(tmp_path / "outer")) == expected


def test_a_folder_says_what_it_passes_over(tmp_path: Path) -> None:
    write_parts(tmp_path, "train.csv", "train_5.csv")
    (tmp_path / "train.jsonl").write_text('{"text": "lines", "label": "x"}\n')
    (tmp_path / "LICENSE").write_text("free")
    source = read(tmp_path)
    assert texts(source)[0] == ["lines"]
    assert [line.split("passed over ")[1] for line in source.messages] == ["train_5.csv, train.csv"]


def test_a_folder_without_parts_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, "one.csv", "two.csv")
    error = catch_read_error(tmp_path)
    assert "one.csv, two.csv" in error.problem


def test_aligned_files_are_rows(tmp_path: Path) -> None:
    for part, labels in (("train", "x\ny\n"), ("test", "x\nx\n"), ("train_5", "x\nx\n")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "seq.in").write_text("first\u2028one\nsecond\n", encoding="utf-8")
        (tmp_path / part / "label").write_text(labels)
    source = read(tmp_path)
    assert [row.values for row in source.train] == [
        {"label": "x", "seq.in": "first\u2028one"},
        {"label": "y", "seq.in": "second"},
    ]
    assert source.train[1].origin == f"{tmp_path.name}/train/seq.in:2"
    assert source.test is not None
    assert len(source.test) == 2
    (tmp_path / "train" / "label").write_text("x\n")
    assert "differ in length" in catch_read_error(tmp_path).problem


def test_a_single_train_file_does_not_take_its_sibling(tmp_path: Path) -> None:
    write_parts(tmp_path, "train.csv", "test.csv")
    source = read(tmp_path / "train.csv")
    assert source.test is None
    assert any("test.csv beside train.csv is not read" in line for line in source.messages)
    source = read(tmp_path / "train.csv", test="test.csv")
    assert texts(source) == [["train.csv"], None, ["test.csv"]]


def test_given_files_win_over_those_of_the_folder(tmp_path: Path) -> None:
    write_parts(tmp_path, "train.csv", "test.csv", "other.csv")
    source = read_source(DataSpec(path=str(tmp_path), test="other.csv", validation="test.csv"), tmp_path)
    assert texts(source) == [["train.csv"], ["test.csv"], ["other.csv"]]
    assert any("test comes from other.csv" in line for line in source.messages)


def test_home_and_the_specs_folder_are_where_paths_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parts(tmp_path / "home", "a.csv")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert texts(read_source(DataSpec(path="~/a.csv"), tmp_path))[0] == ["a.csv"]
    source = read_source(DataSpec(path="../home/a.csv"), tmp_path / "home")
    assert source.train[0].file == "../home/a.csv"
