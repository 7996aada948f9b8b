"""What rounding costs on the test split: the form's answers paired with the fit's, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from loratory.evaluation.statistics.bootstrap import draw_resamples, index_groups, resample_scores
from loratory.evaluation.statistics.comparisons import pair_counts
from loratory.protocols import Counts, Example, Prediction, Task
from loratory.protocols.exporters import ExportedModel, StageOutputs, get_form_facts

EVIDENCE_BATCH = 16  # texts of similar length that a form which takes batches answers together


@dataclass(frozen=True)
class AccuracyMeasurement:
    """Form less fit, in the task's headline score."""

    score: str
    difference: float
    low: float
    high: float
    confidence: float
    rows: int
    margin: float  # what may be lost

    @property
    def needed_margin(self) -> float:
        """The least margin that this interval lies within, in thousandths."""
        return ceil(max(-self.low, 0.0) * 1000) / 1000

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class AccuracyEvidence:
    """The rows that a fit was measured on, and what it answered. `read` makes the task's prediction of outputs."""

    task: Task
    examples: Sequence[Example]
    counts: Sequence[Counts]  # of the fit's answers
    texts: Sequence[str]
    read: Callable[[Example, StageOutputs], Prediction]
    margin: float
    confidence: float
    resamples: int
    seed: int

    def measure(self, model: ExportedModel) -> AccuracyMeasurement:
        """Answer every row by the form and pair it with the fit's."""
        counts = self._count(model)
        name = self.task.headline
        resampling = draw_resamples(index_groups(self.examples), self.resamples, self.seed)
        samples = [resample_scores(resampling, each, self.task, [name])[name] for each in (counts, self.counts)]
        paired = pair_counts(self.task, name, (counts, self.counts), samples[0] - samples[1], resampling)
        low, high = paired.interval(self.confidence)
        return AccuracyMeasurement(name, paired.difference, low, high, self.confidence, len(self.examples), self.margin)

    def _count(self, model: ExportedModel) -> list[Counts]:
        limit = get_form_facts(model).get("max_batch") or EVIDENCE_BATCH
        order = sorted(range(len(self.texts)), key=lambda place: len(self.texts[place]))
        found: dict[int, Counts] = {}
        for start in range(0, len(order), limit):
            places = order[start : start + limit]
            outputs = model.run_stages([self.texts[place] for place in places])
            for place, output in zip(places, outputs, strict=True):
                example = self.examples[place]
                found[place] = self.task.score_example(example, self.read(example, output))
        return [found[place] for place in range(len(self.texts))]
