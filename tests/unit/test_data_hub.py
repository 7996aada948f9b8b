"""The hub, with `datasets` replaced where a network would be needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from loratory.data.readers.source_reader import read_source
from loratory.errors import DataError
from loratory.specs.data import DataSpec


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    asked: list[str] = []

    def load_dataset(name: str, config: str | None, *, revision: str | None) -> Any:
        asked.append(" ".join(filter(None, (name, config, revision))))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def part(labels: list[int]) -> datasets.Dataset:
    names = datasets.ClassLabel(names=["ham", "spam"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    return datasets.Dataset.from_dict({"text": [f"text {n}" for n in range(len(labels))], "label": labels}, features)


def test_splits_are_mapped_and_class_numbers_become_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": part([0, 1]), "dev": part([1]), "test": part([0]), "unsupervised": part([-1])}
    asked = hub(monkeypatch, datasets.DatasetDict(splits))
    source = read_source(DataSpec(path="owner/name"), tmp_path)
    assert asked == ["owner/name"]
    assert [row.values["label"] for row in source.train] == ["ham", "spam"]
    assert source.train[1].origin == "owner/name/train:2"
    assert source.validation is not None
    assert source.test is not None
    assert source.validation[0].values["label"] == "spam"
    assert any("unsupervised" in line for line in source.messages)
    assert any(line.startswith("validation is the split dev") for line in source.messages)


def test_a_hub_that_cannot_be_reached_is_told_with_the_missing_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, ConnectionError("Couldn't reach the hub"))
    with pytest.raises(DataError) as caught:
        read_source(DataSpec(path="owner/name"), tmp_path)
    assert "no file or folder 'owner/name' here" in caught.value.problem
    assert "Couldn't reach" in caught.value.problem


@pytest.mark.parametrize("path", ["data/train.csv", "../name", "folder"])
def test_a_path_is_never_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    asked = hub(monkeypatch, ConnectionError("no"))
    (tmp_path / "cwd" / "folder").mkdir(parents=True)  # there in the working directory, but not beside the spec
    (tmp_path / "spec").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with pytest.raises(DataError, match="no such file"):
        read_source(DataSpec(path=path), tmp_path / "spec")
    assert asked == []


def test_class_numbers_inside_lists_become_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = datasets.ClassLabel(names=["O", "U-PER", "L-PER"])
    tags = datasets.Sequence(names)
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["Ada", "left"]], "ner_tags": [[1, 0]]}
    hub(monkeypatch, datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features)))
    source = read_source(DataSpec(path="owner/name"), tmp_path)
    assert source.train[0].values["ner_tags"] == ["B-PER", "O"]
    assert any("BILOU" in line for line in source.messages)
