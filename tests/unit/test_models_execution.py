"""Deadlines, abandoned requests, batches by length and remembered states."""

from __future__ import annotations

import random
import time

import pytest
import torch

from loratory.backbones.forward.activation_cache import ActivationCache, PoolingHead
from loratory.backbones.forward.batching import MAX_BATCH_TOKENS, batch_by_cost, batch_by_length
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.generation.token_tree import pad_rows
from loratory.errors import DeadlineExceeded
from loratory.protocols import EncodeRequest, Network
from tiny_models import TEXTS, BackboneOf


def test_a_past_deadline_is_late_and_nothing_is_worked_on(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of("bert")
    request = EncodeRequest(Network(backbone), backbone.tokenizer.encode("my card")[0])
    monkeypatch.setattr(backbone, "compute_states", lambda *a: pytest.fail("worked on an abandoned request"))
    with pytest.raises(DeadlineExceeded):
        run_locally([request], deadline=time.monotonic() - 1)


def test_a_future_deadline_is_met(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    assert (
        len(
            run_locally(
                [EncodeRequest(Network(backbone), backbone.tokenizer.encode("my card")[0])],
                deadline=time.monotonic() + 60,
            )
        )
        == 1
    )
    assert run_locally([]) == []


def test_only_what_is_still_wanted_is_encoded(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    requests = [EncodeRequest(Network(backbone), backbone.tokenizer.encode(text)[0]) for text in TEXTS]
    made = backbone.encode(requests, alive=lambda i: i != 1)
    assert made[1].numel() == 0
    assert all(made[i].shape[-1] == backbone.width for i in range(len(TEXTS)) if i != 1)


def test_batches_by_length_hold_every_row_once_within_the_budget() -> None:
    lengths = [(i * 37) % 90 + 1 for i in range(300)] + [5000]
    batches = list(batch_by_length(lengths, 400))
    assert sorted(i for batch in batches for i in batch) == list(range(301))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 400 for b in batches)
    assert list(batch_by_length([], 400)) == []
    assert len(list(batch_by_length([8] * 512, MAX_BATCH_TOKENS))) == 1


def test_padding() -> None:
    ids, mask = pad_rows([(5, 6, 7), (8,)], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_states_are_computed_once_for_each_text_and_pooling(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    asked: list[int] = []

    def run(requests: list[EncodeRequest], by: float | None = None) -> list[torch.Tensor]:
        asked.append(len(requests))
        return run_locally(requests, by)

    remembered = ActivationCache(run)  # type: ignore[arg-type]
    rows = [ids for ids, _ in backbone.tokenizer.encode_batch(list(TEXTS))]
    first = remembered.compute_pooled(backbone, "mean", rows)
    assert asked == [len(set(rows))]
    assert torch.equal(remembered.compute_pooled(backbone, "mean", rows[::-1]), first.flip(0))
    assert len(asked) == 1
    remembered.compute_pooled(backbone, "cls", rows[:1])
    remembered.compute_pooled(backbone_of("roberta"), "mean", rows[:1])
    assert asked[1:] == [1, 1]
    direct = run_locally([EncodeRequest(Network(backbone, None, PoolingHead("mean")), row) for row in rows])
    assert torch.allclose(first, torch.stack(direct), atol=1e-6)
    assert remembered.compute_pooled(backbone, "mean", []).shape == (0, backbone.width)


def test_batches_by_cost_hold_every_row_once_and_cost_no_more() -> None:
    def cost(batches: list[list[int]], lengths: list[int], each: int) -> int:
        return sum(max(lengths[k] for k in batch) * len(batch) + each for batch in batches)

    draw = random.Random(3)
    for count, budget, each in ((1, 50, 8), (40, 400, 48), (64, 4096, 48), (64, 4096, 0), (200, 4096, 1000)):
        lengths = [draw.choice((5, 8, 12, 16, 16, 30, 90)) for _ in range(count)]
        batches = batch_by_cost(lengths, budget, each)
        assert sorted(k for batch in batches for k in batch) == list(range(count))
        assert all(max(lengths[k] for k in batch) * len(batch) <= max(budget, 90) for batch in batches)
        assert cost(batches, lengths, each) <= cost(list(batch_by_length(lengths, budget)), lengths, each)
    assert batch_by_cost([90, *[16] * 10], 4096, 48) == [[0], list(range(1, 11))]
    assert batch_by_cost([18, *[16] * 10], 4096, 48) == [list(range(11))]
    assert batch_by_cost([], 4096) == []
