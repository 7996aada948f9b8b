"""A regime that starts from another contender: a linear model learns its answers (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from loratory.discovery import load_named
from loratory.errors import UnsupportedTask
from loratory.protocols import (
    CONTENDER,
    Example,
    FitContext,
    Labelled,
    Predictor,
    RegimeOptions,
    Start,
    StartKind,
    Task,
    TrainSet,
    is_contender_kind,
)
from loratory.protocols.events import PredictorFitted


class Distil(RegimeOptions):
    """A student as fast as `tfidf`, trained on the answers of its start to the training texts."""

    starts: ClassVar[tuple[str, ...]] = (CONTENDER,)

    confidence: float = Field(0.0, ge=0, le=1, description="minimum confidence of an answer to learn from")

    def check_support(self, task: Task, start: StartKind) -> str | None:
        if not isinstance(task, Labelled):
            return f"distil needs a task whose answer is one label; {task.kind} is none"
        return None if is_contender_kind(start) else f"distil starts from another contender, not from {start}"

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "linear"

    def fit(self, task: Labelled, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        assert isinstance(start, Predictor)
        taught = self._ask_teacher(train_set, start, context)
        context.report(PredictorFitted({"taught": len(taught)}))
        student: Any = load_named("regimes", "tfidf")()
        made: Predictor = student.fit(task, replace(train_set, train=taught), None, context)
        return made

    def _ask_teacher(self, train_set: TrainSet, teacher: Predictor, context: FitContext) -> list[Example]:
        """Training examples with the answers of the teacher that are confident enough."""
        answers = teacher.predict([example.input for example in train_set.train], context.run)
        taught = [
            replace(example, answer=said.answer)
            for example, said in zip(train_set.train, answers, strict=True)
            if said.answer is not None and said.confidence >= self.confidence
        ]
        if not taught:
            raise UnsupportedTask(
                "the teacher is sure of no text of train", where="distil: confidence", remedy="lower confidence"
            )
        return taught
