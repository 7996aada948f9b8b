"""The value that carries examples with their texts, labels and groups through a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loratory.data.dataset import Dataset, Parts, join_datasets
from loratory.data.preparation import prepare_data
from loratory.data.quality.quality_report import inspect_data
from loratory.protocols import Example, Input
from loratory.specs.data import DataSpec
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag


class CountingTask(Classify):
    """Counts how often the text of an input is asked for."""

    asked: ClassVar[Counter[str]] = Counter()

    def text(self, input: Input) -> str:
        self.asked[str(input["text"])] += 1
        return super().text(input)


TASK = CountingTask(labels=("a", "b"))
MADE = [Example({"text": f"text {n}"}, {"label": "ab"[n % 2]}, origin=f"f:{n}") for n in range(6)]


@pytest.fixture(autouse=True)
def _forget() -> None:
    CountingTask.asked.clear()


def test_texts_labels_and_groups_stand_in_the_order_of_the_examples() -> None:
    data = Dataset.of(TASK, MADE)
    assert list(data) == MADE
    assert data.texts == tuple(f"text {n}" for n in range(6))
    assert data.labels == tuple("ababab")
    assert data.groups == tuple(f"f:{n}" for n in range(6))
    assert Dataset.of(Tag(labels=("X",)), []).labels == ()


def test_a_part_and_the_same_in_other_groups_compute_nothing_anew() -> None:
    data = Dataset.of(TASK, MADE)
    assert data.texts
    again = [data.select([4, 1]), data[1:3], data.with_groups(["g"] * 6), data.with_task(Classify(labels=("a", "b")))]
    assert again[0].texts == ("text 4", "text 1")
    assert again[0].labels == ("a", "b")
    assert again[1].texts == ("text 1", "text 2")
    assert again[2].groups == ("g",) * 6
    assert again[2].texts == again[3].texts == data.texts
    assert join_datasets([data, data[:2]]).texts == (*data.texts, "text 0", "text 1")
    assert set(CountingTask.asked.values()) == {1}


def test_a_data_set_is_taken_as_it_is_only_by_its_own_task() -> None:
    data = Dataset.of(TASK, MADE)
    assert Dataset.of(TASK, data) is data
    other = Dataset.of(Classify(labels=("a", "b", "c")), data)
    assert other.examples == data.examples
    assert other != data
    assert Parts.of(TASK, MADE).task == TASK
    with pytest.raises(ValueError, match="no data set"):
        join_datasets([])


def test_the_whole_way_to_the_report_asks_for_each_text_once(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"a text on {'xyz'[n % 3] * (n + 1)}", "label": "ab"[n % 2]} for n in range(40)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prepared = prepare_data(CountingTask(), DataSpec(path="a.jsonl"), tmp_path)
    inspect_data(prepared.parts, prepared.pairs)
    assert set(CountingTask.asked.values()) == {1}
    assert len(CountingTask.asked) == 40
