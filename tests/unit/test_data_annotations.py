"""Exports of annotation tools: every form holds the same examples; what is left out is said."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from annotation_formats import ANSWERS, FORMS, Form, expected_answer, make_samples
from loratory.data.column_suggestions import suggest_span_columns
from loratory.data.columns import match_columns
from loratory.data.examples import to_examples
from loratory.data.readers import tag_conversion
from loratory.data.readers.annotations import spacy, tool_detection
from loratory.data.readers.source_reader import Source, read_source
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.protocols import JSON, Example, Task
from loratory.specs.data import DataSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag, has_spans

TASKS: dict[str, Task] = {"tag": Tag(), "classify": Classify(), "generate": Generate()}


def read(folder: Path, file: tuple[str, str]) -> Source:
    (folder / file[0]).write_text(file[1], encoding="utf-8", newline="")
    return read_source(DataSpec(path=file[0]), folder)


def examples(source: Source, task: str, given: dict[str, str]) -> list[Example]:
    columns = match_columns(source.train, TASKS[task].columns, given)
    return list(to_examples(source.train, TASKS[task], columns, 100_000))


def columns_of(form: Form, source: Source) -> dict[str, str]:
    """What the spec says of columns, where their names do not tell the task."""
    has = source.train[0].values
    if form.task == "generate":
        answer = next(name for name in ("answer", "annotation", "label") if name in has)
        return {"prompt": "text" if "text" in has else "data", "completion": answer}
    return {"text": "text"} if form.task == "tag" and "text" in has else {}


@pytest.mark.parametrize("form", FORMS, ids=[f"{form.tool}, {form.task}: {form.form}" for form in FORMS])
def test_every_form_holds_the_same_examples(form: Form, tmp_path: Path) -> None:
    given = make_samples(seed=FORMS.index(form))
    source = read(tmp_path, form.make(given))
    found = examples(source, form.task, columns_of(form, source))
    assert [example.answer for example in found] == [expected_answer(sample, form.task) for sample in given]
    if form.task != "generate":
        assert [TASKS[form.task].text(e.input) for e in found] == [one.text for one in given]  # type: ignore[attr-defined]
    assert any(has_spans(row.values) for row in source.train) == (form.task == "tag" or "intents" in form.form)
    assert not any("wrong" in json.dumps(row.values).lower() for row in source.train)


def plain(*values: dict[str, Any]) -> list[Row]:
    return [Row(one, "x.jsonl", line) for line, one in enumerate(values, 1)]


def convert_values(*values: dict[str, Any]) -> tuple[list[Any], str]:
    rows, said = tool_detection.convert_export(plain(*values))
    return [row.values for row in rows], "\n".join(said)


# ---- what no tool has written
@pytest.mark.parametrize(
    "values",
    [
        [{"text": "a b", "label": "x"}, {"text": "c", "label": "y"}],
        [{"text": "a b", "label": ["x", "y"]}, {"text": "c", "label": ["x", "z"]}],
        [{"tokens": ["a"], "ner_tags": ["O"]}, {"tokens": ["b"], "ner_tags": ["B-X"]}],
        [{"id": "1", "tokens": ["a"], "labels": ["O"]}, {"id": "2", "tokens": ["b"], "labels": ["B-X"]}],
        [{"text": "a b", "tokens": ["a", "b"], "labels": ["O", "B-X"]}],
        [{"question": "q", "answer": "accept"}, {"question": "q", "answer": "reject"}],
        [{"text": "a", "data": {"x": 1}, "annotations": "none"}],
        [{"text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]}],
        [{"text": "a", "annotation": "x"}],
        [{"messages": [{"role": "user", "content": "a"}], "label": "x"}],
        [{"id": "1", "text": "I like C#", "label": "C#"}, {"id": "2", "text": "so", "label": "Java"}],
    ],
)
def test_rows_of_no_tool_stay_as_they_are_and_nothing_is_said(values: list[dict[str, JSON]]) -> None:
    rows = plain(*values)
    assert tool_detection.convert_export(rows) == (rows, [])


def test_lists_of_one_label_are_labels_and_other_lists_stay_lists() -> None:
    rows = plain({"text": "a b", "topic": ["x"], "options": ["p"]}, {"text": "c", "topic": ["y"], "options": ["q"]})
    assert tool_detection.convert_export(rows) == (rows, [])
    made = to_examples(rows, Classify(), match_columns(rows, Classify.columns, {}), 100)
    assert [example.answer for example in made] == [{"label": "x"}, {"label": "y"}]


def test_a_form_is_recognised_over_the_whole_file() -> None:
    rows = plain(
        {"text": "a", "label": "x", "answer": "accept", "_view_id": "v"}, {"text": "b", "label": "y", "answer": "maybe"}
    )
    assert tool_detection.convert_export(rows) == (rows, [])


# ---- Label Studio
def studio(*results: Any, **more: Any) -> dict[str, Any]:
    annotations = [result if isinstance(result, dict) else {"result": result} for result in results]
    return {"id": 1, "data": {"text": "Ada Lund left"}, "annotations": annotations, **more}


def choice(*labels: str, name: str = "c") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def region(start: Any, end: Any, *labels: str, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": list(labels), **more}
    return {"from_name": "s", "to_name": "text", "type": "labels", "value": value}


def test_annotators_are_settled_by_ground_truth_then_equality_then_majority_and_else_left_out() -> None:
    a, b, c = [choice("a")], [choice("b")], [choice("c")]
    truth = {"result": a, "ground_truth": True}
    skipped = {"result": b, "was_cancelled": True}
    rows = [studio(b, b, truth), studio(a, a), studio(a, b, a), studio(a, b), studio(a, b, c), studio(a, skipped)]
    found, said = convert_values(*rows, studio(skipped), studio())
    assert [row["c"] for row in found] == ["a"] * 4
    assert "2 of 8 rows have annotators that disagree without a majority and are left out, first x.jsonl:4" in said
    assert "1 of 8 rows were skipped by their annotators and are left out, first x.jsonl:7" in said
    assert "1 of 8 rows have no answer and are left out, first x.jsonl:8" in said


def test_spans_are_equal_in_any_order_and_a_task_without_a_result_has_none() -> None:
    one, two = region(0, 3, "FIRST"), region(4, 8, "LAST")
    found, _ = convert_values(studio([one, two], [two, one]), studio([]))
    assert [len(row["s"]) for row in found] == [2, 0]
    assert found[0]["s"][0] == {"start": 0, "end": 3, "label": "FIRST"}


def test_several_controls_are_several_columns() -> None:
    area = {"from_name": "t", "type": "textarea", "value": {"text": ["short"]}}
    rating = {"from_name": "r", "type": "rating", "value": {"rating": 4}}
    found, said = convert_values(studio([choice("a", "b"), area, rating, region(0, 3, "P"), {"type": "relation"}]))
    values = found[0]
    assert (values["c"], values["t"], values["r"], values["text"]) == (["a", "b"], "short", 4, "Ada Lund left")
    assert values["s"] == [{"start": 0, "end": 3, "label": "P"}]
    assert "results that are not read: relation" in said


def test_a_data_field_with_a_controls_name_is_kept_beside_it() -> None:
    found, said = convert_values(studio([choice("a", name="text")]))
    assert found[0]["text"] == "a"
    assert found[0]["data.text"] == "Ada Lund left"
    assert "'data.text'" in said


def test_predictions_and_choices_of_regions_are_never_gold() -> None:
    regional = choice("a")
    regional["value"] |= {"start": 0, "end": 3}
    found, said = convert_values(studio([region(0, 3, "P"), regional], predictions=[{"result": [region(0, 8, "Q")]}]))
    assert found[0]["s"] == [{"start": 0, "end": 3, "label": "P"}]
    assert "c" not in found[0]
    assert "not read: predictions" in said
    assert "choices of single regions" in said


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (region(0, 3), "a region has the labels"),
        (region("/div/p", "/div/p", "P"), "is no place in the text"),
        (region("/p", "/p", "P", globalOffsets={"start": 0, "end": 3}, text="Bob"), "is no place in the text"),
    ],
)
def test_a_broken_region_is_refused_with_its_place(result: Any, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        convert_values(studio([region(0, 3, "P")]), studio([result]))
    assert problem in caught.value.problem
    assert caught.value.where == "x.jsonl:2: s"
    assert caught.value.remedy


def minimal(number: int, **values: Any) -> dict[str, Any]:
    own = {"annotator": 1, "annotation_id": 7, "lead_time": 1.0, "created_at": "2026"}
    return {"text": f"text {number}", "id": number, **own, **values}


def test_rows_of_one_id_are_the_annotators_of_one_task() -> None:
    rows = [minimal(1, c="a"), minimal(1, c="a"), minimal(2, c="a"), minimal(2, c="b"), minimal(3, c="b")]
    found, said = convert_values(*rows, minimal(4), minimal(5, c="a", annotation_id=None))
    assert [(row["id"], row["c"]) for row in found] == [(1, "a"), (3, "b")]
    assert "1 of 5 rows have annotators that disagree" in said
    assert "2 of 5 rows have no answer and are left out, first x.jsonl:6" in said


def test_an_id_that_is_not_the_tools_joins_nothing() -> None:
    rows = [{"id": 1, "text": f"Ada {n}", "s": [region(0, 3, "P")["value"]]} for n in range(2)]
    assert len(convert_values(*rows)[0]) == 2


def test_an_export_without_an_annotation_is_refused() -> None:
    with pytest.raises(DataError, match="no row is left") as caught:
        convert_values(studio({"result": [], "was_cancelled": True}))
    assert "annotate" in caught.value.remedy


# ---- Argilla
def record(responses: Any, **more: Any) -> dict[str, Any]:
    return {"id": "1", "fields": {"text": "a"}, "responses": {"q": responses}, "suggestions": {}, **more}


def test_argillas_pending_and_discarded_records_are_left_out_and_said() -> None:
    a, b = {"value": "a", "user_id": "1"}, {"value": "b", "user_id": "2"}
    rows = [record([a], status="completed"), record([a, b], status="completed"), record([b], status="pending")]
    found, said = convert_values(*rows, record([], status="pending"), record([{**a, "status": "draft"}]))
    assert [row["q"] for row in found] == ["a"]
    assert "1 of 5 rows have annotators that disagree" in said
    assert "2 of 5 rows are pending, drafts or discarded and are left out, first x.jsonl:3" in said
    assert "1 of 5 rows have no answer" in said


def test_argillas_server_form_and_ratings() -> None:
    response = {"values": {"stars": {"value": 4}, "tags": {"value": ["x", "y"]}}, "status": "submitted", "user_id": "u"}
    found, _ = convert_values({"id": "1", "fields": {"text": "a"}, "responses": [response], "metadata": {"group": "g"}})
    assert found == [{"text": "a", "id": "1", "metadata": {"group": "g"}, "stars": 4, "tags": ["x", "y"]}]


def test_argillas_broken_response_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        convert_values(record([{"value": "a", "user_id": "1"}]), record(["a"]))
    assert caught.value.where == "x.jsonl:2: q"


def first(annotation: Any, status: str, **more: Any) -> dict[str, Any]:
    return {
        "text": "Ada left",
        "inputs": {"text": "Ada left"},
        "annotation": annotation,
        "prediction": [["x", 1.0]],
    } | {
        "status": status,
        **more,
    }


def test_argilla_1_takes_validated_records_alone() -> None:
    found, said = convert_values(
        first("a", "Validated"), first("b", "Discarded"), first(None, "Default"), first(["a", "b"], "Validated")
    )
    assert [row["label"] for row in found] == ["a", ["a", "b"]]
    assert "1 of 4 rows are pending, drafts or discarded and are left out, first x.jsonl:2" in said
    assert "1 of 4 rows have no answer and are left out, first x.jsonl:3" in said
    assert "prediction" not in found[0]


# ---- doccano
def test_doccano_rows_without_a_label_are_left_out_and_without_spans_are_kept() -> None:
    found, said = convert_values(
        {"text": "a", "label": ["x"]}, {"text": "b", "label": []}, {"text": "c", "label": ["x", "y"]}
    )
    assert [row["label"] for row in found] == ["x", ["x", "y"]]
    assert "1 of 3 rows have no answer and are left out, first x.jsonl:2" in said
    found, said = convert_values({"text": "abc", "label": [[0, 1, "X"]]}, {"text": "b", "label": []})
    assert [len(row["label"]) for row in found] == [1, 0]
    assert "left out" not in said


def test_doccano_labels_that_are_numbers_are_said() -> None:
    old = {"label": 3, "start_offset": 0, "end_offset": 1, "user": 1}
    found, said = convert_values({"text": "abc", "annotations": [old]}, {"text": "b", "annotations": []})
    assert found[0]["annotations"] == [{"start": 0, "end": 1, "label": "3"}]
    assert "the labels are numbers" in said
    found, _ = convert_values({"text": "abc", "annotations": [{"label": 3, "user": 1}]})
    assert found[0]["annotations"] == "3"


def test_doccano_relations_are_said() -> None:
    entity = {"id": 1, "label": "X", "start_offset": 0, "end_offset": 1}
    relation = {"id": 1, "from_id": 1, "to_id": 1, "type": "r"}
    _, said = convert_values({"text": "abc", "entities": [entity], "relations": [relation]})
    assert "1 of 1 rows hold relations, which are not read, first x.jsonl:1" in said


def test_doccano_csv_joins_several_labels_with_a_hash() -> None:
    rows = [{"id": str(n), "text": f"t{n}", "label": label} for n, label in enumerate(["a", "b", "a#b", "C#"])]
    assert [row["label"] for row in convert_values(*rows[:3])[0]] == ["a", "b", ["a", "b"]]
    assert convert_values(*rows)[0] == rows  # C# is one label, so that # does not join


# ---- Prodigy
def test_prodigys_refused_rows_are_left_out_with_count_and_place() -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"t{n}", "spans": [], "answer": a} for n, a in enumerate(["accept", "reject", "ignore", "accept"])
    ]
    rows[0]["spans"] = [{"start": 0, "end": 1, "label": "X", "token_start": 0, "token_end": 0}]
    found, said = convert_values(*rows)
    assert [row["spans"] for row in found] == [[{"start": 0, "end": 1, "label": "X"}], []]
    assert "2 of 4 rows carry answer reject or ignore and are left out, first x.jsonl:2" in said


def test_prodigys_no_to_the_only_label_is_a_label() -> None:
    rows = [{"text": f"t{n}", "label": "SPAM", "answer": a} for n, a in enumerate(["accept", "reject", "ignore"])]
    found, said = convert_values(*rows)
    assert [row["label"] for row in found] == ["SPAM", "not SPAM"]
    assert "answer reject is read as the label 'not SPAM'" in said
    rows[0]["label"] = "HAM"
    assert [row["label"] for row in convert_values(*rows)[0]] == ["HAM"]


def test_prodigys_choices() -> None:
    options = [{"id": n, "text": str(n)} for n in (1, 2)]
    rows = [{"text": "t", "options": options, "accept": a, "answer": "accept"} for a in ([1], [1, 2], [])]
    found, said = convert_values(*rows)
    assert [row["label"] for row in found] == ["1", ["1", "2"]]
    assert "1 of 3 rows are accepted without a choice and are left out, first x.jsonl:3" in said


def test_prodigys_annotators_are_settled() -> None:
    def row(task: int, label: str, who: str) -> dict[str, Any]:
        return {"text": f"t{task}", "label": label, "answer": "accept", "_input_hash": task, "_annotator_id": who}

    rows = [row(1, "a", "x"), row(1, "a", "y"), row(2, "a", "x"), row(2, "b", "y"), row(3, "b", "x")]
    found, said = convert_values(*rows)
    assert [(r["text"], r["label"]) for r in found] == [("t1", "a"), ("t3", "b")]
    assert "have annotators that disagree" in said


def test_prodigys_broken_span_is_refused() -> None:
    row = {"text": "t", "spans": [{"start": 0, "label": "X"}], "answer": "accept", "_view_id": "ner"}
    with pytest.raises(DataError) as caught:
        convert_values(row)
    assert caught.value.where == "x.jsonl:1: spans"


def test_prodigys_blocks_keep_spans_and_choice_and_classification_keeps_no_matches() -> None:
    span = {"start": 0, "end": 1, "label": "X"}
    row = {"text": "t", "spans": [span], "options": [{"id": "a"}], "accept": ["a"], "answer": "accept"}
    found, _ = convert_values({**row, "_view_id": "blocks"})
    assert found == [{"text": "t", "spans": [span], "label": "a"}]
    found, said = convert_values(
        {"text": "t", "spans": [span], "label": "a", "answer": "accept", "_view_id": "classification"}
    )
    assert found == [{"text": "t", "label": "a"}]
    assert "not read: _view_id, spans" in said


# ---- spaCy
def test_spacys_pairs_are_rows() -> None:
    assert spacy.parse_pair(["a b", {"entities": [[0, 1, "X"]]}]) == {"text": "a b", "entities": [[0, 1, "X"]]}
    for value in (["a", "b"], ["a", {"x": 1}], [1, {"entities": []}], {"text": "a"}, ["a", {"cats": {}}, 1]):
        assert spacy.parse_pair(value) is None
    assert spacy.find_annotator_pairs({"classes": ["X"], "annotations": [None, ["a", {"entities": []}]]}) == [
        ["a", {"entities": []}]
    ]
    assert spacy.find_annotator_pairs({"annotations": []}) is None


def test_spacys_cats_are_one_label_or_several() -> None:
    cats = [{"A": 1.0, "B": 0.0}, {"A": 1, "B": 1}, {"A": 0.0, "B": 0.0}]
    found, said = convert_values(*({"text": f"t{n}", "cats": one} for n, one in enumerate(cats)))
    assert [row["label"] for row in found] == ["A", ["A", "B"]]
    assert "1 of 3 rows have no answer" in said


# ---- by Parquet
def test_class_names_are_found_at_any_depth(tmp_path: Path) -> None:
    label = {"names": ["O", "B-X", "I-X"], "_type": "ClassLabel"}
    features = {
        "list": {"feature": label, "_type": "List"},
        "large": {"feature": label, "_type": "LargeList"},
        "sequence": {"feature": label, "length": -1, "_type": "Sequence"},
        "short": [label],
        "deep": {"feature": {"feature": label, "_type": "List"}, "_type": "List"},
        "inner": {"kind": label, "names": {"dtype": "string", "_type": "Value"}},
        "rows": {"feature": {"kind": label, "n": {"dtype": "int64", "_type": "Value"}}, "_type": "Sequence"},
        "listed": [{"kind": label}],
        "number": {"dtype": "int64", "_type": "Value"},
    }
    row: dict[str, Any] = {
        "list": [1, 2],
        "large": [0],
        "sequence": [0, -1],
        "short": [1],
        "deep": [[1], [2]],
        "number": 1,
    }
    row |= {"inner": {"kind": 2, "names": "n"}, "rows": {"kind": [1, 0], "n": [1, 0]}, "listed": [{"kind": 1}]}
    table = pyarrow.Table.from_pylist([row])
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "a.parquet")
    values = read_source(DataSpec(path="a.parquet"), tmp_path).train[0].values
    assert values == {
        "list": ["B-X", "I-X"],
        "large": ["O"],
        "sequence": ["O", None],
        "short": ["B-X"],
        "deep": [["B-X"], ["I-X"]],
        "number": 1,
        "inner": {"kind": "I-X", "names": "n"},
        "rows": {"kind": ["B-X", "O"], "n": [1, 0]},
        "listed": [{"kind": "B-X"}],
    }


def test_an_export_in_parquet_is_converted_too(tmp_path: Path) -> None:
    given = make_samples(3)
    rows = [
        {"text": one.text, "q.responses": [one.choice], "q.responses.status": ["submitted"], "q.suggestion": "wrong"}
        for one in given
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = read_source(DataSpec(path="a.parquet"), tmp_path)
    assert [row.values["q"] for row in source.train] == [one.choice for one in given]
    assert all(set(row.values) == {"text", "q"} for row in source.train)


def test_the_columns_of_the_answers_are_told() -> None:
    found = tool_detection.detect_tool(plain(studio([choice("a"), region(0, 3, "P")])))
    assert found is not None
    assert found.answer_columns == ("s", "c")
    assert [one.path for one in suggest_span_columns(found.rows)] == ["s"]
    assert suggest_span_columns([Row({"s": "a", "t": ["a"]}, "a.jsonl", 1)]) == []
    assert tool_detection.detect_tool(plain({"text": "a", "label": "b"})) is None


def test_lists_that_no_tool_has_signed_are_not_called_its_export() -> None:
    rows = [{"text": "a", "labels": ["x"], "id": "1"}, {"text": "b", "labels": ["x", "y"], "id": "2"}]
    found, said = convert_values(*rows)
    assert [row["labels"] for row in found] == ["x", ["x", "y"]]
    assert "read as lists of answers as doccano writes them" in said
    assert "read as an export of doccano" in convert_values(*({**row, "Comments": []} for row in rows))[1]


JUNK: tuple[Any, ...] = (
    None,
    "",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    ["a"],
    [None],
    [[]],
    {"a": 1},
    "x",
    [{"start": 0}],
    {"value": 1},
)


def spoil(value: Any, draw: random.Random) -> Any:
    """The value with junk in a random place."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        return {k: spoil(v, draw) if k == key else v for k, v in value.items() if k != key or draw.random() < 0.85}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [spoil(one, draw) if place == at else one for place, one in enumerate(value)]
    return draw.choice(JUNK)


@pytest.mark.parametrize("tool", sorted({form.tool for form in FORMS}))
def test_broken_rows_are_read_or_refused_and_never_a_traceback(tool: str) -> None:
    draw, places = random.Random(7), list[str]()
    for form in (form for form in FORMS if form.tool == tool):
        name, text = form.make(make_samples(1, 6))
        if not name.endswith(("json", "jsonl")):
            continue
        values = json.loads(text) if name == "data.json" else [json.loads(line) for line in text.splitlines()]
        values = values if isinstance(values, list) else [values]
        for _ in range(60):
            at = draw.randrange(len(values))
            broken = [spoil(one, draw) if place == at else one for place, one in enumerate(values)]
            try:
                rows, _ = tool_detection.convert_export(
                    plain(*(one if isinstance(one, dict) else {} for one in broken))
                )
                tag_conversion.convert_tags_to_bio(rows)
            except DataError as problem:
                places.append(problem.where)
    assert all(place.startswith("x.jsonl") for place in places)


def test_every_answer_has_a_form() -> None:
    asked: Sequence[str] = [form.task for form in FORMS]
    assert set(asked) == set(ANSWERS)
    assert len({(form.tool, form.task, form.form) for form in FORMS}) == len(FORMS)


# ---- words in rows
@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("names", [("Sentence #", "Word", "POS", "Tag"), ("sentence_id", "words", "pos", "labels")])
def test_a_table_of_words_is_read_by_sentence(tmp_path: Path, names: tuple[str, ...], everywhere: bool) -> None:
    sentence, word, pos, tag = names
    texts = [[("Ada", "B-per"), ("Lund", "I-per"), ("left", "O")], [("In", "O"), ("Oslo", "B-geo")]] * 3
    rows = [f"{sentence},{word},{pos},{tag}"]
    for number, text in enumerate(texts):
        for place, (token, label) in enumerate(text):
            rows.append(f"{f'Sentence: {number}' if everywhere or not place else ''},{token},X,{label}")
    source = read(tmp_path, ("ner.csv", "\n".join(rows) + "\n"))
    assert [row.values["tokens"] for row in source.train] == [[token for token, _ in text] for text in texts]
    assert source.train[1].origin == "ner.csv:5"
    assert any("not read: " in line and repr(pos) in line for line in source.messages)
    found = [(one.answer or {})["spans"] for one in examples(source, "tag", {})]
    assert [(one["start"], one["end"], one["label"]) for one in found[0]] == [(0, 8, "per")]


def test_a_table_with_a_word_and_a_label_is_no_table_of_words(tmp_path: Path) -> None:
    text = "text,word,label\n" + "".join(f"a sentence {n},w{n},{'ab'[n % 2]}\n" for n in range(20))
    source = read(tmp_path, ("a.csv", text))
    assert len(source.train) == 20
    assert source.messages == ()
