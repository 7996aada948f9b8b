"""`start:` in the ladder: what it may name, the order of fits that follows, and the errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loratory.errors import SpecError
from loratory.experiment.spec_loading import format_lock, load_spec
from loratory.experiment.train import list_needed
from loratory.specs.spec import Spec, list_starts, sort_by_start
from loratory.specs.spec_schema import KnownClasses, build_spec_schema
from loratory.specs.yaml_values import parse_yaml_value

HEAD = "name: tiny\ndata: data.csv\nbase: here\nladder:\n"
LADDER = """\
  - third: {regime: full, start: second}
  - tfidf
  - second: {regime: lora, start: first, rank: 4}
  - first: {regime: head, base: there}
"""


def load(folder: Path, ladder: str, *changes: str) -> Spec:
    (folder / "s.yaml").write_text(HEAD + ladder, encoding="utf-8")
    return load_spec(str(folder / "s.yaml"), None, changes)


def test_the_base_beneath_and_the_order_of_fits(tmp_path: Path) -> None:
    spec = load(tmp_path, LADDER)
    assert [(one.name, one.start, one.base) for one in spec.ladder] == [
        ("majority", None, None),
        ("third", "second", "there"),
        ("tfidf", None, None),
        ("second", "first", "there"),
        ("first", None, "there"),
    ]
    assert [one.name for one in sort_by_start(spec.ladder)] == ["majority", "first", "second", "third", "tfidf"]
    known = {one.name: one for one in spec.ladder}
    assert [one.name for one in list_starts(known, "third")] == ["second", "first"]
    assert list_starts(known, "tfidf") == []
    assert [one.name for one in list_needed(spec, {"second"})] == ["first", "second"]


def test_the_lock_says_the_start_and_parses_to_the_same_spec(tmp_path: Path) -> None:
    spec = load(tmp_path, LADDER)
    text = format_lock(spec, tmp_path / "spec.lock.yaml")
    lock: Any = parse_yaml_value(text)
    rows = {name: row for one in lock["ladder"] for name, row in one.items()}
    assert (rows["third"]["start"], rows["second"]["start"]) == ("second", "first")
    assert not {"base"} & {*rows["third"], *rows["second"]}
    (tmp_path / "again.yaml").write_text(text, encoding="utf-8")
    assert load_spec(str(tmp_path / "again.yaml")).ladder == spec.ladder


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ("  - head\n  - a: {regime: lora, start: haed}\n", "s.yaml:6: ladder: a: start: 'haed' is no contender"),
        ("  - head\n  - a: {regime: lora, start: haed}\n", "did you mean 'head'"),
        ("  - a: {regime: lora, start: a}\n", "a contender cannot start from itself: a starts from a"),
        (
            "  - a: {regime: lora, start: b}\n  - b: {regime: lora, start: c}\n  - c: {regime: full, start: b}\n",
            "s.yaml:7: ladder: c: start: a contender cannot start from itself: b starts from c starts from b",
        ),
        ("  - head\n  - a: {regime: lora, start: head, base: x}\n", "not from both"),
        (
            "  - head\n  - a: {regime: tfidf, start: head}\n",
            "tfidf starts from nothing, so it takes no other contender",
        ),
        ("  - head\n  - a: {regime: qlora, start: head}\n", "qlora starts from encoder or causal"),
        ("  - head\n  - a: {regime: lora, start: [head]}\n", "is no text"),
    ],
)
def test_a_start_that_cannot_be(tmp_path: Path, ladder: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, ladder)
    assert said in str(caught.value).replace(f"{tmp_path}/", "")


def test_majority_is_a_contender_too(tmp_path: Path) -> None:
    assert load(tmp_path, "  - a: {regime: lora, start: majority}\n").ladder[1].start == "majority"


def test_the_schema_allows_a_start_where_the_regime_does() -> None:
    from loratory.discovery import list_names, load_named

    classes = {group: {name: load_named(group, name) for name in list_names(group)} for group in ("tasks", "regimes")}
    made = build_spec_schema(KnownClasses(classes["tasks"], classes["regimes"]))["$defs"]
    assert "start" in made["LoraContender"]["properties"]
    assert "start" not in made["TfidfContender"]["properties"]
    assert "start" not in made["QloraContender"]["properties"]
