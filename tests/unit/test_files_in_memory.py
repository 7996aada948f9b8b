"""What is served is what was hashed: files that change, shrink, appear or lead elsewhere change no answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loratory.artifacts.manifests import hash_file, open_artifact, stage_artifact, write_manifest
from loratory.artifacts.safetensors_headers import read_header
from loratory.artifacts.verified_files import UnlistedFiles, VerifiedFiles, is_safe_name
from loratory.backbones import adapters
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading import model_loader
from loratory.backbones.loading.bases import describe_base, resolve_base
from loratory.backbones.loading.weights import read_tensors
from loratory.backbones.pool import TorchBackbonePool, load_backbone
from loratory.errors import ArtifactError, BaseModelError
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.constant import Constant
from loratory.predictors.encoder import Encoder
from loratory.protocols import EncodeRequest, Network
from loratory.tasks.classify import Classify
from tiny_models import save_base


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return save_base(tmp_path / "base", "bert")


def states(backbone: EncoderBackbone) -> torch.Tensor:
    return backbone.encode([EncodeRequest(Network(backbone), (2, 5, 6, 3))])[0]


def overwrite(file: Path) -> None:
    """In place, as `cp` does: the same inode, the same size."""
    with file.open("r+b") as handle:
        data = bytearray(handle.read())
        data[-4000:] = os.urandom(4000)
        handle.seek(0)
        handle.write(data)


def test_a_base_that_changes_in_place_changes_no_answer(copied: Path) -> None:
    backbone = load_backbone(describe_base("tiny", copied))
    before = states(backbone)
    overwrite(copied / "model.safetensors")
    assert torch.equal(states(backbone), before)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_base_that_changes_between_its_digest_and_its_loading_is_refused(copied: Path, name: str) -> None:
    base = describe_base("tiny", copied)
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[:-1] + b" " if name != "model.safetensors" else data[:-1] + b"\x01")
    with pytest.raises((BaseModelError, ArtifactError)) as caught:
        load_backbone(base)
    assert name in str(caught.value)


def test_a_base_that_changes_while_it_is_read_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A race: the digest that was taken is of other bytes than those that were read."""
    real = read_tensors

    def race_reads(files: VerifiedFiles, name: str, widen: bool = False) -> Any:
        overwrite(copied / name)
        return real(files, name, widen)

    monkeypatch.setattr(model_loader, "read_tensors", race_reads)
    with pytest.raises(BaseModelError, match="SHA-256 differs"):
        load_backbone(describe_base("tiny", copied))


SHRINK = """
import sys, os, torch
from pathlib import Path
from loratory.backbones.loading.bases import describe_base
from loratory.backbones.pool import load_backbone
from loratory.protocols import EncodeRequest, Network
folder = Path(sys.argv[1])
backbone = load_backbone(describe_base("tiny", folder))
for file in folder.glob("*.*"):
    os.truncate(file, 0)
print(backbone.encode([EncodeRequest(Network(backbone), (2, 5, 6, 3))])[0].sum().isfinite().item())
"""


def test_truncated_files_do_not_end_the_process(copied: Path) -> None:
    """A mapped file that is cut ends the process with SIGBUS at the next use."""
    done = subprocess.run([sys.executable, "-c", SHRINK, str(copied)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_an_adapter_lies_in_memory(tmp_path: Path, copied: Path) -> None:
    backbone = load_backbone(describe_base("tiny", copied))
    targets, _ = backbone.find_target_modules()
    config = {"r": 2, "lora_alpha": 4, "target_modules": list(targets)}
    made = adapters.extract_adapter(adapters.attach_trainable_adapter(backbone.model, config), config)
    adapters.write_adapter(tmp_path / "adapter", made, {})
    again = adapters.read_adapter(tmp_path / "adapter")
    held = {name: t.clone() for name, t in again.tensors.items()}
    overwrite(tmp_path / "adapter" / adapters.WEIGHTS_FILE)
    assert all(torch.equal(again.tensors[name], t) for name, t in held.items())


# ---- safetensors
def test_tensors_are_those_of_the_library(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "a": torch.randn(3, 5),
        "half": torch.randn(7).bfloat16(),
        "none": torch.empty(0, 4),
        "one": torch.tensor(3),
        "yes": torch.tensor([True, False]),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    made, stock = read_tensors(UnlistedFiles(tmp_path), "x.safetensors"), load_file(tmp_path / "x.safetensors")
    assert made.keys() == stock.keys()
    assert all(torch.equal(made[name], stock[name]) and made[name].dtype == stock[name].dtype for name in stock)
    wide = read_tensors(UnlistedFiles(tmp_path), "x.safetensors", widen=True)["half"]
    assert wide.dtype == torch.float32
    assert torch.equal(wide, tensors["half"].float())
    assert read_header(tmp_path / "x.safetensors")["a"].shape == (3, 5)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "nothing", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 8]}},
        {"a": 3},
        [],
    ],
)
def test_a_header_that_says_what_is_not_there_is_refused(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ArtifactError, match=r"safetensors|is not read here"):
        read_tensors(UnlistedFiles(tmp_path), "x.safetensors")


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 16, (2).to_bytes(8, "little") + b"{]"])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="no safetensors"):
        read_tensors(UnlistedFiles(tmp_path), "x.safetensors")


# ---- only listed files
TASK = Classify(labels=("a", "b"))


def fit(folder: Path) -> Path:
    with stage_artifact(folder, {}) as part:
        predictor_files.save_predictor(part, Constant(TASK, {"label": "a"}, {"a": 0.6, "b": 0.4}))
    return folder


def test_an_operating_point_that_the_manifest_does_not_list_is_not_there(tmp_path: Path) -> None:
    folder = fit(tmp_path / "fit")
    CalibratedPredictor(Constant(TASK, {"label": "a"}, {}), OperatingPoint(thresholds={"b": 0.1})).save(folder)
    made = predictor_files.load_predictor(folder, TorchBackbonePool())
    assert not isinstance(made, CalibratedPredictor)
    assert made.predict([{"text": "x"}], run_locally)[0].answer == {"label": "a"}


def test_validators_and_a_model_that_the_manifest_does_not_list_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_base(tmp_path / "base", "bert")
    pool = TorchBackbonePool()
    backbone = pool.get_base(str(base))
    from loratory.predictors.heads import make_head

    head = make_head("pooled", backbone, ("a", "b")).eval()
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(
            part, Encoder(TASK, "labels", Network(backbone, None, head), 64, trained_parameters=2)
        )
    before = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool()).predict(
        [{"text": "hello"}], run_locally
    )
    for name in ("model", "base_0"):
        shutil.copytree(base, tmp_path / "fit" / name)
        tensors = {key: torch.zeros_like(t) for key, t in load_file(base / "model.safetensors").items()}
        save_file(tensors, tmp_path / "fit" / name / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "fit" / "span_rules.json").write_text('[{"label": "a", "source": "pattern", "says": ["x"]}]')
    made: Any = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert made.predict([{"text": "hello"}], run_locally) == before
    assert made.span_rules == ()
    base.rename(tmp_path / "gone")  # an unlisted copy is not taken for it either
    with pytest.raises(BaseModelError):
        predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a/./b", "a//b", "a\\b", "C:a", "a\0b", ".", "..", "a/", 3, None]
)
def test_names_that_are_not_plain(name: Any) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "adapter/adapter_config.json", "a..b", ".hidden"])
def test_names_that_are_plain(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("kind", ["link", "folder link", "fifo", "device", "case"])
def test_links_pipes_devices_and_tricks_of_case_are_refused(tmp_path: Path, kind: str) -> None:
    folder = fit(tmp_path / "fit")
    manifest = json.loads((folder / "manifest.json").read_text())
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(folder / "task.json", outside / "task.json")
    if kind == "case":
        manifest["files"]["TASK.json"] = manifest["files"]["task.json"]
    elif kind == "folder link":
        (folder / "inner").symlink_to(outside)
        manifest["files"]["inner/task.json"] = manifest["files"]["task.json"]
    else:
        (folder / "task.json").unlink()
        if kind == "link":
            (folder / "task.json").symlink_to(outside / "task.json")
        elif kind == "device":
            (folder / "task.json").symlink_to("/dev/zero")
        else:
            os.mkfifo(folder / "task.json")
    write_manifest(folder, manifest)
    with pytest.raises(ArtifactError):
        predictor_files.load_predictor(folder, TorchBackbonePool())


def test_a_manifest_that_is_a_link_or_a_pipe_is_none(tmp_path: Path) -> None:
    folder = fit(tmp_path / "fit")
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(ArtifactError, match="no valid manifest"):
        open_artifact(folder)
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(ArtifactError, match="no valid manifest"):
        open_artifact(folder)


def test_what_is_read_is_what_was_hashed(tmp_path: Path) -> None:
    folder = fit(tmp_path / "fit")
    artifact = open_artifact(folder)
    (folder / "task.json").write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        artifact.read("task.json")
    with pytest.raises(ArtifactError, match="not among the files"):
        artifact.read("unlisted.json")
    assert artifact.manifest_digest == hash_file(folder / "manifest.json")


def test_the_embedded_bases_still_load() -> None:
    for name in ("minilm", "seedling"):
        assert load_backbone(resolve_base(name)).count_parameters() > 1000
