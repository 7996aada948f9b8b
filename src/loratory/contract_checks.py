"""What every extension promises, as functions that a test calls: each raises AssertionError that says what is broken.

The project's own contract tests call them for all that is discovered; a package of extensions calls them for its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from loratory.protocols import (
    JSON,
    Check,
    Column,
    Conversational,
    Decomposable,
    Example,
    Labelled,
    Optioned,
    OutputAdapter,
    Perturbation,
    Prediction,
    PromptTemplate,
    Scorer,
    Spanned,
    Task,
    sum_counts,
)

SAMPLE_TEXT = "Please send the grey parcel to Mary, who waits in Leeds since 14 May."
SomeTask = TypeVar("SomeTask", bound=Task)
NO_ANSWER = Prediction(None, reason="abstained")


def verify_options(cls: type[BaseModel], **required: JSON) -> None:
    """Options are frozen, closed, told in a sentence each, and survive JSON. `required` are those without a default."""
    made = cls(**required)
    assert cls.model_config.get("frozen"), f"{cls.__name__} is not frozen"
    for field, about in cls.model_fields.items():
        assert about.description or field == "kind", f"the option {field} of {cls.__name__} has no description"
    try:
        cls(**required, no_such_option=1)
    except ValidationError:
        pass
    else:
        raise AssertionError(f"{cls.__name__} takes options that it does not have: set extra='forbid'")
    assert cls.model_validate_json(made.model_dump_json()) == made, f"{cls.__name__} does not survive JSON"


def verify_task(task: SomeTask, rows: Sequence[Mapping[str, JSON]]) -> SomeTask:
    """The task's promises on rows keyed by its columns, whose answers are right; returns the settled task."""
    from jsonschema import Draft202012Validator

    assert isinstance(task, Task), "it lacks a member of loratory.protocols.Task"
    assert all(isinstance(column, Column) for column in type(task).columns.values())
    examples = [task.read(row) for row in rows]
    settled = task.resolve_options(examples)
    model: object = settled
    assert isinstance(model, BaseModel), "it is no pydantic model"
    assert type(model).model_validate_json(model.model_dump_json()) == model, "it does not survive JSON"
    for example in examples:
        Draft202012Validator(dict(settled.input_schema())).validate(example.input)
        Draft202012Validator(dict(settled.contract(example.input))).validate(example.answer)
        assert settled.check_answer(example.input, example.answer) == [], "it objects to an expected answer"
    verify_scoring(settled, examples)
    verify_capabilities(settled, examples)
    return settled


def verify_scoring(task: Task, examples: Sequence[Example]) -> None:
    """Counts are additive, right answers score best, and a missing one scores no reward."""
    right = [task.score_example(example, Prediction(example.answer)) for example in examples]
    none = [task.score_example(example, NO_ANSWER) for example in examples]
    for counts in (*right, *none):
        assert {"n", "reward"} <= counts.keys(), "counts lack n or reward"
        assert counts["n"] == 1
        assert 0 <= counts["reward"] <= 1
        assert all(math.isfinite(value) for value in counts.values())
    assert all(counts["reward"] == 1 for counts in right), "a right answer has not the reward 1"
    assert all(counts["reward"] == 0 for counts in none), "a missing answer has a reward"
    best, worst = task.summarise(sum_counts(right)), task.summarise(sum_counts(none))
    assert task.headline in best, f"the headline {task.headline!r} is none of the scores"
    assert task.headline not in task.lower_is_better, "the headline has to be better when higher"
    assert best[task.headline] > worst[task.headline], "the headline does not tell right answers from missing ones"
    totals = sum_counts(right)
    twice: Any = {kind: np.array([value, 2 * value]) for kind, value in totals.items()}
    stacked = task.summarise(twice)
    assert np.allclose(stacked[task.headline], best[task.headline]), "summarise does not take arrays of totals"
    if isinstance(task, Decomposable):
        assert all(task.ratios(name) is not None for name in best if "/" not in name)


def verify_capabilities(task: Task, examples: Sequence[Example]) -> None:
    """What a task says it is able to do, it does with its own examples."""
    for example in examples:
        input, answer = example.input, example.answer
        if isinstance(task, Labelled):
            label = task.label_of(answer)
            assert label in (task.labels or ()), f"{label!r} is none of the labels"
            assert task.from_probabilities(input, {label: 1.0}).answer == answer
        if isinstance(task, Optioned):
            options, option = task.options(input), task.option_of(answer)
            assert len(set(options)) == len(options), "two options are the same"
            assert option in options, f"{option!r} is none of the options"
            assert task.from_probabilities(input, {one: float(one == option) for one in options}).answer == answer
        if isinstance(task, Spanned):
            assert task.from_spans(task.text(input), task.spans_of(answer)) == answer
        if isinstance(task, Conversational):
            assert task.messages(input)[-1]["role"] == "user"
            assert task.parse(task.render(answer)) == answer, "a written answer is not read back"


def verify_prompt_template(template: object, task: Task, examples: Sequence[Example]) -> None:
    """The template's promises on a settled task that it supports, and examples of it. Needs no model."""
    from loratory.predictors.prompt_files import Prompt

    assert isinstance(template, PromptTemplate), "it lacks a member of loratory.protocols.PromptTemplate"
    assert template.supports(task)
    prompt = Prompt.parse(template.default_prompt, "default_prompt")
    around = template.build_messages(task, prompt, None, SAMPLE_TEXT)
    assert SAMPLE_TEXT in around[-1]["content"], "without an input, the text given does not stand in the prompt"
    for example in examples:
        asked = template.build_messages(task, prompt, example.input)
        assert asked[-1]["role"] == "user"
        target, choices = template.render_target(task, example.answer), template.list_choices(task, example.input)
        assert bool(choices) == template.scores_choices, "choices are listed where they are scored, and only there"
        assert not choices or target in choices, f"{target!r} is none of the choices"
        assert len(set(choices)) == len(choices), "two choices are the same"
        assert set(template.list_choices(task)) <= set(choices), "a choice of every input is none of this one"


def verify_output_adapter(adapter: object, task: Task) -> None:
    """The adapter's promises on a settled task that has its capability. Needs no model."""
    assert isinstance(adapter, OutputAdapter), "it lacks a member of loratory.protocols.OutputAdapter"
    assert isinstance(task, adapter.capability)
    names = adapter.list_output_names(task)
    assert len(set(names)) == len(names), "two outputs have one name"
    again = type(task)(labels=adapter.parse_labels(tuple(reversed(names))))
    assert set(adapter.list_output_names(again)) == set(names), "labels do not come back from the names of outputs"
    assert adapter.stock_names.auto_class.startswith("AutoModel")
    assert 0 <= adapter.compute_row_overlap(64, "windows") < 64


def verify_check(check: Check, example: Example, right: bool = True) -> None:
    """A share in [0, 1] or nothing; 1 for the expected answer, where that is `right` by this check."""
    for answer in (example.answer, "", "something else altogether"):
        value = check(example.input, answer, example.answer)
        assert value is None or 0 <= value <= 1, f"{value} is no share"
        assert value == check(example.input, answer, example.answer), "another value for the same answer"
    found = check(example.input, example.answer, example.answer)
    assert not right or found in (1, None), (
        f"{found} for the expected answer, which is 1 or None by this check (right=False: it need not be right)"
    )


def verify_perturbation(perturbation: Perturbation, text: str = SAMPLE_TEXT) -> None:
    """Another text, always the same for a seed; places of the text before are found again."""
    for seed in range(5):
        made = perturbation(text, seed)
        assert made == perturbation(text, seed), "another text for the same seed"
        if made is not None:
            assert made.text != text, "the text is the same"
            assert made.text.strip(), "the text is empty"
            start, end = made.map_span(0, len(text))
            assert 0 <= start <= end <= len(made.text)
    perturbation("", 1)  # an empty text is no reason to fail


def verify_scorer(scorer: object, task: Task, examples: Sequence[Example]) -> None:
    """A reward in [0, 1], always the same for an answer, also where there is none."""
    assert isinstance(scorer, Scorer), "it has no score(task, example, prediction)"
    for example in examples:
        for prediction in (Prediction(example.answer), NO_ANSWER):
            value = scorer.score(task, example, prediction)
            assert 0 <= value <= 1, f"{value} is no reward"
            assert value == scorer.score(task, example, prediction), "another reward for the same answer"
