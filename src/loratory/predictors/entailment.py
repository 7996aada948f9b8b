"""Zero-shot by natural language inference: does the text entail that it is about the label? (Yin et al. 2019)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from loratory.models.places import leave_name
from loratory.protocols import Asked, Encode, Input, Network, Prediction, Run, Size, Trunks

HYPOTHESIS = "This example is {}."  # the default of transformers' zero-shot-classification pipeline


@dataclass(frozen=True, eq=False)
class Entailment:
    """An NLI base asked once per text and label; the odds are the softmax over the labels' entailment logits."""

    task: Any
    network: Network
    hypothesis: str = HYPOTHESIS

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        asked = self.ask(inputs)
        return asked.read(run(asked.requests))

    def ask(self, inputs: Sequence[Input]) -> Asked:
        """One row for each text and label."""
        trunk: Any = self.network.trunk
        hypotheses = [self.hypothesis.format(self.task.describe(label)) for label in self.task.labels]
        pairs = [trunk.tokenizer.ids(self.task.text(i), h)[0] for i in inputs for h in hypotheses]
        return Asked([Encode(self.network, ids) for ids in pairs], lambda outputs: self._read(inputs, outputs))

    def _read(self, inputs: Sequence[Input], outputs: Sequence[Any]) -> list[Prediction]:
        if not inputs:
            return []
        trunk: Any = self.network.trunk
        logits = torch.stack(list(outputs))[:, entailed(trunk.config.id2label)]
        odds = logits.view(len(inputs), -1).double().softmax(-1).tolist()
        return [
            self.task.from_odds(i, dict(zip(self.task.labels, o, strict=True)))
            for i, o in zip(inputs, odds, strict=True)
        ]

    def size(self) -> Size:
        trunk: Any = self.network.trunk
        return Size(0, trunk.parameters())

    def save(self, folder: Path) -> None:
        trunk = self.network.trunk
        facts = {"hypothesis": self.hypothesis, "trunk": {"name": leave_name(trunk), "digest": trunk.digest}}
        (folder / "entailment.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Any, trunks: Trunks) -> Self:
        facts = json.loads((folder / "entailment.json").read_text(encoding="utf-8"))
        return cls(
            task, Network(trunks.get(facts["trunk"]["name"], facts["trunk"]["digest"], folder)), facts["hypothesis"]
        )


def entailed(id2label: dict[int, str]) -> int:
    """The index of the entailment logit."""
    return next(int(i) for i, label in id2label.items() if str(label).lower().startswith("entail"))
