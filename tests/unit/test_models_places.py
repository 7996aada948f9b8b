"""Bases that lie in folders: what is saved does not say where, and is opened all the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.loading import base_locations
from loratory.backbones.loading.base_locations import make_name_portable
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import BaseModelError
from loratory.predictors import predictor_files
from loratory.predictors.encoder import Encoder
from loratory.predictors.entailment import Entailment
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Network, Predictor
from loratory.tasks.classify import Classify
from tiny_models import BasePathOf

TASK = Classify(labels=("a", "b"))


@pytest.fixture
def base(base_path_of: BasePathOf, tmp_path: Path) -> Path:
    """A base of this test alone, so that no pool has it and it can be moved."""
    return Path(shutil.copytree(base_path_of("bert"), tmp_path / "somebody" / "secret" / "tiny-bert"))


def encoder(base: Path) -> Encoder:
    backbone = TorchBackbonePool().get_base(str(base))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = load_output_adapter("labels").build_head("pooled", TASK, backbone)
    return Encoder(TASK, "labels", Network(backbone, None, head), 32, 10)


def save_fit(folder: Path, predictor: Predictor) -> Path:
    with stage_artifact(folder, {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, predictor)
    return folder


def names_of(folder: Path) -> str:
    (file,) = [file for file in folder.iterdir() if file.name in ("encoder.json", "decoder.json", "entailment.json")]
    return str(json.loads(file.read_text())["backbone"]["name"])


def holds(folder: Path, text: str) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


def test_what_is_saved_does_not_say_where_its_base_lies(base: Path, tmp_path: Path) -> None:
    fit = save_fit(tmp_path / "fit", encoder(base))
    assert names_of(fit) == "./tiny-bert"
    other = save_fit(tmp_path / "other", Entailment(TASK, Network(encoder(base).network.backbone)))
    assert names_of(other) == "./tiny-bert"
    for folder in (fit, other):
        assert holds(folder, "somebody") == holds(folder, str(tmp_path)) == []


def test_it_is_found_again_and_only_the_right_one(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = save_fit(tmp_path / "fit", encoder(base))
    assert isinstance(predictor_files.load_predictor(fit, TorchBackbonePool()), Encoder)
    moved = tmp_path / "elsewhere" / "tiny-bert"
    moved.parent.mkdir()
    base.rename(moved)
    with pytest.raises(BaseModelError, match="a folder called 'tiny-bert' is not known on this machine"):
        predictor_files.load_predictor(fit, TorchBackbonePool())
    monkeypatch.chdir(moved.parent)
    assert isinstance(predictor_files.load_predictor(fit, TorchBackbonePool()), Encoder)
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(BaseModelError, match="is not the one this artifact was made with"):
        predictor_files.load_predictor(fit, TorchBackbonePool())


def test_the_spec_of_the_run_says_where_it_lies(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine, or in a container, that remembers nothing."""
    fit = save_fit(tmp_path / "runs" / "tiny" / "contenders" / "head" / "seed-1", encoder(base))
    monkeypatch.setenv(base_locations.ENVIRONMENT_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(BaseModelError):
        predictor_files.load_predictor(fit, TorchBackbonePool())
    lock = tmp_path / "runs" / "tiny" / "spec.lock.yaml"
    for text in ("[", "- 1", "base: [1]\nladder: {a: 1}\n", "base: 7\nladder: [x, {a: b}, {a: {base: [1]}}]\n"):
        lock.write_text(text)
        with pytest.raises(BaseModelError, match="is not known on this machine"):
            predictor_files.load_predictor(fit, TorchBackbonePool())
    for text in (f"base: {base}\n", f"base: minilm\nladder:\n- head: {{base: {base}}}\n"):
        lock.write_text(text)
        assert isinstance(predictor_files.load_predictor(fit, TorchBackbonePool()), Encoder)


def test_a_machine_that_cannot_remember_saves_all_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(base_locations.ENVIRONMENT_VARIABLE, str(tmp_path / "file" / "below"))
    assert names_of(save_fit(tmp_path / "fit", encoder(base))) == "./tiny-bert"


def test_an_artifact_of_an_older_version_names_the_folder(base: Path, tmp_path: Path) -> None:
    made = encoder(base)
    backbone = TorchBackbonePool().get(str(base), made.network.backbone.digest, tmp_path)
    assert backbone.digest == made.network.backbone.digest


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    told = {
        "minilm": "minilm",
        "hub/model": "hub/model",
        "hub/model@main": "hub/model@main",
        "/home/somebody/models/bert": "./bert",
        "/home/somebody/minilm/": "./minilm",
        "~/bert": "./bert",
        "owner/model": "./model",
        "./bert": "./bert",
        "../x/../bert": "./bert",
    }
    assert {name: make_name_portable(name) for name in told} == told
