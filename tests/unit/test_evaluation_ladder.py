"""The ladder, the verdict and the gate on made-up contenders."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score
from test_evaluation_fakes import FACTS, FOUR, LADDER, QUICK, Skill, make_failed_result, world

from loratory.display.console import make_console
from loratory.errors import SpecError
from loratory.evaluation.contender_result import ContenderResult
from loratory.evaluation.gate import check_gate
from loratory.evaluation.ladder import build_ladder, format_ladder_lines, make_ladder_table
from loratory.evaluation.statistics.comparisons import adjust_p_values
from loratory.specs.evidence import Floor, GateSpec
from loratory.tasks.classify import Classify

GATE = GateSpec(
    accuracy=Floor(at_least=0.85),
    recall={"FRAUD": Floor(at_least=0.5)},
    precision={"INFO": Floor(at_least=0.999)},
    not_worse_than={"tfidf": 0.0},
)


@pytest.fixture(scope="module")
def made() -> tuple[Classify, list[ContenderResult]]:
    task, measured = world(n=400, group_size=2)
    return task, [*measured, make_failed_result("qlora")]


@pytest.fixture(scope="module")
def ladder(made: tuple[Classify, list[ContenderResult]]) -> dict[str, Any]:
    return build_ladder(*made, QUICK, GATE, FACTS)


def row(ladder: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in ladder["contenders"] if one["name"] == name)


def test_the_ladder_is_json_and_the_same_every_time(
    ladder: dict[str, Any], made: tuple[Classify, list[ContenderResult]]
) -> None:
    assert json.loads(json.dumps(ladder, allow_nan=False)) == ladder
    assert build_ladder(*made, QUICK, GATE, FACTS) == ladder
    assert ladder["split"] == {"test": 400}
    assert ladder["budget"] == FACTS["budget"]
    assert ladder["test"] == {"examples": 400, "groups": 200}


def test_figures_are_sklearns(ladder: dict[str, Any], made: tuple[Classify, list[ContenderResult]]) -> None:
    head = next(one for one in made[1] if one.name == "head")
    scores = []
    for fit in head.fits:
        truth = [example.answer["label"] for example in fit.test.examples]  # type: ignore[index]
        said = [prediction.answer["label"] for prediction in fit.test.predictions]  # type: ignore[index]
        odds = [[p.probabilities["/label"][label] for label in FOUR] for p in fit.test.predictions]
        scores.append(
            (
                accuracy_score(truth, said),
                f1_score(truth, said, average="macro"),
                log_loss(truth, odds, labels=FOUR),
                precision_score(truth, said, average=None, labels=FOUR),
            )
        )
    found = row(ladder, "head")["metrics"]
    for place, name in enumerate(("accuracy", "macro_f1", "log_loss")):
        values = [score[place] for score in scores]
        assert found[name]["seeds"] == pytest.approx(values)
        assert found[name]["mean"] == pytest.approx(sum(values) / 3)
        assert found[name]["shipped"]["value"] == pytest.approx(values[0])  # the fakes ship their first seed
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"]
    assert [found["per_label"][label]["precision"] for label in FOUR] == pytest.approx(scores[0][3].tolist())
    assert 0 < found["ece"]["chance"] < found["ece"]["chance_high"]
    assert found["accuracy"]["sd"] > 0
    assert row(ladder, "rules")["metrics"]["accuracy"]["sd"] is None


def test_decisions_go_by_holm_over_the_larger_p_of_all_comparisons(ladder: dict[str, Any]) -> None:
    rows = ladder["comparisons"]
    assert [one["p_holm"] for one in rows] == adjust_p_values(
        [max(one["mcnemar"]["p"], one["bootstrap_p"]) for one in rows]
    )
    for one in rows:
        decided = "undecided" if one["p_holm"] > 0.05 else "better" if one["difference"] > 0 else "worse"
        assert one["decision"] == decided
        mine, other = (row(ladder, one[side])["metrics"]["accuracy"]["shipped"] for side in ("contender", "against"))
        assert one["difference"] == pytest.approx(mine["value"] - other["value"])
        only = one["mcnemar"]["only_contender"] - one["mcnemar"]["only_other"]
        assert one["difference"] == pytest.approx(only / 400)
    assert {one["decision"] for one in rows} == {"better", "worse", "undecided"}


def test_a_failed_contender_keeps_its_row_and_its_reason(ladder: dict[str, Any]) -> None:
    lost = row(ladder, "qlora")
    assert (lost["status"], lost["failure"]) == ("failed", "the loss only grew; try a lower rate")
    assert "metrics" not in lost
    assert all("qlora" not in (one["contender"], one["against"]) for one in ladder["comparisons"])
    assert any("qlora could not be fitted" in line for line in format_ladder_lines(ladder))


def test_where_nothing_was_fitted_there_is_no_recommendation() -> None:
    empty = build_ladder(Classify(labels=FOUR, headline="accuracy"), [make_failed_result("lora")], QUICK, None, {})
    assert empty["verdict"]["recommended"] is None
    assert format_ladder_lines(empty)[0].startswith("No contender could be fitted")
    assert "lora" in "".join(render_table(empty, 80))


# -- the table
def render_table(ladder: dict[str, Any], width: int) -> list[str]:
    """The lines of the table on a terminal without colour: a blank, the title, a blank, the heads, a rule, the rows."""
    console = Console(file=(text := io.StringIO()), width=width, no_color=True)
    console.print(make_ladder_table(ladder))
    return text.getvalue().splitlines()


ESSENTIAL = ("contender", "accuracy", "vs best simpler", "p50 ms", "train")


@pytest.mark.parametrize("width", [110, 80])
def test_the_table_fits_its_terminal_with_whole_words(ladder: dict[str, Any], width: int) -> None:
    found = render_table(ladder, width)
    assert "…" not in "".join(found)
    assert all(len(line) <= width for line in found)
    heading = next(line for line in found if "contender" in line)
    assert all(word in heading for word in ESSENTIAL)
    wide = width == 110
    assert all((word in heading) is wide for word in ("macro-F1", "trained"))
    assert (
        found[-1] == "columns left out (the terminal is narrow): macro-F1, trained".ljust(len(found[-1]))
    ) is not wide
    rows = [line for line in found if line.strip().startswith(tuple(one["name"] for one in ladder["contenders"]))]
    assert [line.split()[0] for line in rows] == [one["name"] for one in ladder["contenders"]]
    assert [line.split()[0] for line in rows if "*" in line] == [ladder["verdict"]["recommended"]]
    assert re.search(r"\d\d\.\d \[\d\d\.\d, \d\d\.\d\]", rows[0])


def test_on_the_narrowest_terminal_name_and_headline_stay(ladder: dict[str, Any]) -> None:
    heading = next(line for line in render_table(ladder, 34) if "contender" in line)
    assert heading.split() == ["contender", "accuracy"]
    narrow = render_table(ladder, 18)
    rows = narrow[next(place for place, line in enumerate(narrow) if "──" in line) + 1 :]
    assert all(row.startswith(f" {one['name']} ") for row, one in zip(rows, ladder["contenders"], strict=False))


def test_names_in_brackets_are_no_markup_and_macro_f1_is_not_shown_twice() -> None:
    task, measured = world(n=60, ladder=[Skill("[bold]", 1.0)])
    made = build_ladder(task.model_copy(update={"headline": "macro_f1"}), measured, QUICK, None, {"name": "[red]x"})
    text = "\n".join(render_table(made, 110))
    assert "[bold] *" in text
    assert "[red]x: mean" in text
    assert ("macro_f1" in text, "macro-F1" in text) == (True, False)


def test_without_a_terminal_the_table_is_whole(ladder: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stderr", text := io.StringIO())
    make_console().print(make_ladder_table(ladder))
    assert "…" not in text.getvalue()
    assert "macro-F1" in text.getvalue()
    assert "left out" not in text.getvalue()
    monkeypatch.setenv("COLUMNS", "140")
    assert make_console().width == 140
    monkeypatch.setenv("COLUMNS", "60")
    assert make_console().width == 110


# -- the gate
def test_a_gate_holds_only_where_every_check_does(ladder: dict[str, Any]) -> None:
    gate = row(ladder, "head")["gate"]
    holds = {check["what"]: check["holds"] for check in gate["checks"]}
    assert holds == {"accuracy": True, "recall/FRAUD": True, "precision/INFO": False, "not_worse_than/tfidf": True}
    assert gate["holds"] is False
    for check in gate["checks"]:
        assert check["bound"] < check["value"]
        assert check["holds"] == (check["bound"] >= check["at_least"])
    rules = {check["what"]: check["holds"] for check in row(ladder, "rules")["gate"]["checks"]}
    assert rules["not_worse_than/tfidf"] is False
    tfidf = next(check for check in row(ladder, "tfidf")["gate"]["checks"] if check["what"] == "not_worse_than/tfidf")
    assert tfidf["says"] == "this is tfidf itself"


def test_a_contender_that_failed_cannot_be_compared_with() -> None:
    task, measured = world(n=80, ladder=LADDER[:2])
    ladder = build_ladder(
        task, [*measured, make_failed_result("lora")], QUICK, GateSpec(not_worse_than={"lora": 0.1}), {}
    )
    gate = ladder["verdict"]["gate"]
    assert gate["holds"] is False
    assert "was not fitted" in gate["checks"][0]["says"]


def test_a_floor_that_so_few_examples_could_never_show_is_said_to_be_so() -> None:
    task, measured = world(n=40, ladder=[Skill("perfect", 99.0)])
    gate = build_ladder(task, measured, QUICK, GateSpec(accuracy=Floor(at_least=0.95)), {})["verdict"]["gate"]
    assert gate["checks"][0]["value"] == 1.0
    assert gate["holds"] is False
    assert "a larger test set is needed" in gate["checks"][0]["says"]


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (GateSpec(recall={"FRUAD": Floor(at_least=0.9)}), r"recall: FRUAD: 'FRUAD' is no label.*did you mean 'FRAUD'"),
        (GateSpec(precision={"x": Floor(at_least=0.9)}), "'x' is no label"),
        (GateSpec(not_worse_than={"tf-idf": 0.0}), "'tf-idf' is no contender.*did you mean 'tfidf'"),
    ],
)
def test_a_gate_on_what_does_not_exist_is_refused(gate: GateSpec, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_gate(gate, FOUR, ["rules", "tfidf"])
    check_gate(GATE, FOUR, ["rules", "tfidf"])


def test_a_gate_on_labels_needs_a_task_with_labels() -> None:
    with pytest.raises(SpecError, match="no labels"):
        check_gate(GATE, None, ["tfidf"])
