"""Rules that find spans: what they are taught by train, what stands where they overlap, and that they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.backbones.forward.execution import run_locally
from loratory.errors import SpecError
from loratory.predictors.span_rules import SpanRule, SpanRules, apply_span_rules
from loratory.protocols import Example, Prediction, TrainSet
from loratory.regimes.lora import Lora
from loratory.regimes.rules import Rules
from loratory.tasks.tag import Tag
from tiny_models import make_context

TASK = Tag(labels=("CARD", "MAIL", "NAME"))
CARDS = ("4111 1111 1111 1111", "5500 0000 0000 0004", "3400 0000 0000 009", "6011 0000 0000 0004")


def make_example(text: str, *spans: tuple[str, str]) -> Example:
    places = [[text.index(said), text.index(said) + len(said), label] for said, label in spans]
    return TASK.read({"text": text, "spans": places})


def train() -> list[Example]:
    cards = [make_example(f"my card is {card}, thanks", (card, "CARD")) for card in CARDS]
    names = [make_example(f"{opening} Ada Lund", ("Ada Lund", "NAME")) for opening in ("Dear", "I am", "ask")]
    mails = [make_example(f"order a{i}@example.com is no mail") for i in range(4)]  # never a span: not to be believed
    return [
        *cards,
        *names,
        *mails,
        make_example("may I ask", ("may", "NAME")),
        make_example("may be"),
        make_example("in may or so"),
    ]


def fit_rules(**options: Any) -> SpanRules:
    made = Rules(**options).fit(TASK, TrainSet(train(), train()), None, make_context())
    assert isinstance(made, SpanRules)
    return made


def find_spans(made: Any, text: str) -> Sequence[tuple[str, str]]:
    (prediction,) = made.predict([{"text": text}], run_locally)
    assert TASK.check_answer({"text": text}, prediction.answer) == []
    assert len(prediction.probabilities) == len(prediction.answer["spans"])
    return [(span["text"], span["label"]) for span in prediction.answer["spans"]]


def test_train_proves_validators_and_wordings() -> None:
    made = fit_rules()
    assert [(f.source, f.label, f.says) for f in made.span_rules] == [
        ("validator", "CARD", ("card",)),
        ("mined", "NAME", ("ada lund",)),
    ]
    text = "ADA LUND paid 4012 8888 8888 1881; not 4012 8888 8888 1882, may@example.com"
    assert find_spans(made, text) == [("ADA LUND", "NAME"), ("4012 8888 8888 1881", "CARD")]
    assert find_spans(made, "Ada Lundqvist") == []
    assert find_spans(made, "") == []


def test_rules_of_the_user_come_first() -> None:
    made = fit_rules(patterns={"NAME": [r"\d{4} \d{4}"]}, keywords={"MAIL": ["post box"]}, validators={"email": "MAIL"})
    assert find_spans(made, "4111 1111 1111 1111")[0] == ("4111 1111", "NAME")
    assert find_spans(made, "my Post Box or a@example.com") == [("Post Box", "MAIL"), ("a@example.com", "MAIL")]
    mail = next(finder for finder in made.span_rules if finder.says == ("email",))
    assert mail.precision == pytest.approx(1 / 5)  # none of four, and one that is believed
    with pytest.raises(SpecError, match="did you mean 'CARD'"):
        fit_rules(validators={"card": "CARDS"})


def test_a_catastrophic_pattern_ends_in_time() -> None:
    import time

    made = fit_rules(patterns={"NAME": [r"(a+)+$"]})
    started = time.perf_counter()
    assert find_spans(made, "a" * 40 + "!") == []
    assert time.perf_counter() - started < 5


def test_what_finders_found_stands_over_what_was_learnt() -> None:
    text = "call 4111 1111 1111 1111 of Ada"
    learnt = TASK.from_spans(text, [(5, 14, "NAME"), (28, 31, "NAME")])
    made = Prediction(learnt, {"/spans/0/label": {"NAME": 0.9}, "/spans/1/label": {"NAME": 0.8}})
    both = apply_span_rules(TASK, [SpanRule("CARD", "validator", ("card",), 0.95)], text, made)
    assert TASK.spans_of(both.answer) == [(5, 24, "CARD"), (28, 31, "NAME")]
    assert both.probabilities == {"/spans/0/label": {"CARD": 0.95}, "/spans/1/label": {"NAME": 0.8}}
    assert apply_span_rules(TASK, [], text, made) == made
    silent = Prediction(None, reason="failed")
    assert apply_span_rules(TASK, [SpanRule("CARD", "validator", ("card",))], text, silent) is silent


def test_a_regime_takes_the_validators_it_is_given() -> None:
    lessons = TrainSet(train(), train())
    made = SpanRules(TASK, ())

    assert Lora(validators="off").add_span_rules(TASK, lessons, made) is made
    with pytest.raises(SpecError, match="no label"):
        Lora(validators={"iban": "ACCOUNT"}).add_span_rules(TASK, lessons, made)
    mapped = Lora(validators={"card": "CARD"}).add_span_rules(TASK, lessons, made)
    assert [finder.says for finder in mapped.span_rules] == [("card",)]


def test_finders_are_kept(tmp_path: Path) -> None:
    made = fit_rules(keywords={"NAME": ["Größe 7", "ß"]})
    made.save(tmp_path)
    assert SpanRules.load(tmp_path, TASK, None) == made  # type: ignore[arg-type]
