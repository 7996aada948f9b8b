"""One answer for every input: what a model has to beat before it has learnt anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loratory.artifacts.contents import Files, files_of
from loratory.protocols import Answer, Input, Labelled, Prediction, Run, Size, Trunks

FILE = "constant.json"


@dataclass(frozen=True)
class Constant:
    """The same answer whatever the input; of a task of labels with a probability for each of them."""

    task: Any
    answer: Answer
    odds: Mapping[str, float] = field(default_factory=dict)

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        if isinstance(self.task, Labelled):
            return [self.task.from_odds(input, self.odds) for input in inputs]
        return [Prediction(self.answer) for _ in inputs]

    def size(self) -> Size:
        return Size(trained=len(self.odds), total=len(self.odds))

    def save(self, folder: Path) -> None:
        text = json.dumps({"answer": self.answer, "odds": self.odds}, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        facts = files_of(source).json(FILE)
        return cls(task, facts["answer"], facts["odds"])
