"""A token embedding that is updated by row: dense AdamW's numbers, resumed to the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loratory.errors import RunInterrupted
from loratory.protocols.events import FitEvent, StepFinished
from loratory.regimes.full import Full
from loratory.training import lazy_embeddings
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.lazy_embeddings import LazyEmbedding, clip_gradients, find_token_embeddings
from loratory.training.optimizers import make_optimizer
from loratory.training.trainable_backbones import TrainableBackbone
from loratory.training.training_loop import TrainingJob, train
from tiny_models import (
    BackboneOf,
    load_causal_backbone_from,
    make_context,
    make_task,
    make_train_set,
    save_causal_model,
)

TOKENS, WIDTH, EXAMPLES = 40, 8, 48


def read_weight(embedding: nn.Embedding) -> nn.Parameter:
    assert isinstance(embedding.weight, nn.Parameter)
    return embedding.weight


def make_job(lazy: bool, epochs: int = 4, scale: float = 1.0) -> tuple[TrainingJob, nn.Embedding]:
    """Texts of five tokens, some of which only a few texts have; two passes a step. Validation reads all tokens."""
    chance = torch.Generator().manual_seed(7)
    texts = torch.randint(0, TOKENS, (EXAMPLES, 5), generator=chance).square() // TOKENS
    wanted = torch.randn(EXAMPLES, generator=chance)
    embedding = nn.Embedding(TOKENS, WIDTH, padding_idx=0)
    with torch.no_grad():
        embedding.weight.copy_(torch.randn(TOKENS, WIDTH, generator=chance))
    output = nn.Parameter(torch.randn(WIDTH, generator=chance))

    def losses(indices: Sequence[int]) -> Tensor:
        some = list(indices)
        made: Tensor = scale * (embedding(texts[some]).mean(1).tanh() @ output - wanted[some]).square()
        return made

    def score() -> dict[str, float]:
        with torch.inference_mode():
            return {"accuracy": float(embedding(torch.arange(TOKENS)).sum())}

    job = TrainingJob(
        parameters={"words.weight": read_weight(embedding), "output": output},
        learning_rate=lambda name: 0.05,
        batches=lambda epoch: [(tuple(range(i, i + 4)), tuple(range(i + 4, i + 6))) for i in range(0, EXAMPLES, 6)],
        losses=losses,
        weights=torch.ones(EXAMPLES),
        score=score,
        headline="accuracy",
        epochs=epochs,
        embeddings={"words.weight": embedding} if lazy else {},
    )
    return job, embedding


@pytest.mark.parametrize("clip", [1e9, 0.05])
@pytest.mark.parametrize("remembered", [4_096, 3])
def test_its_numbers_are_those_of_dense_adamw(monkeypatch: pytest.MonkeyPatch, clip: float, remembered: int) -> None:
    monkeypatch.setattr(lazy_embeddings, "MAX_MISSED_STEPS", remembered)
    spec: dict[str, Any] = {"weight_decay": 0.1, "warmup": 0.2, "clip": clip, "schedule": "cosine"}
    made = {}
    for lazy in (False, True):
        job, embedding = make_job(lazy)
        facts = train(job, make_context(**spec))
        made[lazy] = (embedding.weight.detach(), job.parameters["output"].detach(), facts["history"])
    torch.testing.assert_close(made[True][:2], made[False][:2], rtol=2e-5, atol=2e-6)
    for one, other in zip(made[True][2], made[False][2], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_moments_near_eps_are_between_two_exact_limits() -> None:
    """Gradients of about 1e-8: where eps, and not the moment, decides how far a row goes on moving."""
    made = []
    for lazy in (False, True):
        job, embedding = make_job(lazy, scale=1e-8)
        train(job, make_context(weight_decay=0.0))
        made.append(embedding.weight.detach() - make_job(False)[1].weight.detach())
    assert float(made[0].abs().max()) > 1e-3
    assert float((made[1] - made[0]).abs().max()) < 0.05 * float(made[0].abs().max())


def test_stopped_at_every_step_it_comes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, expected = make_job(True, epochs=2)
    facts = train(whole, make_context(weight_decay=0.1))
    kept, times = FolderCheckpoints(tmp_path, "one"), 0
    while True:
        job, embedding = make_job(True, epochs=2)
        asked = partial(next, iter([False] * (times % 2) + [True] + [False] * 100))
        try:
            again = train(job, make_context(weight_decay=0.1, checkpoints=kept, stopping=asked))
            break
        except RunInterrupted:
            times += 1
        assert not embedding.sparse  # it is left as it was found
    assert times >= 8
    assert again["history"] == facts["history"]
    assert torch.equal(embedding.weight, expected.weight)


def test_only_rows_that_were_read_are_written() -> None:
    _, embedding = make_job(True)
    optimizer = make_optimizer("adamw", [{"params": [embedding.weight], "lr": 0.1, "weight_decay": 0.1}], "cpu")
    lazy, before = LazyEmbedding(embedding, optimizer), embedding.weight.detach().clone()
    embedding(torch.tensor([3, 4, 4])).sum().backward()
    assert embedding.weight.grad is not None
    assert embedding.weight.grad.is_sparse
    lazy.step()
    optimizer.step()
    changed = (embedding.weight != before).any(1).nonzero()[:, 0].tolist()
    assert changed == [3, 4]
    lazy.flush()
    torch.testing.assert_close(embedding.weight[5], before[5] * (1 - 0.1 * 0.1))


def add_norm(losses: Callable[[Sequence[int]], Tensor], weight: Tensor, indices: Sequence[int]) -> Tensor:
    return losses(indices) + weight.square().mean()


def test_a_weight_that_more_than_the_lookup_reads_is_updated_whole() -> None:
    made = []
    for lazy in (False, True):
        job, embedding = make_job(lazy)
        losses = partial(add_norm, job.losses, embedding.weight)
        tied = TrainingJob(**{**vars(job), "losses": losses})
        train(tied, make_context(weight_decay=0.1))
        made.append(embedding.weight.detach())
        assert not embedding.sparse
    torch.testing.assert_close(made[1], made[0], rtol=2e-5, atol=2e-6)


def test_the_norm_of_sparse_gradients_is_that_of_dense_ones() -> None:
    gradients = []
    for sparse in (False, True):
        _, embedding = make_job(False)
        embedding.sparse = sparse
        embedding(torch.tensor([[3, 4], [4, 5]])).square().sum().backward()
        clip_gradients([read_weight(embedding)], 0.5)
        assert embedding.weight.grad is not None
        gradients.append(embedding.weight.grad.to_dense() if sparse else embedding.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert float(gradients[1].norm()) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert", "deberta-v2"])
def test_the_embedding_of_an_encoder_is_found(
    monkeypatch: pytest.MonkeyPatch, backbone_of: BackboneOf, family: str
) -> None:
    live = TrainableBackbone(backbone_of(family), full_finetuning=True)
    assert not find_token_embeddings(live, live.trainable_parameters())  # it is too small to gain anything
    monkeypatch.setattr(lazy_embeddings, "MIN_LAZY_ROWS", 1)
    assert len(find_token_embeddings(live, live.trainable_parameters())) == 1
    frozen = TrainableBackbone(backbone_of(family))
    assert not find_token_embeddings(frozen, frozen.trainable_parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_dense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tied: bool) -> None:
    monkeypatch.setattr(lazy_embeddings, "MIN_LAZY_ROWS", 1)
    save_causal_model(tmp_path, tie_word_embeddings=tied)
    live = TrainableBackbone(load_causal_backbone_from(tmp_path), full_finetuning=True)
    parameters = live.trainable_parameters() | live.lm_head_parameters()
    assert len(find_token_embeddings(live, parameters)) == (0 if tied else 1)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_full_fine_tuning_is_the_same_fit(
    monkeypatch: pytest.MonkeyPatch, backbone_of: BackboneOf, family: str
) -> None:
    losses: dict[int, list[float]] = {}
    for least in (10**9, 1):
        monkeypatch.setattr(lazy_embeddings, "MIN_LAZY_ROWS", least)
        events: list[FitEvent] = []
        context = make_context(epochs=3, report=events.append)
        Full(learning_rate=1e-3).fit(make_task(), make_train_set(), backbone_of(family), context)
        losses[least] = [event.loss for event in events if isinstance(event, StepFinished)]
    assert losses[1] == pytest.approx(losses[10**9], rel=1e-3)
