"""Spans in every form that tools write, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.data.preparation import prepare_data
from loratory.errors import DataError, FieldError
from loratory.protocols import Labelled, Prediction, Spanned
from loratory.specs.data import DataSpec
from loratory.tasks.tag import Tag

TEXT = "Ada Lund lives in Oslo."
WHOLE = {
    "spans": [
        {"start": 0, "end": 8, "label": "PERSON", "text": "Ada Lund"},
        {"start": 18, "end": 22, "label": "CITY", "text": "Oslo"},
    ]
}


@pytest.mark.parametrize(
    "spans",
    [
        [{"start": 0, "end": 8, "label": "PERSON"}, {"start": 18, "end": 22, "label": "CITY"}],
        [{"start": 18, "end": 22, "label": "CITY"}, {"start": 0, "end": 8, "label": "PERSON"}],
        [[0, 8, "PERSON"], [18, 22, "CITY"]],
        [
            {"entity_type": "PERSON", "entity_value": "Ada Lund", "start_position": 0, "end_position": 8},
            {"entity_type": "CITY", "entity_value": "Oslo", "start_position": 18, "end_position": 22},
        ],
        [{"start": 0, "end": 8, "labels": ["PERSON"], "label": ["PERSON"]}, {"start": 18, "end": 22, "tag": "CITY"}],
        json.dumps([[0, 8, "PERSON"], [18, 22, "CITY"]]),
    ],
)
def test_forms_of_spans(spans: Any) -> None:
    example = Tag().read({"text": TEXT, "spans": spans, "group": 0})
    assert (example.input, example.answer, example.group) == ({"text": TEXT}, WHOLE, "0")
    assert Tag().check_answer(example.input, example.answer) == []


def test_words_with_bio_tags() -> None:
    tokens, tags = TEXT[:-1].split(), ["B-PERSON", "I-PERSON", "O", "O", "B-CITY"]
    assert Tag().read({"tokens": tokens, "tags": tags}).answer == WHOLE


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"text": None, "spans": []}, "the text is null"),
        ({"text": TEXT, "spans": None}, "the spans are null"),
        ({"text": TEXT, "spans": "[["}, "the spans are no JSON"),
        ({"text": TEXT, "spans": [3]}, "span 1 is 3"),
        ({"text": TEXT, "spans": [[0, 99, "PERSON"]]}, "goes from 0 to 99"),
        ({"text": TEXT, "spans": [[8, 8, "PERSON"]]}, "goes from 8 to 8"),
        ({"text": TEXT, "spans": [[True, 8, "PERSON"]]}, "goes from true to 8"),
        ({"text": TEXT, "spans": [[0, 8, ""]]}, "the label of span 1 is ''"),
        ({"text": TEXT, "spans": [[0, 8, "PERSON"], [4, 10, "CITY"]]}, "PERSON at 0 to 8 and CITY at 4 to 10 overlap"),
        (
            {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "PERSON", "text": "Ida"}]},
            "says 'Ida', and the text",
        ),
        ({"text": TEXT, "spans": [[0, 8, "PERSONS"]]}, "'PERSONS' .* is no label of this task; did you mean 'PERSON'"),
        ({"tokens": ["a"], "tags": ["B-X", "O"]}, "1 words and 2 tags"),
        ({"tokens": ["a"], "tags": ["X"]}, "tag 1 is 'X'"),
        ({"tokens": ["a", "b"], "tags": ["O", "I-X"]}, "tag 2 is 'I-X' behind 'O'"),
        ({"tokens": ["a", "b"], "tags": ["B-Y", "I-X"]}, "tag 2 is 'I-X' behind 'B-Y'"),
        ({"tokens": "a b", "tags": ["O"]}, "the tokens are"),
    ],
)
def test_bad_spans_say_what_and_where(row: dict[str, Any], match: str) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        Tag(labels=("PERSON", "CITY", "X", "Y")).read(row)
    assert caught.value.allowed


def test_capabilities_labels_and_marks() -> None:
    task = Tag().resolve_options([Tag().read({"text": TEXT, "spans": [[0, 8, "PERSON"], [18, 22, "CITY"]]})])
    assert isinstance(task, Spanned)
    assert not isinstance(task, Labelled)
    assert task.span_labels == ("CITY", "PERSON")
    example = task.read({"text": TEXT, "spans": [[0, 8, "PERSON"], [18, 22, "CITY"]]})
    assert task.summarise(task.score_example(example, Prediction(example.answer)))["strict_f1"] == 1.0
    none = task.summarise(task.score_example(example, Prediction(None, reason="late")))
    assert (none["strict_f1"], none["leak_rate"], none["coverage"]) == (0.0, 1.0, 0.0)
    with pytest.raises(DataError, match="train holds no span"):
        Tag().resolve_options([task.read({"text": TEXT, "spans": []})])


WORDS = "walked ran drove came returned moved flew sailed rode hurried crept marched".split()
CONLL = "-DOCSTART- -X- O O\n\n" + "".join(
    f"Ada NNP B-PERSON\nLund NNP I-PERSON\n{word} VBD O\nto TO O\nOslo NNP B-CITY\n\n" for word in WORDS
)


@pytest.mark.parametrize("name", ["train.conll", "train.txt"])
def test_a_conll_file_is_read_with_line_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CONLL, encoding="utf-8")
    made = prepare_data(Tag(), DataSpec(path=name, near_duplicates=1.0), tmp_path)
    found = [example for _, part in made.parts.items() for example in part]
    assert len(found) == 12
    assert {example.origin for example in found} >= {f"{name}:3"}
    assert all([span["label"] for span in example.answer["spans"]] == ["PERSON", "CITY"] for example in found)  # type: ignore[index]
    (tmp_path / name).write_text(CONLL.replace("to TO O", "to"), encoding="utf-8")
    if name.endswith(".conll"):
        with pytest.raises(DataError, match="a word without a tag") as caught:
            prepare_data(Tag(), DataSpec(path=name), tmp_path)
        assert caught.value.where == f"{name}:6"
