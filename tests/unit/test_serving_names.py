"""What a folder is served as, and which contender of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loratory.artifacts.manifests import write_manifest
from loratory.errors import SpecError
from loratory.serving.launcher import load_server_spec

DIGEST = "0" * 64


def make_artifact(folder: Path, **facts: str) -> Path:
    """A folder with a manifest that lists a predictor and a layout below it."""
    (folder / "merged").mkdir(parents=True)
    write_manifest(folder, {"files": {"predictor.json": DIGEST, "merged/config.json": DIGEST}, **facts})
    return folder


@pytest.mark.parametrize("inner", ["", "merged"])
def test_a_fit_is_served_under_the_name_of_its_contender(inner: str, tmp_path: Path) -> None:
    fit = make_artifact(tmp_path / "runs/x/contenders/lora/seed-1", kind="fit", contender="lora")
    assert list(load_server_spec(None, [str(fit / inner)], ()).tasks) == ["lora"]
    assert list(load_server_spec(None, [f"mine={fit / inner}"], ()).tasks) == ["mine"]


def test_another_artifact_is_served_under_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_artifact(tmp_path / "exported", kind="export", contender="lora")
    make_artifact(tmp_path / "imported", kind="import")
    assert list(load_server_spec(None, [str(made), str(tmp_path / "imported/merged")], ()).tasks) == [
        "exported",
        "imported",
    ]
    monkeypatch.chdir(made)
    assert list(load_server_spec(None, ["."], ()).tasks) == ["exported"]


def test_the_contender_of_the_one_run(tmp_path: Path) -> None:
    spec = load_server_spec(None, [f"a={tmp_path}"], (), "tfidf")
    assert spec.tasks["a"].contender == "tfidf"


def test_a_contender_needs_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert load_server_spec(None, (), (), "tfidf").tasks[tmp_path.name].contender == "tfidf"
    (tmp_path / "server.yaml").write_text("tasks: {a: {path: a}}\n")
    for config, paths, count in ((None, ["a=x", "b=y"], 2), (tmp_path / "server.yaml", [], 0)):
        with pytest.raises(SpecError) as caught:
            load_server_spec(config, paths, (), "tfidf")
        assert f"--contender needs one WHERE, and {count} are given" in str(caught.value)
        assert "tasks: {NAME: {path: RUN, contender: tfidf}}" in str(caught.value)
