"""Exported folders open in stock transformers and stock PEFT with our answers; the documented loader gives them too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from peft import PeftModel
from torch import Tensor

from loratory.artifacts.manifests import extend_artifact, stage_artifact, verify_artifact
from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import UnsupportedTask
from loratory.exporting import stock_layouts
from loratory.predictors import predictor_files
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead, StockHead, make_head
from loratory.protocols import Network
from loratory.regimes.full import Full
from loratory.tasks.classify import Classify
from tiny_models import (
    TEXTS,
    TOPICS,
    TRAINABLE_FAMILIES,
    BackboneOf,
    BasePathOf,
    load_backbone_from,
    make_context,
    make_examples,
    make_random_adapter,
    make_task,
    make_train_set,
)

LABELS = ("card", "cash", "login")
SCORES = {"accuracy": 0.9123456789, "macro_f1": 0.9, "log_loss": 0.3, "coverage": 1.0}
FACTS = {
    "run": "toy",
    "contender": "lora",
    "regime": "lora",
    "base": "minilm",
    "data": "toy.csv",
    "scores": SCORES,
}
Made = Callable[[str, str], tuple[Encoder, Path]]


def encoder_of(backbone: EncoderBackbone, kind: str, seed: int = 5) -> Encoder:
    """LoRA with a head, all of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_head(kind, backbone, LABELS)
        for weight in head.parameters():
            torch.nn.init.normal_(weight.data, std=0.3)
    head.requires_grad_(False).eval()
    return Encoder(make_task(), "labels", Network(backbone, make_random_adapter(backbone), head), 40, 99)


@pytest.fixture(scope="session")
def exported(backbone_of: BackboneOf, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A family's predictor and its artifact with all layouts, made when first asked for."""
    home = tmp_path_factory.mktemp("exports")
    known: dict[tuple[str, str], Encoder] = {}

    def fit_and_export(family: str, kind: str) -> tuple[Encoder, Path]:
        folder = home / f"{family}-{kind}"
        if (family, kind) not in known:
            known[family, kind] = encoder_of(backbone_of(family), kind)
            with stage_artifact(folder, {"kind": "fit"}) as part:
                predictor_files.save_predictor(part, known[family, kind])
            with extend_artifact(folder) as part:
                stock_layouts.write_stock_layouts(part, known[family, kind], FACTS)
        return known[family, kind], folder

    return fit_and_export


def logits_of(encoder: Encoder) -> Tensor:
    rows = [ids for ((ids, _),) in encoder.encode_rows([{"text": text} for text in TEXTS])]
    states, mask = encoder.network.backbone.compute_states(rows, [encoder.network.adapter] * len(rows))  # type: ignore[attr-defined]
    head: Any = encoder.network.head
    return head(states, mask).detach()  # type: ignore[no-any-return]


def batch(folder: Path) -> Any:
    """What a stranger would do: the folder's own tokenizer, with padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    return tokenizer(list(TEXTS), padding=True, truncation=True, max_length=40, return_tensors="pt")


def stock_logits(model: Any, folder: Path) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch(folder)).logits  # type: ignore[no-any-return]


# ---- heads
def test_the_pooled_head_is_its_formula() -> None:
    rng = np.random.default_rng(3)
    states, mask = rng.normal(size=(4, 6, 5)), np.array([[1] * 6, [1] * 3 + [0] * 3, [1] + [0] * 5, [1] * 5 + [0]])
    prototypes, bias, scale = rng.normal(size=(3, 5)), rng.normal(size=3), 7.5
    pooled = np.stack([s[m == 1].mean(0) for s, m in zip(states, mask, strict=True)])
    cosine = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)) @ (
        prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    ).T
    head = PooledHead(5, 3, "mean").requires_grad_(False)
    head.prototypes.copy_(torch.tensor(prototypes))
    head.bias.copy_(torch.tensor(bias))
    head.log_scale.fill_(np.log(scale))
    made = head(torch.tensor(states, dtype=torch.float32), torch.tensor(mask))
    assert np.abs(made.numpy() - (scale * cosine + bias)).max() < 1e-5


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_the_stock_head_is_the_stock_classifiers(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    head: Any = make_head("stock", backbone, LABELS).eval()
    stock: Any = transformers.AutoModelForSequenceClassification
    whole = stock.from_config(head.config).eval()
    tensors = {f"{head.prefix}.{name}": t for name, t in backbone.model.state_dict().items()} | dict(
        head.named_weights()
    )
    assert not whole.load_state_dict(tensors, strict=False).missing_keys
    rows = [ids for ids, _ in backbone.tokenizer.encode_batch(list(TEXTS))]
    states, mask = backbone.compute_states(rows, [None] * len(rows))
    with torch.no_grad():
        theirs = whole(**backbone.build_inputs(rows)).logits
        assert float((head(states, mask) - theirs).abs().max()) < 1e-5
        alone = torch.cat([head(backbone.compute_states([row], [None])[0], torch.ones(1, len(row))) for row in rows])
    assert float((alone - theirs).abs().max()) < 1e-5  # padding changes nothing
    assert float(theirs.std(0).max()) > 1e-2


def test_an_architecture_whose_head_is_no_function_of_the_states_is_refused() -> None:
    config = transformers.XLNetConfig(vocab_size=50, d_model=16, n_layer=2, n_head=2, d_inner=32)
    with pytest.raises(UnsupportedTask, match="xlnet") as caught:
        StockHead(config, LABELS, 0)
    assert caught.value.remedy == "set head: pooled"


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("bert", ["classifier", "pooler"]),
        ("deberta-v2", ["classifier", "pooler"]),
        ("roberta", ["classifier"]),
        ("modernbert", ["classifier", "head"]),
        ("distilbert", ["classifier", "pre_classifier"]),
        ("qwen3", ["score"]),
    ],
)
def test_every_module_of_the_head_is_saved(exported: Made, family: str, modules: list[str]) -> None:
    encoder, folder = exported(family, "stock")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["modules_to_save"] == modules
    assert config["task_type"] == "SEQ_CLS"
    head: Any = encoder.network.head
    assert isinstance(head, StockHead)
    assert head.modules_to_save() == modules


def test_a_trained_pooler_of_the_base_is_where_the_head_starts(backbone_of: BackboneOf) -> None:
    backbone: Any = backbone_of("bert")
    head: Any = make_head("stock", backbone, LABELS)
    assert torch.equal(head.named_weights()["bert.pooler.dense.weight"], backbone.model.pooler.dense.weight)
    head.named_weights()["bert.pooler.dense.weight"].data.add_(1)
    assert not torch.equal(head.named_weights()["bert.pooler.dense.weight"], backbone.model.pooler.dense.weight)


# ---- layouts
@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_a_stock_export_opens_wholly_in_stock_libraries(exported: Made, family: str) -> None:
    encoder, folder = exported(family, "stock")
    ours = logits_of(encoder)
    auto = transformers.AutoModelForSequenceClassification
    merged = auto.from_pretrained(folder / "merged")
    assert float((stock_logits(merged, folder / "merged") - ours).abs().max()) < 1e-4
    base = auto.from_pretrained(folder / "base_3")
    assert float((stock_logits(base, folder / "base_3") - ours).abs().max()) > 1e-2  # the adapter is not in it
    for seed in (1, 2):  # a head that PEFT made up by chance would show
        torch.manual_seed(seed)
        opened = PeftModel.from_pretrained(auto.from_pretrained(folder / "base_3"), folder / "adapter")
        assert float((stock_logits(opened, folder / "base_3") - ours).abs().max()) < 1e-5
    assert merged.config.id2label == dict(enumerate(LABELS))
    assert merged.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_the_adapter_carries_the_whole_head(exported: Made, backbone_of: BackboneOf, family: str) -> None:
    """Over a base whose head is of other weights the answers stay ours: nothing of the head is left in base_<L>/."""
    encoder, folder = exported(family, "stock")
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "base_3")
    head: Any = encoder.network.head
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            if name in head.named_weights():
                weight.normal_()
    opened = PeftModel.from_pretrained(whole, folder / "adapter")
    assert float((stock_logits(opened, folder / "base_3") - logits_of(encoder)).abs().max()) < 1e-5


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_a_pooled_exports_backbone_opens_in_stock_libraries(exported: Made, family: str) -> None:
    encoder, folder = exported(family, "pooled")
    backbone: Any = encoder.network.backbone
    rows = [ids for ((ids, _),) in encoder.encode_rows([{"text": text} for text in TEXTS])]
    ours, mask = backbone.compute_states(rows, [encoder.network.adapter] * len(rows))
    merged = transformers.AutoModel.from_pretrained(folder / "merged").eval()
    base = transformers.AutoModel.from_pretrained(folder / "base_3")
    opened = PeftModel.from_pretrained(base, folder / "adapter").eval()
    for model, near in ((merged, 1e-4), (opened, 1e-5)):
        with torch.no_grad():
            theirs = model(**batch(folder / "merged")).last_hidden_state
        kept = mask[..., None]
        assert float(((theirs - ours) * kept).abs().max() / (ours * kept).abs().max()) < near
    assert merged.config.id2label == {}


@pytest.mark.parametrize("kind", ["pooled", "stock"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert", "llama"])
def test_a_saved_predictor_is_the_one_that_was_saved(
    exported: Made, base_path_of: BasePathOf, family: str, kind: str
) -> None:
    encoder, folder = exported(family, kind)
    again = predictor_files.load_predictor(folder, TorchBackbonePool())
    inputs = [{"text": text} for text in TEXTS]
    assert again.predict(inputs, run_locally) == encoder.predict(inputs, run_locally)
    assert again.count_parameters() == encoder.count_parameters()


def test_the_pooling_is_the_predictors_own(backbone_of: BackboneOf, tmp_path: Path) -> None:
    """Whatever the base's folder says by now about how it was trained."""
    made = encoder_of(backbone_of("bert"), "pooled")
    cast(PooledHead, made.network.head).pooling = "max"
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, made)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    inputs = [{"text": text} for text in TEXTS]
    assert again.predict(inputs, run_locally) == made.predict(inputs, run_locally)


def test_a_stock_export_answers_in_the_pipeline(exported: Made) -> None:
    encoder, folder = exported("bert", "stock")
    pipeline = transformers.pipeline("text-classification", str(folder / "merged"), top_k=None)
    answers: Any = pipeline(list(TEXTS[:2]))
    for ours, theirs in zip(encoder.predict([{"text": text} for text in TEXTS[:2]], run_locally), answers, strict=True):
        assert {row["label"]: row["score"] for row in theirs} == pytest.approx(ours.probabilities["/label"], abs=1e-5)


def test_exports_name_no_implementation_of_ours(exported: Made) -> None:
    for kind in ("pooled", "stock"):
        for file in exported("bert", kind)[1].rglob("config.json"):
            assert "loratory" not in file.read_text(encoding="utf-8")


def test_an_export_alone_is_a_whole_artifact(exported: Made, backbone_of: BackboneOf, tmp_path: Path) -> None:
    """Where the base is gone, base_<L>/ stands in for it."""
    backbone = backbone_of("bert")
    encoder, folder = exported("bert", "pooled")
    facts = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    facts["backbone"]["name"] = "gone"
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, encoder)
        (part / "encoder.json").write_text(json.dumps(facts), encoding="utf-8")
        stock_layouts.write_stock_encoder(part / "base_3", encoder, merge=False)
    again: Any = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert again.network.backbone is not backbone
    inputs = [{"text": text} for text in TEXTS]
    for ours, theirs in zip(again.predict(inputs, run_locally), encoder.predict(inputs, run_locally), strict=True):
        assert ours.probabilities["/label"] == pytest.approx(theirs.probabilities["/label"], abs=1e-6)


def test_an_owned_backbone_travels_with_its_predictor(base_path_of: BasePathOf, tmp_path: Path) -> None:
    made = Full(head="stock").fit(
        make_task(), make_train_set(), load_backbone_from(base_path_of("bert")), make_context(epochs=1)
    )
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, made)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    inputs = [{"text": text} for text in TEXTS]
    assert again.predict(inputs, run_locally) == made.predict(inputs, run_locally)
    assert transformers.AutoModel.from_pretrained(tmp_path / "fit" / "model")


# ---- cards
def test_cards_parse_and_say_what_others_look_for(exported: Made) -> None:
    _, folder = exported("bert", "pooled")
    data = ModelCard.load(folder / "README.md").data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.license == "apache-2.0"
    assert (data.library_name, data.pipeline_tag) == ("peft", "feature-extraction")
    assert data.metrics == list(SCORES)
    results = {result.metric_type: result.metric_value for result in data.eval_results or ()}
    assert results == {name: pytest.approx(value, abs=1e-6) for name, value in SCORES.items()}
    raw = (folder / "README.md").read_text(encoding="utf-8")
    assert "model-index:" in raw
    assert "base_3/" in raw


@pytest.mark.parametrize(
    ("kind", "opener", "tag"),
    [
        ("pooled", "AutoModel.", "feature-extraction"),
        ("stock", "AutoModelForSequenceClassification.", "text-classification"),
    ],
)
def test_the_adapter_folder_has_a_card_of_its_own(exported: Made, kind: str, opener: str, tag: str) -> None:
    _, folder = exported("bert", kind)
    card = ModelCard.load(folder / "adapter" / "README.md")
    assert card.data.base_model is None  # it is a folder of this machine
    assert (card.data.library_name, card.data.pipeline_tag) == ("peft", tag)
    assert opener in card.content
    assert '"base_3"' in card.content
    assert "adapter/README.md" in verify_artifact(folder)["files"]


def test_a_predictor_without_an_adapter_gets_a_card_only(tmp_path: Path) -> None:
    from loratory.regimes.rules import Rules

    made = Rules().fit(make_task(), make_train_set(), None, make_context())
    assert stock_layouts.write_stock_layouts(tmp_path, made, {**FACTS, "base": None, "regime": "rules"}) == [
        "README.md"
    ]
    assert ModelCard.load(tmp_path / "README.md").data.library_name == "loratory"


# ---- the documented loader
def compile_documented_loader() -> Callable[[Path], Callable[[Sequence[str]], list[tuple[str, Mapping[str, float]]]]]:
    """The loader as docs/loading.md has it."""
    text = (Path(__file__).parents[2] / "docs" / "loading.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    space: dict[str, Any] = {}
    assert "loratory" not in blocks[0]
    assert len(blocks[0].splitlines()) <= 40
    exec(compile(blocks[0], "docs/loading.md", "exec"), space)
    return space["load"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        *(("bert", pooling) for pooling in ("mean", "cls", "max", "last")),
        *((family, "mean") for family in ("deberta-v2", "modernbert", "roberta")),
        *((family, pooling) for family in ("llama", "qwen3") for pooling in ("mean", "last")),
    ],
)
def test_the_documented_loader_gives_our_answers(
    backbone_of: BackboneOf, family: str, pooling: str, tmp_path: Path
) -> None:
    encoder = encoder_of(backbone_of(family), "pooled")
    head, backbone = cast(PooledHead, encoder.network.head), cast(EncoderBackbone, encoder.network.backbone)
    head.pooling = pooling
    rows = [backbone.tokenizer.encode(topic[0])[0] for topic in TOPICS.values()]
    head.log_scale.fill_(3.0)  # so that the texts decide and not the bias
    head.prototypes.copy_(pool_states(*backbone.compute_states(rows, [encoder.network.adapter] * 3), pooling))
    stock_layouts.write_stock_encoder(tmp_path / "merged", encoder, merge=True)
    texts = [*TEXTS, *(e.input["text"] for e in make_examples()), "!", "x", "my card " * 60, "who knows that!"]
    theirs = compile_documented_loader()(tmp_path / "merged")(texts)
    ours = encoder.predict([{"text": text} for text in texts], run_locally)
    for (label, odds), prediction in zip(theirs, ours, strict=True):
        assert label == prediction.answer["label"]  # type: ignore[index]
        assert odds == pytest.approx(prediction.probabilities["/label"], abs=1e-5)
    assert len({label for label, _ in theirs}) == 3


def test_labels_are_beside_every_model(exported: Made) -> None:
    for kind in ("pooled", "stock"):
        _, folder = exported("bert", kind)
        for where in (folder, folder / "merged", folder / "base_3"):
            labels = json.loads((where / "labels.json").read_text(encoding="utf-8"))
            assert labels["id2label"] == {"0": "card", "1": "cash", "2": "login"}
            assert labels["label2id"] == {"card": 0, "cash": 1, "login": 2}
    assert not (exported("bert", "stock")[1] / "merged" / "head.safetensors").exists()


def test_labels_may_be_of_any_script(backbone_of: BackboneOf, tmp_path: Path) -> None:
    encoder = encoder_of(backbone_of("bert"), "pooled")
    named = Classify(labels=("Überweisung", "日本", "a/b"))
    other = Encoder(named, "labels", encoder.network, 40, 99)
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, other)
        stock_layouts.write_stock_encoder(part / "merged", other, merge=True)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert again.task == named
