"""A form's outputs as the task's answer, at the operating point that the form itself holds.

Shapes: T tokens, L outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loratory.data.task_inputs import InputFormat
from loratory.discovery import load_named
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.predictors.calibrated import NO_LABEL, choose_labels, score_in_scope
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import JSON, Input, Offsets, Scores, Spanned, TokenIds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AnswerReader:
    """Reads outputs of a model that these facts describe."""

    facts: ModelFacts

    @cached_property
    def task(self) -> Any:
        """The task of the form."""
        return load_named("tasks", str(self.facts.task["kind"])).model_validate(self.facts.task)

    @property
    def can_answer(self) -> bool:
        """Whether outputs alone make the fit's answer: rules that add spans lie outside every form."""
        return self.facts.output_adapter is not None and not self.facts.has_span_rules

    def read(self, text: str, row: tuple[TokenIds, Offsets], logits: Floats, probabilities: Floats) -> JSON:
        """The label or the spans of a text of one row; None where the form abstains."""
        if not self.can_answer:
            return None
        given = InputFormat.from_task(self.task).parse_input(text, "a text")
        if isinstance(self.task, Spanned):
            return self._read_spans(given, row, logits)
        return self._read_label(logits, probabilities)

    def _read_label(self, logits: Floats, probabilities: Floats) -> str | None:
        point, labels, shares = self.facts.point, self.facts.labels, probabilities[None]
        scores = score_in_scope(point.score, shares, [self._score_ood(logits)])
        (place,) = choose_labels(point, labels, shares, scores).tolist()
        return None if place == NO_LABEL else labels[place]

    def _score_ood(self, logits: Floats) -> Scores:
        """As LabelOutputAdapter.score_ood: the energy, and the cosine to the nearest prototype."""
        top = logits.max()
        scores = {"energy": float(top + np.log(np.exp(logits - top).sum()))}
        if self.facts.scope is not None:
            bias = np.asarray(self.facts.scope["bias"], dtype=np.float64)
            scores["prototype"] = float(((logits - bias) / float(self.facts.scope["scale"])).max())
        return scores

    def _read_spans(self, given: Input, row: tuple[TokenIds, Offsets], logits: Floats) -> JSON:
        adapter = load_output_adapter(str(self.facts.output_adapter))
        (made,) = adapter.read_outputs(self.task, [given], [[row]], [[torch.from_numpy(logits)]])
        return made.answer
