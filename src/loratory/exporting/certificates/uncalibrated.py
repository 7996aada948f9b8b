"""The fit without its operating point: what a form is compared with that has no place for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loratory.exporting.certificates.golden_stages import compute_probabilities
from loratory.exporting.certificates.goldens import Golden, GoldenSet
from loratory.exporting.certificates.model_facts import ModelFacts


def strip_operating_point(model: ModelFacts, goldens: GoldenSet) -> tuple[ModelFacts, GoldenSet]:
    """Facts and goldens at temperature 1, without thresholds and abstention; the same where there is no point."""
    if model.operating_point is None and model.temperature == 1.0:
        return model, goldens
    plain = tuple(_strip(one, model.labels) for one in goldens.goldens)
    return replace(model, temperature=1.0, operating_point=None), GoldenSet(plain, goldens.batches)


def _strip(golden: Golden, labels: tuple[str, ...]) -> Golden:
    if golden.logits is None or golden.logits.ndim != 1:
        return golden
    shares = compute_probabilities(golden.logits, 1.0)
    return replace(golden, probabilities=shares, answer=labels[int(np.argmax(shares))], abstained=False)
