"""The hub, with huggingface_hub's functions replaced by a folder: what is asked for, chosen, read and told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.errors import RevisionNotFoundError as NoRevision
from pyarrow import parquet

from loratory.data.readers import hub_files
from loratory.data.readers.source_reader import Source, read_source
from loratory.errors import DataError
from loratory.specs.data import DataSpec

CONVERTED = "refs/convert/parquet"
RESPONSE: Any = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co/api"))


def write_table(file: Path, labels: list[int], tags: bool = False) -> None:
    """A Parquet file as the hub converts it: class numbers, and their names in the metadata."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns: Mapping[str, object] = {"text": [f"text {n}" for n in range(len(labels))], "label": labels}
    named = '{"_type": "ClassLabel", "names": ["ham", "spam"]}'
    if tags:
        columns = {"tokens": [["Ada", "left"]], "label": [[1, 0]]}
        named = '{"_type": "List", "feature": {"_type": "ClassLabel", "names": ["O", "U-PER", "L-PER"]}}'
    about = f'{{"info": {{"features": {{"label": {named}}}}}}}'
    parquet.write_table(pa.table(columns).replace_schema_metadata({"huggingface": about}), file)


def write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the hub: owner/name/REVISION/files (main where none is named)."""
    home = tmp_path / "hub"
    home.mkdir()

    def find_revision(name: str, revision: str | None) -> Path:
        if not (home / name).is_dir():
            raise RepositoryNotFoundError("404: Repository Not Found", response=RESPONSE)
        if not (folder := home / name / (revision or "main")).is_dir():
            raise NoRevision("404: Invalid rev id", response=RESPONSE)
        return folder

    def dataset_info(self: object, name: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        folder = find_revision(name, revision)
        paths = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=path) for path in paths])

    def hf_hub_download(name: str, path: str, *, repo_type: str, revision: str | None) -> str:
        return str(find_revision(name, revision) / path)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return home / "owner" / "name"


def cut_off(monkeypatch: pytest.MonkeyPatch, problem: Exception, cached: Path | None = None) -> list[str]:
    """No hub: every question ends in this error, and only a cached folder of the main branch is there."""
    asked: list[str] = []

    def dataset_info(self: object, name: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        asked.append(name)
        raise problem

    def snapshot_download(name: str, *, repo_type: str, revision: str | None, local_files_only: bool) -> str:
        if cached is None or revision is not None:
            raise LocalEntryNotFoundError("not in the cache")
        return str(cached)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def read(folder: Path, **options: str) -> Source:
    return read_source(DataSpec(path="owner/name", **options), folder)


def get_labels(source: Source) -> list[object]:
    return [row.values["label"] for row in source.train]


def refuse(folder: Path, **options: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder, **options)
    return caught.value


def test_splits_are_mapped_and_class_numbers_become_names(tmp_path: Path, hub: Path) -> None:
    place = hub / CONVERTED / "default"
    write_table(place / "train" / "0000.parquet", [0, 1])
    write_table(place / "train" / "0001.parquet", [1])
    for split, labels in (("dev", [1]), ("test", [0]), ("unsupervised", [-1])):
        write_table(place / split / "0000.parquet", labels)
    source = read(tmp_path)
    assert get_labels(source) == ["ham", "spam", "spam"]
    assert [row.origin for row in source.train] == [f"owner/name/train:{n}" for n in (1, 2, 3)]
    assert source.validation is not None
    assert source.test is not None
    assert source.validation[0].values["label"] == "spam"
    assert any("unsupervised" in line for line in source.messages)
    assert any(line.startswith("validation is the split dev") for line in source.messages)


def test_class_numbers_inside_lists_become_names(tmp_path: Path, hub: Path) -> None:
    write_table(hub / CONVERTED / "default" / "train" / "0000.parquet", [], tags=True)
    source = read(tmp_path)
    assert source.train[0].values["label"] == ["B-PER", "O"]
    assert any("BILOU" in line for line in source.messages)


def test_configurations_are_chosen_by_name_or_as_the_readme_says(tmp_path: Path, hub: Path) -> None:
    for config, labels in (("small", [0]), ("large", [0, 1])):
        write_table(hub / CONVERTED / config / "train" / "0000.parquet", labels)
    (hub / "main").mkdir()
    assert get_labels(read(tmp_path, config="large")) == ["ham", "spam"]
    told = refuse(tmp_path)
    assert (told.problem, told.allowed) == ("the data set owner/name has several configurations", "large, small")
    assert "did you mean 'large'?" in refuse(tmp_path, config="larg").problem
    write_text(hub / "main" / "README.md", "---\nconfigs:\n- {config_name: small, default: true}\n---\n# Name\n")
    assert get_labels(read(tmp_path)) == ["ham"]


def test_a_revision_is_read_from_its_own_files(tmp_path: Path, hub: Path) -> None:
    write_table(hub / CONVERTED / "default" / "train" / "0000.parquet", [0, 1])
    write_text(hub / "v1" / "data" / "train.csv", "text,label\nold,1\nolder,0\n")
    write_text(hub / "v1" / "data" / "test-00000-of-00001.csv", "text,label\nheld,1\n")
    names = "{class_label: {names: {'0': ham, '1': spam}}}"
    features = f"[{{name: text, dtype: string}}, {{name: label, dtype: {names}}}]"
    write_text(hub / "v1" / "README.md", f"---\ndataset_info:\n  features: {features}\n---\n")
    source = read(tmp_path, revision="v1")
    assert get_labels(source) == ["spam", "ham"]
    assert source.train[1].origin == "owner/name/data/train.csv:3"
    assert source.test is not None
    assert source.test[0].values == {"text": "held", "label": "spam"}
    assert "revision v2" in refuse(tmp_path, revision="v2").problem


def test_the_owners_files_are_read_where_the_copy_is_missing_or_in_part(tmp_path: Path, hub: Path) -> None:
    write_text(hub / "main" / "train.jsonl", '{"text": "a", "label": "x"}\n')
    assert get_labels(read(tmp_path)) == ["x"]
    write_table(hub / CONVERTED / "default" / "partial-train" / "0000.parquet", [0])
    assert get_labels(read(tmp_path)) == ["x"]


def test_the_readmes_files_are_read_by_split(tmp_path: Path, hub: Path) -> None:
    head = (
        "configs:\n- config_name: en\n  data_files:\n  - {split: train, path: 'en/*.jsonl'}\n"
        "  - {split: test, path: [en/held/a.jsonl]}\n- config_name: no\n  data_dir: no\n"
    )
    write_text(hub / "main" / "README.md", f"---\n{head}---\n")
    for name, label in (("en/one", "a"), ("en/two", "b"), ("en/held/a", "c"), ("no/train", "d")):
        write_text(hub / "main" / f"{name}.jsonl", f'{{"text": "t", "label": "{label}"}}\n')
    source = read(tmp_path, config="en")
    assert get_labels(source) == ["a", "b"]
    assert source.test is not None
    assert source.test[0].origin == "owner/name/en/held/a.jsonl:1"
    assert get_labels(read(tmp_path, config="no")) == ["d"]  # text, though YAML 1.1 takes it for False


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        (RepositoryNotFoundError("404: Repository Not Found", response=RESPONSE), "download the data"),
        (GatedRepoError("403: you must accept its terms", response=RESPONSE), "hf auth login"),
        (ConnectionError("Couldn't reach the hub"), "download the data"),
    ],
)
def test_a_data_set_that_does_not_come_is_told_with_the_missing_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, remedy: str
) -> None:
    cut_off(monkeypatch, problem)
    told = refuse(tmp_path)
    assert "no file or folder 'owner/name' here" in told.problem
    assert str(problem) in told.problem
    assert remedy in (told.remedy or "")


def test_without_a_network_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "cache" / "train.csv", "text,label\na,x\n")
    cut_off(monkeypatch, ConnectionError("Couldn't reach the hub"), tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, path, **_: str(tmp_path / "cache" / path))
    assert get_labels(read(tmp_path)) == ["x"]


def test_a_data_set_without_files_that_are_read_has_no_train(tmp_path: Path, hub: Path) -> None:
    write_text(hub / "main" / "name.py", "raise SystemExit")
    assert "has no train split, only none" in refuse(tmp_path).problem


@pytest.mark.parametrize("path", ["data/train.csv", "../name", "folder"])
def test_a_path_is_never_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    asked = cut_off(monkeypatch, ConnectionError("no"))
    (tmp_path / "cwd" / "folder").mkdir(parents=True)  # there in the working directory, but not beside the spec
    (tmp_path / "spec").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with pytest.raises(DataError, match="no such file"):
        read_source(DataSpec(path=path), tmp_path / "spec")
    assert asked == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("data/train-*", ["data/train-0.csv"]),
        ("*.csv", ["a.csv"]),
        ("**/*.csv", ["a.csv", "data/test.csv", "data/train-0.csv"]),
        ("data", ["data/test.csv", "data/train-0.csv"]),
        ("./data/te?t.csv", ["data/test.csv"]),
        ("data/t[er]*", ["data/test.csv", "data/train-0.csv"]),
        ("data/[z-a]", []),
        ("a+csv", []),
    ],
)
def test_patterns_of_a_readme(pattern: str, names: list[str]) -> None:
    assert hub_files.match_paths(pattern, ["data/train-0.csv", "a.csv", "data/test.csv"]) == names


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["train-00000-of-00002-ab.parquet", "train-00001-of-00002-cd.parquet"], {"train": 2}),
        (["data/train.csv", "data/train.parquet", "data/dev.csv"], {"train": 1, "dev": 1}),
        (["en/test/part1.jsonl", "en/my_train_set.jsonl", "latest.txt"], {"test": 1, "train": 1}),
        (["part1.csv", "part2.csv", "dataset_infos.json", ".hidden.csv"], {"train": 2}),
        (["model.py", "README.md"], {}),
    ],
)
def test_splits_by_the_names_of_files(paths: list[str], splits: Mapping[str, int]) -> None:
    assert {split: len(files) for split, files in hub_files.find_split_files(paths).items()} == splits


@pytest.mark.parametrize("card", ["", "# no head", "---\na: [\n---\n", "---\n- a\n---\n", "---\na: *b\n---\n"])
def test_a_readme_without_a_head_that_can_be_read_says_nothing(card: str) -> None:
    assert hub_files.parse_card(card) == {}
