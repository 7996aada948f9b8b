"""Writing a report again: what is missing is told before anything of the run is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from loratory.errors import MissingExtra
from loratory.experiment import rebuild_report
from loratory.protocols.events import ignore_event


def test_a_missing_library_is_told_before_the_run_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.experiment.rebuild_report.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="is not installed") as caught:
        rebuild_report.rebuild_report(tmp_path, ignore_event)
    assert caught.value.extra == "evaluation"
    assert list(tmp_path.iterdir()) == []
