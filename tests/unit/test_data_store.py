"""The split on disk, its digests, and the whole way from a file to a split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from loratory.artifacts.manifests import stage_artifact, verify_artifact
from loratory.data import split_files
from loratory.data.preparation import PreparedData, prepare_data
from loratory.data.quality import quality_report
from loratory.errors import ArtifactError, DataError
from loratory.protocols import Example
from loratory.specs.data import DataSpec
from loratory.tasks.classify import Classify

SUBJECTS = ("apple", "bridge", "candle", "donkey", "engine", "forest", "guitar", "hammer", "island", "jacket")
VERBS = ("lost", "found", "painted", "sold")


def lines(start: int = 0) -> list[str]:
    """Forty rows, twenty of each label, no two alike."""
    return [
        json.dumps({"input": f"the {subject * 2} was {verb * 2}", "output": {"label": "odd" if n % 2 else "even"}})
        for n, (subject, verb) in enumerate((s, v) for s in SUBJECTS[start:] for v in VERBS)
    ]


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    (tmp_path / "a.jsonl").write_text("\n".join(lines()))
    return prepare_data(Classify(), DataSpec(path="a.jsonl"), tmp_path)


def test_prepare_goes_the_whole_way(prepared: PreparedData) -> None:
    assert isinstance(prepared.task, Classify)
    assert prepared.task.labels == ("even", "odd")
    assert prepared.column_mapping.columns == {"text": "input", "label": "output.label"}
    assert prepared.given_parts == ()
    assert sum(len(examples) for _, examples in prepared.parts.items()) == 40
    assert prepared.source == "a.jsonl"
    assert any("guessed" in line for line in prepared.messages)


def test_duplicates_share_a_group_and_a_part_and_none_is_dropped(tmp_path: Path) -> None:
    twins = [line.replace("the ", "The  ") for line in lines()[:6]]
    (tmp_path / "a.jsonl").write_text("\n".join(lines() + twins))
    found = prepare_data(Classify(), DataSpec(path="a.jsonl"), tmp_path)
    everything = [(name, example) for name, examples in found.parts.items() for example in examples]
    assert len(everything) == 46
    assert len(found.pairs.exact) == 6
    homes = {example.group: name for name, example in everything}
    assert len(homes) == 40
    assert all(homes[example.group] == name for name, example in everything)


def test_a_given_test_file_is_kept_whole_and_its_leakage_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n".join(lines(1)))
    (tmp_path / "test.jsonl").write_text("\n".join(lines()[:8]))
    found = prepare_data(Classify(), DataSpec(path=str(tmp_path)), tmp_path)
    assert found.given_parts == ("test",)
    assert [example.origin.rsplit(":", 1)[1] for example in found.parts.test] == [str(n) for n in range(1, 9)]
    assert found.parts.test[4].group.endswith("test.jsonl:5")  # the smallest origin of the pair
    overlaps = quality_report.inspect_data(found.task, found.parts, found.pairs)["overlaps"]
    assert sum(one["exact"] for one in overlaps if one["parts"][1] == "test") == 4


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (['{"text": "a", "label": "x"}', '{"text": "b", "label": "x"}'], "1 label"),
        ([*lines(), '{"input": "a", "output": {"label": "once"}}'], "'once' has one example"),
        ([*lines(), '{"input": "", "output": {"label": "odd"}}'], "empty"),
    ],
)
def test_bad_data_is_refused(tmp_path: Path, rows: list[str], problem: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError) as caught:
        prepare_data(Classify(), DataSpec(path="a.jsonl"), tmp_path)
    assert problem in caught.value.problem


# ---- store
def test_a_split_comes_back_from_disk(tmp_path: Path, prepared: PreparedData) -> None:
    spec = DataSpec(path="a.jsonl")
    report = quality_report.inspect_data(prepared.task, prepared.parts, prepared.pairs)
    with stage_artifact(tmp_path / "data", {"kind": "data"}) as folder:
        split_files.write_split(
            folder, prepared.task, prepared.parts, {**prepared.describe_split(spec), "quality": report}
        )
    verify_artifact(tmp_path / "data")
    assert split_files.read_split(tmp_path / "data") == prepared.parts
    assert split_files.read_task(tmp_path / "data", Classify()) == prepared.task
    assert json.loads((tmp_path / "data" / "quality.json").read_text()) == report
    labels = json.loads((tmp_path / "data" / "labels.json").read_text())
    assert labels == {"label2id": {"even": 0, "odd": 1}, "id2label": {"0": "even", "1": "odd"}}
    facts = json.loads((tmp_path / "data" / "split.json").read_text())
    assert facts["requested"] == pytest.approx({"train": 0.7, "test": 0.2, "validation": 0.1})
    assert facts["columns"] == {"text": "input", "label": "output.label"}
    assert facts["seed"] == 6
    assert facts["parts"]["test"] == {
        "examples": 8,
        "share": 0.2,
        "digest": split_files.digest_examples(prepared.parts.test),
    }


def test_the_parquet_has_a_stable_label_text(tmp_path: Path, prepared: PreparedData) -> None:
    split_files.write_split(tmp_path, prepared.task, prepared.parts, {})
    table = parquet.read_table(tmp_path / "train.parquet")
    assert table.column_names == ["id", "group", "weight", "input", "answer", "text", "label", "label_text"]
    assert {(row["label"], row["label_text"]) for row in table.to_pylist()} == {(0, "even"), (1, "odd")}
    first = table.to_pylist()[0]
    assert first["id"] == prepared.parts.train[0].origin
    assert first["text"] == prepared.parts.train[0].input["text"]


def test_a_folder_without_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"train\.parquet"):
        split_files.read_split(tmp_path)


def test_the_digest_is_of_content_not_of_order_or_place() -> None:
    one = Example({"text": "a"}, {"label": "x"}, group="g", origin="a:1")
    two = Example({"text": "b"}, {"label": "y"}, origin="a:2")
    moved = Example({"text": "a"}, {"label": "x"}, origin="b:9")
    digest = split_files.digest_examples([one, two])
    assert digest == split_files.digest_examples([two, moved])
    assert digest != split_files.digest_examples([one, one, two])
    assert digest != split_files.digest_examples([one, Example({"text": "b"}, {"label": "x"})])
    assert len(digest) == 64


def test_training_goes_by_the_order_and_the_weights_and_so_does_its_digest() -> None:
    one, two = Example({"text": "a"}, {"label": "x"}), Example({"text": "b"}, {"label": "y"})
    digest = split_files.digest_training_order([one, two])
    assert digest == split_files.digest_training_order([replace(one, origin="b:9", group="g"), two])
    others = ([two, one], [one, replace(two, weight=2.0)], [one, replace(two, answer={"label": "x"})])
    assert len({digest, *(split_files.digest_training_order(other) for other in others)}) == 4


def test_groups_count_by_who_belongs_together_not_by_their_names_or_order() -> None:
    made = [
        Example({"text": text}, {"label": "x"}, group=group) for text, group in (("a", "1"), ("b", "1"), ("c", "2"))
    ]
    digest = split_files.digest_groups(made)
    assert digest == split_files.digest_groups([replace(e, group=f"g{e.group}", origin="f") for e in reversed(made)])
    assert digest != split_files.digest_groups([replace(made[0], group="3"), *made[1:]])
    assert split_files.digest_groups([replace(e, group="", origin=str(i)) for i, e in enumerate(made)]) != digest
