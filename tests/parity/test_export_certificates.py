"""Exports of fits of real classes: certified against the fit, and refused where a file of them is not what it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from loratory.artifacts.manifests import extend_artifact, open_artifact, stage_artifact
from loratory.backbones import adapters
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.errors import ArtifactError, LoratoryError, ParityError, UnsupportedTask
from loratory.experiment.export_fit import ExportRequest, export_fit, load_exporter
from loratory.experiment.export_session import ExportSession
from loratory.experiment.verify_export import verify_export
from loratory.exporting import stock_layouts
from loratory.exporting.certificates.certification import Reference, certify_folder
from loratory.exporting.peft import PeftExporter
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import make_head, make_token_head
from loratory.protocols import Network
from loratory.tasks.tag import Tag
from tiny_models import BackboneOf, make_random_adapter, make_task

LABELS = ("card", "cash", "login")
FACTS = {"run": "toy", "contender": "lora", "regime": "lora", "base": "toy", "data": "toy.csv", "scores": {}}
POINT = OperatingPoint(temperature=1.4, thresholds={"card": 0.5}, score="energy", least=1.2)
Fits = Callable[[str, str], Path]
FORMS = [
    ("bert", "pooled"),
    ("roberta", "stock"),
    ("modernbert", "token"),
    *(
        pytest.param(family, kind, marks=pytest.mark.slow)
        for family in ("bert", "roberta", "distilbert", "deberta-v2", "modernbert")
        for kind in ("pooled", "stock", "token")
    ),
]


def make_fit(backbone: EncoderBackbone, kind: str) -> Encoder:
    """LoRA with a head, all of random weights."""
    task: Any = Tag(labels=("card", "cash")) if kind == "token" else make_task()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        head = (
            make_token_head(kind, backbone, ("O", "B-card", "I-card", "B-cash", "I-cash"))
            if kind == "token"
            else (make_head(kind, backbone, LABELS))
        )
        for weight in head.parameters():
            torch.nn.init.normal_(weight.data, std=0.3)
    head.requires_grad_(False).eval()
    form = "spans" if kind == "token" else "labels"
    return Encoder(task, form, Network(backbone, make_random_adapter(backbone), head), 40, 99)


@pytest.fixture(scope="session")
def certified_fit_of(backbone_of: BackboneOf, tmp_path_factory: pytest.TempPathFactory) -> Fits:
    """The artifact of a family and a head, made when it is first asked for; labels have an operating point."""
    home = tmp_path_factory.mktemp("certified")

    def make(family: str, kind: str) -> Path:
        folder = home / f"{family}-{kind}"
        if not folder.exists():
            fit = make_fit(backbone_of(family), kind)
            shipped: Any = CalibratedPredictor(fit, POINT) if kind != "token" else fit
            with stage_artifact(folder, {"kind": "fit", "contender": "lora", "seed": 1, "identity": family}) as part:
                predictor_files.save_predictor(part, shipped)
            with extend_artifact(folder) as part:
                stock_layouts.write_stock_layouts(part, fit, FACTS)
        return folder

    return make


@pytest.mark.parametrize(("family", "kind"), FORMS)
def test_forms_of_a_family_are_certified_and_verified(
    certified_fit_of: Fits, family: str, kind: str, tmp_path: Path
) -> None:
    fit = certified_fit_of(family, kind)
    done = export_fit(ExportRequest(fit, None, ("peft", "onnx", "onnx-fp16"), tmp_path / "out"))
    assert [folder.name for folder in done.folders] == ["peft", "onnx", "onnx-fp16"]
    for folder in done.folders:
        measured = done.certificates[folder].values["measured"]
        assert measured["tokens_equal"]
        assert measured["max_dp"] < (1e-5 if folder.name != "onnx-fp16" else 2e-2)
        assert measured["batch_dp"] < 1e-5
        assert measured["deterministic"]
        assert measured["answers_compared"] >= 30
        assert set(measured["stages"]) >= {"embedding", "layer 1", "layer 2", "logits"}
        assert verify_export(folder)[0] == folder.name
    exact = done.certificates[tmp_path / "out" / "onnx"]
    rounded = done.certificates[tmp_path / "out" / "onnx-fp16"]
    assert rounded.values["chain"] == {"exact_member": exact.digest}
    sizes = [(tmp_path / "out" / name / "model.onnx").stat().st_size for name in ("onnx-fp16", "onnx")]
    assert sizes[0] < sizes[1]  # by little: what tiny graphs weigh is mostly operators


def test_the_card_of_a_graph_tells_how_it_is_read(certified_fit_of: Fits, tmp_path: Path) -> None:
    done = export_fit(ExportRequest(certified_fit_of("bert", "pooled"), None, ("onnx",), tmp_path / "out"))
    card = (done.folders[0] / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag" not in card
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    told: list[Any] = []
    source = block.replace('"model.onnx"', "GRAPH").replace('"tokenizer.json"', "TOKENIZER")
    names = {
        name: str(done.folders[0] / file) for name, file in (("GRAPH", "model.onnx"), ("TOKENIZER", "tokenizer.json"))
    }
    exec(source, {**names, "print": told.append})
    golden = next(one for one in _read_goldens(done.folders[0]) if one["id"] == "adversarial-upper-case")
    exec(source.replace("some text", golden["text"]), {**names, "print": told.append})
    assert list(told[0]) == list(LABELS)
    assert np.abs(np.array(list(told[1].values())) - golden["probabilities"]).max() < 1e-5


def _read_goldens(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "goldens.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] != "batch"]


# ---- planted faults in files of a real class
def edit_json(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None], name: str = "model") -> None:
    file = folder / "merged" / f"{name}.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def find_weight(tensors: dict[str, torch.Tensor], ending: str) -> torch.Tensor:
    return next(tensor for name, tensor in tensors.items() if name.endswith(ending))


def flip_exponent_bit(tensors: dict[str, torch.Tensor]) -> None:
    find_weight(tensors, "layer.1.intermediate.dense.weight")[0, 0] *= 16


def scale_weight(ending: str, factor: float) -> Callable[[Path], None]:
    def scale(tensors: dict[str, torch.Tensor]) -> None:
        find_weight(tensors, ending).mul_(factor)

    return lambda folder: edit_weights(folder, scale)


def drop_bias(tensors: dict[str, torch.Tensor]) -> None:
    tensors["bias"].zero_()


def edit_tokenizer(folder: Path, change: Callable[[Any], None]) -> None:
    file = folder / "merged" / "tokenizer.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values), encoding="utf-8")


def lower_case(values: Any) -> None:
    values["normalizer"] = {"type": "Lowercase"}


def drop_special_tokens(values: Any) -> None:
    values["post_processor"] = None


def swap_two_words(values: Any) -> None:
    vocabulary = values["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]


def cut_at_half(folder: Path) -> None:
    edit_json(folder, "merged/tokenizer_config.json", model_max_length=20)


def unmerge(folder: Path) -> None:
    shutil.copy(next(folder.glob("base_*")) / "model.safetensors", folder / "merged" / "model.safetensors")


FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "lower case": (lambda folder: edit_tokenizer(folder, lower_case), ("tokens",)),
    "no special tokens": (lambda folder: edit_tokenizer(folder, drop_special_tokens), ("tokens",)),
    "two words swapped": (lambda folder: edit_tokenizer(folder, swap_two_words), ("tokens",)),
    "another window": (cut_at_half, ("tokens",)),
    "embedding scaled": (scale_weight("word_embeddings.weight", 1.01), ("embedding",)),
    "adapter not merged": (unmerge, ("layer 1",)),
    "LayerNorm of another eps": (
        lambda folder: edit_json(folder, "merged/config.json", layer_norm_eps=1e-3),
        ("embedding", "layer 1"),
    ),
    "another activation": (lambda folder: edit_json(folder, "merged/config.json", hidden_act="silu"), ("layer 1",)),
    "one matrix of the last layer lost": (scale_weight("layer.1.attention.output.dense.weight", 0.0), ("layer 2",)),
    "a bit of an exponent": (lambda folder: edit_weights(folder, flip_exponent_bit), ("layer 2",)),
    "first token for the mean": (lambda folder: edit_json(folder, "merged/head.json", pooling="cls"), ("pooled",)),
    "bias of the head lost": (
        lambda folder: edit_weights(folder, drop_bias, "head"),
        ("logits", "answer"),
    ),
    "temperature lost": (lambda folder: edit_json(folder, "operating.json", temperature=1.0), ("probabilities",)),
    "labels in another order": (
        lambda folder: edit_json(folder, "merged/labels.json", id2label={"0": "cash", "1": "card", "2": "login"}),
        ("labels",),
    ),
    "threshold changed": (lambda folder: edit_json(folder, "operating.json", thresholds={"card": 0.9}), ("answer",)),
    "no abstention": (lambda folder: edit_json(folder, "operating.json", score=None), ("answer",)),
}


@pytest.fixture(scope="module")
def exported(certified_fit_of: Fits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reference]:
    """An export to peft, and what its forms are compared with."""
    fit, out = certified_fit_of("bert", "pooled"), tmp_path_factory.mktemp("exported") / "out"
    export_fit(ExportRequest(fit, None, ("peft",), out))
    reference = ExportSession(fit, fit, open_artifact(fit), None).reference
    assert reference is not None
    return out, reference


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused_at_its_stage(name: str, exported: tuple[Path, Reference], tmp_path: Path) -> None:
    folder, reference = exported
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    plant, stages = FAULTS[name]
    plant(copy)
    with pytest.raises(ParityError) as caught:
        certify_folder(copy, "peft", load_exporter("peft"), reference)
    assert caught.value.stage in stages, str(caught.value)


def test_an_unchanged_copy_passes(exported: tuple[Path, Reference], tmp_path: Path) -> None:
    folder, reference = exported
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert certify_folder(copy, "peft", load_exporter("peft"), reference) is not None


# ---- refused exports leave nothing
def test_a_refused_form_leaves_nothing_under_its_name(
    certified_fit_of: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapters.merge_adapter
    fit = Path(shutil.copytree(certified_fit_of("bert", "stock"), tmp_path / "fit"))
    monkeypatch.setattr(adapters, "merge_adapter", lambda model, _: whole(model, None))
    with extend_artifact(fit) as part:
        stock_layouts.write_stock_layouts(part, make_unmerged(fit), FACTS)
    with pytest.raises(ParityError, match="layer 1") as caught:
        export_fit(ExportRequest(fit, None, ("peft",), tmp_path / "out"))
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    assert [one.name for one in tmp_path.iterdir() if "part" in one.name] == []


def test_a_form_that_does_not_open_is_no_export(
    certified_fit_of: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PeftExporter, folder: Path) -> None:
        raise ArtifactError("no runtime opens it")

    monkeypatch.setattr(PeftExporter, "open", refuse)
    with pytest.raises(ArtifactError, match="no runtime opens it"):
        export_fit(ExportRequest(certified_fit_of("bert", "pooled"), None, ("peft",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def make_unmerged(fit: Path) -> Any:
    from loratory.backbones.pool import TorchBackbonePool

    return predictor_files.load_uncalibrated(fit, TorchBackbonePool())


def test_a_disk_that_fills_up_half_way_leaves_nothing(
    certified_fit_of: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loratory.errors import StorageError

    def fill_disk(self: Path, data: bytes) -> int:
        if self.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        return write(self, data)

    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        export_fit(ExportRequest(certified_fit_of("bert", "stock"), None, ("peft",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# ---- foreign graphs, and fits without a form
def test_a_graph_with_weights_elsewhere_is_not_opened(tmp_path: Path) -> None:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.zeros((64, 64), dtype=np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["input_ids", "w"], ["logits"])
    one, other = (onnx.helper.make_tensor_value_info(name, 1, [None, 64]) for name in ("input_ids", "logits"))
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [one], [other], [tensor]))
    onnx.save(model, str(tmp_path / "model.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="lie outside the graph"):
        load_exporter("onnx").open(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="no ONNX graph"):
        load_exporter("onnx").open(tmp_path)


def test_a_fit_without_that_form_says_which_it_has(tmp_path: Path) -> None:
    from loratory.regimes.tfidf import Tfidf
    from tiny_models import make_context, make_train_set

    fit = tmp_path / "tfidf"
    with stage_artifact(fit, {"kind": "fit", "contender": "tfidf"}) as part:
        predictor_files.save_predictor(part, Tfidf().fit(make_task(), make_train_set(), None, make_context()))
    for name in ("onnx", "int8", "peft"):
        with pytest.raises(LoratoryError) as caught:
            export_fit(ExportRequest(fit, None, (name,), tmp_path / "out"))
        assert isinstance(caught.value, (UnsupportedTask, ArtifactError))
        assert "no other form" in caught.value.allowed
    assert not (tmp_path / "out").exists()
