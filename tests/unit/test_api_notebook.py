"""What a notebook shows: the ladder with its intervals drawn, and progress in place."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loratory.api.results import Run
from loratory.display.progress import ignore_event, is_notebook, show_progress
from loratory.display.progress_screen import ProgressScreen
from loratory.protocols.events import ContenderFailed, ContenderStarted, FitStarted, StageStarted, StepFinished
from ticket_rows import run_tickets


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    ladder: list[object] = [{"a-b": {"regime": "tfidf"}}, "rules"]
    return run_tickets(tmp_path_factory.mktemp("home") / "<run>", 120, ladder)


def parse(fragment: str) -> ElementTree.Element:
    """The fragment as a tree: raises where a tag is left open, or a name was not escaped."""
    return ElementTree.fromstring(f"<div>{fragment}</div>")


def test_the_ladder_is_drawn_and_whole(run: Run) -> None:
    tree = parse(run._repr_html_())
    text = "".join(tree.itertext())
    assert run.verdict.headline in text
    assert all(warning in text for warning in run.verdict.warnings)
    assert str(run.report) in text
    rows = tree.findall(".//tbody/tr")
    assert len(rows) == 3
    assert all(len(row.findall("td")) == len(tree.findall(".//thead/tr/th")) for row in rows)
    assert sum("bold" in str(row.get("style")) for row in rows) == 1


def test_a_drawn_interval_is_where_its_numbers_are(run: Run) -> None:
    drawn = parse(run.ladder._repr_html_()).findall(".//svg")
    places = [float(str(one.find("circle").get("cx"))) for one in drawn]  # type: ignore[union-attr]
    values = [row.scores["accuracy"].value for row in run.ladder]
    assert sorted(places) == [place for _, place in sorted(zip(values, places, strict=True))]
    for one, place in zip(drawn, places, strict=True):
        line = one.find("line")
        assert line is not None
        assert 0 <= float(str(line.get("x1"))) <= place <= float(str(line.get("x2"))) <= float(str(one.get("width")))


def test_words_of_others_are_escaped(run: Run) -> None:
    facts = {**run.to_dict(), "name": "<script>alert(1)</script>"}
    assert "<script>" not in Run(run.folder, facts)._repr_html_()


class FakeDisplay:
    """IPython.display, as far as progress uses it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool) -> FakeDisplay:
        self.shown.append(text)
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> FakeDisplay:
    shell = SimpleNamespace(kernel=object())
    made: Any = ModuleType("IPython")
    made.get_ipython = lambda: shell
    fake = FakeDisplay()
    monkeypatch.setitem(sys.modules, "IPython", made)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return fake


def test_progress_in_a_notebook_is_one_line_that_is_updated(display: FakeDisplay) -> None:
    assert is_notebook()
    with show_progress(None) as on_event:
        on_event(StageStarted("reading <examples>"))
        on_event(ContenderStarted("lora", 2, 3))
        on_event(FitStarted("lora", 1, regime="lora"))
        on_event(StepFinished(step=1, count=10, epoch=1, loss=0.5))
        on_event(ContenderFailed("lora", "too <little> memory"))
    assert any("reading &lt;examples&gt;" in one for one in display.shown)
    assert any('<progress value="1" max="10">' in one and "contender 2 of 3: lora" in one for one in display.shown)
    assert display.shown[-1] == "<div></div><div>failed: too &lt;little&gt; memory</div>"


def test_progress_is_shown_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_notebook()
    with show_progress(None) as on_event:  # pytest's stderr is no terminal
        assert on_event is ignore_event
    with show_progress(True) as on_event:
        assert isinstance(on_event, ProgressScreen)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress(False) as on_event:
        assert on_event is ignore_event
    with show_progress(None) as on_event:
        assert isinstance(on_event, ProgressScreen)
