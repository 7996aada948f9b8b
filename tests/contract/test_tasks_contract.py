"""What every task, prompt template, output adapter, check, perturbation and scorer promises: of all that is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from loratory import contract_checks
from loratory.discovery import list_names, load_named
from loratory.protocols import Example, Prediction
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

CITY = {"text": "Mary waits in Leeds", "spans": [{"start": 14, "end": 19, "label": "CITY"}]}
ROWS: Mapping[str, list[dict[str, Any]]] = {  # right answers of each task
    "classify": [{"text": "my card is lost", "label": "card"}, {"text": "no cash", "label": "cash"}],
    "tag": [CITY, {"text": "nobody waits", "spans": []}],
    "generate": [{"prompt": "hi", "completion": "hello you", "rejected": "go"}],
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TALK = Example({"prompt": "say #one"}, "one #one", extras={"words": 1})
CHECK_OPTIONS: Mapping[str, dict[str, Any]] = {"contains": {"all": ["one"]}}


class Options(Classify):
    """Labels as options of the input, so that the template of options has a task in this test."""

    def options(self, input: Any) -> tuple[str, ...]:
        return self.labels or ()

    def option_of(self, answer: Any) -> str:
        return self.label_of(answer)


def make_tasks() -> list[tuple[Any, list[Example]]]:
    made: list[tuple[Any, list[Example]]] = []
    schema: list[dict[str, Any]] = [{"prompt": "hi", "completion": {"n": 1}}]
    each: list[tuple[Any, list[dict[str, Any]]]] = [
        (Classify(), ROWS["classify"]), (Options(), ROWS["classify"]), (Tag(), ROWS["tag"]),
        (Generate(), ROWS["generate"]), (Generate(answer_schema=SCHEMA), schema),
    ]  # fmt: skip
    for task, rows in each:
        examples = [task.read(row) for row in rows]
        made.append((task.resolve_options(examples), examples))
    return made


@pytest.mark.parametrize("name", list_names("tasks"))
def test_tasks(name: str) -> None:
    cls = load_named("tasks", name)
    contract_checks.verify_options(cls)
    assert cls().kind == name
    contract_checks.verify_task(cls(), ROWS[name])


@pytest.mark.parametrize("name", list_names("prompt_templates"))
def test_prompt_templates(name: str) -> None:
    template = load_named("prompt_templates", name)
    supported = [(task, examples) for task, examples in make_tasks() if template.supports(task)]
    assert supported
    for task, examples in supported:
        contract_checks.verify_prompt_template(template, task, examples)


@pytest.mark.parametrize("name", list_names("output_adapters"))
def test_output_adapters(name: str) -> None:
    adapter = load_named("output_adapters", name)
    supported = [task for task, _ in make_tasks() if isinstance(task, adapter.capability)]
    assert supported
    for task in supported:
        contract_checks.verify_output_adapter(adapter, task)


@pytest.mark.parametrize("name", list_names("checks"))
def test_checks(name: str) -> None:
    check = load_named("checks", name)
    if isinstance(check, type):
        options = CHECK_OPTIONS.get(name, {})
        contract_checks.verify_options(check, **options)
        check = check(**options)
    contract_checks.verify_check(check, TALK, right=name != "refuses")


@pytest.mark.parametrize("name", list_names("perturbations"))
def test_perturbations(name: str) -> None:
    cls = load_named("perturbations", name)
    contract_checks.verify_options(cls)
    contract_checks.verify_perturbation(cls())


@pytest.mark.parametrize("name", list_names("scorers"))
def test_scorers(name: str) -> None:
    cls = load_named("scorers", name)
    contract_checks.verify_options(cls)
    for task, examples in make_tasks():
        contract_checks.verify_scorer(cls(), task, examples)


class Generous(Generate):
    """A task with two faults."""

    def score_example(self, example: Example, prediction: Prediction) -> dict[str, float]:
        return {**super().score_example(example, prediction), "reward": 1.0}


def test_the_checks_of_contracts_can_fail() -> None:
    with pytest.raises(AssertionError, match="a missing answer has a reward"):
        contract_checks.verify_task(Generous(), ROWS["generate"])
    values = iter((0.0, 1.0))
    with pytest.raises(AssertionError, match="another value"):
        contract_checks.verify_check(lambda input, answer, expected: next(values), TALK)
    with pytest.raises(AssertionError, match="not frozen"):
        contract_checks.verify_options(type("Loose", (Generous,), {"model_config": {"frozen": False}}))
