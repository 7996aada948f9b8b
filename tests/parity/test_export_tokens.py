"""Fits of `tag` open in stock token classifiers with our logits, and stock token classifiers are taken in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from loratory.artifacts.manifests import extend_artifact, stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import ArtifactError
from loratory.exporting import stock_layouts
from loratory.importing.import_folder import import_folder
from loratory.predictors import bio_decoding, predictor_files
from loratory.predictors.encoder import Encoder
from loratory.protocols import EncodeRequest, TrainSet
from loratory.regimes.lora import Lora
from loratory.tasks.tag import Tag
from tiny_models import TEXTS, load_backbone_from, make_context, save_base

FAMILIES = ("bert", "roberta", "modernbert", "deberta-v2")
LINEAR = ("bert", "roberta", "deberta-v2")  # their stock token head is one linear layer
TASK = Tag(labels=("THING", "PLACE"))
TAGS = ("O", "B-THING", "I-THING", "B-PLACE", "I-PLACE")
FACTS = {"run": "toy", "contender": "lora", "regime": "lora", "base": "bert", "data": "toy.csv", "scores": {"f2": 0.5}}
Made = Callable[[str, str], tuple[Encoder, Path]]


def build_train_set() -> TrainSet:
    made = [
        TASK.read({"text": "my card is broken", "spans": [[3, 7, "THING"]]}),
        TASK.read({"text": "no cash came out today", "spans": [[3, 7, "THING"], [13, 16, "PLACE"]]}),
    ]
    return TrainSet(made, made)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A fit of one step with all layouts, made when first asked for."""
    home = tmp_path_factory.mktemp("tokens")
    known: dict[tuple[str, str], Encoder] = {}

    def fit_and_export(family: str, kind: str) -> tuple[Encoder, Path]:
        folder = home / f"{family}-{kind}"
        if (family, kind) not in known:
            regime = Lora.model_validate({"rank": 4, "learning_rate": 0.05, "head_learning_rate": 0.05, "head": kind})
            backbone = load_backbone_from(save_base(home / f"base-{family}-{kind}", family))
            fit: Any = regime.fit(TASK, build_train_set(), backbone, make_context(epochs=1, max_tokens=40))
            known[family, kind] = fit
            with stage_artifact(folder, {"kind": "fit"}) as part:
                predictor_files.save_predictor(part, fit)
            with extend_artifact(folder) as part:
                stock_layouts.write_stock_layouts(part, fit, FACTS)
        return known[family, kind], folder

    return fit_and_export


def ours(encoder: Encoder) -> list[Tensor]:
    rows = [ids for ((ids, _),) in encoder.encode_rows([{"text": text} for text in TEXTS])]
    outputs = run_locally([EncodeRequest(encoder.network, ids) for ids in rows])
    return [one[: len(ids)] for one, ids in zip(outputs, rows, strict=True)]


def theirs(model: Any, folder: Path, output: str = "logits") -> list[Tensor]:
    """What a stranger would do, text by text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [getattr(model.eval()(**tokenizer(text, return_tensors="pt")), output)[0] for text in TEXTS]


def far(some: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(some, other, strict=True))


CASES = [(family, kind) for family in FAMILIES for kind in ("auto", "stock") if kind == "stock" or family in LINEAR]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_an_export_opens_wholly_in_a_stock_token_classifier(exported: Made, family: str, kind: str) -> None:
    encoder, folder = exported(family, kind)
    auto = transformers.AutoModelForTokenClassification
    wanted = ours(encoder)
    assert wanted[1].shape[1] == len(TAGS)
    merged, loading = auto.from_pretrained(folder / "merged", output_loading_info=True)
    assert not loading["missing_keys"]
    assert far(theirs(merged, folder / "merged"), wanted) < 1e-4
    assert merged.config.id2label == dict(enumerate(TAGS))
    base = auto.from_pretrained(folder / "base_5")
    assert far(theirs(base, folder / "base_5"), wanted) > 1e-3  # the adapter is not in it
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if encoder.stock_head is not None and name in encoder.stock_head.named_weights():
                weight.normal_()  # the adapter carries the whole head
    opened = PeftModel.from_pretrained(base, folder / "adapter")
    assert far(theirs(opened, folder / "base_5"), wanted) < 1e-4
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["task_type"], config["base_model_name_or_path"]) == ("TOKEN_CLS", "base_5")
    assert not (folder / "merged" / "head.safetensors").exists()


def test_an_export_answers_in_the_pipeline(exported: Made) -> None:
    encoder, folder = exported("bert", "auto")
    pipeline = transformers.pipeline("token-classification", str(folder / "merged"))
    for text, logits in zip(TEXTS, ours(encoder), strict=True):
        answers: Any = pipeline(text)
        tags = [TAGS[i] for i in logits.argmax(-1).tolist()[1:-1]]  # without the special tokens
        assert [(one["index"], one["entity"]) for one in answers] == [
            (place, tag) for place, tag in enumerate(tags, 1) if tag != "O"
        ]


def test_a_layer_that_no_stock_class_has_lies_beside_its_backbone(exported: Made) -> None:
    """ModernBERT's own token head is more than one linear layer."""
    encoder, folder = exported("modernbert", "auto")
    assert encoder.stock_head is None
    model = transformers.AutoModel.from_pretrained(folder / "merged")
    states = theirs(model, folder / "merged", "last_hidden_state")
    head = load_file(folder / "merged" / "head.safetensors")
    logits = [one @ head["classifier.weight"].T + head["classifier.bias"] for one in states]
    assert far(logits, ours(encoder)) < 1e-4
    facts = json.loads((folder / "merged" / "head.json").read_text(encoding="utf-8"))
    assert facts == {"kind": "token", "form": "spans", "max_tokens": 40, "long": "head"}
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["task_type"] == "FEATURE_EXTRACTION"


@pytest.mark.parametrize(("family", "kind"), [*CASES, ("modernbert", "auto")])
def test_a_saved_fit_is_the_one_that_was_saved(exported: Made, family: str, kind: str) -> None:
    encoder, folder = exported(family, kind)
    again: Any = predictor_files.load_predictor(folder, TorchBackbonePool())
    assert far(ours(again), ours(encoder)) == 0
    assert again.count_parameters() == encoder.count_parameters()


def test_the_cards_speak_of_tokens(exported: Made) -> None:
    _, folder = exported("bert", "auto")
    card, inner = ModelCard.load(folder / "README.md"), ModelCard.load(folder / "adapter" / "README.md")
    assert (card.data.pipeline_tag, inner.data.pipeline_tag) == ("token-classification", "token-classification")
    assert "AutoModelForTokenClassification" in card.content
    assert "base_5/" in card.content
    assert '"spans"' in card.content
    assert "while it is written" not in card.content  # nothing is written
    assert 'AutoModelForTokenClassification.from_pretrained("base_5")' in inner.content
    _, other = exported("modernbert", "auto")
    assert "head.safetensors" in ModelCard.load(other / "README.md").content


# ---- foreign token classifiers
def foreign(folder: Path, tags: tuple[str, ...], family: str = "bert") -> Path:
    names: dict[str, Any] = {"id2label": dict(enumerate(tags)), "label2id": {tag: i for i, tag in enumerate(tags)}}
    return save_base(folder, family, kind="AutoModelForTokenClassification", **names)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tags", [TAGS, ("I-PLACE", "B-THING", "B-PLACE", "O", "I-THING")])
def test_a_stock_token_classifier_is_taken_in(tmp_path: Path, family: str, tags: tuple[str, ...]) -> None:
    folder = foreign(tmp_path / "foreign", tags, family)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    import_folder(folder, tmp_path / "out")
    made: Any = predictor_files.load_predictor(tmp_path / "out", TorchBackbonePool())
    assert made.task.kind == "tag"
    order = [tags.index(tag) for tag in bio_decoding.list_tags(made.task.labels)]
    assert far([logits[:, order] for logits in theirs(model, folder)], ours(made)) < 1e-4
    assert made.predict([{"text": TEXTS[1]}], run_locally)[0].answer is not None


def test_our_own_export_is_taken_in_again(exported: Made, tmp_path: Path) -> None:
    encoder, folder = exported("roberta", "auto")
    import_folder(folder / "merged", tmp_path / "out")
    made: Any = predictor_files.load_predictor(tmp_path / "out", TorchBackbonePool())
    assert made.task == TASK
    assert far(ours(made), ours(encoder)) < 1e-4
    inputs = [{"text": text} for text in TEXTS]
    spans = [[p.answer for p in one.predict(inputs, run_locally)] for one in (made, encoder)]
    assert spans[0] == spans[1]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (("O", "B-A", "I-A", "A"), "'A' is no tag"),
        (("B-A", "I-A"), "there is no O"),
        (("O", "B-A", "E-A", "L-A"), "B, E, L are not the kinds of one scheme"),
        (("O", "B-A", "B-A"), "tell nothing apart"),
        (("O", "E-A", "S-B"), "there is no B-A or S-A"),
    ],
)
def test_tags_of_no_scheme_are_refused(tmp_path: Path, tags: tuple[str, ...], said: str) -> None:
    folder = foreign(tmp_path / "foreign", tags)
    with pytest.raises(ArtifactError, match=r"are no tags of one scheme|tell nothing apart") as caught:
        import_folder(folder, tmp_path / "out")
    assert said in caught.value.problem
    assert not (tmp_path / "out").exists()
