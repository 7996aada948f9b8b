"""A form that shows no outputs, as one whose head was lost: it must not pass for want of something to compare."""

from __future__ import annotations

import math

import numpy as np

from loratory.exporting.certificates.comparison import compare_golden
from loratory.exporting.certificates.goldens import Golden
from loratory.protocols.exporters import StageOutputs

GOLDEN = Golden(
    id="one",
    kind="test",
    text="a text",
    label=None,
    tokens=(1, 2),
    layers=(),
    pooled=None,
    logits=np.array([1.0, 2.0]),
    probabilities=np.array([0.27, 0.73]),
    answer=None,
    abstained=False,
)


def test_a_form_without_outputs_is_infinitely_far() -> None:
    found = compare_golden(GOLDEN, StageOutputs(tokens=(1, 2)))
    assert (found.dp, found.dlogp) == (math.inf, math.inf)


def test_a_form_that_shows_logits_alone_is_compared_by_them() -> None:
    found = compare_golden(GOLDEN, StageOutputs(tokens=(1, 2), logits=np.array([1.0, 2.5])))
    assert found.dp is None
    assert found.logits == 0.25
