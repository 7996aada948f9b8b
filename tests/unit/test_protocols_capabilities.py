"""A task as one of labels or of spans: handed back as it is, or refused in words."""

from __future__ import annotations

import pytest

from loratory.errors import UnsupportedTask
from loratory.protocols import require_labelled, require_spanned
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

CLASSIFY, TAG = Classify(labels=("yes", "no")), Tag(labels=("PER",))


def test_a_task_that_has_the_capability_is_handed_back() -> None:
    assert require_labelled(CLASSIFY) is CLASSIFY
    assert require_spanned(TAG) is TAG


def test_another_task_is_refused_with_its_kind() -> None:
    with pytest.raises(UnsupportedTask, match="a tag task has no labels"):
        require_labelled(TAG)
    with pytest.raises(UnsupportedTask, match="a classify task has no spans"):
        require_spanned(CLASSIFY)
