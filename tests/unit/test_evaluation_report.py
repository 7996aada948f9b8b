"""The report page: whole, self-contained, escaped."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_evaluation_fakes import FACTS, FOUR, LADDER, QUICK, Skill, examples, make_failed_result, world

from colour_contrast import contrast
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
    return page(task, [*measured, make_failed_result("qlora")], quality(FOUR))


def test_the_page_is_well_formed_and_has_every_part(four: str) -> None:
    parser = Balance()
    parser.feed(four)
    assert parser.open == []
    for part in (
        "The ladder",
        "Accuracy of each contender",
        "Accuracy and speed",
        "Errors when only the most confident answers count",
        "Is the confidence of",
        ">Comparisons</h2>",
        "Learning curves",
        "The labels that are confused most often",
        "Most confident mistakes",
        "Suspected wrong labels",
        "Scores of each label",
        "Right answers",
        "Data quality",
        "Requirements of the",
        "could not be fitted",
        'messages.jsonl<wbr><span class="line">:',
        'train.csv<wbr><span class="line">:7</span>',
        "<pre>examples     1,274: train 1,234,",
        "suspected    1 labels in train look wrong to a cross-validated model",
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
        assert ("suspected    0 labels in train look wrong" in text) is said
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
    lost = page(Classify(labels=FOUR, headline="accuracy"), [make_failed_result("lora")])
    assert "nothing to recommend" in lost
    assert "<svg" not in lost
    task, measured = world(n=60, ladder=LADDER[:1])
    fit = measured[0].shipped_fit
    bare = [replace(prediction, probabilities={}) for prediction in fit.test.predictions]
    marks = [task.score_example(e, p) for e, p in zip(fit.test.examples, bare, strict=True)]
    plain = replace(fit, test=replace(fit.test, predictions=bare, counts=marks))
    text = page(task, [replace(measured[0], fits=(plain,), latency_ms={})])
    assert "Is the confidence of" not in text
    assert "Most confident mistakes" in text


def test_names_in_a_chart_are_moved_apart_and_no_further() -> None:
    assert _space_labels([1.0, 5.0], 1.0) == [1.0, 5.0]
    moved = sorted(_space_labels([5.0, 5.1, 5.05, 9.0], 1.0))
    assert all(high - low > 0.99 for low, high in pairwise(moved))
    assert sum(moved[:3]) / 3 == pytest.approx(5.05, abs=0.05)


# -- order, words and commands
def make_page(folder: Path | None = None, contender_name: str = "lora", labels: Sequence[str] = FOUR) -> str:
    task, measured = world(labels, n=60, ladder=[Skill("rules", 0.2), Skill(contender_name, 2.0)])
    ladder = build_ladder(task, measured, QUICK, GateSpec(accuracy=Floor(at_least=0.5)), FACTS | {"test_reads": 3})
    return render_report(ladder, measured, task, quality(labels), folder)


def test_the_parts_stand_in_the_order_in_which_they_are_read() -> None:
    text = make_page(Path("runs/tickets"))
    parts = ['class="says"', 'id="warnings"', 'id="meaning"', 'id="ladder"', 'class="chart"', 'id="comparisons"']
    parts += ['id="labels"', 'id="examples"', 'id="confidence"', 'id="data"', 'id="next"', 'id="glossary"']
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.index("were read 3 times") < text.index('id="meaning"')
    links = re.findall(r'<a href="#(\w+)">', text)
    assert links == [part[4:-1] for part in parts if part[4:-1] in links]  # the contents are in that order too
    assert len(links) == 8


def test_what_it_means_is_told_in_whole_sentences() -> None:
    text = make_page()
    meaning = text[text.index('id="meaning"') : text.index("</dl>")]
    for said in ("test examples. With 95% confidence, the true value is between ", "ms</span>", "on disk."):
        assert said in meaning
    assert re.search(r'<span class="value (good|bad)">(passes|fails)</span>', meaning)


def test_next_commands_name_the_folder_and_the_contender_quoted_for_shell_and_python() -> None:
    folder, name = Path("runs/it's <mine> & $HOME"), "lora"
    text = make_page(folder, name)
    lines = [unescape(one) for one in re.findall(r'<code class="command">(.*?)</code>', text, re.DOTALL)]
    for verb, line in zip(("predict", "predict", "serve", "export"), lines, strict=False):
        assert shlex.split(line)[:5] == ["loratory", verb, str(folder), "-c", name]
    called = ast.parse(lines[4]).body[1]
    assert isinstance(called, ast.Assign)
    assert [one.value for one in ast.walk(called) if isinstance(one, ast.Constant)] == [str(folder), name]
    assert "<mine>" not in text
    assert 'id="next"' not in make_page()  # without a folder there is nothing to name


def test_every_linked_term_is_explained_and_only_terms_of_the_page_are() -> None:
    text = make_page()
    linked = set(re.findall(r'href="#(term-[\w-]+)"', text))
    explained = set(re.findall(r'id="(term-[\w-]+)"', text))
    assert {"term-interval", "term-macro-f1", "term-log-loss", "term-calibration", "term-gate"} <= linked <= explained
    assert "term-margin" in explained
    assert not {"term-span-f1", "term-leaks"} & explained
    assert "In this run: half a point." in text


def test_right_answers_are_shown_one_for_each_label_and_escaped() -> None:
    text = make_page(labels=NASTY)
    shown = text[
        text.index('aria-label="Right answers"') : text.index("</table>", text.index('aria-label="Right answers"'))
    ]
    assert 2 <= shown.count('<td class="text">') <= len(NASTY)
    assert "<script" not in text
    assert "This page contains texts of the data." in text


@pytest.mark.parametrize("theme", [0, 1])
def test_text_of_the_report_stands_out_by_4_5(theme: int) -> None:
    style = (files("loratory.evaluation.report") / "report.html.jinja").read_text("utf-8")
    named = dict(re.findall(r"--([\w-]+): (#\w{6});", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]))
    for ink, grounds in {"ink": ("paper", "card", "mark", "alert"), "muted": ("paper", "card")}.items():
        assert all(contrast(named[ink], named[ground]) >= 4.5 for ground in grounds), ink
    assert all(contrast(named[ink], named["paper"]) >= 4.5 for ink in ("good", "bad", "s0"))
    assert all(contrast(named[tone], named["mark"]) >= 4.5 for tone in ("good", "bad"))
