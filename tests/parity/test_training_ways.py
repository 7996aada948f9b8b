"""Every fast way to train gives the losses of the plain one, on every architecture that must work."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from loratory.backbones import adapters
from loratory.backbones.forward.activation_cache import ActivationCache, allocate_states
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.lowrank import LowRankFunction, LowRankLinear
from loratory.errors import BaseModelError, StorageError
from loratory.predictors.encoder import Encoder
from loratory.protocols import predict_and_score
from loratory.protocols.events import FitEvent, Message, PredictorFitted, StepFinished
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.training.trainable_backbones import ComputeConfig, TrainableBackbone
from tiny_models import TEXTS, TRAINABLE_FAMILIES, BackboneOf, make_context, make_task, make_train_set


def test_the_products_gradients_are_those_of_its_formula() -> None:
    torch.manual_seed(0)
    x, w, b, a, up = (torch.randn(*s, dtype=torch.double) for s in ((2, 3, 5), (4, 5), (4,), (2, 5), (4, 2)))
    for bias in (b, None):
        expected = x @ w.T + (0 if bias is None else bias) + 0.5 * (x @ a.T) @ up.T
        torch.testing.assert_close(LowRankFunction.apply(x, w, bias, a, up, 0.5), expected)  # type: ignore[no-untyped-call]
        given: Any = (w, bias, a.requires_grad_(), up.requires_grad_(), 0.5)
        assert torch.autograd.gradcheck(LowRankFunction.apply, (x.clone().requires_grad_(), *given))
        assert torch.autograd.gradcheck(LowRankFunction.apply, (x, *given))


def fit_regime(backbone: Any, regime: Lora, **training: Any) -> tuple[list[float], Any, dict[str, Any], list[str]]:
    """Losses, predictor, facts, and what was said."""
    losses: list[float] = []
    said: list[str] = []
    facts: dict[str, Any] = {}

    def report(event: FitEvent) -> None:
        match event:
            case StepFinished():
                losses.append(event.loss)
            case Message():
                said.append(event.text)
            case PredictorFitted():
                facts.update(event.facts)

    made = regime.fit(make_task(), make_train_set(), backbone, make_context(report=report, epochs=3, **training))
    return losses, made, facts, said


def list_probabilities(made: Encoder) -> list[float]:
    predictions = made.predict([{"text": text} for text in TEXTS], run_locally)
    return [p for prediction in predictions for p in prediction.probabilities["/label"].values()]


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_the_fused_product_learns_as_pefts_layer_does(backbone_of: BackboneOf, family: str) -> None:
    plain, theirs, _, _ = fit_regime(backbone_of(family), Lora(rank=4), product="peft")
    fused, ours, facts, _ = fit_regime(backbone_of(family), Lora(rank=4), product="fused")
    assert fused == pytest.approx(plain, abs=2e-4)
    assert list_probabilities(ours) == pytest.approx(list_probabilities(theirs), abs=5e-3)
    assert facts["product"] == "fused"


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3"])
def test_the_fused_product_in_bf16_learns_as_pefts_layer_under_autocast(backbone_of: BackboneOf, family: str) -> None:
    plain = fit_regime(backbone_of(family), Lora(rank=4), product="peft", precision="fp32")[0]
    theirs = fit_regime(backbone_of(family), Lora(rank=4), product="peft", precision="bf16")[0]
    ours = fit_regime(backbone_of(family), Lora(rank=4), product="fused", precision="bf16")[0]

    def apart(losses: list[float]) -> float:
        return sum(abs(a - b) for a, b in zip(losses, plain, strict=True)) / len(plain)

    assert 0 < apart(ours) < 0.03  # bf16 keeps 8 bits: single steps of so small a model differ by more
    assert apart(ours) < 2 * apart(theirs) + 0.005  # no rougher than autocast


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_remembered_lower_layers_change_no_loss(backbone_of: BackboneOf, family: str, rslora: bool) -> None:
    regime = Lora(rank=4, layers="top-1", rslora=rslora)
    plain, theirs, facts, _ = fit_regime(backbone_of(family), regime, cache="off")
    assert facts["cached_layers"] == 0
    remembered, ours, facts, said = fit_regime(backbone_of(family), regime)
    assert remembered == pytest.approx(plain, abs=2e-4)
    assert list_probabilities(ours) == pytest.approx(list_probabilities(theirs), abs=5e-3)
    assert facts["cached_layers"] == 1
    assert not any("cut" in text for text in said)


def test_what_peft_computes_in_another_way_stays_pefts(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    dropped = TrainableBackbone(
        backbone,
        Lora(rank=2, dropout=0.5).build_adapter_config(backbone, make_context()),
        compute_config=ComputeConfig(product="fused"),
    )
    assert not any(isinstance(part, LowRankLinear) for part in dropped.compute_model.modules())
    plain = TrainableBackbone(
        backbone,
        Lora(rank=2).build_adapter_config(backbone, make_context()),
        compute_config=ComputeConfig(product="fused"),
    )
    assert sum(isinstance(part, LowRankLinear) for part in plain.compute_model.modules()) == 12
    assert not any(isinstance(part, LowRankLinear) for part in plain.model.modules())


def test_a_lightened_backbone_learns_the_grown_ones_parameters_and_leaves_its_weights(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    live = TrainableBackbone(
        backbone,
        Lora(rank=2).build_adapter_config(backbone, make_context()),
        compute_config=ComputeConfig("bf16", "fused"),
    )
    learned = {id(p) for p in live.trainable_parameters().values()}
    assert {id(p) for p in live.compute_model.parameters() if p.requires_grad} == learned
    assert {p.dtype for p in live.model.parameters()} == {torch.float32}
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    products = [part for part in live.compute_model.modules() if isinstance(part, LowRankLinear)]
    assert {part.weight.dtype for part in products} == {torch.bfloat16}


def test_no_gradient_is_computed_below_the_lowest_adapter(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    live = TrainableBackbone(backbone, Lora(rank=2, layers="top-1").build_adapter_config(backbone, make_context()))
    entering: list[bool] = []
    layer = live.compute_model.base_model.model.encoder.layer[1]
    layer.register_forward_pre_hook(lambda part, args: entering.append(args[0].requires_grad))
    states, _ = live.forward([backbone.tokenizer.encode(text)[0] for text in TEXTS])
    assert states.requires_grad
    assert entering == [False]


def test_a_head_on_a_frozen_backbone_has_no_layer_to_cut_at(backbone_of: BackboneOf) -> None:
    said: list[str] = []
    heard = make_context(report=lambda event: said.append(event.text) if isinstance(event, Message) else None)
    Head(head="stock").fit(make_task(), make_train_set(), backbone_of("bert"), heard)
    assert not said


def test_an_architecture_that_cannot_be_cut_is_trained_whole_and_says_so(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    regime = Lora(rank=4, layers="top-1")
    plain, _, _, _ = fit_regime(backbone_of("bert"), regime, cache="off")
    monkeypatch.setattr(
        "loratory.backbones.forward.layer_split.compute_layer_inputs",
        lambda *_: torch.zeros(2, 5, backbone_of("bert").width),
    )
    losses, _, facts, said = fit_regime(backbone_of("bert"), regime)
    assert losses == plain
    assert facts["cached_layers"] == 0
    assert said == ["bert cannot be cut at layer 1: nothing is cached"]


def test_lower_layers_are_computed_once_for_all_who_ask(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, remembered = backbone_of("bert"), ActivationCache(run_locally)
    rows = [backbone.tokenizer.encode(text)[0] for text in TEXTS]
    first = remembered.lookup_layer_inputs(backbone, 1, rows[:3], "fp32")(rows[:3])
    assert [states.shape for states in first] == [(len(row), backbone.width) for row in rows[:3]]
    assert remembered.shared_seconds == 0
    asked: list[int] = []
    below = backbone.compute_layer_inputs

    def count_computed(layer: int, some: Any, precision: str) -> Any:
        asked.append(len(some))
        return below(layer, some, precision)

    monkeypatch.setattr(backbone, "compute_layer_inputs", count_computed)
    again = remembered.lookup_layer_inputs(backbone, 1, rows, "fp32")(rows)
    assert asked == [len(set(rows)) - 3]
    assert remembered.shared_seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(first, again[:3], strict=True))
    remembered.lookup_layer_inputs(backbone, 1, rows, "bf16")
    assert asked == [len(set(rows)) - 3, len(set(rows))]


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_states_that_a_later_contender_trains_on_are_kept_when_texts_are_first_read(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    backbone, plain, planned = backbone_of(family), ActivationCache(run_locally), ActivationCache(run_locally)
    rows = [backbone.tokenizer.encode(text)[0] for text in TEXTS]
    planned.plan_layer_inputs(backbone.digest, partial(Lora(layers="top-1").count_frozen_layers, make_task()))
    pooled = planned.compute_pooled(backbone, "mean", rows)
    assert torch.allclose(pooled, plain.compute_pooled(backbone, "mean", rows), atol=1e-5)
    layer = backbone.depth - 1
    expected = plain.lookup_layer_inputs(backbone, layer, rows, "fp32")(rows)
    monkeypatch.setattr(backbone, "compute_layer_inputs", lambda *_: pytest.fail("computed a second time"))
    kept = planned.lookup_layer_inputs(backbone, layer, rows, "fp32")(rows)
    for a, b in zip(kept, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert planned.shared_seconds > 0, "who is spared a pass pays its share, as if alone"


def test_an_architecture_without_a_row_for_each_text_is_read_as_before(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, planned = backbone_of("bert"), ActivationCache(run_locally)
    rows = [backbone.tokenizer.encode(text)[0] for text in TEXTS]
    expected = ActivationCache(run_locally).compute_pooled(backbone, "mean", rows)

    def refuse(*_: Any) -> Any:
        raise BaseModelError("no list of layers")

    monkeypatch.setattr(backbone, "compute_pooled_and_layer_inputs", refuse)
    planned.plan_layer_inputs(backbone.digest, lambda depth: 1)
    assert torch.equal(planned.compute_pooled(backbone, "mean", rows), expected)


def test_many_states_lie_in_a_file_that_needs_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapped = allocate_states(6, 4, torch.bfloat16, max_memory_bytes=8)
    mapped[2:4] = 1.5
    assert mapped.shape == (6, 4)
    assert mapped[2:4].float().eq(1.5).all()
    assert not list(tmp_path.iterdir())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StorageError, match="no room for") as refused:
        allocate_states(1 << 20, 4, torch.bfloat16, max_memory_bytes=8)
    assert "training.cache: off" in refused.value.remedy


def test_the_predictor_is_the_one_that_plain_pefts_folder_opens(backbone_of: BackboneOf, tmp_path: Path) -> None:
    made = fit_regime(backbone_of("bert"), Lora(rank=4, layers="top-1"))[1]
    assert made.network.adapter is not None
    adapters.write_adapter(tmp_path / "adapter", made.network.adapter, {"task_type": "FEATURE_EXTRACTION"})
    assert adapters.read_adapter(tmp_path / "adapter").digest == made.network.adapter.digest
    scores = make_task().summarise(predict_and_score(made, make_train_set().validation, run_locally).sum_counts())
    assert 0 <= scores["accuracy"] <= 1
