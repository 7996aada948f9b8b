"""`loratory import`: seed 2's layout and other foreign folders become artifacts, or are refused with a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import ArtifactError
from loratory.importing.import_folder import import_folder
from loratory.importing.weight_sources import locate_weights, read_labels
from loratory.predictors import predictor_files
from tiny_models import TEXTS, BasePathOf, save_base

LABELS = ("card", "cash", "login")
NAMED: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
TARGETS = {
    "bert": ["query", "dense"],
    "deberta-v2": ["query_proj", "key_proj", "value_proj", "dense"],
    "qwen3": ["q_proj"],
}


@pytest.fixture(scope="session")
def seed2(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What seed 2 trains: base_<L>/, adapter/ with its head under modules_to_save, merged/ and labels.json."""
    home = tmp_path_factory.mktemp("seed2")

    def save_sweep(family: str) -> Path:
        folder = home / family
        if folder.is_dir():
            return folder
        save_base(folder / "base_3", family, kind="AutoModelForSequenceClassification", **NAMED)
        auto = transformers.AutoModelForSequenceClassification
        heads = ["score"] if family == "qwen3" else ["classifier"]
        config = LoraConfig(r=4, target_modules=TARGETS[family], task_type="SEQ_CLS", modules_to_save=heads)
        peft: Any = get_peft_model(auto.from_pretrained(folder / "base_3"), config)
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in peft.parameters():
                if weight.requires_grad:
                    weight.normal_(std=0.3)
        peft.save_pretrained(str(folder / "adapter"))
        peft.merge_and_unload().save_pretrained(folder / "merged")
        transformers.AutoTokenizer.from_pretrained(folder / "base_3").save_pretrained(folder / "merged")
        (folder / "labels.json").write_text(json.dumps({"id2label": {str(i): n for i, n in enumerate(LABELS)}}))
        return folder

    return save_sweep


def theirs(folder: Path) -> list[dict[str, float]]:
    """The odds by stock transformers."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist() for text in TEXTS]
    return [dict(zip(LABELS, row, strict=True)) for row in rows]


def ours(folder: Path) -> list[Any]:
    made = predictor_files.load_predictor(folder, TorchBackbonePool())
    return [p.probabilities["/label"] for p in made.predict([{"text": text} for text in TEXTS], run_locally)]


@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("order", ["merged", "base + adapter", "plain"])
def test_the_orders_of_seed_2_give_its_answers(
    seed2: Callable[[str], Path], tmp_path: Path, family: str, order: str
) -> None:
    foreign = Path(shutil.copytree(seed2(family), tmp_path / "foreign"))
    if order == "base + adapter":
        shutil.rmtree(foreign / "merged")
    if order == "plain":
        shutil.copytree(seed2(family) / "merged", tmp_path / "plain")
        foreign = tmp_path / "plain"
    assert import_folder(foreign, tmp_path / "out") == order
    for mine, their in zip(ours(tmp_path / "out"), theirs(seed2(family) / "merged"), strict=True):
        assert mine == pytest.approx(their, abs=1e-4)
    assert (
        max(row["card"] for row in ours(tmp_path / "out")) - min(row["card"] for row in ours(tmp_path / "out")) > 1e-3
    )
    shutil.rmtree(foreign)
    assert ours(tmp_path / "out")  # the artifact stands alone


@pytest.mark.parametrize(
    "content",
    [
        ["card", "cash", "login"],
        {"0": "card", "1": "cash", "2": "login"},
        {"2": "login", "0": "card", "1": "cash"},
        {"card": 0, "cash": 1, "login": 2},
        {"id2label": {"0": "card", "1": "cash", "2": "login"}},
        {"label2id": {"login": 2, "card": 0, "cash": 1}},
        {"label2id": {"card": "0", "cash": "1", "login": "2"}, "id2label": None},
    ],
)
def test_labels_in_their_variants(tmp_path: Path, content: Any) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_labels(tmp_path) == LABELS


def test_labels_that_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"label2id": {"5": 0, "1": 1}}), encoding="utf-8")
    assert read_labels(tmp_path) == ("5", "1")


def test_labels_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "b", "1": "a"}}), encoding="utf-8")
    assert read_labels(tmp_path / "nothing", tmp_path) == ("b", "a")
    (tmp_path / "labels.json").write_text(json.dumps(["x", "y"]), encoding="utf-8")
    assert read_labels(tmp_path) == ("x", "y")


@pytest.mark.parametrize(
    "content",
    [
        '{"1": "a", "2": "b"}',
        '{"0": "a", "2": "b"}',
        '{"a": 0, "b": 0}',
        '{"a": "x"}',
        '["a"]',
        '["a", "a"]',
        '["a", ""]',
        "[]",
        "3",
        "null",
        "{",
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        read_labels(tmp_path)
    assert "labels.json" in caught.value.where


def test_no_labels_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no labels\.json and no id2label"):
        read_labels(tmp_path)


# ---- refused
@pytest.fixture
def foreign(seed2: Callable[[str], Path], tmp_path: Path) -> Path:
    """A seed-2 folder of its own, to be spoilt."""
    return Path(shutil.copytree(seed2("bert"), tmp_path / "foreign"))


def catch_import_error(foreign: Path, match: str) -> ArtifactError:
    out = foreign.parent / "out"
    with pytest.raises(ArtifactError, match=match) as caught:
        import_folder(foreign, out)
    assert not out.exists()
    assert [f.name for f in foreign.parent.iterdir()] == ["foreign"]
    return caught.value


def test_a_missing_folder_and_one_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        locate_weights(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="no model found"):
        locate_weights(tmp_path)


def test_a_backbone_without_its_head_is_refused(foreign: Path) -> None:
    file = foreign / "merged" / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "classifier" not in n}, file, metadata={"format": "pt"})
    assert "classifier" in catch_import_error(foreign, "weights are missing").problem


def test_an_adapter_brings_the_head_that_its_base_lacks(foreign: Path) -> None:
    shutil.rmtree(foreign / "merged")
    file = foreign / "base_3" / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "classifier" not in n}, file, metadata={"format": "pt"})
    assert import_folder(foreign, foreign.parent / "out") == "base + adapter"


def test_an_adapter_without_its_base_is_refused(foreign: Path) -> None:
    shutil.rmtree(foreign / "merged")
    shutil.rmtree(foreign / "base_3")
    edit(foreign / "adapter" / "adapter_config.json", base_model_name_or_path="gone")
    problem = catch_import_error(foreign, "'gone', which adapter_config.json names, cannot be had")
    assert "--base" in problem.remedy


def test_pickled_weights_are_refused(foreign: Path) -> None:
    for name in ("merged", "base_3"):
        (foreign / name / "model.safetensors").rename(foreign / name / "pytorch_model.bin")
    edit(foreign / "adapter" / "adapter_config.json", base_model_name_or_path="gone")
    catch_import_error(foreign, "cannot be had")
    shutil.rmtree(foreign / "adapter")
    catch_import_error(foreign, "no model found, but pytorch_model.bin")


def test_labels_of_another_count_are_refused(foreign: Path) -> None:
    (foreign / "labels.json").write_text(json.dumps(["a", "b"]), encoding="utf-8")
    assert (
        "labels.json"
        in catch_import_error(foreign, "does not open in AutoModelForSequenceClassification with 2 labels").remedy
    )


def test_several_labels_for_a_text_are_refused(foreign: Path) -> None:
    edit(foreign / "merged" / "config.json", problem_type="multi_label_classification")
    catch_import_error(foreign, "multi_label_classification")


def test_an_adapter_that_is_no_plain_lora_is_refused(foreign: Path) -> None:
    shutil.rmtree(foreign / "merged")
    edit(foreign / "adapter" / "adapter_config.json", use_dora=True)
    catch_import_error(foreign, "use_dora is set")


def test_an_adapter_of_another_model_is_refused(foreign: Path) -> None:
    shutil.rmtree(foreign / "merged")
    file = foreign / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n.replace("layer.0", "layer.8"): t for n, t in tensors.items()}, file)
    catch_import_error(foreign, "does not fit its base")
    save_file({**tensors, "base_model.model.extra.weight": torch.zeros(2)}, file)
    catch_import_error(foreign, "weights that its base lacks: extra.weight")


def test_a_folder_that_is_there_is_not_written_over(foreign: Path) -> None:
    (foreign.parent / "out").mkdir()
    with pytest.raises(ArtifactError, match="the output folder exists"):
        import_folder(foreign, foreign.parent / "out")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


# ---- afterwards
@pytest.mark.parametrize(
    "name", ["head.safetensors", "encoder.json", "labels.json", "model/model.safetensors", "model/tokenizer.json"]
)
def test_an_artifact_that_was_changed_is_not_loaded(foreign: Path, name: str) -> None:
    import_folder(foreign, foreign.parent / "out")
    file = foreign.parent / "out" / name
    raw = bytearray(file.read_bytes())
    raw[-2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ArtifactError, match="SHA-256 differs") as caught:
        predictor_files.load_predictor(foreign.parent / "out", TorchBackbonePool())
    assert name.rpartition("/")[2] in caught.value.where


def test_a_foreign_folder_itself_is_not_loaded(foreign: Path, base_path_of: BasePathOf) -> None:
    with pytest.raises(ArtifactError, match="no valid manifest") as caught:
        predictor_files.load_predictor(foreign, TorchBackbonePool())
    assert f"loratory import {foreign}" in caught.value.remedy
