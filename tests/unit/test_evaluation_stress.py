"""Flips counted by hand, on predictors whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from test_evaluation_fakes import FACTS, FOUR, QUICK, Skill, world

from loratory.data.quality.paired_texts import perturb_example, replace_text, require_comparable
from loratory.errors import SpecError, UnsupportedTask
from loratory.evaluation.gate import check_gate
from loratory.evaluation.ladder import build_ladder, format_ladder_lines
from loratory.evaluation.report.html_report import render_report
from loratory.evaluation.statistics.proportions import estimate_proportion
from loratory.evaluation.stress_test import (
    PerturbedOutcomes,
    measure_flips,
    measure_perturbation,
    share_from_json,
    share_to_json,
    sort_worst_first,
)
from loratory.evaluation.stress_test import format_stress_lines as said
from loratory.experiment.inference.stress_run import (
    StressRequest,
    measure_under_stress,
    read_stress_file,
    replace_entry,
    sample_examples,
)
from loratory.perturbations.lookalikes import Lookalikes
from loratory.perturbations.phrases import Prefix
from loratory.protocols import BackbonePool, Example, Input, ParameterCount, Prediction, RequestRunner
from loratory.specs.evidence import Ceiling, EvidenceSpec, GateSpec
from loratory.specs.stress import StressSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

YES_NO = Classify(labels=("no", "yes"))
EVIDENCE = EvidenceSpec(resamples=200)


@dataclass(frozen=True)
class Fake:
    """Answers by a function of the text."""

    task: Any
    answers: Callable[[str], Any]

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [Prediction(self.answers(str(input["text"]))) for input in inputs]

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, source: Any, task: Any, backbones: BackbonePool) -> Self:
        raise NotImplementedError

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(0, 0)


def texts(count: int = 20) -> list[Example]:
    """Of every four one is labelled yes, and each is a group of its own."""
    return [
        Example({"text": f"text number {'abcdefghijklmnopqrstuvwxyz'[i % 26]}"}, {"label": "no" if i % 4 else "yes"})
        for i in range(count)
    ]


def by(rule: Callable[[str], bool]) -> Callable[[str], dict[str, str]]:
    return lambda text: {"label": "yes" if rule(text) else "no"}


def stress(predictor: Fake, rows: Sequence[Example], *of: Any, **more: Any) -> dict[str, Any]:
    found = measure_under_stress(predictor, StressRequest(StressSpec(of=of, **more), EVIDENCE, rows))
    return {row["name"]: row for row in found["perturbations"]}


def test_flips_and_what_was_right_are_counted() -> None:
    examples = texts()
    flips_behind = Fake(YES_NO, by(lambda text: text.endswith("you.")))  # no to all as they are; yes behind a phrase
    found = stress(flips_behind, examples, {"suffix": {"phrases": ["Thank you."]}}, {"prefix": {"phrases": ["Hi,"]}})
    suffix, prefix = found["suffix"], found["prefix"]
    assert (suffix["texts"], suffix["left_as_they_are"]) == (20, 0)
    assert suffix["flips"]["value"] == 1.0
    assert suffix["broken"]["value"] == 1.0
    assert suffix["broken"]["n"] == 15
    assert suffix["labels"]["no"]["broken"] == {**suffix["labels"]["no"]["flips"]}
    assert suffix["labels"]["yes"]["broken"]["value"] is None  # none was right
    assert suffix["score"] == {**suffix["score"], "before": 0.75, "after": 0.25, "change": -0.5}
    assert prefix["flips"]["value"] == prefix["broken"]["value"] == 0.0
    assert prefix["flips"]["low"] == 0.0
    assert 0.1 < prefix["flips"]["high"] < 0.2  # none of 20: Clopper and Pearson's 16.8 %
    assert prefix["examples"] == []


def test_a_share_of_flips_and_its_examples_the_worst_first() -> None:
    examples = texts(8)
    odd = Fake(YES_NO, by(lambda text: text.startswith("Hi,") and text[-1] in "ab"))  # a is yes, b is no
    row = stress(odd, examples, {"prefix": {"phrases": ["Hi,"]}}, examples=2)["prefix"]
    assert row["flips"]["value"] == 2 / 8
    assert row["broken"]["value"] == 1 / 6
    assert [one["text"][-1] for one in row["examples"]] == ["b", "a"]  # from right to wrong before wrong to right
    assert row["examples"][0] == {
        "origin": "",
        "text": "text number b",
        "perturbed": "Hi, text number b",
        "expected": {"label": "no"},
        "before": {"label": "no"},
        "after": {"label": "yes"},
    }
    assert row["labels"]["yes"]["flips"]["value"] == 1 / 2


def test_no_answer_is_another_answer() -> None:
    shy = Fake(YES_NO, lambda text: None if text.startswith("Hi,") else {"label": "no"})
    assert stress(shy, texts(4), {"prefix": {"phrases": ["Hi,"]}})["prefix"]["flips"]["value"] == 1.0


def test_texts_that_cannot_change_do_not_count() -> None:
    examples = [Example({"text": "a"}, {"label": "no"}), Example({"text": "a b"}, {"label": "no"})]
    fake = Fake(YES_NO, by(lambda text: text != "a"))
    found = stress(fake, examples, "spacing", "punctuation")
    assert (found["spacing"]["texts"], found["spacing"]["left_as_they_are"]) == (1, 1)
    assert found["punctuation"]["texts"] == 0
    assert found["punctuation"]["score"] is None
    assert "changes none" in " ".join(said({"perturbations": list(found.values())}))


def test_groups_widen_the_interval() -> None:
    alone = texts(40)
    together = [Example(e.input, e.answer, group=str(i // 10)) for i, e in enumerate(alone)]
    fake = Fake(YES_NO, by(lambda text: text.startswith("Hi,") and text[-1] < "f"))
    one, other = (stress(fake, e, {"prefix": {"phrases": ["Hi,"]}})["prefix"]["flips"] for e in (alone, together))
    assert one["value"] == other["value"]
    assert other["high"] - other["low"] > one["high"] - one["low"]


def test_a_share_is_made_again_from_what_is_written() -> None:
    import numpy as np

    found = estimate_proportion(np.array([1.0, 0, 0, 1, 0]), np.ones(5), np.array([0, 0, 1, 2, 3]))
    assert share_from_json(share_to_json(found, 0.95)) == found
    assert found.upper_bound(0.95) == pytest.approx(
        1
        - estimate_proportion(1 - np.array([1.0, 0, 0, 1, 0]), np.ones(5), np.array([0, 0, 1, 2, 3])).lower_bound(0.95)
    )


TAG = Tag(labels=("NAME",))


def make_tagged_examples() -> list[Example]:
    made = []
    for name in ("Ann", "Bob", "Cleo", "Dora"):
        text = f"please call {name} today"
        made.append(Example({"text": text}, TAG.from_spans(text, [(12, 12 + len(name), "NAME")])))
    return made


def test_expected_spans_move_and_the_score_is_compared() -> None:
    made = perturb_example(TAG, make_tagged_examples()[0], Prefix(phrases=("Hello,",)), 1)
    assert made is not None
    assert made.answer is not None
    assert made.answer["spans"] == [{"start": 19, "end": 22, "label": "NAME", "text": "Ann"}]
    assert TAG.check_answer(made.input, made.answer) == []
    hidden = perturb_example(TAG, make_tagged_examples()[0], Lookalikes(strength=1.0, styles=("zero-width",)), 1)
    assert hidden is not None
    assert hidden.answer is not None
    assert TAG.check_answer(hidden.input, hidden.answer) == []
    assert len(hidden.answer["spans"][0]["text"]) == 5

    def third_word(text: str) -> Any:
        word = text.split()[2]
        return TAG.from_spans(text, [(text.index(word), text.index(word) + len(word), "NAME")])

    found = stress(Fake(TAG, third_word), make_tagged_examples(), {"prefix": {"phrases": ["Hello,"]}}, {"suffix": {}})
    assert found["suffix"]["score"]["change"] == 0.0
    assert found["prefix"]["score"]["before"] == 1.0
    assert found["prefix"]["score"]["after"] == 0.0
    assert found["prefix"]["score"]["low"] == -1.0
    assert -0.5 < found["prefix"]["score"]["high"] < 0  # four texts are no certainty
    assert "flips" not in found["prefix"]
    assert len(found["prefix"]["examples"]) == 4
    assert list(found) == ["prefix", "suffix"]  # worst first
    assert "a change of -100.0" in said({"perturbations": list(found.values())})[0]


def test_a_task_whose_text_is_no_field_is_refused() -> None:
    class Two(Classify):
        def text(self, input: Input) -> str:
            return f"{input['a']} {input['b']}"

    with pytest.raises(UnsupportedTask, match="makes its text of several fields"):
        replace_text(Two(labels=("x", "y")), {"a": "1", "b": "2"}, "3")
    with pytest.raises(UnsupportedTask, match="neither with a label nor with spans"):
        require_comparable(Generate())


def test_so_many_texts_are_drawn_the_same_each_time() -> None:
    spec = StressSpec(texts=5)
    assert sample_examples(texts(), spec) == sample_examples(texts(), spec)
    assert len(sample_examples(texts(), spec)) == 5
    assert sample_examples(texts(4), spec) == texts(4)


def test_entries_are_kept_by_contender_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "stress.json"
    for key, name, spec in (("1", "a", {"seed": 1}), ("2", "a", {"seed": 2}), ("3", "b", {}), ("4", "a", {"seed": 1})):
        replace_entry(file, "run", {"name": name, "key": key, "spec": spec})
    assert [one["key"] for one in read_stress_file(file)] == ["2", "3", "4"]
    file.write_text("{", encoding="utf-8")
    assert read_stress_file(file) == []


# ---- in the ladder, the gate and the report
TASK = Classify(labels=FOUR)


def shaken(gate: GateSpec | None = None) -> tuple[dict[str, Any], Any, Any]:
    """A ladder whose contender lora flips where texts are even (suffix), and never (case)."""
    from dataclasses import replace

    _, measured = world(FOUR, 200, ladder=(Skill("rules", 0.2), Skill("lora", 1.8, adapts=True)))
    made = []
    for one in measured:
        test = one.shipped_fit.test
        other = [
            {"label": FOUR[(FOUR.index(p.answer["label"]) + (i % 10 == 0)) % 4]}
            for i, p in enumerate(test.predictions)
            if p.answer
        ]
        after = replace(test, predictions=[Prediction(answer) for answer in other])
        after = replace(
            after, counts=[TASK.score_example(e, p) for e, p in zip(after.examples, after.predictions, strict=True)]
        )
        rows = [
            {
                "name": name,
                "texts": 200,
                "left_as_they_are": 0,
                **measure_perturbation(TASK, PerturbedOutcomes(test, now), QUICK, 3),
            }
            for name, now in (("case", test), ("suffix", after))
        ]
        made.append(replace(one, stress_rows=sort_worst_first(rows)))
    return build_ladder(TASK, made, QUICK, gate, FACTS), made, TASK


def test_the_ladder_and_its_words_hold_it() -> None:
    ladder, _, _ = shaken()
    row = next(row for row in ladder["contenders"] if row["name"] == "lora")
    assert [one["name"] for one in row["stress"]] == ["suffix", "case"]
    assert row["stress"][0]["flips"]["value"] == pytest.approx(0.1)
    assert any("Under stress lora changes most answers where suffix" in line for line in format_ladder_lines(ladder))


def test_the_gate_goes_by_the_upper_bound() -> None:
    gate = GateSpec(
        flips={
            "suffix": Ceiling(at_most=0.11),
            "case": Ceiling(at_most=0.05),
            "suffix/FRAUD": Ceiling(at_most=0.9),
            "typos": Ceiling(at_most=1.0),
        }
    )
    ladder, _, _ = shaken(gate)
    row = next(row for row in ladder["contenders"] if row["name"] == "lora")
    checks = {one["what"]: one for one in row["gate"]["checks"]}
    assert not checks["flips/suffix"]["holds"]  # 10 % were seen, and the bound is higher
    assert checks["flips/suffix"]["value"] == pytest.approx(0.1)
    assert checks["flips/suffix"]["bound"] > 0.11
    assert checks["flips/case"]["holds"]
    assert checks["flips/suffix/FRAUD"]["holds"]
    assert "right answers FRAUD turn wrong" in checks["flips/suffix/FRAUD"]["says"]
    assert not checks["flips/typos"]["holds"]
    assert "were not tested with it" in checks["flips/typos"]["says"]


@pytest.mark.parametrize(
    ("flips", "known", "labels", "problem"),
    [
        ("sufix", ("suffix",), FOUR, "'sufix' is no perturbation of this spec; did you mean 'suffix'"),
        ("suffix", (), FOUR, "nothing is perturbed"),
        ("suffix/FRUAD", ("suffix",), FOUR, "did you mean 'suffix/FRAUD'"),
        ("suffix", ("suffix",), None, "no labels"),
    ],
)
def test_a_gate_that_cannot_be_held_is_refused(flips: str, known: Any, labels: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        check_gate(GateSpec(flips={flips: Ceiling(at_most=0.1)}), labels, ("lora",), known)
    check_gate(GateSpec(flips={"suffix/FRAUD": Ceiling(at_most=0.1)}), FOUR, (), ("suffix",))


def test_the_report_draws_it_and_escapes_it() -> None:
    ladder, measured, task = shaken()
    page = render_report(ladder, measured, task, None)
    assert "Under stress" in page
    assert "Under each perturbation" in page
    assert "<b>mean</b>" not in page
    _, plain = world(FOUR, 60, ladder=(Skill("rules", 0.2),))
    assert "Under stress" not in render_report(build_ladder(TASK, plain, QUICK, None, FACTS), plain, task, None)


def test_flips_are_of_answers_not_of_odds() -> None:
    examples = texts(4)
    outcome = [Prediction({"label": "no"}, {"/label": {"no": p, "yes": 1 - p}}) for p in (0.9, 0.6)]
    from loratory.protocols import ScoredPredictions

    sides = [
        ScoredPredictions(examples, [one] * 4, [YES_NO.score_example(e, one) for e in examples]) for one in outcome
    ]
    facts: Any = measure_flips(YES_NO, PerturbedOutcomes(*sides), 0.95)
    assert facts["flips"]["value"] == 0.0


def test_of_spans_the_report_draws_the_change_of_the_score() -> None:
    ladder, measured, task = shaken()
    for row in ladder["contenders"]:
        row["stress"] = [
            {key: value for key, value in one.items() if key not in ("flips", "broken", "labels")}
            for one in row["stress"]
        ]
        row["stress"].append({"name": "spacing", "texts": 0, "left_as_they_are": 9, "score": None, "examples": []})
    page = render_report(ladder, measured, task, None)
    assert "change of the score, points" in page
    assert "right turned wrong" not in page
    assert "spacing" in page
    assert not any("Under stress" in line for line in format_ladder_lines(ladder))
