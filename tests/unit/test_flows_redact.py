"""Redaction: what stands in a span's place, the same for the same value, and nothing goes out unread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import DataError, Unfit
from loratory.flows import predict as asking
from loratory.flows.redact import KEY, redact, way_of
from loratory.predictors.finders import Finder, Finders
from loratory.predictors.recognisers import RECOGNISERS
from loratory.protocols import Input, Prediction, Run
from loratory.redaction import Faked, Hashed, Masked, Typed, redacted
from loratory.tasks.tag import Tag
from tiny import toy_task

TASK = Tag(labels=("CREDIT_CARD", "PERSON"))
TEXT = "Ada Lund pays with 4111 1111 1111 1111, says Ada Lund"
SPANS = [(0, 8, "PERSON"), (19, 38, "CREDIT_CARD"), (45, 53, "PERSON")]


def finders() -> Finders:
    cards = Finder("CREDIT_CARD", "recogniser", ("card",))
    return Finders(TASK, (cards, Finder("PERSON", "keyword", ("ada lund",))))


def test_each_way_puts_its_own_and_leaves_the_rest() -> None:
    assert redacted(TEXT, SPANS, Typed()) == "[PERSON] pays with [CREDIT_CARD], says [PERSON]"
    masked = redacted(TEXT, SPANS, Masked())
    assert len(masked) == len(TEXT)
    assert "pays with" in masked
    assert not re.search(r"Ada|\d", masked)
    coded = redacted(TEXT, SPANS, Hashed(b"k"))
    one, card, two = re.findall(r"\[[A-Z_]+:([0-9a-f]{12})\]", coded)
    assert one == two != card
    assert redacted(TEXT, SPANS, Hashed(b"other")) != coded
    assert redacted("", [], Typed()) == ""


def test_made_up_values_are_of_the_kind_and_stay_the_same() -> None:
    way = Faked(b"key")
    card = way.put("CREDIT_CARD", "4111 1111 1111 1111")
    assert card == Faked(b"key").put("CREDIT_CARD", "4111  1111 1111 1111")
    assert list(RECOGNISERS["card"].find(card)) == [(0, len(card))]
    account = way.put("IBAN_CODE", "DE89 3704 0044 0532 0130 00")
    assert list(RECOGNISERS["iban"].find(account)) == [(0, len(account))]
    assert way.put("PERSON", "ADA LUND") == way.put("PERSON", "Ada Lund").upper()
    assert way.put("PERSON", "Ada Lund") != Faked(b"other key").put("PERSON", "Ada Lund")
    assert way.put("PERSON", "Ada Lund") != way.put("PERSON", "Ida Lund")
    unknown = way.put("PASSPORT_CODE", "AB-12 9x")
    assert re.fullmatch(r"[A-Z]{2}-\d\d \d[a-z]", unknown)
    assert unknown != "AB-12 9x"
    assert way.put("AGE", "!") == "█"  # nothing could be another value


def test_a_run_of_spans_is_redacted_in_order() -> None:
    inputs = [{"text": TEXT}, {"text": "nothing here"}, {"text": ""}]
    made = list(redact(finders(), inputs, Typed(), ()))
    assert [one.text for one in made] == [redacted(TEXT, SPANS, Typed()), "nothing here", ""]
    assert made[0].as_json()["spans"][1] == {"start": 19, "end": 38, "label": "CREDIT_CARD"}
    only = list(redact(finders(), inputs[:1], Typed(), ["PERSON"]))
    assert only[0].text == "[PERSON] pays with 4111 1111 1111 1111, says [PERSON]"


@dataclass(frozen=True)
class Silent:
    """Answers nothing."""

    task: Any

    def predict(self, inputs: list[Input], run: Run) -> list[Prediction]:
        return [Prediction(None, why="failed") for _ in inputs]


def test_what_cannot_be_redacted_is_an_error() -> None:
    silent: Any = Silent(TASK)
    with pytest.raises(Unfit, match="not read"):
        list(redact(silent, [{"text": TEXT}], Typed(), ()))
    labels: Any = Silent(toy_task())
    with pytest.raises(Unfit, match="finds no spans"):
        list(redact(labels, [{"text": TEXT}], Typed(), ()))
    with pytest.raises(DataError, match="did you mean 'PERSON'"):
        list(redact(finders(), [], Typed(), ["PERSO"]))
    with pytest.raises(DataError, match="no way to redact"):
        way_of("erase")


def test_the_key_is_of_the_environment_or_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    (first, said), (second, _) = way_of("hash"), way_of("hash")
    assert said is None
    assert first.put("PERSON", "Ada") == second.put("PERSON", "Ada")
    monkeypatch.delenv(KEY)
    (first, said), (second, _) = way_of("hash"), way_of("hash")
    assert said is not None
    assert KEY in said
    assert first.put("PERSON", "Ada") != second.put("PERSON", "Ada")
    assert way_of("mask") == (Masked(), None)


def test_a_text_file_is_one_text(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_bytes(b"Dear Ada\nLund,\r\n")
    assert asking.whole_file(TASK, file) == {"text": "Dear Ada\nLund,\r\n"}
    file.write_bytes(b"one\n\xff\n")
    with pytest.raises(DataError, match=r"letter\.txt:2"):
        asking.whole_file(TASK, file)
