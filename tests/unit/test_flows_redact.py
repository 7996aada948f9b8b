"""Redaction: what stands in a span's place, the same for the same value, and nothing goes out unread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import DataError, MissingExtra, UnsupportedTask
from loratory.experiment.inference import local_prediction as asking
from loratory.experiment.inference.text_redaction import KEY_VARIABLE, make_replacement, redact_inputs
from loratory.predictors.span_rules import SpanRule, SpanRules
from loratory.predictors.validators import VALIDATORS
from loratory.protocols import Input, Prediction, RequestRunner
from loratory.redaction import FakeReplacement, HmacReplacement, LabelReplacement, MaskReplacement, redact_text
from loratory.tasks.tag import Tag
from tiny_models import make_task

TASK = Tag(labels=("CREDIT_CARD", "PERSON"))
TEXT = "Ada Lund pays with 4111 1111 1111 1111, says Ada Lund"
SPANS = [(0, 8, "PERSON"), (19, 38, "CREDIT_CARD"), (45, 53, "PERSON")]


def make_span_rules() -> SpanRules:
    cards = SpanRule("CREDIT_CARD", "validator", ("card",))
    return SpanRules(TASK, (cards, SpanRule("PERSON", "keyword", ("ada lund",))))


def test_each_way_puts_its_own_and_leaves_the_rest() -> None:
    assert redact_text(TEXT, SPANS, LabelReplacement()) == "[PERSON] pays with [CREDIT_CARD], says [PERSON]"
    masked = redact_text(TEXT, SPANS, MaskReplacement())
    assert len(masked) == len(TEXT)
    assert "pays with" in masked
    assert not re.search(r"Ada|\d", masked)
    coded = redact_text(TEXT, SPANS, HmacReplacement(b"k"))
    one, card, two = re.findall(r"\[[A-Z_]+:([0-9a-f]{12})\]", coded)
    assert one == two != card
    assert redact_text(TEXT, SPANS, HmacReplacement(b"other")) != coded
    assert redact_text("", [], LabelReplacement()) == ""


def test_made_up_values_are_of_the_kind_and_stay_the_same() -> None:
    way = FakeReplacement(b"key")
    card = way.replace_span("CREDIT_CARD", "4111 1111 1111 1111")
    assert card == FakeReplacement(b"key").replace_span("CREDIT_CARD", "4111  1111 1111 1111")
    assert list(VALIDATORS["card"].find(card)) == [(0, len(card))]
    account = way.replace_span("IBAN_CODE", "DE89 3704 0044 0532 0130 00")
    assert list(VALIDATORS["iban"].find(account)) == [(0, len(account))]
    assert way.replace_span("PERSON", "ADA LUND") == way.replace_span("PERSON", "Ada Lund").upper()
    assert way.replace_span("PERSON", "Ada Lund") != FakeReplacement(b"other key").replace_span("PERSON", "Ada Lund")
    assert way.replace_span("PERSON", "Ada Lund") != way.replace_span("PERSON", "Ida Lund")
    unknown = way.replace_span("PASSPORT_CODE", "AB-12 9x")
    assert re.fullmatch(r"[A-Z]{2}-\d\d \d[a-z]", unknown)
    assert unknown != "AB-12 9x"
    assert way.replace_span("AGE", "!") == "█"  # nothing could be another value


def test_a_run_of_spans_is_redacted_in_order() -> None:
    inputs = [{"text": TEXT}, {"text": "nothing here"}, {"text": ""}]
    made = list(redact_inputs(make_span_rules(), inputs, LabelReplacement(), ()))
    assert [one.text for one in made] == [redact_text(TEXT, SPANS, LabelReplacement()), "nothing here", ""]
    assert made[0].as_json()["spans"][1] == {"start": 19, "end": 38, "label": "CREDIT_CARD"}
    only = list(redact_inputs(make_span_rules(), inputs[:1], LabelReplacement(), ["PERSON"]))
    assert only[0].text == "[PERSON] pays with 4111 1111 1111 1111, says [PERSON]"


@dataclass(frozen=True)
class Silent:
    """Answers nothing."""

    task: Any

    def predict(self, inputs: list[Input], run: RequestRunner) -> list[Prediction]:
        return [Prediction(None, reason="failed") for _ in inputs]


def test_what_cannot_be_redacted_is_an_error() -> None:
    silent: Any = Silent(TASK)
    with pytest.raises(UnsupportedTask, match="got no answer"):
        list(redact_inputs(silent, [{"text": TEXT}], LabelReplacement(), ()))
    labels: Any = Silent(make_task())
    with pytest.raises(UnsupportedTask, match="finds no spans"):
        list(redact_inputs(labels, [{"text": TEXT}], LabelReplacement(), ()))
    with pytest.raises(DataError, match="did you mean 'PERSON'"):
        list(redact_inputs(make_span_rules(), [], LabelReplacement(), ["PERSO"]))
    with pytest.raises(DataError, match="not a redaction method"):
        make_replacement("erase")


def test_made_up_values_name_their_extra_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.redaction.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="faker is not installed") as caught:
        make_replacement("fake")
    assert caught.value.extra == "redact"


def test_the_key_is_of_the_environment_or_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    (first, said), (second, _) = make_replacement("hash"), make_replacement("hash")
    assert said is None
    assert first.replace_span("PERSON", "Ada") == second.replace_span("PERSON", "Ada")
    monkeypatch.delenv(KEY_VARIABLE)
    (first, said), (second, _) = make_replacement("hash"), make_replacement("hash")
    assert said is not None
    assert KEY_VARIABLE in said
    assert first.replace_span("PERSON", "Ada") != second.replace_span("PERSON", "Ada")
    assert make_replacement("mask") == (MaskReplacement(), None)


def test_a_text_file_is_one_text(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_bytes(b"Dear Ada\nLund,\r\n")
    assert asking.read_text_file(TASK, file) == {"text": "Dear Ada\nLund,\r\n"}
    file.write_bytes(b"one\n\xff\n")
    with pytest.raises(DataError, match=r"letter\.txt:2"):
        asking.read_text_file(TASK, file)
