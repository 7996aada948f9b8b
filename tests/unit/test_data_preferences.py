"""A rejected answer and named extras: from columns through the split on disk to the digests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loratory.data import split_files
from loratory.data.preparation import PreparedData, prepare_data
from loratory.errors import DataError, FieldError, SpecError
from loratory.evaluation.prediction_rows import read_predictions, write_predictions
from loratory.experiment.spec_loading import load_spec
from loratory.protocols import Example, Prediction, ScoredPredictions
from loratory.specs.data import DataSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate

WORDS = ("apple", "bridge", "candle", "donkey", "engine", "forest", "guitar", "hammer", "island", "jacket")
YES_EXAMPLE = Example({"prompt": "a"}, "yes", origin="a:1")


def preferences(**last: Any) -> list[dict[str, Any]]:
    rows = [
        {"prompt": f"what is a {word * 2}?", "chosen": f"a {word}", "rejected": f"no {word}", "meta": {"level": n}}
        for n, word in enumerate(WORDS)
    ]
    return [*rows[:-1], {**rows[-1], **last}]


def prepare(folder: Path, rows: Sequence[Mapping[str, Any]], task: Any = None, **options: Any) -> PreparedData:
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return prepare_data(task or Generate(), DataSpec(path="a.jsonl", **options), folder)


def collect_examples(prepared: PreparedData) -> list[Example]:
    return [example for _, examples in prepared.parts.items() for example in examples]


def test_preferences_are_read_by_the_names_that_they_go_by(tmp_path: Path) -> None:
    found = collect_examples(prepare(tmp_path, preferences()))
    assert {(e.answer, e.rejected) for e in found} == {(f"a {word}", f"no {word}") for word in WORDS}
    assert all(e.extras == {} for e in found)


def test_a_row_may_have_no_rejected_answer(tmp_path: Path) -> None:
    found = collect_examples(prepare(tmp_path, preferences(rejected=None)))
    assert sum(e.rejected is None for e in found) == 1


@pytest.mark.parametrize(
    ("rejected", "match"), [("a jacket", "is the expected one: 'a jacket'"), ([{"role": "user", "content": "a"}], "1")]
)
def test_what_is_no_rejected_answer_is_told_by_its_line(tmp_path: Path, rejected: Any, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        prepare(tmp_path, preferences(rejected=rejected))
    assert caught.value.where.endswith("a.jsonl:10: rejected")


def test_a_rejected_answer_is_held_to_the_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    rows = [{**row, "chosen": {"n": 1}, "rejected": {"n": 2}} for row in preferences()]
    task = Generate(answer_schema=schema)
    assert {e.rejected["n"] for e in collect_examples(prepare(tmp_path, rows, task)) if e.rejected} == {2}
    with pytest.raises(DataError, match="not of the task's schema") as caught:
        prepare(tmp_path, [*rows[:-1], {**rows[-1], "rejected": {"n": "two"}}], task)
    assert caught.value.where.endswith("a.jsonl:10: rejected")


def talk(said: str, asked: str = "hi") -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def test_whole_conversations_may_be_compared() -> None:
    made = Generate().read({"messages": talk("hello"), "rejected": talk("go away")})
    assert (made.answer, made.rejected) == ("hello", "go away")
    as_text = Generate().read({"messages": talk("hello"), "rejected": json.dumps(talk("go away"))})
    assert as_text == made
    for other, match in ((talk("x", asked="ho"), "asks something else"), ([*talk("a"), talk("b")[0]], "no answer")):
        with pytest.raises(FieldError, match=match) as caught:
            Generate().read({"messages": talk("hello"), "rejected": other})
        assert caught.value.field == "rejected"


def test_extras_are_carried_by_the_names_of_the_spec(tmp_path: Path) -> None:
    found = prepare(tmp_path, preferences(), extras={"level": "meta.level", "asked": "prompt"})
    assert {e.extras["level"] for e in collect_examples(found)} == set(range(10))
    assert all(e.extras["asked"] == e.input["prompt"] for e in collect_examples(found))
    assert found.describe_split(DataSpec(path="a.jsonl"))["extras"] == {"level": "meta.level", "asked": "prompt"}
    with pytest.raises(DataError, match="there is no column 'metta'; did you mean 'meta'") as caught:
        prepare(tmp_path, preferences(), extras={"level": "metta"})
    assert caught.value.where.endswith("extras: level")


def test_the_split_on_disk_holds_both(tmp_path: Path) -> None:
    found = prepare(tmp_path, preferences(rejected=None), extras={"level": "meta.level"})
    split_files.write_split(tmp_path, found.task, found.parts, {})
    assert split_files.read_split(tmp_path, found.task) == found.parts


def test_the_rows_of_an_evaluation_hold_both(tmp_path: Path) -> None:
    made = [replace(YES_EXAMPLE, rejected="no", extras={"level": [1, None]}), YES_EXAMPLE]
    write_predictions(tmp_path / "a.parquet", ScoredPredictions(made, [Prediction("x")] * 2, [{"n": 1.0}] * 2))
    assert read_predictions(tmp_path / "a.parquet").examples == made


def test_digests_tell_examples_apart_by_both() -> None:
    others = (
        YES_EXAMPLE,
        replace(YES_EXAMPLE, rejected="no"),
        replace(YES_EXAMPLE, extras={"rejected": "no"}),
        replace(YES_EXAMPLE, extras={"a": 1}),
    )
    for digest in (split_files.digest_examples, split_files.digest_training_order, split_files.digest_groups):
        assert len({digest([one]) for one in others}) == len(others)


SPEC = "name: a\ntask: {{kind: {kind}}}\ndata: {{path: a.jsonl, rejected: worse}}\nladder: [majority]\n"


def test_a_task_without_use_of_a_rejected_answer_says_so(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(kind="classify"), encoding="utf-8")
    with pytest.raises(SpecError, match="no use of a rejected answer") as caught:
        load_spec(str(tmp_path / "spec.yaml"))
    assert "spec.yaml:3: data: rejected" in caught.value.where
    (tmp_path / "spec.yaml").write_text(SPEC.format(kind="generate"), encoding="utf-8")
    assert load_spec(str(tmp_path / "spec.yaml")).data.columns == {"rejected": "worse"}


class Choosy(Classify):
    """A task of labels that reads a rejected one, without a look at it."""

    def read(self, row: Mapping[str, Any]) -> Example:
        return replace(super().read(row), rejected={"label": "odd"})

    def check_answer(self, input: Any, answer: Any) -> list[str]:
        return ["oddly wrong"] if answer == {"label": "odd"} else []


def test_the_tasks_own_check_is_asked_of_the_rejected_answer_too(tmp_path: Path) -> None:
    rows = [{"text": f"{word} {word}", "label": "even"} for word in WORDS]
    with pytest.raises(DataError, match="the rejected answer: oddly wrong"):
        prepare(tmp_path, rows, Choosy())
