"""The quality report finds what was planted, says where, and says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.data.dataset import Parts
from loratory.data.preparation import prepare_data
from loratory.data.quality import quality_report
from loratory.data.quality.encoding_errors import find_encoding_error
from loratory.data.quality.label_errors import LabelErrors, SuspectedLabel
from loratory.data.splitting.groups import DuplicatePairs, group_examples, name_pairs_by_origin
from loratory.data.splitting.overlaps import find_leaked_test_examples, find_leaks
from loratory.protocols import Example
from loratory.specs.data import DataSpec
from loratory.tasks.classify import Classify

TASK = Classify(labels=("fee", "card"))


def part(name: str, *rows: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(
        Example({"text": text}, {"label": label}, group=f"{name}:{line}", origin=f"{name}:{line}")
        for line, (text, label) in enumerate(rows, 1)
    )


def report(train: Any = (), test: Any = (), validation: Any = (), **options: Any) -> dict[str, Any]:
    parts = Parts.of(TASK, part("train", *train), part("validation", *validation), (), part("test", *test))
    everything = [example for _, examples in parts.items() for example in examples]
    texts = [str(example.input["text"]) for example in everything]
    return quality_report.inspect_data(
        parts, name_pairs_by_origin(everything, group_examples(everything, texts, 0.85)), **options
    )


CLEAN = [(f"a text about subject {letter * 9}", "fee" if letter in "abcdef" else "card") for letter in "abcdefghijkl"]


def said(found: dict[str, Any]) -> str:
    return "\n".join(f"{one['what']} -> {one['do']}" for one in found["warnings"])


def test_counts_balance_and_lengths() -> None:
    found = report([("one two", "fee"), ("three", "fee"), ("four", "card")], [("five", "card")])
    assert found["counts"] == {"train": 3, "validation": 0, "calibration": 0, "test": 1}
    assert found["labels"]["per_part"]["fee"] == {"train": 2, "validation": 0, "calibration": 0, "test": 0}
    assert found["labels"]["ratio"] == 2.0
    assert found["labels"]["largest"] == ["fee", 2]
    assert found["lengths"]["characters"]["train"] == {"least": 4, "p5": 4, "p50": 5, "p95": 7, "p99": 7, "most": 7}
    assert found["lengths"]["words"]["train"]["most"] == 2
    assert found["lengths"]["words"]["validation"] == {}
    assert "1 labels have no example in test: fee" in said(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_clean_data_gives_no_warning_but_its_size() -> None:
    train = [(f"{text} {n * 'x'}y{n * 'z'}", label) for text, label in CLEAN for n in range(9, 11)]
    found = report(
        [*train, *CLEAN],
        [
            (f"{letter * 8} is what {letter * 5} said", label)
            for letter, label in zip("mnopqrst", ["fee", "card"] * 4, strict=True)
        ],
    )
    assert [one["what"][:12] for one in found["warnings"]] == ["the test set"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("cafÃ© closed", "mojibake"),
        ("it isnâ€™t", "mojibake"),
        ("5 Â£", "mojibake"),
        ("ðŸ\u02dc€", "mojibake"),
        ("lost \ufffd one", "lost characters"),
        ("I\x92m here", "control characters"),
        ("nul \x00", "control characters"),
        ("café, naïve, São Paulo, Ærø, İstanbul", None),
        ("« MARCHÉ»", None),
        ("\u201eorð\u201c", None),
        ("smile \U0001f600 it\u2019s\tfine\n", None),
        ("Âge et coût", None),
        ("5 £ \u2013 6 €", None),
    ],
)
def test_damage_is_told_from_accents(text: str, kind: str | None) -> None:
    assert find_encoding_error(text) == kind


def test_damaged_texts_are_told_with_their_origin() -> None:
    found = report([*CLEAN, ("cafÃ©", "fee")])
    assert found["damage"]["examples"] == [{"origin": "train:13", "kind": "mojibake", "text": "cafÃ©"}]
    assert "1 mojibake, first train:13 -> export the data again" in said(found)


def test_one_text_under_two_labels_is_told_with_both_origins() -> None:
    found = report([*CLEAN, ("Where IS it", "fee"), ("where is it", "card"), ("rule 7", "fee"), ("rule 8", "card")])
    assert found["conflicts"]["count"] == 1  # numbers may decide: "rule 7" is not "rule 8"
    assert found["conflicts"]["examples"][0]["labels"] == {"fee": ["train:13"], "card": ["train:14"]}
    assert "fee at train:13, card at train:14" in said(found)


def test_leakage_into_a_given_test_set_is_counted_not_mended() -> None:
    long = "how long will it take until my new card comes to me"
    found = report(
        [*CLEAN, (long, "card"), (long, "card")],
        [(CLEAN[0][0].upper(), "fee"), (long + "e", "card"), ("new words", "fee"), ("and others", "card")],
        [("a validation text", "fee")],
    )
    (one,) = found["overlaps"]
    assert one["parts"] == ["train", "test"]
    assert (one["exact"], one["near"], one["share"]) == (1, 1, 0.5)
    assert one["examples"] == [["train:1", "test:1"], ["train:13", "test:2"]]
    assert found["counts"]["test"] == 4
    assert found["duplicates"]["exact"] == 2
    assert "2 examples of test (50.0%) are duplicates or near-duplicates of one in train" in said(found)


@pytest.mark.parametrize("mode", ["join", "report"])
def test_a_copy_of_every_kind_in_a_given_test_file_is_told_in_both_modes(tmp_path: Path, mode: str) -> None:
    base = "how long will it take until my new card comes to me"
    copies = [base.upper(), base + "!", base.replace("card", "c\u200bard"), base.replace("o", "\u043e"), base + "e"]
    rows = [{"text": text, "label": label} for text, label in [(base, "card"), *CLEAN]]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tests = [{"text": text, "label": "card"} for text in [*copies, "and now for other things"]]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, tests)))
    spec = DataSpec.model_validate({"path": "train.jsonl", "test": "test.jsonl", "duplicates": mode})
    made = prepare_data(Classify(), spec, tmp_path)
    found = quality_report.inspect_data(made.parts, made.pairs)
    assert sum(one["exact"] for one in found["overlaps"] if one["parts"][1] == "test") == 1
    assert sum(one["near"] for one in found["overlaps"] if one["parts"][1] == "test") == 4
    assert any(
        "near-duplicate" in line and "none in two parts" not in line
        for line in quality_report.format_quality_lines(found)
    )


def test_near_counts_texts_whatever_the_pairs(tmp_path: Path) -> None:
    long = "how long will it take until my new card comes to me"
    found = report([*CLEAN, (long, "card"), (long + "e", "card"), (long + "!", "card"), (long, "card")])
    assert (found["duplicates"]["exact"], found["duplicates"]["near"]) == (1, 3)


def test_truncation_is_told_by_the_tokens_that_the_base_reads() -> None:
    found = report(CLEAN[:4], token_counts={"train": [5, 9, 10, 8]}, max_tokens=8)
    assert found["truncated"]["examples"] == {"train": 2}
    assert found["truncated"]["share"] == {"train": 0.5}
    assert found["truncated"]["origins"] == ["train:2", "train:3"]
    assert found["lengths"]["tokens"]["train"]["most"] == 10
    assert "50% of the texts exceed the base's 8 tokens" in said(found)
    assert report(CLEAN)["truncated"] is None


def test_suspects_uneven_labels_and_large_groups_are_warned_of() -> None:
    suspect = SuspectedLabel("train:3", "text", "fee", "card", 0.1, 0.8)
    found = report(
        [(f"{letter * 7} {letter}", "fee") for letter in "abcdefghijklmnopqrstuv"] + [("the one", "card")],
        label_errors=LabelErrors((suspect,), 0.9, 0.5),
    )
    assert found["suspects"]["examples"][0]["suggested"] == "card"
    assert "first train:3: fee, or card?" in said(found)
    assert "22 times" in said(found)
    same = tuple(
        Example({"text": f"t{n}"}, {"label": "fee"}, group="g" if n < 5 else f"{n}", origin=f"a:{n}") for n in range(20)
    )
    parts = Parts.of(TASK, same)
    assert "one group (g) holds 5 of 20" in said(quality_report.inspect_data(parts, DuplicatePairs()))


def test_texts_without_a_letter_are_counted() -> None:
    assert report([*CLEAN, ("?!", "fee"), ("7", "fee"), ("ж", "fee")])["empty"] == {"count": 1, "origins": ["train:13"]}


def test_the_screen_version_is_short_and_plain() -> None:
    found = report(
        [*CLEAN, ("cafÃ©", "fee")],
        [(CLEAN[0][0], "card")],
        token_counts={"train": [3] * 13},
        max_tokens=2,
        label_errors=LabelErrors((), 0.9, 0.5),
    )
    shown = quality_report.format_quality_lines(found)
    assert 12 <= len(shown) <= 25
    assert all(len(line) <= 140 and "\n" not in line for line in shown)
    assert shown[0] == "examples     14: train 13, validation 0, calibration 0, test 1"
    assert any(line.startswith("leakage      1 exact, 0 near from train to test") for line in shown)


# ---- leaks and weak models
def test_every_leaked_test_row_is_listed_with_its_origin() -> None:
    texts = [f"{word} paid the bill for {word}{n}" for n, word in enumerate(["anna", "bert", "cleo", "dora"] * 5)]
    train = [(text, "fee") for text in texts[:15]]
    test = [(text.upper(), "fee") for text in texts[:15]] + [(f"{texts[0]}x", "fee"), ("a river and a bridge", "card")]
    found = report(train, [*test, test[0]], validation=[("the lamp in the window is green today", "card")])
    leaked = [f"test:{n}" for n in range(1, 17)]
    assert found["leaked_test"] == [*leaked, "test:18"]
    assert len(found["leaked_test"]) == sum(one["exact"] + one["near"] for one in found["overlaps"])


def test_a_leak_through_an_equal_text_of_another_part_and_from_validation_is_found() -> None:
    same = ("the lamp in the window is green today", "fee")
    parts = Parts.of(
        TASK, part("train", *CLEAN), part("validation", same), part("calibration", same), part("test", same, CLEAN[0])
    )
    everything = [*parts.calibration, *parts.train, *parts.validation, *parts.test]
    texts = [str(example.input["text"]) for example in everything]
    pairs = name_pairs_by_origin(everything, group_examples(everything, texts, 0.85))
    assert find_leaked_test_examples(parts, find_leaks(parts, pairs)) == ["test:1", "test:2"]
    without = Parts.of(TASK, parts.train, (), parts.calibration, parts.test)
    assert find_leaked_test_examples(without, find_leaks(without, pairs)) == ["test:2"], (
        "the calibration part teaches nothing"
    )


def test_a_leak_is_listed_though_another_test_row_stands_between() -> None:
    """The pairs name the first of three texts of one form; that one is a test row, too."""
    parts = Parts.of(
        TASK,
        part("train", ("the café in the window", "fee")),
        (),
        (),
        part(
            "test",
            ("the cafe in the window", "fee"),
            ("the cafè in the window", "fee"),
            ("a river and a bridge", "card"),
        ),
    )
    everything = [*parts.test, *parts.train]
    pairs = name_pairs_by_origin(
        everything, group_examples(everything, [str(one.input["text"]) for one in everything], 0.85)
    )
    assert find_leaked_test_examples(parts, find_leaks(parts, pairs)) == ["test:1", "test:2"]


def test_of_a_weak_model_nothing_is_listed_or_warned_of() -> None:
    suspect = SuspectedLabel("train:3", "text", "fee", "card", 0.1, 0.8)
    found = report(CLEAN, label_errors=LabelErrors((suspect,), 0.41, 0.3))
    assert found["suspects"] == {
        **{"count": 0, "out_of_fold_accuracy": 0.41, "majority": 0.3, "useful": False, "examples": []}
    }
    assert "look wrong" not in said(found)
    assert any(
        line.startswith("suspected    not listed: a cross-validated model with accuracy 41.0%")
        for line in quality_report.format_quality_lines(found)
    )
    strong = report(CLEAN, label_errors=LabelErrors((suspect,), 0.95, 0.3))
    assert "1 labels of train look wrong to a cross-validated model with accuracy 95%" in said(strong)
