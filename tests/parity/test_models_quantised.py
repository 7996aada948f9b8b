"""Bases in four bits: near the full ones, trained over, measured over, and merged from full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.exporting import stock_layouts
from loratory.predictors import predictor_files
from loratory.protocols import EncodeRequest, Network
from loratory.regimes.qlora import Qlora
from tiny_models import (
    BackboneOf,
    load_backbone_from,
    make_context,
    make_examples,
    make_random_adapter,
    make_task,
    make_train_set,
    save_causal_model,
)

pytest.importorskip("bitsandbytes")
ABOUT = {"run": "toy", "contender": "q", "regime": "qlora", "base": "tiny", "data": "toy", "scores": {}}
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128}  # blocks of 64 weights share a scale


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_backbone_from(save_causal_model(tmp_path_factory.mktemp("writer"), "qwen2", **WIDE))


def test_four_bits_are_near_and_another_backbone(writer: Any) -> None:
    small = writer.quantize()
    assert small is writer.quantize()
    assert small.digest == f"{writer.digest}+nf4"
    assert small.unquantized is writer
    assert small.count_parameters() == writer.count_parameters()
    assert small.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    assert small.model.embed_tokens.weight is writer.model.embed_tokens.weight
    full, near = (run_locally([EncodeRequest(Network(one), (5, 6, 7, 8))])[0] for one in (writer, small))
    error = float((full - near).norm() / full.norm())
    assert 0.001 < error < 0.4
    assert writer.model.layers[0].mlp.up_proj.weight.dtype == torch.float32


def test_guests_differ_over_the_same_four_bits(writer: Any) -> None:
    small = writer.quantize()
    guests = [None, make_random_adapter(writer, seed=1), make_random_adapter(writer, seed=2)]
    mixed = run_locally([EncodeRequest(Network(small, guest), (5, 6, 7)) for guest in guests])
    for guest, got in zip(guests, mixed, strict=True):
        assert torch.allclose(got, run_locally([EncodeRequest(Network(small, guest), (5, 6, 7))])[0], atol=1e-4)
    assert not torch.allclose(mixed[0], mixed[1], atol=1e-2)


def test_a_fit_learns_and_answers_over_four_bits_and_merges_from_full_precision(writer: Any, tmp_path: Path) -> None:
    made: Any = Qlora(rank=8, learning_rate=5e-3).fit(make_task(), make_train_set(), writer, make_context(epochs=20))
    assert made.network.backbone is writer.quantize()
    inputs = [example.input for example in make_examples(openings=slice(0, 2))]
    said = made.predict(inputs, run_locally)
    (tmp_path / "fit").mkdir()
    predictor_files.save_predictor(tmp_path / "fit", made)
    pool = TorchBackbonePool()
    pool._backbones[writer.digest] = writer
    again = type(made).load(tmp_path / "fit", make_task(), pool)
    assert again.network.backbone is writer.quantize()
    assert again.predict(inputs, run_locally) == said

    stock_layouts.write_stock_layouts(tmp_path, made, ABOUT)
    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    own, before = stock.model.layers[0].mlp.up_proj.weight.float(), writer.model.layers[0].mlp.up_proj.weight
    product = (
        made.network.adapter.tensors["base_model.model.layers.0.mlp.up_proj.lora_B.weight"]
        @ (made.network.adapter.tensors["base_model.model.layers.0.mlp.up_proj.lora_A.weight"])
    )
    assert torch.allclose(own, before + 32 / 8 * product, atol=0.02)


def test_encoders_take_it_too(backbone_of: BackboneOf) -> None:
    made: Any = Qlora(rank=4).fit(make_task(), make_train_set(), backbone_of("bert"), make_context(epochs=1))
    assert made.network.backbone.digest.endswith("+nf4")
    assert len(made.predict([{"text": "my card"}], run_locally)) == 1
