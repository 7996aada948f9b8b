"""Prompts behind a beginning that was computed once: nothing changes but the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from loratory.backbones.forward import causal_backbone
from loratory.backbones.forward.capability_probes import Capabilities, probe_capabilities, probe_prefix_sharing
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.generation import generator, scorer
from loratory.backbones.generation.prefix_cache import MIN_PREFIX_TOKENS, group_by_prefix
from loratory.protocols import GenerateRequest, Network, ScoreRequest, TokenIds
from loratory.training.trainable_backbones import TrainableBackbone
from tiny_models import (
    WIDE_CONFIG,
    load_causal_backbone_from,
    make_bpe_tokenizer,
    make_random_adapter,
    save_causal_model,
)

BEGINNING: TokenIds = tuple(20 + k * 7 % 90 for k in range(30))
PROMPTS: tuple[TokenIds, ...] = (
    (*BEGINNING, 5, 6, 7),
    (*BEGINNING, 11),
    (*BEGINNING, 11, 30, 31, 32, 33, 34),  # goes on where the one before ends
    (*BEGINNING, 5, 6, 7),  # again
    (*BEGINNING, 40, 41),
)
CHOICES: tuple[TokenIds, ...] = ((40, 41, 42), (40, 41, 43, 44), (40,), (50, 51))
FAMILIES = ("llama", "qwen3", "gemma3")
WINDOW = 64
ENDS = frozenset({1})


def save_gemma(folder: Path) -> Path:
    """One layer that looks back to the beginning, and one that does not."""
    tokenizer = make_bpe_tokenizer(start=False)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 8}
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
    more: dict[str, Any] = {**WIDE_CONFIG, **sizes, **layers, "num_key_value_heads": 2, "max_position_embeddings": 320}
    torch.manual_seed(3)
    config = transformers.Gemma3TextConfig(**more)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.model_max_length = 320
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            home = tmp_path_factory.mktemp(family)
            made[family] = save_gemma(home) if family == "gemma3" else save_causal_model(home, family)
        return made[family]

    return folder


@pytest.fixture(params=FAMILIES)
def backbone(request: Any, writers: Callable[[str], Path]) -> CausalBackbone:
    return load_causal_backbone_from(writers(request.param))


@pytest.fixture
def llama(writers: Callable[[str], Path]) -> CausalBackbone:
    return load_causal_backbone_from(writers("llama"))


def score_requests(
    backbone: CausalBackbone, requests: list[ScoreRequest], shares: bool, trees: bool = True
) -> list[torch.Tensor]:
    """With sharing probed, and without it."""
    found = probe_capabilities(backbone.create_scorer(), backbone.run_without_adapters, Network(backbone))
    backbone.capabilities = replace(
        found, tree_scoring=found.tree_scoring and trees, prefix_sharing=found.prefix_sharing and shares
    )
    assert backbone.scoring_mode(requests).share_prefixes is shares
    assert backbone.scoring_mode(requests).trees is trees
    return backbone.score(requests)


def same(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return all(torch.allclose(f, w, atol=1e-5, rtol=1e-5) for f, w in zip(found, wanted, strict=True))


@contextmanager
def read(model: Any) -> Iterator[list[int]]:
    """How many tokens, padding among them, each pass takes in."""
    counts: list[int] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda part, args, out: counts.append(args[0].numel()))
    yield counts
    hook.remove()


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize("budget", [4096, 90])
def test_scores_are_those_of_whole_prompts(
    backbone: CausalBackbone, trees: bool, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_backbone, "MAX_BATCH_TOKENS", budget)  # 90 tokens: two rows in a pass, several passes
    requests = [ScoreRequest(Network(backbone), prompt, CHOICES) for prompt in PROMPTS]
    assert same(score_requests(backbone, requests, True, trees), score_requests(backbone, requests, False, trees))


@pytest.mark.parametrize("trees", [True, False])
def test_scores_under_mixed_adapters_are_those_of_whole_prompts(backbone: CausalBackbone, trees: bool) -> None:
    guests = [None, make_random_adapter(backbone, seed=1), make_random_adapter(backbone, seed=2)]
    requests = [ScoreRequest(Network(backbone, guests[k % 3]), PROMPTS[k // 3], CHOICES) for k in range(15)]
    found = score_requests(backbone, requests, True, trees)
    assert same(found, score_requests(backbone, requests, False, trees))
    assert not torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize("budget", [4096, 120])
def test_greedy_texts_are_those_of_whole_prompts(
    backbone: CausalBackbone, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_backbone, "MAX_BATCH_TOKENS", budget)
    guests = [None, make_random_adapter(backbone, seed=1)]
    requests = [
        GenerateRequest(Network(backbone, guest), prompt, 20, ENDS) for guest in guests for prompt in (*PROMPTS, (5, 6))
    ]
    with read(backbone.model) as counts:
        backbone.capabilities = replace(backbone.capabilities, prefix_sharing=False)
        whole = backbone.generate(requests)
        before = sum(counts)
        backbone.capabilities = replace(backbone.capabilities, prefix_sharing=True)
        found = backbone.generate(requests)
    assert sum(counts) - before < before
    assert [one.ids for one in found] == [one.ids for one in whole]
    for one, other in zip(found, whole, strict=True):
        assert one.token_probabilities == pytest.approx(other.token_probabilities, rel=1e-4, abs=1e-6)
    assert probe_prefix_sharing(backbone.create_scorer(), backbone.run_without_adapters, Network(backbone), True)


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS[::3], PROMPTS[1:3]])
def test_one_prompt_equal_prompts_and_one_that_goes_on(llama: CausalBackbone, prompts: tuple[TokenIds, ...]) -> None:
    requests = [ScoreRequest(Network(llama), prompt, CHOICES) for prompt in prompts]
    for trees in (True, False):
        llama.capabilities = Capabilities(tree_scoring=trees)
        whole = llama.score(requests)
        llama.capabilities = Capabilities(trees, prefix_sharing=True)
        assert llama.scoring_mode(requests).share_prefixes is (len(requests) > 1 or not trees)
        assert same(llama.score(requests), whole)
    (first, *_) = group_by_prefix(requests)
    assert len(first.ids) == (0 if len(prompts) == 1 else min(map(len, prompts)) - 1)


def test_what_is_shared_is_computed_once(llama: CausalBackbone) -> None:
    requests = [ScoreRequest(Network(llama), (*BEGINNING, 5, own, 7), CHOICES) for own in range(60, 70)]
    nodes = 3 + 2 + 2  # of the tree: 40 41 42, 43 44, 50 51
    llama.scoring_mode(requests)
    with read(llama.model) as counts:
        llama.score(requests)
    assert counts == [31, 10 * (2 + nodes)]
    with read(llama.model) as counts:
        llama.generate([GenerateRequest(Network(llama), request.prompt, 3, ENDS) for request in requests])
    assert counts[:2] == [31, 10 * 2]
    assert sum(counts[2:]) <= 10 * 2


def test_rows_share_what_one_request_asks(llama: CausalBackbone) -> None:
    llama.capabilities = replace(llama.capabilities, tree_scoring=False)
    request = ScoreRequest(Network(llama), PROMPTS[0], CHOICES)
    llama.scoring_mode([request])
    with read(llama.model) as counts:
        llama.score([request])
    assert counts == [32, 4 * (1 + 4)]


def test_only_what_is_worth_it_and_under_one_adapter_is_shared(llama: CausalBackbone) -> None:
    guest = make_random_adapter(llama)
    own, guests = Network(llama), Network(llama, guest)
    short = BEGINNING[:MIN_PREFIX_TOKENS]
    requests = [
        ScoreRequest(own, (*short, 1), CHOICES),
        ScoreRequest(own, (*short, 2), CHOICES),
        ScoreRequest(guests, (*short, 3), CHOICES),
        ScoreRequest(own, short, CHOICES),
        ScoreRequest(own, (3, *short), CHOICES),
    ]
    assert [(prefix.ids, prefix.rows) for prefix in group_by_prefix(requests)] == [(short, [0, 1]), ((), [2, 3, 4])]


@pytest.mark.parametrize("maker", ["build_tree_inputs", "build_row_inputs", "build_prompt_inputs"])
def test_a_wrong_position_would_be_seen(llama: CausalBackbone, maker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generator if maker == "build_prompt_inputs" else scorer
    right = getattr(module, maker)

    def shift_positions(rows: Any, behind: int, fill: int) -> dict[str, Any]:
        inputs: dict[str, Any] = right(rows, behind, fill)
        return {**inputs, "position_ids": inputs["position_ids"] + 1} if behind else inputs

    requests = [ScoreRequest(Network(llama), prompt, CHOICES) for prompt in PROMPTS]
    trees = maker == "build_tree_inputs"
    whole = score_requests(llama, requests, False, trees)
    assert probe_prefix_sharing(llama.create_scorer(), llama.run_without_adapters, Network(llama), trees)
    monkeypatch.setattr(module, maker, shift_positions)
    assert not probe_prefix_sharing(llama.create_scorer(), llama.run_without_adapters, Network(llama), trees)
    llama.capabilities = Capabilities(trees, prefix_sharing=True)
    assert same(llama.score(requests), whole) is (maker == "build_prompt_inputs")


def test_a_window_shorter_than_the_row_shares_nothing(writers: Callable[[str], Path]) -> None:
    backbone = load_causal_backbone_from(writers("gemma3"))
    long = tuple(20 + k * 7 % 90 for k in range(WINDOW))
    within = [ScoreRequest(Network(backbone), prompt, CHOICES) for prompt in PROMPTS]
    beyond = [ScoreRequest(Network(backbone), (*long, own), CHOICES) for own in (5, 6)]
    assert backbone.scoring_mode(within).share_prefixes
    assert not backbone.scoring_mode(beyond).share_prefixes
    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(backbone.base.folder)
    stock.eval()
    requests = [GenerateRequest(Network(backbone), request.prompt, 20, ENDS) for request in beyond]
    with read(backbone.model) as counts:
        found = backbone.generate(requests)
    assert counts[0] == 2 * (WINDOW + 1)
    for request, got in zip(requests, found, strict=True):
        ids = torch.tensor([request.prompt])
        whole = stock.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        assert list(got.ids) == whole[0, len(request.prompt) :].tolist()[: len(got.ids)]


def test_a_recurrent_model_shares_nothing(tmp_path: Path) -> None:
    tokenizer = make_bpe_tokenizer(start=False)
    config = transformers.MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(tmp_path)
    backbone = load_causal_backbone_from(tmp_path)
    requests = [ScoreRequest(Network(backbone), prompt, CHOICES) for prompt in PROMPTS]
    assert not backbone.scoring_mode(requests).share_prefixes
    assert same(backbone.score(requests), [backbone.score([request])[0] for request in requests])


def test_an_abandoned_beginning_is_not_computed(llama: CausalBackbone) -> None:
    other = (*BEGINNING[::-1], 9)
    requests = [ScoreRequest(Network(llama), prompt, CHOICES) for prompt in (*PROMPTS, other, (*other, 8))]
    wanted = score_requests(llama, requests, False)
    llama.capabilities = replace(llama.capabilities, prefix_sharing=True)
    with read(llama.model) as counts:
        found = llama.score(requests, lambda place: place >= len(PROMPTS))
    assert counts[0] == len(other) - 1
    assert len(counts) == 2
    assert same(found[-2:], wanted[-2:])
    assert all(bool(one.isinf().all()) for one in found[:-2])


def test_a_backbone_in_training_shares_within_a_call_and_keeps_nothing(llama: CausalBackbone) -> None:
    live = TrainableBackbone(llama, {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]})
    requests = [ScoreRequest(Network(live), prompt, CHOICES) for prompt in PROMPTS]
    before = live.score(requests)
    for weight in live.trainable_parameters().values():
        torch.nn.init.normal_(weight, std=0.2)
    with read(live.compute_model) as counts:
        after = live.score(requests)
    assert counts[0] == len(BEGINNING)
    assert not same(before, after)
    llama.capabilities = replace(llama.capabilities, prefix_sharing=False)
    assert same(after, live.score(requests))
