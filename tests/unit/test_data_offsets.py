"""Offsets in every unit are found and read rightly, and nothing else is taken for a unit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.data.dataset import Parts
from loratory.data.offset_detection import detect_offset_unit, inspect_offsets, warn_of_offsets
from loratory.data.preparation import prepare_data
from loratory.data.quality.quality_report import inspect_data
from loratory.data.rows import Row
from loratory.data.splitting.groups import DuplicatePairs
from loratory.errors import DataError, FieldError
from loratory.measures.offset_formats import OffsetFormat, from_characters, to_characters
from loratory.protocols import Example
from loratory.specs.data import DataSpec
from loratory.tasks.tag import OFFSET_FORMATS, Tag

PIECES = (  # a text is some of these, with one space between
    *"the report from lift number seven was sent on Monday, and then nobody answered it.".split(),
    *("\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea"),
    *(
        "Grüße",
        "Straße",
        "naïve",
        "cafe\u0301",
        "€5",
        "שלום",
        "مرحبا",
        "привет",
        "안녕",
        "\tdone\n",
        "\U0001d4d0\U0001d4d1",
    ),
)
NAMES = ("Eva Pohl", "Jörg Müller", "Norvik AB", "Zoë", "Ян Ким", "José Núñez", "O'Hara", "Tarn & Sons")


def random_rows(seed: int, count: int = 60, pieces: Sequence[str] = PIECES) -> list[tuple[str, list[tuple[int, int]]]]:
    """Texts with their true spans, in characters."""
    chance, rows = random.Random(seed), []
    for _ in range(count):
        text, spans = "", []
        for _ in range(chance.randint(1, 3)):
            text += " ".join(chance.choices(pieces, k=chance.randint(1, 8))) + " "
            name = chance.choice(NAMES)
            spans.append((len(text), len(text) + len(name)))
            text += name + chance.choice([" ", ", ", ": "])
        rows.append((text.rstrip() if chance.random() < 0.5 else text + "end.", spans))
    return rows


def as_file(
    rows: Sequence[tuple[str, Sequence[tuple[int, int]]]], reading: OffsetFormat, said: bool = False
) -> list[Row]:
    """The rows as a tool would write them that counts so."""
    made = []
    for number, (text, spans) in enumerate(rows, 1):
        convert = from_characters(text, reading)
        listed: list[dict[str, Any]] = []
        for start, end in spans:
            first, last = convert(start, end)
            more = {"text": text[start:end]} if said else {}
            listed.append({"start": first, "end": last, "label": "NAME", **more})
        made.append(Row({"text": text, "spans": listed}, "a.jsonl", number))
    return made


def units(text: str, unit: str) -> int:
    """The length of a text, counted by Python's own codecs."""
    return {"characters": len(text), "utf-16": len(text.encode("utf-16-le")) // 2, "utf-8": len(text.encode())}[unit]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("unit", ["characters", "utf-16", "utf-8"])
def test_conversion_is_what_the_codecs_say_and_back(unit: Any, seed: int) -> None:
    for text, spans in random_rows(seed, 20):
        there, back = from_characters(text, OffsetFormat(unit)), to_characters(text, OffsetFormat(unit))
        for start, end in spans:
            assert there(start, end) == (units(text[:start], unit), units(text[:end], unit))
            assert back(*there(start, end)) == (start, end)
            first, last = from_characters(text, OffsetFormat(unit, "inclusive", 1))(start, end)
            assert (first, last) == (units(text[:start], unit) + 1, units(text[:end], unit))
            assert to_characters(text, OffsetFormat(unit, "inclusive", 1))(first, last) == (start, end)


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("reading", [OffsetFormat(), *OFFSET_FORMATS], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_each_reading_is_found_and_reads_the_spans(reading: OffsetFormat, seed: int, said: bool) -> None:
    rows = random_rows(seed)
    written = as_file(rows, reading, said)
    found = detect_offset_unit(written, "text", "spans")
    assert found == reading
    task = Tag(**found.options)
    for (text, spans), row in zip(rows, written, strict=True):
        example = task.read(row.values)
        assert [(s["start"], s["end"]) for s in (example.answer or {})["spans"]] == spans
        assert not task.check_answer({"text": text}, example.answer)


GERMAN = "Zahnarzt Haustür Straßenbahn Küchentisch Bücherregal Fußballplatz Mädchenschule Wörterbuch Glühbirne".split()
CHINESE = "我昨天在北京见到了王小明他在清华大学学习计算机科学我们一起吃了饭"
MIXED = (
    "mail tü@x-y.example.org now",
    "see https://örg.example/a/b?c=1 now",
    "at #Grüße now",
    "call +49-(0)30-1234567 now",
    "pay 1.234,50€ now",
)


def subwords(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    word = chance.choice(GERMAN)
    before = " ".join(chance.choices(GERMAN, k=3)) + " \U0001f600 "
    cut = chance.randint(2, len(word) - 2)
    at = (0, cut) if chance.random() < 0.5 else (cut, len(word))
    return f"{before}{word} ist da.", [(len(before) + at[0], len(before) + at[1])]


def chinese(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    text = "".join(chance.choices(CHINESE, k=30)) + "\U0001f600" + "".join(chance.choices(CHINESE, k=10)) + "。"
    start = chance.randint(0, 36)
    return text, [(start, start + chance.randint(1, 4))]


def korean(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    name = chance.choice(["김철수", "박영희", "서울"])
    before = chance.choice(["오늘 ", "\U0001f600 어제 ", "그때 "])
    return f"{before}{name}{chance.choice(['는', '이', '에서'])} 왔다", [(len(before), len(before) + len(name))]


def draw_mixed_span(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    before, one = chance.choice(("", "\U0001f600 ", "Grüße ")), chance.choice(MIXED)
    return before + one, [(len(before) + one.index(" ") + 1, len(before) + one.rindex(" "))]


def genitives(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    before = chance.choice(["\U0001f600 Das ist ", "Für ", "Schön war "])
    name = chance.choice(["Peter", "Jörg", "Anna"])
    return f"{before}{name}{chance.choice(['s Haus', ' und ich', 's Müll'])}.", [(len(before), len(before) + len(name))]


def draw_punctuated_span(chance: random.Random) -> tuple[str, list[tuple[int, int]]]:
    before, name = chance.choice(["\U0001f600 he said ", "Grüße "]), chance.choice(["“Ok!”", "(Eva)", "Co.,", "…so?"])
    return f"{before}{name} then", [(len(before), len(before) + len(name))]


@pytest.mark.parametrize("make", [subwords, chinese, korean, draw_mixed_span, genitives, draw_punctuated_span])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_is_not_taken_for_a_unit(make: Callable[..., Any], seed: int) -> None:
    chance = random.Random(seed)
    rows = [make(chance) for _ in range(80)]
    assert detect_offset_unit(as_file(rows, OffsetFormat()), "text", "spans") == OffsetFormat()
    report = inspect_offsets(Tag(), [Tag().read(row.values) for row in as_file(rows, OffsetFormat())])
    assert report is not None
    assert report["mended_by"] is None
    assert not list(warn_of_offsets(report))


@pytest.mark.parametrize("seed", range(5))
def test_slips_are_told_as_rows_not_as_a_unit(seed: int) -> None:
    rows = random_rows(seed, 150)
    for wrong in (40, 90):
        rows[wrong] = "\U0001f600 Eva Pohl came.", [(3, 10)]
    examples = [_example(text, spans, number) for number, (text, spans) in enumerate(rows, 1)]
    report = inspect_offsets(Tag(), reversed(examples))
    assert report is not None
    assert (report["inside"]["count"], report["inside"]["first"], report["mended_by"]) == (2, "a.jsonl:41", None)
    ((what, do),) = warn_of_offsets(report)
    assert what.startswith(f"2 of {report['ends']:,} span ends lie inside words, first a.jsonl:41: ")
    assert "offsets in quality.json" in do


def test_one_row_alone_is_a_slip() -> None:
    rows = [("Eva Pohl came", [(0, 8)]), ("\U0001f600 Eva Pohl came", [(3, 11)]), ("so did Eva Pohl", [(7, 15)])]
    assert detect_offset_unit(as_file(rows, OffsetFormat()), "text", "spans") == OffsetFormat()


def _example(text: str, spans: Sequence[tuple[int, int]], line: int) -> Example:
    answer = Tag().from_spans(text, [(start, end, "NAME") for start, end in spans])
    return Example({"text": text}, answer, origin=f"a.jsonl:{line}")


def test_the_report_counts_names_the_first_line_and_the_option() -> None:
    rows = [(f"\U0001f600 Eva Pohl wrote {word}.", [(3, 11)]) for word in ("now", "then", "late")]
    rows.append(("Eva Pohl wrote.", [(0, 8)]))
    examples = tuple(_example(text, spans, line) for line, (text, spans) in enumerate(rows, 1))
    report = inspect_data(Parts.of(Tag(), examples), DuplicatePairs())
    assert report["offsets"]["inside"] == {"count": 3, "share": 3 / 8, "first": "a.jsonl:1"}
    assert report["offsets"]["mended_by"]["options"] == {"offsets": "utf-16"}
    (one,) = [one for one in report["warnings"] if "span ends" in one["what"]]
    assert one == {
        "kind": "data",
        "what": "3 of 8 span ends lie inside words and 3 of 4 spans start or end in white space, "
        "first a.jsonl:1: 'va Pohl '; the offsets count UTF-16 code units",
        "do": "set task: offsets: utf-16",
    }
    assert json.loads(json.dumps(report)) == report


def test_white_space_at_the_ends_is_said_and_trimmed() -> None:
    rows = as_file([(f"call Eva Pohl {word}", [(5, 14)]) for word in ("now", "then")], OffsetFormat())
    report = inspect_offsets(Tag(), [Tag().read(row.values) for row in rows])
    ((what, do),) = warn_of_offsets(report)
    assert what.startswith("all spans start or end in white space, first")
    assert "trim: true" in do
    examples = [Tag(trim=True).read(row.values) for row in rows]
    assert [e.answer["spans"][0]["text"] for e in examples if e.answer] == ["Eva Pohl", "Eva Pohl"]
    assert not list(warn_of_offsets(inspect_offsets(Tag(trim=True), examples)))
    with pytest.raises(FieldError, match="nothing but white space"):
        Tag(trim=True).read({"text": "a  b", "spans": [[1, 3, "X"]]})


def test_offsets_of_another_text_are_told_as_such() -> None:
    chance, rows = random.Random(3), []
    for text, spans in random_rows(5, 80, PIECES[:14]):
        shift = chance.randint(1, 9)
        rows.append(("x" * 3 + " ok " + text + " " * 12, [(start + shift, end + shift) for start, end in spans]))
    report = inspect_offsets(Tag(), [_example(text, spans, n) for n, (text, spans) in enumerate(rows, 1)])
    ((_, do),) = warn_of_offsets(report)
    assert "do not fit the texts" in do


@pytest.mark.parametrize(
    ("row", "task", "match", "remedy"),
    [
        ({"text": "Grüße Eva", "spans": [[8, 11, "N"]]}, Tag(), "counted in UTF-8 bytes", "set task: offsets: utf-8"),
        ({"text": "\U0001f600 Eva", "spans": [[3, 6, "N"]]}, Tag(), "counted in UTF-16", "set task: offsets: utf-16"),
        ({"text": "Eva", "spans": [[0, 2, "N"], [4, 4, "N"]]}, Tag(), "span 2 .N. goes from 4 to 4$", ""),
        ({"text": "I, Eva", "spans": [[0, 0, "N"]]}, Tag(), "the end counted in", "set task: end: inclusive"),
        (
            {"text": "\U0001f600 Eva Pohl", "spans": [{"start": 3, "end": 6, "label": "N", "text": "Eva"}]},
            Tag(),
            "says 'Eva', and the text has 'va ' .* counted in UTF-16",
            "set task: offsets: utf-16",
        ),
        ({"text": "\U0001f600 Eva", "spans": [[1, 5, "N"]]}, Tag(offsets="utf-16"), "goes from 1 to 5", ""),
        (
            {"text": "\U0001f600 Eva", "spans": [[2, 5, "N"], [0, 1, "N"]]},
            Tag(offsets="utf-16"),
            "counted in characters",
            "set task: offsets: characters",
        ),
    ],
)
def test_an_error_of_a_row_names_the_unit(row: dict[str, Any], task: Tag, match: str, remedy: str) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        task.read(row)
    assert caught.value.remedy.startswith(remedy)
    assert caught.value.allowed


def test_many_rows_that_fail_are_told_together(tmp_path: Path) -> None:
    rows = [(f"Grüße aus Köln: {'ä' * n} kam Eva", [(21 + n, 24 + n)]) for n in range(1, 30)]
    lines = [json.dumps(dict(row.values)) for row in as_file(rows, OffsetFormat("utf-8"))]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=r"58 of 58 span ends .* in UTF-8 bytes 0 do") as caught:
        prepare_data(Tag(), DataSpec(path="a.jsonl"), tmp_path)
    assert caught.value.remedy == "set task: offsets: utf-8"
    made = prepare_data(Tag(offsets="utf-8"), DataSpec(path="a.jsonl", near_duplicates=1.0), tmp_path)
    spans = [span for _, part in made.parts.items() for e in part for span in (e.answer or {})["spans"]]
    assert {span["text"] for span in spans} == {"Eva"}


@pytest.mark.parametrize("unit", ["utf-16", "utf-8"])
def test_overlap_stays_an_error_after_conversion(unit: Any) -> None:
    text = "\U0001f600 Eva Pohl"
    spans = [[*from_characters(text, OffsetFormat(unit))(*place), "N"] for place in ((2, 10), (6, 10))]
    with pytest.raises(FieldError, match="overlap"):
        Tag(offsets=unit).read({"text": text, "spans": spans})
