"""The perturbed twin of an example: another text, and the expected answer that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loratory.errors import UnsupportedTask
from loratory.perturbations.changes import Perturbation, PerturbedText, TextSpan
from loratory.protocols import Example, Input, Labelled, Spanned


def perturb_example(task: Any, example: Example, perturbation: Perturbation, seed: int) -> Example | None:
    """The example with its text perturbed and its expected spans moved; None where nothing can be changed.

    Raises UnsupportedTask for a task without labels or spans, or one whose text is no field of its input.
    """
    changed = perturbation(task.text(example.input), seed, find_expected_spans(task, example))
    if changed is None:
        return None
    made = replace(example, input=replace_text(task, example.input, changed.text))
    return made if isinstance(task, Labelled) else replace(made, answer=move_spans(task, example.answer, changed))


def find_expected_spans(task: Any, example: Example) -> Sequence[TextSpan]:
    """Where the expected spans of an example are; nowhere for a task of labels. Raises UnsupportedTask."""
    check_comparable(task)
    return [(start, end) for start, end, _ in task.spans_of(example.answer)] if isinstance(task, Spanned) else ()


def check_comparable(task: Any) -> None:
    """Raises UnsupportedTask for a task whose answers cannot be compared."""
    if not isinstance(task, (Labelled, Spanned)):
        raise UnsupportedTask(
            f"a task of the kind {task.kind} answers neither with a label nor with spans",
            where="stress",
            allowed="tasks whose answer is one label, or labelled spans of a text",
        )


def move_spans(task: Any, answer: Any, changed: PerturbedText) -> Any:
    """An answer's spans in the changed text."""
    spans = [(*changed.map_span(start, end), label) for start, end, label in task.spans_of(answer)]
    return task.from_spans(changed.text, spans)


def replace_text(task: Any, input: Input, text: str) -> Input:
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
