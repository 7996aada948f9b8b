"""One answer for every input: what a model has to beat before it has learnt anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.protocols import (
    Answer,
    BackbonePool,
    Input,
    Labelled,
    Optioned,
    ParameterCount,
    Prediction,
    RequestRunner,
    Task,
)
from loratory.protocols.probabilities import pack_probabilities

CONSTANT_FILE = "constant.json"
UNSEEN_SHARE = 1e-6  # share of a place at which no option of train stood


@dataclass(frozen=True)
class Constant:
    """The same answer whatever the input; of a task of labels with a probability for each of them.

    Where options come with the input it is the option at the same place: `probabilities` are of places, "0" the first.
    """

    task: Task
    answer: Answer
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        task = self.task
        if isinstance(task, Labelled):
            odds = pack_probabilities(self.probabilities)
            return [task.from_probabilities(input, odds) for input in inputs]
        if isinstance(task, Optioned):
            return [self._choose_option(task, input) for input in inputs]
        return [Prediction(self.answer) for _ in inputs]

    def _choose_option(self, task: Optioned, input: Input) -> Prediction:
        options = task.options(input)
        shares = [self.probabilities.get(str(place), UNSEEN_SHARE) for place in range(len(options))]
        chances = {option: share / sum(shares) for option, share in zip(options, shares, strict=True)}
        return task.from_probabilities(input, chances)

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(trained=len(self.probabilities), total=len(self.probabilities))

    def save(self, folder: Path) -> None:
        text = json.dumps({"answer": self.answer, "probabilities": self.probabilities}, ensure_ascii=False, indent=1)
        (folder / CONSTANT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        facts = open_files(source).read_json(CONSTANT_FILE)
        return cls(task, facts["answer"], facts["probabilities"])
