"""The perturbed twin of an example: another text, and the expected answer that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loratory.errors import UnsupportedTask
from loratory.perturbations.changes import Perturbation, PerturbedText, TextSpan
from loratory.protocols import Answer, Example, Input, Labelled, Spanned, Task

ComparableTask = Labelled | Spanned  # one label for a text, or labelled spans of it


def perturb_example(task: Task, example: Example, perturbation: Perturbation, seed: int) -> Example | None:
    """The example with its text perturbed and its expected spans moved; None where nothing can be changed.

    Raises UnsupportedTask for a task without labels or spans, or one whose text is no field of its input.
    """
    comparable = require_comparable(task)
    changed = perturbation(comparable.text(example.input), seed, find_expected_spans(comparable, example))
    if changed is None:
        return None
    made = replace(example, input=replace_text(comparable, example.input, changed.text))
    return (
        made
        if isinstance(comparable, Labelled)
        else replace(made, answer=move_spans(comparable, example.answer, changed))
    )


def find_expected_spans(task: ComparableTask, example: Example) -> Sequence[TextSpan]:
    """Where the expected spans of an example are; nowhere for a task of labels."""
    return [(start, end) for start, end, _ in task.spans_of(example.answer)] if isinstance(task, Spanned) else ()


def require_comparable(task: Task) -> ComparableTask:
    """The task as one whose answers can be compared; raises UnsupportedTask where they cannot."""
    if not isinstance(task, (Labelled, Spanned)):
        raise UnsupportedTask(
            f"a task of the kind {task.kind} answers neither with a label nor with spans",
            where="stress",
            allowed="tasks whose answer is one label, or labelled spans of a text",
        )
    return task


def move_spans(task: Spanned, answer: Answer, changed: PerturbedText) -> Answer:
    """An answer's spans in the changed text."""
    spans = [(*changed.map_span(start, end), label) for start, end, label in task.spans_of(answer)]
    return task.from_spans(changed.text, spans)


def replace_text(task: ComparableTask, input: Input, text: str) -> Input:
    """The input with another text, wherever the task keeps it. Raises UnsupportedTask where it is no field of the
    input.
    """
    before = task.text(input)
    fields = [name for name, value in input.items() if value == before]
    made = {**input, **dict.fromkeys(fields, text)}
    if not fields or task.text(made) != text:
        raise UnsupportedTask(
            f"{task.kind} makes its text of several fields, so a changed text cannot be put back",
            where="stress",
            allowed="tasks whose text is a field of the input",
        )
    return made
