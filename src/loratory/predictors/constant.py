"""One answer for every input: what a model has to beat before it has learnt anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.protocols import Answer, BackbonePool, Input, Labelled, ParameterCount, Prediction, RequestRunner

CONSTANT_FILE = "constant.json"


@dataclass(frozen=True)
class Constant:
    """The same answer whatever the input; of a task of labels with a probability for each of them."""

    task: Any
    answer: Answer
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        if isinstance(self.task, Labelled):
            return [self.task.from_probabilities(input, self.probabilities) for input in inputs]
        return [Prediction(self.answer) for _ in inputs]

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(trained=len(self.probabilities), total=len(self.probabilities))

    def save(self, folder: Path) -> None:
        text = json.dumps({"answer": self.answer, "probabilities": self.probabilities}, ensure_ascii=False, indent=1)
        (folder / CONSTANT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Any, backbones: BackbonePool) -> Self:
        facts = open_files(source).read_json(CONSTANT_FILE)
        return cls(task, facts["answer"], facts["probabilities"])
