"""What strangers' data may not do: fill a message, be read to its end before it is refused, or take the square."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loratory.cli import check as cli_check
from loratory.cli import init
from loratory.data import column_suggestions, columns
from loratory.data.quality import joined_labels, quality_warnings
from loratory.data.readers import decoding, json_documents, source_reader
from loratory.data.rows import Row
from loratory.data.splitting import stratification
from loratory.data.splitting.stratification import SplitUnit, assign_units
from loratory.display.progress_screen import ProgressScreen
from loratory.errors import DataError, LoratoryError, shorten, suggest_nearest
from loratory.experiment import prepare
from loratory.experiment.spec_loading import load_spec
from loratory.experiment.steps.preflight import check_spec
from loratory.protocols.events import ContenderFailed, Message, StageStarted, ignore_event
from loratory.specs.data import DataSpec

SPEC = "name: x\ndata: {path: d.csv}\nladder: [majority]\n"
WORDS = "card letter house garden bicycle boat dog lamp chair window tree river".split()
LONG = "q" * 100_000


def read_check_error(folder: Path, text: str, name: str = "d.csv") -> str:
    """What `check` says of a file; empty where it takes it."""
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "s.yaml").write_text(SPEC.replace("d.csv", name), encoding="utf-8")
    try:
        check_spec(load_spec(str(folder / "s.yaml")), ignore_event)
    except LoratoryError as problem:
        return str(problem)
    return ""


def rows_of(count: int, label: str = "") -> str:
    texts = [f"{verb} the {word}" for verb in ("lost", "bought", "sold") for word in WORDS]
    lines = [f"{text},{label or 'AB'[place % 2]}\n" for place, text in enumerate(texts[:count])]
    return "".join(lines)


# ---- messages
HOSTILE: Mapping[str, tuple[str, str]] = {
    "a label": ("d.csv", "text,label\n" + rows_of(24) + f"odd,{LONG}\n"),
    "the only label": ("d.csv", "text,label\n" + rows_of(24, LONG)),
    "lines in a label": ("d.csv", "text,label\n" + rows_of(24) + 'odd,"' + "q\n" * 50_000 + '"\n'),
    "a column twice": ("d.csv", f"{LONG},{LONG}\n" + rows_of(24)),
    "many columns": ("d.csv", ",".join(f"name{number}" for number in range(4000)) + "\na\n"),
    "a tag": ("d.conll", "a B-X\nb O\n\n" * 30 + f"a Q{LONG}\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_message_is_short_whatever_it_is_about(tmp_path: Path, name: str) -> None:
    file, text = HOSTILE[name]
    said = read_check_error(tmp_path, text, file)
    assert said
    assert len(said) < 6000


def test_a_label_of_one_example_is_named_by_its_ends(tmp_path: Path) -> None:
    said = read_check_error(tmp_path, "text,label\n" + rows_of(24) + f"odd,{LONG}\n")
    assert "has one example, which cannot be both learnt and tested" in said
    assert "d.csv:26" in said
    assert len(said) < 600


def test_what_is_short_is_told_whole() -> None:
    assert shorten("a\n" * 2000) == "a\n" * 2000
    cut = shorten(f"it begins {LONG} and ends", 500)
    assert cut.startswith("it begins")
    assert cut.endswith("and ends")
    assert "are left out" in cut
    assert len(cut) < 600
    assert len(shorten(f"{LONG}\n" * 1000)) < 6000


def test_a_long_word_is_no_slip_of_the_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def close(word: str, known: list[str], *_: object) -> list[str]:
        compared.extend(map(len, (word, *known)))
        return []

    monkeypatch.setattr("difflib.get_close_matches", close)
    assert suggest_nearest(LONG, ["a"]) == ""
    assert suggest_nearest("a", [LONG, "b"]) == ""
    quality_warnings._suggest_similar_label(LONG, ["a"])
    quality_warnings._suggest_similar_label("a", [LONG, "b"])
    assert max(compared) == 1


# ---- refusals before the work
@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many values of a file were decoded."""
    counts: Counter[str] = Counter()

    class Decoder(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            counts["values"] += 1
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json_documents, "_make_decoder", Decoder)
    return counts


def test_an_array_is_read_to_the_first_that_is_no_row(decoded: Counter[str]) -> None:
    for element in ("[]", "[1]", "3", "null", '"a"'):
        with pytest.raises(DataError, match="expected an object"):
            json_documents.read_json_document(f'[{{"a": 1}},{",".join([element] * 5000)}]', "d.json")
    assert decoded["values"] < 50


def test_too_many_lines_are_refused_before_they_are_decoded(
    decoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_ROWS", 1000)
    with pytest.raises(DataError, match="3,000 rows"):
        json_documents.read_json_document("{}\n" * 3000, "d.jsonl")
    assert decoded["values"] < 10
    assert (
        len(json_documents.read_json_document('{"a": 1}\n\n\n' * 1000, "d.jsonl").parts[""]) == 1000
    )  # empty lines are none


def test_half_a_pair_is_found_wherever_it_stands() -> None:
    good, half = '{"a": "\\ud83d\\ude00"}', '{"a": "\\ud83d"}'
    for text in (f"[{good},\n{half}]", f"{good}\n{half}\n"):
        with pytest.raises(DataError, match="surrogate") as refused:
            json_documents.read_json_document(text, "d.json")
        assert refused.value.where == "d.json:2"


def test_an_object_of_too_many_keys_is_no_row() -> None:
    rows = [{f"k{place}_{number}": 1 for number in range(200)} for place in range(50)]
    with pytest.raises(DataError, match="10,000 columns"):
        json_documents.read_json_document(json.dumps(rows), "d.json")


def test_a_file_of_comments_and_marks_holds_no_rows(tmp_path: Path) -> None:
    assert "the file holds no rows" in read_check_error(tmp_path, "-DOCSTART- -X- O\n\n" * 100, "d.conll")


def test_no_cycles_are_looked_for_while_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def read(file: Path, shown: str) -> bytes:
        seen.append(gc.isenabled())
        return b"text,label\na,b\n"

    monkeypatch.setattr(source_reader, "read_bytes", read)
    (tmp_path / "d.csv").touch()
    source_reader.read_source(DataSpec(path="d.csv"), tmp_path)
    assert seen == [False]
    assert gc.isenabled()
    with pytest.raises(DataError):
        source_reader.read_source(DataSpec(path="gone.csv"), tmp_path)
    assert gc.isenabled()


# ---- work that grew with the square
def test_keys_of_objects_without_number_are_no_columns() -> None:
    rows = [
        Row(
            {"text": f"the {word}", "bag": {f"{word}{number}": 1 for number in range(100)}, "about": {"label": "a"}},
            "d",
            1,
        )
        for word in WORDS
    ]
    assert [path for path, _ in column_suggestions._iterate_columns(rows, ())] == ["text", "about.label"]


def test_fewer_rows_are_looked_at_of_many_columns() -> None:
    wide = [Row({f"c{number}": 1 for number in range(1000)}, "d", line) for line in range(1500)]
    assert 500 <= len(columns.sample_rows(wide)) <= 1000
    assert len(columns.sample_rows([Row({"a": 1}, "d", line) for line in range(1500)])) == 1500


def test_joined_labels_are_found_in_one_pass() -> None:
    class Labels(tuple[str, ...]):
        passes = 0

        def __iter__(self) -> Iterator[str]:
            Labels.passes += 1
            return super().__iter__()

    labels = Labels(f"a{number // 2}|b{number % 7}" for number in range(200))
    assert "look like several labels in one" in (joined_labels.describe_joined_labels(labels) or "")
    assert Labels.passes < 10


def test_the_number_of_examples_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[int] = []

    def count(values: Iterable[int]) -> int:
        sums.append(1)
        return sum(values)

    monkeypatch.setattr(stratification, "sum", count, raising=False)
    choices = [SplitUnit((place,), {f"l{place // 5}": 1}, str(place)) for place in range(500)]
    assert len(assign_units(choices, [0.7, 0.1, 0.2], 0)) == 500
    assert len(sums) <= 1


def test_wrong_labels_are_not_looked_for_among_thousands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(prepare, "find_label_errors", lambda *_: asked.append("suspected"))
    monkeypatch.setattr(prepare, "MAX_SUSPECT_LABELS", 1)
    assert read_check_error(tmp_path, "text,label\n" + rows_of(36)) == ""
    assert asked == []


# ---- screens
def test_lines_on_the_screen_are_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressScreen() as screen:
        for event in (StageStarted(LONG), Message(LONG), ContenderFailed("lora", LONG)):
            screen(event)
    monkeypatch.setattr("loratory.experiment.init.spec_writer.write_spec_for_data", lambda *_: [LONG])
    init.command(data="d.csv", output=Path("gone.yaml"))
    monkeypatch.setattr("loratory.experiment.spec_loading.load_spec", lambda *_: None)
    monkeypatch.setattr("loratory.experiment.steps.preflight.check_spec", lambda *_: SimpleNamespace(quality={}))
    monkeypatch.setattr("loratory.data.quality.quality_report.format_quality_lines", lambda _: [LONG])
    cli_check.command(spec="s.yaml")
    assert 0 < len(capsys.readouterr().err) < 5 * 2500
