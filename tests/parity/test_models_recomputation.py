"""Gradient checkpointing changes no loss, gradient or adapter: layers are computed twice, and nothing else differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from loratory.backbones.forward import architectures
from loratory.backbones.forward.execution import run_locally
from loratory.errors import UnsupportedTask
from loratory.predictors.decoder import Decoder
from loratory.predictors.prompt_files import Prompt
from loratory.protocols import Network, predict_and_score
from loratory.protocols.events import StepFinished
from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.regimes.qlora import Qlora
from loratory.training.causal import build_sft_examples, compute_example_losses
from loratory.training.trainable_backbones import ComputeConfig, TrainableBackbone
from tiny_models import (
    TEXTS,
    TRAINABLE_FAMILIES,
    BackboneOf,
    load_backbone_from,
    make_context,
    make_examples,
    make_task,
    make_train_set,
    save_causal_model,
)

WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128}  # blocks of 64 weights share a scale


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_backbone_from(save_causal_model(tmp_path_factory.mktemp("writer"), **WIDE))


def make_trainable(backbone: Any, regime: Any, ways: ComputeConfig) -> Any:
    """A backbone in training, its adapter the same one each time and of some effect."""
    torch.manual_seed(3)
    if isinstance(regime, Full):
        return TrainableBackbone(backbone, full_finetuning=True, compute_config=ways)
    live = TrainableBackbone(backbone, regime.build_adapter_config(backbone, make_context()), compute_config=ways)
    for weight in live.trainable_parameters().values():
        torch.nn.init.normal_(weight, std=0.1)
    return live


def rows_of(backbone: Any) -> list[tuple[int, ...]]:
    return [backbone.tokenizer.encode(text)[0] for text in TEXTS]


def gradients(live: Any, packed: bool = False) -> dict[str, torch.Tensor]:
    """Of everything that learns, with the dropout of one seed."""
    torch.manual_seed(11)
    rows = rows_of(live.backbone)
    states = live.forward_packed(rows) if packed else live.forward(rows)[0]
    (states * torch.linspace(-1, 1, states.shape[-1])).square().sum().backward()
    return {name: p.grad for name, p in live.trainable_parameters().items() if p.grad is not None}


def same(backbone: Any, regime: Any, packed: bool = False, **ways: Any) -> None:
    plain, again = (
        gradients(make_trainable(backbone, regime, ComputeConfig(**ways, gradient_checkpointing=recompute)), packed)
        for recompute in (False, True)
    )
    assert plain
    torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("regime", [Lora(rank=4), Lora(rank=4, dropout=0.3), Full()])
@pytest.mark.parametrize("family", [*TRAINABLE_FAMILIES, "mpnet"])
def test_gradients_are_those_of_one_computation(backbone_of: BackboneOf, family: str, regime: Any) -> None:
    same(backbone_of(family), regime)


@pytest.mark.parametrize("ways", [{"product": "peft"}, {"precision": "bf16"}, {"precision": "bf16", "product": "peft"}])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_so_they_are_in_every_precision_and_product(backbone_of: BackboneOf, family: str, ways: dict[str, Any]) -> None:
    same(backbone_of(family), Lora(rank=4), **ways)


@pytest.mark.parametrize("regime", [Lora(rank=4), Lora(rank=4, dropout=0.3), Full()])
def test_so_they_are_of_packed_rows(writer: Any, regime: Any) -> None:
    same(writer, regime, packed=True)


@pytest.mark.parametrize("packed", [False, True])
def test_so_they_are_over_four_bits(writer: Any, packed: bool) -> None:
    pytest.importorskip("bitsandbytes")
    same(writer.quantize(), Lora(rank=4), packed)
    same(writer.quantize(), Lora(rank=4, dropout=0.3), packed, precision="bf16")


def count_layer_runs(live: Any) -> Counter[int]:
    """How often the attention inside each layer runs in one step; the entrance of a layer would not tell."""
    runs: Counter[int] = Counter()
    _, layers = architectures.find_layers(live.compute_model, live.depth)
    for number, layer in enumerate(layers):
        inner = next(part for name, part in layer.named_modules() if name.endswith(("query", "q_proj")))
        inner.register_forward_hook(lambda *_, at=number: runs.update([at]))
    gradients(live)
    return runs


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_each_layer_is_computed_a_second_time(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    for regime in (Lora(rank=4), Full()):
        assert count_layer_runs(make_trainable(backbone, regime, ComputeConfig())) == {0: 1, 1: 1}
        assert count_layer_runs(make_trainable(backbone, regime, ComputeConfig(gradient_checkpointing=True))) == {
            0: 2,
            1: 2,
        }


def test_the_layers_keep_less(backbone_of: BackboneOf) -> None:
    kept = []
    for recompute in (False, True):
        live = make_trainable(backbone_of("bert"), Lora(rank=4), ComputeConfig(gradient_checkpointing=recompute))
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            live.forward(rows_of(live.backbone))
        kept.append(sum(sizes))
    assert kept[1] < 0.2 * kept[0]


def losses_and_answers(regime: Any, backbone: Any, **training: Any) -> tuple[list[float], list[Any]]:
    seen: list[float] = []
    surrounding = make_context(
        epochs=1, report=lambda event: seen.append(event.loss) if isinstance(event, StepFinished) else None, **training
    )
    made = regime.fit(make_task(), make_train_set(), backbone, surrounding)
    return seen, list(predict_and_score(made, make_train_set().validation, run_locally).predictions)


@pytest.mark.parametrize(
    ("family", "regime"),
    [
        ("bert", Lora(rank=4, dropout=0.2)),
        ("bert", Lora(rank=4, layers="top-1")),  # from remembered lower layers
        ("bert", Full()),
        ("bert", Head(head="stock")),  # nothing of the backbone learns
        ("llama", Lora(rank=4, head="pooled")),
    ],
)
def test_a_fit_is_the_same_to_the_byte(backbone_of: BackboneOf, family: str, regime: Any) -> None:
    plain, again = (
        losses_and_answers(regime, backbone_of(family), gradient_checkpointing=wanted) for wanted in (False, True)
    )
    assert again == plain


@pytest.mark.parametrize("regime", [Lora(rank=4), Full(), Qlora(rank=4)])
@pytest.mark.parametrize("packing", ["off", "on"])
def test_a_fit_that_writes_is_the_same_to_the_byte(writer: Any, regime: Any, packing: str) -> None:
    if isinstance(regime, Qlora):
        pytest.importorskip("bitsandbytes")
    plain, again = (
        losses_and_answers(regime, writer, packing=packing, share_prefix="off", gradient_checkpointing=wanted)
        for wanted in (False, True)
    )
    assert again == plain


def test_the_upper_layers_of_a_cut_backbone_are_computed_twice_and_the_lower_ones_not_at_all(
    backbone_of: BackboneOf,
) -> None:
    backbone = backbone_of("bert")
    live = make_trainable(backbone, Lora(rank=4, layers="top-1"), ComputeConfig(gradient_checkpointing=True))
    entering = dict(backbone.compute_layer_inputs(1, rows_of(backbone), "fp32"))
    known = {row: entering[i] for i, row in enumerate(rows_of(backbone))}
    live.use_cached_states(lambda rows: [known[row] for row in rows])
    runs: Counter[str] = Counter()
    for name, part in live.compute_model.named_modules():
        if name.endswith("query"):
            part.register_forward_hook(lambda *_, at=name: runs.update([at]))
    gradients(live)
    assert list(runs.values()) == [2]


def test_a_fully_trained_backbone_is_an_ordinary_one(backbone_of: BackboneOf, tmp_path: Path) -> None:
    made: Any = Full().fit(
        make_task(), make_train_set(), backbone_of("llama"), make_context(epochs=1, gradient_checkpointing=True)
    )
    backbone = made.network.backbone
    _, layers = architectures.find_layers(backbone.model, backbone.depth)
    assert not any("forward" in vars(layer) for layer in layers)
    assert backbone.model.config.use_cache == backbone_of("llama").model.config.use_cache
    backbone.save(tmp_path)
    assert load_backbone_from(tmp_path).depth == 2


def test_an_architecture_whose_layers_cannot_be_computed_twice_is_refused(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.bert.modeling_bert import BertLayer

    plain, calls = BertLayer.forward, Counter[str]()

    def counting(self: Any, hidden_states: Any, *args: Any, **options: Any) -> Any:
        calls.update(["call"])
        return plain(self, hidden_states * calls["call"], *args, **options)

    monkeypatch.setattr(BertLayer, "forward", counting)
    with pytest.raises(UnsupportedTask, match="cannot be computed a second time") as refused:
        Lora(rank=4).fit(make_task(), make_train_set(), backbone_of("bert"), make_context(gradient_checkpointing=True))
    assert refused.value.where == "training: gradient_checkpointing"
    assert refused.value.exit_code == 2


def test_the_losses_of_pages_are_the_same(writer: Any) -> None:
    batch = build_sft_examples(
        Decoder(make_task(), "labels", Network(writer), Prompt.load(None, "labels"), 64), make_examples()[::9]
    )
    for packed in (False, True):
        plain, again = (
            compute_example_losses(
                make_trainable(writer, Lora(rank=4), ComputeConfig(gradient_checkpointing=recompute)), batch, packed
            )
            for recompute in (False, True)
        )
        assert torch.equal(plain, again)
