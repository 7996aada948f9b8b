"""What is said of an architecture without its weights is what its fit does: no fit fails that was not refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from loratory.backbones.adapters import merge_adapter
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.bases import describe_base
from loratory.backbones.meta_backbones import load_meta_backbone
from loratory.backbones.pool import load_backbone
from loratory.errors import LoratoryError
from loratory.protocols import EncodeRequest, Network
from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.regimes.qlora import Qlora
from loratory.training.trainable_backbones import ComputeConfig, TrainableBackbone
from tiny_models import (
    make_bpe_tokenizer,
    make_context,
    make_random_adapter,
    make_task,
    make_train_set,
    make_word_piece_tokenizer,
)

BERT = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
HALF = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
SEQ2SEQ = {**HALF, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2}
T5 = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4}
NAMES: Mapping[str, tuple[Mapping[str, Any], str]] = {  # configuration -> its values, what it is saved as
    "T5": (T5, "AutoModel"),
    "MT5": (T5, "AutoModel"),
    "Marian": (SEQ2SEQ, "AutoModel"),
    "Bart": (SEQ2SEQ, "AutoModel"),
    "Albert": ({**BERT, "embedding_size": 16}, "AutoModel"),
    "SqueezeBert": ({**BERT, "embedding_size": 32}, "AutoModel"),
    "XLNet": ({"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, "AutoModel"),
    "MPNet": (BERT, "AutoModel"),
    "GPT2": (GPT, "AutoModelForCausalLM"),
    "OpenAIGPT": (GPT, "AutoModelForCausalLM"),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "AutoModelForCausalLM"),
}
REGIMES: Mapping[str, Any] = {
    "head": Head(epochs=1),
    "head stock": Head(head="stock"),
    "lora": Lora(rank=2, head="pooled"),
    "lora top": Lora(rank=2, head="pooled", layers="top-1"),
    "lora stock": Lora(rank=2, head="stock"),
    "qlora": Qlora(rank=2, head="pooled"),
    "full": Full(head="pooled"),
}
REFUSED = {  # what cannot be, by architecture
    **{name: set(REGIMES) for name in ("T5", "MT5", "Marian")},
    "Albert": {"lora", "lora top", "lora stock", "qlora"},
    "SqueezeBert": {"lora", "lora top", "lora stock", "qlora"},
    "XLNet": {"head stock", "lora stock"},
    "GPT2": {"qlora"},
    "OpenAIGPT": {"qlora"},
    "Mamba": {"head stock", "lora", "lora top", "lora stock", "qlora"},
}


def save_model(folder: Path, name: str, seed: int = 1) -> Path:
    values, opener = NAMES[name]
    tokenizer = make_word_piece_tokenizer() if opener == "AutoModel" else make_bpe_tokenizer(False)
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **{**ids, **values})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        getattr(transformers, opener).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=NAMES)
def architecture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, save_model(tmp_path_factory.mktemp(request.param), request.param)


def refusals(folder: Path) -> dict[str, str]:
    """The remedy for each regime that cannot start there, from the configuration alone."""
    said: dict[str, str] = {}
    for name, regime in REGIMES.items():
        try:
            regime.check_backbone(make_task(), load_meta_backbone(describe_base(str(folder), folder)), make_context())
        except LoratoryError as problem:
            said[name] = problem.remedy
    return said


def test_what_cannot_be_is_known_without_weights(architecture: tuple[str, Path]) -> None:
    name, folder = architecture
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    weights.write_bytes(whole[:header] + b"\xff" * (len(whole) - header))  # not one of them is read
    try:
        found = refusals(folder)
        assert set(found) == REFUSED.get(name, set())
        assert all(found.values())
    finally:
        weights.write_bytes(whole)


def test_what_is_not_refused_is_fitted(architecture: tuple[str, Path]) -> None:
    name, folder = architecture
    possible = {one: regime for one, regime in REGIMES.items() if one not in REFUSED.get(name, set())}
    backbone = load_backbone(describe_base(str(folder), folder))
    for regime in possible.values():
        made = regime.fit(make_task(), make_train_set(), backbone, make_context(epochs=1))
        answers = made.predict([example.input for example in make_train_set().validation[:3]], run_locally)
        assert all(one.answer is not None for one in answers)


def test_a_skeleton_has_the_shape_of_its_backbone(architecture: tuple[str, Path]) -> None:
    name, folder = architecture
    if len(REFUSED.get(name, set())) == len(REGIMES):
        return
    base = describe_base(str(folder), folder)
    bones, backbone = load_meta_backbone(base), load_backbone(base)
    assert (bones.depth, bones.width, bones.tokenizer.max_length) == (
        backbone.depth,
        backbone.width,
        backbone.tokenizer.max_length,
    )
    assert bones.count_parameters() == backbone.count_parameters()
    assert all(p.is_meta for p in bones.model.parameters())


# ---- LoRA on weights that are held transposed
@pytest.fixture
def gpt2(tmp_path: Path) -> EncoderBackbone:
    folder = save_model(tmp_path / "gpt2", "GPT2")
    return load_backbone(describe_base(str(folder), folder))


def test_an_adapter_of_transposed_weights_is_what_it_is_merged(gpt2: EncoderBackbone) -> None:
    config = Lora(rank=4).build_adapter_config(gpt2, make_context())
    assert config["fan_in_fan_out"] is True
    adapter = make_random_adapter(gpt2, fan_in_fan_out=True)
    rows = [tuple(range(3, 9)), tuple(range(5, 8))]
    alone = [gpt2.encode([EncodeRequest(Network(gpt2, adapter), row)])[0] for row in rows]
    bare = [gpt2.encode([EncodeRequest(Network(gpt2), row)])[0] for row in rows]
    mixed = gpt2.encode([EncodeRequest(Network(gpt2, adapter), rows[0]), EncodeRequest(Network(gpt2), rows[1])])
    torch.testing.assert_close(mixed[0], alone[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[1][:3], bare[1], atol=1e-5, rtol=1e-4)
    whole = merge_adapter(gpt2.model, adapter)
    for row, one in zip(rows, alone, strict=True):
        with torch.no_grad():
            expected = whole(input_ids=torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(alone[0], bare[0], atol=1e-3)


def test_transposed_weights_learn_what_peft_teaches_them(gpt2: EncoderBackbone) -> None:
    """The fused product and PEFT's own layer: one gradient."""
    gradients = []
    for product in ("fused", "peft"):
        torch.manual_seed(3)
        live = TrainableBackbone(
            gpt2, Lora(rank=2).build_adapter_config(gpt2, make_context()), compute_config=ComputeConfig(product=product)
        )
        states, _ = live.forward([tuple(range(3, 9))])
        states.square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in live.trainable_parameters().items()})
    assert len(gradients[0]) == 16  # A and B of four matrices in two layers
    for name, gradient in gradients[0].items():
        assert gradient is not None
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)
