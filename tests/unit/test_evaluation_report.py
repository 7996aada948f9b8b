"""The report page: whole, self-contained, escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from test_evaluation_fakes import FACTS, FOUR, LADDER, QUICK, Skill, examples, failed, world

from loratory.data.dataset import Parts
from loratory.data.quality.label_errors import LabelErrors, SuspectedLabel
from loratory.data.quality.quality_report import inspect_data
from loratory.data.splitting.groups import DuplicatePairs
from loratory.evaluation.contender_result import ContenderResult
from loratory.evaluation.ladder import build_ladder
from loratory.evaluation.report.charts import _space_labels
from loratory.evaluation.report.html_report import MAX_LISTED_EXAMPLES, render_report
from loratory.specs.evidence import Floor, GateSpec
from loratory.tasks.classify import Classify

SUSPECT = SuspectedLabel("train.csv:7", "<script>alert(1)</script>", "A&B", "$\\frac$", 0.01, 0.97)
NASTY = ("<script>alert(1)</script>", "A&B", "$\\frac$", 'quo"ted')
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Balance(HTMLParser):
    """Every tag that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


FOUND = LabelErrors((SUSPECT,), 0.9, 0.25)


def quality(labels: Sequence[str], suspects: LabelErrors | None = FOUND) -> dict[str, Any]:
    """A real report on a little data."""
    train, test = examples(labels, 1234, seed=1), examples(labels, 40, seed=2)
    parts = Parts.of(Classify(labels=tuple(labels), headline="accuracy"), train, test=test)
    found = inspect_data(parts, DuplicatePairs(), label_errors=suspects)
    return dict(json.loads(json.dumps(found)))


def page(task: Classify, measured: list[ContenderResult], found: dict[str, Any] | None = None) -> str:
    gate = GateSpec(accuracy=Floor(at_least=0.5))
    return render_report(build_ladder(task, measured, QUICK, gate, FACTS), measured, task, found)


@pytest.fixture(scope="module")
def four() -> str:
    task, measured = world(n=200, ladder=[replace(skill, seeds=min(skill.seeds, 2)) for skill in LADDER])
    return page(task, [*measured, failed("qlora")], quality(FOUR))


def test_the_page_is_well_formed_and_has_every_part(four: str) -> None:
    parser = Balance()
    parser.feed(four)
    assert parser.open == []
    for part in (
        "The ladder",
        "Accuracy of each contender",
        "Accuracy against latency",
        "Risk and coverage",
        "Reliability of",
        "Planned comparisons",
        "Learning curves",
        "Most confused pairs",
        "Most confident mistakes",
        "Suspected wrong labels",
        "By label",
        "Data quality",
        "The gate",
        "could not be fitted",
        'messages.jsonl<wbr><span class="line">:',
        'train.csv<wbr><span class="line">:7</span>',
        "<pre>examples     1,274: train 1,234,",
        "suspected    1 wrong labels in train",
    ):
        assert part in four
    assert parser.seen.count("table") == four.count("<caption") >= 7
    assert len(re.findall(r'<svg class="chart" role="img" aria-label="[^"]{20,}"', four)) == four.count("<svg") == 7


def test_a_cell_of_the_confusion_matrix_says_what_it_counts(four: str) -> None:
    said = re.findall(r"<title>FRAUD answered as (\w+): \d+ \(\d+%\)</title>", four)
    assert "FRAUD" in said
    assert len(said) >= 2


def test_nothing_is_asked_of_the_network(four: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!#)', four)
    assert not re.findall(r"@import|url\((?!#)|https?://", four)


def test_charts_take_their_colours_from_the_page_and_their_ids_do_not_collide(four: str) -> None:
    charts = "".join(re.findall(r"<svg.*?</svg>", four, re.DOTALL))
    assert not re.findall(r"#[0-9a-fA-F]{6}", charts)
    assert "var(--ink)" in charts
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", four))
    for scheme in re.findall(r":root \{(.*?)\}", four, re.DOTALL):
        assert used - {"font"} <= set(re.findall(r"--([a-z0-9]+):", scheme))
    ids = re.findall(r' id="([^"]*)"', four)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', four)) <= set(ids)


def test_user_texts_are_escaped_everywhere() -> None:
    task, measured = world(NASTY, n=80, ladder=[Skill("tfidf", 0.4), Skill("<b>", 1.0)])
    text = page(task, measured, quality(NASTY))
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
    Balance().feed(text)


def test_without_suspects_or_without_a_look_for_them_there_is_no_list_of_them() -> None:
    task, measured = world(n=60, ladder=LADDER[:1])
    for suspects, said in (
        (LabelErrors((), 0.9, 0.25), True),
        (LabelErrors((SUSPECT,), 0.5, 0.25), False),
        (None, False),
    ):
        text = page(task, measured, quality(FOUR, suspects))
        assert ("suspected    0 wrong labels" in text) is said
        assert "Suspected wrong labels" not in text
    assert "Data quality" not in page(task, measured)


def test_a_long_list_of_suspects_is_cut_and_says_so() -> None:
    task, measured = world(n=60, ladder=LADDER[:1])
    text = page(
        task,
        measured,
        quality(
            FOUR,
            LabelErrors(
                tuple(replace(SUSPECT, origin=f"train.csv:{i}") for i in range(MAX_LISTED_EXAMPLES + 3)), 0.9, 0.25
            ),
        ),
    )
    assert f"the first {MAX_LISTED_EXAMPLES} of {MAX_LISTED_EXAMPLES + 3}." in text
    assert text.count("train.csv<wbr>") == MAX_LISTED_EXAMPLES


def test_many_labels_give_a_light_page() -> None:
    task, measured = world([f"label_{i}" for i in range(77)], n=400, ladder=LADDER[3:5])
    text = page(task, measured)
    assert 'figure class="many"' in text
    assert len(text) < 600_000
    assert all(f">label_{i}<" in text for i in range(77))


def test_a_page_where_nothing_was_fitted_or_nothing_has_probabilities() -> None:
    lost = page(Classify(labels=FOUR, headline="accuracy"), [failed("lora")])
    assert "nothing to recommend" in lost
    assert "<svg" not in lost
    task, measured = world(n=60, ladder=LADDER[:1])
    fit = measured[0].shipped_fit
    bare = [replace(prediction, probabilities={}) for prediction in fit.test.predictions]
    marks = [task.score_example(e, p) for e, p in zip(fit.test.examples, bare, strict=True)]
    plain = replace(fit, test=replace(fit.test, predictions=bare, counts=marks))
    text = page(task, [replace(measured[0], fits=(plain,), latency_ms={})])
    assert "Reliability of" not in text
    assert "Most confident mistakes" in text


def test_names_in_a_chart_are_moved_apart_and_no_further() -> None:
    assert _space_labels([1.0, 5.0], 1.0) == [1.0, 5.0]
    moved = sorted(_space_labels([5.0, 5.1, 5.05, 9.0], 1.0))
    assert all(high - low > 0.99 for low, high in pairwise(moved))
    assert sum(moved[:3]) / 3 == pytest.approx(5.05, abs=0.05)
