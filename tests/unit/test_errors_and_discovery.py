"""Messages that a person can act on, and names that come from entry points."""

from __future__ import annotations

from typing import Any

import pytest

from loratory import errors
from loratory.discovery import ENTRY_POINT_GROUPS, list_names, load_named
from loratory.errors import LoratoryError, RunInterrupted, SpecError, format_value, make_missing_extra, suggest_nearest
from loratory.protocols import Task
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag


def test_a_message_says_where_what_is_allowed_and_what_to_do() -> None:
    problem = SpecError("0 is too small", where="s.yaml:3: rank", allowed="at least 1", remedy="write 8")
    assert str(problem) == "s.yaml:3: rank: 0 is too small\n  allowed: at least 1\n  to mend it: write 8"
    assert str(SpecError("broken")) == "broken"


def test_every_error_of_ours_ends_with_two_but_for_two() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LoratoryError)]
    assert len(kinds) >= 9
    assert {kind.__name__: kind.exit_code for kind in kinds if kind.exit_code != 2} == {
        "RunInterrupted": 130,
        "ParityError": 3,
    }
    assert RunInterrupted("x").exit_code == 130


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [("lorra", ["lora", "full"], "; did you mean 'lora'?"), ("xyz", ["lora"], ""), ("a", [], "")],
)
def test_the_nearest_word(word: str, known: list[str], said: str) -> None:
    assert suggest_nearest(word, known) == said


def test_values_are_shown_as_yaml_writes_them_and_never_long() -> None:
    assert [format_value(v) for v in (True, None, 1.5, "a", ["x"])] == ["true", "null", "1.5", "'a'", "['x']"]
    deep: list[object] = ["x" * 1000]
    for _ in range(50):
        deep = [deep] * 10
    assert len(format_value(deep)) < 5000
    assert len(format_value("x" * 10_000)) < 80
    assert len(format_value(10**3000)) < 80


def test_a_missing_extra_says_what_to_install() -> None:
    assert 'pip install "loratory[train]"' in str(make_missing_extra("scikit-learn", "train"))


def test_everything_that_can_be_named_loads_and_is_what_it_should_be() -> None:
    for name in list_names("tasks"):
        made = load_named("tasks", name)()
        assert isinstance(made, Task)
        assert made.kind == name
    for name in list_names("regimes"):
        options = load_named("regimes", name)()
        assert callable(options.fit)
        assert callable(options.check_support)
        for fact in ("adapts", "tunable", "seeded", "starts"):
            assert hasattr(options, fact), f"{name}.{fact}"
        assert options.tunable is None or options.tunable in type(options).model_fields


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(
        SpecError, match=r"s.yaml:3: there is no regime called 'lorra'; did you mean 'lora'\?"
    ) as caught:
        load_named("regimes", "lorra", "s.yaml:3")
    assert "tfidf" in caught.value.allowed


def test_the_order_of_names_does_not_come_from_the_installer() -> None:
    for group in ENTRY_POINT_GROUPS:
        assert list(list_names(group)) == sorted(list_names(group))


@pytest.mark.parametrize(
    "task", [Classify(labels=("a", "b")), Tag(labels=("A",)), Generate(), Generate(answer_schema={"type": "object"})]
)
def test_one_of_our_prompt_templates_at_most_supports_a_task(task: Any) -> None:
    fitting = [name for name in list_names("prompt_templates") if load_named("prompt_templates", name).supports(task)]
    assert len(fitting) <= 1
    assert fitting or isinstance(task, Tag)
