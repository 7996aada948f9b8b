"""Tag schemes: the same spans from every scheme, found over the whole file; typos with their place; CoNLL's shapes."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from annotation_formats import LETTERS, Sample, make_samples, tags_of
from loratory.data.columns import match_columns
from loratory.data.examples import to_examples
from loratory.data.readers import tag_conversion
from loratory.data.readers.conll import is_conll
from loratory.data.readers.source_reader import Source, read_source
from loratory.data.rows import Row
from loratory.errors import DataError, FieldError
from loratory.specs.data import DataSpec
from loratory.tasks.tag import Tag, from_bio, has_spans
from loratory.tasks.tag_notations import detect_notation, to_bio

SCHEMES = [*LETTERS, "IO"]


def touching(seed: int) -> list[Sample]:
    """Texts in which spans of one label may touch: every scheme but IO tells them apart."""
    draw, made = random.Random(seed), list[Sample]()
    for number in range(20):
        words = [f"w{number}{place}" for place in range(draw.randint(2, 9))]
        starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words))]
        spans, at = list[tuple[int, int, str]](), 0
        while at < len(words):
            size = min(draw.randint(1, 3), len(words) - at)
            if draw.random() < 0.6:
                spans.append(
                    (starts[at], starts[at + size - 1] + len(words[at + size - 1]), draw.choice(["A-1", "B_2"]))
                )
            at += size if draw.random() < 0.6 else size + 1
        made.append(Sample(" ".join(words), tuple(spans), "", ""))
    return made


def rows_of(given: list[Sample], *form: Any, column: str = "tags") -> list[Row]:
    both = [tags_of(one, *form) for one in given]
    return [Row({"tokens": [w for w, _ in b], column: [t for _, t in b]}, "x.jsonl", n) for n, b in enumerate(both, 1)]


def spans_of(rows: list[Row], column: str = "tags") -> list[tuple[str, tuple[Any, ...]]]:
    read = [from_bio(row.values["tokens"], row.values[column]) for row in rows]
    return [(text, tuple(spans)) for text, spans in read]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("separator", ["-", "_"])
@pytest.mark.parametrize("behind", [False, True], ids=["prefix", "suffix"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_gives_the_same_spans(scheme: str, behind: bool, separator: str, seed: int) -> None:
    given = make_samples(seed) if scheme == "IO" else touching(seed)
    rows, said = tag_conversion.convert_tags_to_bio(rows_of(given, scheme, separator, behind, column="whatever"))
    assert spans_of(rows, "whatever") == [(one.text, one.spans) for one in given]
    plain = scheme == "BIO" and separator == "-" and not behind
    assert len(said) == (0 if plain else 1)
    assert plain or scheme.split(" ")[0] in said[0]
    assert plain or "column 'whatever'" in said[0]
    assert [row.line for row in rows] == list(range(1, len(given) + 1))


def test_plain_bio_is_left_alone() -> None:
    rows = rows_of(touching(5), "BIO")
    found, said = tag_conversion.convert_tags_to_bio(rows)
    assert all(one is other for one, other in zip(found, rows, strict=True))
    assert said == []


def test_tags_without_labels_and_small_letters() -> None:
    rows = [Row({"words": ["a", "b", "c"], "t": ["B", "I", "O"]}, "x", 1), Row({"words": ["a"], "t": ["O"]}, "x", 2)]
    found, said = tag_conversion.convert_tags_to_bio(rows)
    assert found[0].values["t"] == ["B-SPAN", "I-SPAN", "O"]
    assert "without labels" in said[0]
    small = [Row({"words": ["a", "b", "c"], "t": ["b-x", "i-x", "o"]}, "x", 1)]
    assert tag_conversion.convert_tags_to_bio(small)[0][0].values["t"] == ["B-x", "I-x", "O"]


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": ["I", "O", "O"], "pos": ["NN", "VB", "VB"]},
        {"parts": ["B-12", "S-3"], "text": "a"},
        {"tokens": ["a", "b"], "numbers": [1, 2]},
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"tokens": ["a", "b"], "tags": ["O"]},
        {"tokens": "a b", "tags": ["B-X", "L-X"]},
        {"tokens": ["a", "b"], "tags": None},
    ],
)
def test_columns_that_are_no_tags_stay_as_they_are(values: dict[str, Any]) -> None:
    rows = [Row(values, "x.jsonl", 1)]
    assert tag_conversion.convert_tags_to_bio(rows) == (rows, [])


def test_a_row_is_never_judged_alone() -> None:
    # Alone, the first row is BIO with spans of one word; with the second it is seen to be BILOU.
    rows = [
        Row({"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}, "x", 1),
        Row({"tokens": ["a", "b"], "tags": ["L-X", "U-X"]}, "x", 2),
    ]
    found, said = tag_conversion.convert_tags_to_bio(rows)
    assert [row.values["tags"] for row in found] == [["B-X", "I-X"], ["B-X", "B-X"]]
    assert "BILOU" in said[0]
    assert "1 of 3 spans begin with a tag that goes on or ends (first: tag 1 of x:2)" in said[1]
    assert "1 spans have no tag that ends them" in said[2]


def test_bio_with_some_strays_is_read_as_conlleval_does_and_said() -> None:
    tags = [["B-X", "I-X", "O"], ["O", "I-X", "I-X"], ["B-Y", "I-X", "O"], ["B-Y", "I-Y", "I-Y"]]
    rows = [Row({"tokens": ["a", "b", "c"], "tags": one}, "x.conll", 10 * n) for n, one in enumerate(tags, 1)]
    found, said = tag_conversion.convert_tags_to_bio(rows)
    assert [row.values["tags"] for row in found] == [tags[0], ["O", "B-X", "I-X"], ["B-Y", "B-X", "O"], tags[3]]
    assert len(said) == 1
    assert "2 of 5 spans begin with a tag that goes on or ends (first: tag 2 of x.conll:20)" in said[0]


@pytest.mark.parametrize(
    ("typo", "scheme", "said"), [("I-PRE", "BIO", "'I-PRE' behind 'O'"), ("X-PER", "BILOU", "tag 1 is 'X-PER'")]
)
def test_a_typo_is_refused_with_its_place(tmp_path: Path, typo: str, scheme: str, said: str) -> None:
    texts = ["".join(f"{w} {t}\n" for w, t in tags_of(one, scheme)) for one in make_samples(1)]
    (tmp_path / "a.conll").write_text("\n".join([*texts, f"Bob {typo}\n"]), encoding="utf-8")
    source = read_source(DataSpec(path="a.conll"), tmp_path)
    with pytest.raises(DataError) as caught:
        examples(source)
    line = "\n".join(texts).count("\n") + 2
    assert said in caught.value.problem
    assert caught.value.where == f"a.conll:{line}: tags"


# ---- numbers
NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")


def test_numbers_are_named_by_the_task() -> None:
    row = {"tokens": ["Ada", "Lund", "left"], "tags": [1, 2, 0]}
    answer = Tag(tag_names=NAMES).read(row).answer
    assert answer == {"spans": [{"start": 0, "end": 8, "label": "PER", "text": "Ada Lund"}]}
    ends = Tag(tag_names=("O", "B-PER", "I-PER", "L-PER", "U-PER")).read({**row, "tags": [4, 4, 0]}).answer
    assert ends is not None
    assert [(span["start"], span["end"]) for span in ends["spans"]] == [(0, 3), (4, 8)]
    with pytest.raises(FieldError, match="tags are") as caught:
        Tag().read(row)
    assert "tag_names" in caught.value.remedy
    with pytest.raises(FieldError, match="a tag is 9") as caught:
        Tag(tag_names=NAMES).read({**row, "tags": [1, 9, 0]})
    assert "tag_names" in caught.value.remedy
    assert has_spans({"tokens": ["a", "b"], "ner_tags": [0, 1]})
    assert not has_spans({"words": ["a", "b"], "scores": [0, 1]})


@pytest.mark.parametrize("names", [("O", "O"), ("O",), ("NN", "VB"), ()])
def test_names_that_are_no_tags_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="distinct tags of one scheme"):
        Tag(tag_names=names)


def test_words_and_tags_beside_their_text_are_found_in_it() -> None:
    row = {"text": "Ada  Lund, left", "tokens": ["Ada", "Lund", ",", "left"], "tags": ["B-P", "I-P", "O", "O"]}
    example = Tag().read(row)
    assert example.input == {"text": "Ada  Lund, left"}
    assert example.answer == {"spans": [{"start": 0, "end": 9, "label": "P", "text": "Ada  Lund"}]}
    assert Tag().read({**row, "text": "other"}).input == {"text": "Ada Lund , left"}


# ---- CoNLL
def examples(source: Source, given: dict[str, str] | None = None) -> list[Any]:
    return list(to_examples(source.train, Tag(), match_columns(source.train, Tag.columns, given or {}), 100_000))


def read(folder: Path, name: str, text: str, **more: Any) -> Source:
    (folder / name).write_bytes(text.encode())
    return read_source(DataSpec(path=name, **more), folder)


GERMEVAL = (
    "#\thttp://example.org/1 [2014-01-01]\n1\tDie\tO\tO\n2\tUni\tB-ORG\tO\n3\tUlm\tI-ORG\tB-LOC\n\n"
    "#\thttp://example.org/2 [2014-01-01]\n1\tIn\tO\tO\n2\tOslo\tB-LOC\tO\n"
)


@pytest.mark.parametrize("name", ["a.tsv", "a.conll", "a.txt", "a.tab"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_germeval_gives_its_outer_tags_and_says_so(tmp_path: Path, name: str, end: str) -> None:
    source = read(tmp_path, name, "\ufeff" + GERMEVAL.replace("\n", end))
    assert [row.values for row in source.train] == [
        {"tokens": ["Die", "Uni", "Ulm"], "tags": ["O", "B-ORG", "I-ORG"], "column_4": ["O", "O", "B-LOC"]},
        {"tokens": ["In", "Oslo"], "tags": ["O", "B-LOC"], "column_4": ["O", "O"]},
    ]
    assert [row.line for row in source.train] == [2, 7]
    assert any("column_4 holds the tags of spans inside spans and is not read" in line for line in source.messages)
    inner = examples(source, {"tags": "column_4"})
    assert [len(example.answer["spans"]) for example in inner] == [1, 0]


def test_conll_2003_takes_the_last_column_and_keeps_the_others(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP I-PER\nleft VBD I-VP O\n"
    rows = read(tmp_path, "a.conll", text).train
    assert rows[0].values["tags"] == ["B-ORG", "O"]
    assert rows[0].values["column_2"] == ["NNP", "VBZ"]
    assert [row.line for row in rows] == [3, 6]


def test_comments_are_no_words_and_hashes_are(tmp_path: Path) -> None:
    text = "# id 5239d808 domain=en\nin _ _ O\n# _ _ O\nOslo _ _ B-LOC\n\n# id 77 domain=en\n#Oslo _ _ B-LOC\n"
    rows = read(tmp_path, "a.conll", text).train
    assert [row.values["tokens"] for row in rows] == [["in", "#", "Oslo"], ["#Oslo"]]


def test_a_tab_file_may_have_empty_cells(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.conll", "Ada\t\tB-PER\nleft\tVBD\tO\n\t\t\nOslo\t\tB-LOC\n").train
    assert [row.values["tokens"] for row in rows] == [["Ada", "left"], ["Oslo"]]
    with pytest.raises(DataError, match="a word without a tag") as caught:
        read(tmp_path, "b.conll", "Ada\tB-PER\nleft\t\n")
    assert caught.value.where == "b.conll:2"
    with pytest.raises(DataError, match="a tag without a word"):
        read(tmp_path, "c.conll", "Ada\tB-PER\n\tI-PER\n")


def test_a_broken_line_among_many_is_refused_by_its_number(tmp_path: Path) -> None:
    text = "\n".join(GERMEVAL for _ in range(40))
    with pytest.raises(DataError, match="the line holds 3 columns and others 4") as caught:
        read(tmp_path, "a.tsv", text + "\n1\tUlm\tB-LOC\n")
    assert caught.value.where == f"a.tsv:{text.count(chr(10)) + 2}"
    plain = "\n".join("Ada NNP B-PER\nleft VBD O\n" for _ in range(40)) + "\nOslo\n"
    with pytest.raises(DataError, match="a word without a tag"):
        read(tmp_path, "a.txt", plain)


@pytest.mark.parametrize(
    ("text", "tagged"),
    [
        ("Ada B-PER\nleft O\n", True),
        ("Ada\tU-PER\nleft\tO\n\nBo\tO\n", True),
        ("Ada PER\nleft O\nfor O\n\nBo O\n", True),
        ("Ada PER\nleft O\nfor O\n", False),  # bare labels, and no empty line
        ("text label\ngood B\n", False),
        ("I like it\tpos\nso so\tneg\n\nbad\tneg\n", False),
        ("one two three\nO\n\nfour O\n", False),
        ("", False),
    ],
)
def test_what_is_surely_tagged(text: str, tagged: bool) -> None:
    assert is_conll(text) == tagged


def test_a_table_with_tabs_stays_a_table(tmp_path: Path) -> None:
    source = read(tmp_path, "a.tsv", "text\tlabel\nI like it\tpos\nso so\tneg\n")
    assert [row.values for row in source.train] == [
        {"text": "I like it", "label": "pos"},
        {"text": "so so", "label": "neg"},
    ]


def test_the_users_column_of_tags_is_read_in_any_scheme(tmp_path: Path) -> None:
    given = make_samples(4)
    rows = [
        {"tokens": [w for w, _ in b], "mine": [t for _, t in b], "ner_tags": ["O"] * len(b)}
        for b in (tags_of(one, "BILOU") for one in given)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    found = examples(read(tmp_path, "a.jsonl", text), {"tags": "mine"})
    assert [len(example.answer["spans"]) for example in found] == [len(one.spans) for one in given]


def test_columns_named_labels_are_tags_where_there_is_no_text(tmp_path: Path) -> None:
    text = "".join(
        json.dumps({"tokens": ["Ada", "left"], "labels": tags}) + "\n" for tags in (["U-P", "O"], ["O", "U-P"])
    )
    assert len(examples(read(tmp_path, "a.jsonl", text))) == 2


def test_a_decoded_sequence_tells_what_was_odd() -> None:
    scheme = detect_notation(Counter(["O", "B-X", "I-X", "E-X", "S-X"]))
    assert scheme is not None
    made = to_bio(["S-X", "S-X", "B-X", "E-X", "E-X", "B-X", "O"], scheme)
    assert made.tags == ["B-X", "B-X", "B-X", "I-X", "B-X", "B-X", "O"]
    assert (made.stray_positions, made.missing_ends) == ([4], 1)
