"""What a value of any type means as a label and as a group; a falsy value is not a missing one."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from pydantic import ValidationError

from loratory.errors import FieldError
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.row_values import is_missing, parse_group, parse_label
from loratory.tasks.tag import Tag

ROWS: dict[Any, dict[str, Any]] = {
    Classify: {"text": "a", "label": "x"},
    Tag: {"text": "a", "spans": []},
    Generate: {"prompt": "a", "completion": "b"},
}
NAMED = [
    (0, "0"), (1, "1"), (0.0, "0"), (3.0, "3"), (-0.0, "0"), (False, "false"), (True, "true"), ("0", "0"), ("c1", "c1"),
    (10**20, "100000000000000000000"),
]  # fmt: skip
MISSING = [None, "", "  ", math.nan]


@pytest.mark.parametrize("task", list(ROWS))
@pytest.mark.parametrize(("value", "name"), [*NAMED, (2.5, "2.5"), (datetime.date(2024, 1, 2), "2024-01-02")])
def test_a_group_has_one_name_in_every_task(task: Any, value: Any, name: str) -> None:
    assert parse_group(value) == name
    assert task().read({**ROWS[task], "group": value}).group == name


@pytest.mark.parametrize("task", list(ROWS))
@pytest.mark.parametrize("value", MISSING)
def test_nothing_is_no_group(task: Any, value: Any) -> None:
    assert is_missing(value)
    assert task().read({**ROWS[task], "group": value}).group == ""


@pytest.mark.parametrize("task", list(ROWS))
@pytest.mark.parametrize("value", [[1], {"id": 1}, [], {}])
def test_lists_and_objects_are_no_group(task: Any, value: Any) -> None:
    with pytest.raises(FieldError, match="the group is") as caught:
        task().read({**ROWS[task], "group": value})
    assert caught.value.field == "group"
    assert "data: group: COLUMN" in caught.value.remedy


@pytest.mark.parametrize(("value", "name"), [*NAMED, (["x"], "x"), ([0], "0"), ([False], "false"), (" x ", "x")])
def test_a_label_has_one_name(value: Any, name: str) -> None:
    assert parse_label(value) == name
    assert Classify().read({"text": "a", "label": value}).answer == {"label": name}


@pytest.mark.parametrize(
    ("value", "match", "remedy"),
    [
        (None, "missing", "remove the row"),
        (math.nan, "missing", "remove the row"),
        (" ", "empty", "remove the row"),
        ([None], "missing", "remove the row"),
        (2.5, "a number with a fraction", "in quotes"),
        (math.inf, "a number with a fraction", "in quotes"),
        (["a", "b"], "list of 2: .*multi-label", "one task for each label"),
        ([], "a list of 0", "give it a name, such as none"),
        ({"a": 1}, "an object", "COLUMN.KEY"),
    ],
)
def test_what_is_no_label_says_what_to_do(value: Any, match: str, remedy: str) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        Classify().read({"text": "a", "label": value})
    assert (caught.value.field, bool(caught.value.allowed)) == ("label", True)
    assert remedy in caught.value.remedy


def test_labels_of_a_task_are_named_as_the_datas_are() -> None:
    task = Classify(labels=[0, 1, True, "01"], descriptions={0: "none"})
    assert task.labels == ("0", "1", "true", "01")
    assert task.descriptions == {"0": "none"}
    assert task.read({"text": "a", "label": True}).answer == {"label": "true"}
    with pytest.raises(FieldError, match="'false' is no label of this task"):
        task.read({"text": "a", "label": False})
    for wrong in ([1, "1"], [1.5, 2.5], [None, "a"]):
        with pytest.raises(ValidationError):
            Classify(labels=wrong)
