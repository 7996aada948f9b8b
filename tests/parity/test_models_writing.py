"""Log-probabilities of continuations: what stock transformers computes row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from loratory.backbones import adapters
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.generation.token_tree import TokenTree
from loratory.errors import UnsupportedTask
from loratory.protocols import EncodeRequest, Network, ScoreRequest, TokenIds
from loratory.training.trainable_backbones import TrainableBackbone
from tiny_models import (
    CAUSAL_FAMILIES,
    BasePathOf,
    load_backbone_from,
    load_causal_backbone_from,
    make_random_adapter,
    save_base,
)

CHOICES: tuple[TokenIds, ...] = ((40, 41, 42), (40, 41, 43, 44), (40,), (50, 51), (40, 41, 42, 45))
PROMPTS: tuple[TokenIds, ...] = ((5, 6, 7, 8, 9), (11,), (12, 13, 14, 15, 16, 17, 18, 19))


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A family's tiny whole causal model, made when it is first asked for."""
    home = tmp_path_factory.mktemp("writers")

    def load_writer(family: str) -> tuple[Path, CausalBackbone]:
        folder = home / family
        if not folder.is_dir():
            save_base(folder, family, kind="AutoModelForCausalLM")
        return folder, load_causal_backbone_from(folder)

    return load_writer


@torch.no_grad()
def brute(model: Any, prompt: TokenIds, choice: TokenIds) -> float:
    """One row through the stock model, no padding."""
    logits = model(input_ids=torch.tensor([[*prompt, *choice]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(choice))


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
@pytest.mark.parametrize("trees", [True, False])
def test_scores_are_those_of_stock_transformers(writers: Any, family: str, trees: bool) -> None:
    folder, backbone = writers(family)
    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    stock.eval()
    requests = [ScoreRequest(Network(backbone), prompt, CHOICES) for prompt in PROMPTS]
    if not trees:
        backbone.capabilities = replace(backbone.capabilities, tree_scoring=False)
    found = run_locally(requests)
    assert backbone.scoring_mode(requests).trees is trees
    for prompt, got in zip(PROMPTS, found, strict=True):
        wanted = torch.tensor([brute(stock, prompt, choice) for choice in CHOICES], dtype=torch.float64)
        assert torch.allclose(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_each_request_is_scored_under_its_own_adapter(writers: Any, family: str) -> None:
    folder, backbone = writers(family)
    guests = [None, make_random_adapter(backbone, seed=1), make_random_adapter(backbone, seed=2)]
    found = run_locally([ScoreRequest(Network(backbone, guest), PROMPTS[0], CHOICES) for guest in guests])
    for guest, got in zip(guests, found, strict=True):
        stock: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
        stock.eval()
        if guest is not None:
            stock.model = adapters.merge_adapter(stock.model, guest).eval()
        wanted = torch.tensor([brute(stock, PROMPTS[0], choice) for choice in CHOICES], dtype=torch.float64)
        assert torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_a_tree_computes_a_shared_beginning_once() -> None:
    tree = TokenTree.build((1, 2), ((3, 4), (3, 5), (6,), (3, 4)))
    assert tree.ids == [1, 2, 3, 4, 5, 6]
    assert tree.positions == [0, 1, 2, 3, 3, 2]
    assert tree.paths == [[0, 1], [0, 2], [3], [0, 1]]
    seen = tree.build_mask()
    assert seen[4].tolist() == [True, True, True, False, True, False]
    assert seen[5].tolist() == [True, True, False, False, False, True]


def test_requests_of_two_kinds_keep_their_places(writers: Any) -> None:
    _, backbone = writers("llama")
    network = Network(backbone)
    mixed = run_locally(
        [ScoreRequest(network, (5,), CHOICES), EncodeRequest(network, (5, 6)), ScoreRequest(network, (6,), ((40,),))]
    )
    assert mixed[0].shape == (5,)
    assert mixed[1].shape == (2, backbone.width)
    assert torch.allclose(mixed[2], run_locally([ScoreRequest(network, (6,), ((40,),))])[0])


def test_a_base_without_an_output_layer_cannot_write(base_path_of: BasePathOf) -> None:
    backbone = load_backbone_from(base_path_of("llama"))
    assert not backbone.can_generate
    with pytest.raises(UnsupportedTask, match="no output layer"):
        run_locally([ScoreRequest(Network(backbone), (5,), CHOICES)])


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Gemma2Config", {"final_logit_softcapping": 5.0, "head_dim": 8, "num_key_value_heads": 2}),
        ("GraniteConfig", {"logits_scaling": 4.0, "num_key_value_heads": 2}),
        ("CohereConfig", {"logit_scale": 0.3, "num_key_value_heads": 2}),
        ("SmolLM3Config", {"num_key_value_heads": 2}),
        ("Phi3Config", {"num_key_value_heads": 2}),
        ("GPT2Config", {}),
    ],
)
def test_what_architectures_do_to_their_logits_is_done(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    from tiny_models import WIDE_CONFIG, make_bpe_tokenizer

    tokenizer = make_bpe_tokenizer(start=False)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, kind)(**{**WIDE_CONFIG, **sizes, **more})
    torch.manual_seed(3)
    stock: Any = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    stock.eval()
    stock.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone = load_backbone_from(tmp_path)
    (got,) = run_locally([ScoreRequest(Network(backbone), PROMPTS[0], CHOICES)])
    wanted = torch.tensor([brute(stock, PROMPTS[0], choice) for choice in CHOICES], dtype=torch.float64)
    assert torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)


def test_a_backbone_in_training_is_scored_without_dropout(writers: Any) -> None:
    _, backbone = writers("llama")
    live = TrainableBackbone(
        backbone, {"r": 4, "lora_alpha": 8, "lora_dropout": 0.5, "target_modules": ["q_proj", "v_proj"]}
    )
    for weight in live.trainable_parameters().values():
        torch.nn.init.normal_(weight, std=0.2)
    requests = [ScoreRequest(Network(live), prompt, CHOICES) for prompt in PROMPTS]
    before = live.score(requests)
    live.forward(PROMPTS)
    assert all(torch.equal(now, then) for now, then in zip(live.score(requests), before, strict=True))
