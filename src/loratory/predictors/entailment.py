"""Zero-shot by natural language inference: does the text entail that it is about the label? (Yin et al. 2019)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.loading.base_locations import record_base_location
from loratory.protocols import (
    BackbonePool,
    EncodeRequest,
    InferencePlan,
    Input,
    Labelled,
    Network,
    ParameterCount,
    Prediction,
    RequestRunner,
    Task,
    require_labelled,
)

DEFAULT_HYPOTHESIS = "This example is {}."  # the default of transformers' zero-shot-classification pipeline


@dataclass(frozen=True, eq=False)
class Entailment:
    """An NLI base asked once per text and label; the odds are the softmax over the labels' entailment logits."""

    task: Labelled
    network: Network
    hypothesis: str = DEFAULT_HYPOTHESIS

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        asked = self.plan(inputs)
        return asked.read_outputs(run(asked.requests))

    def plan(self, inputs: Sequence[Input]) -> InferencePlan:
        """One row for each text and label."""
        backbone = self.network.backbone
        hypotheses = [self.hypothesis.format(self.task.describe(label)) for label in self.task.labels or ()]
        pairs = [backbone.tokenizer.encode(self.task.text(i), h)[0] for i in inputs for h in hypotheses]
        return InferencePlan(
            [EncodeRequest(self.network, ids) for ids in pairs], lambda outputs: self._read_outputs(inputs, outputs)
        )

    def _read_outputs(self, inputs: Sequence[Input], outputs: Sequence[Any]) -> list[Prediction]:
        if not inputs:
            return []
        backbone = self.network.backbone
        logits = torch.stack(list(outputs))[:, find_entailment_index(backbone.config.id2label)]
        odds = logits.view(len(inputs), -1).double().softmax(-1).tolist()
        return [
            self.task.from_probabilities(i, dict(zip(self.task.labels or (), o, strict=True)))
            for i, o in zip(inputs, odds, strict=True)
        ]

    def count_parameters(self) -> ParameterCount:
        backbone = self.network.backbone
        return ParameterCount(0, backbone.count_parameters())

    def save(self, folder: Path) -> None:
        backbone = self.network.backbone
        facts = {
            "hypothesis": self.hypothesis,
            "backbone": {"name": record_base_location(backbone), "digest": backbone.digest},
        }
        (folder / "entailment.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        files = open_files(source)
        facts = files.read_json("entailment.json")
        return cls(
            require_labelled(task),
            Network(backbones.get(facts["backbone"]["name"], facts["backbone"]["digest"], files)),
            facts["hypothesis"],
        )


def find_entailment_index(id2label: dict[int, str]) -> int:
    """The index of the entailment logit."""
    return next(int(i) for i, label in id2label.items() if str(label).lower().startswith("entail"))
