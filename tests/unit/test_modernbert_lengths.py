"""Texts of hundreds and thousands of tokens through a ModernBERT, with local and global attention."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.protocols import Example, TrainSet, predict_and_score
from loratory.protocols.events import FitEvent, StepFinished
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.training.trainable_backbones import TrainableBackbone
from tiny_models import load_backbone_from, make_context, make_task, make_train_set, save_base


def load_long_backbone(folder: Path, most: int) -> EncoderBackbone:
    """A tiny ModernBERT that reads so many tokens."""
    file = save_base(folder, "modernbert", max_position_embeddings=most) / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {"model_max_length": most}
    file.write_text(json.dumps(settings), encoding="utf-8")
    return load_backbone_from(folder)


def lengthen(example: Example, words: int) -> Example:
    """The same words over and over, so that what they say lies all along the text."""
    said = str(example.input["text"]).split()
    return replace(example, input={"text": " ".join(said[i % len(said)] for i in range(words))})


def make_long_train_set(words: int, every: int = 1) -> TrainSet:
    short = make_train_set()
    train, held = ([lengthen(e, words) for e in part[::every]] for part in (short.train, short.validation))
    return TrainSet(train, held)


@pytest.mark.parametrize("regime", [Head(epochs=4), Lora(rank=4, learning_rate=1e-2)])
def test_a_text_of_600_tokens_is_read_whole(tmp_path: Path, regime: Head | Lora) -> None:
    backbone = load_long_backbone(tmp_path, 1_024)
    events: list[FitEvent] = []
    context = make_context(max_tokens=600, epochs=2, micro_batch_tokens=1_024, batch_examples=4, report=events.append)
    train_set = make_long_train_set(700, every=2)
    made: Any = regime.fit(make_task(), train_set, backbone, context)
    assert all(len(ids) == 600 for (ids, _), *_ in made.encode_rows([e.input for e in train_set.train]))
    losses = [event.loss for event in events if isinstance(event, StepFinished)]
    assert losses[-1] < losses[0]
    made_of = predict_and_score(made, train_set.validation, run_locally)
    assert all(one.probabilities for one in made_of.predictions)


def test_a_long_text_has_the_gradient_of_the_whole_attention(tmp_path: Path) -> None:
    """Ours against the library's eager attention, beyond the window of the local layers."""
    backbone = load_long_backbone(tmp_path, 1_024)
    rows = [tuple(5 + i % 20 for i in range(length)) for length in (600, 450)]
    live = TrainableBackbone(backbone, full_finetuning=True)
    found = []
    for way in (live.compute_model.config._attn_implementation, "eager"):
        live.compute_model.set_attn_implementation(way)
        live.compute_model.zero_grad()
        states, mask = live.forward(rows)
        nn.functional.normalize(states[mask.bool()], dim=-1)[::7].square().cumsum(0).mean().backward()  # type: ignore[no-untyped-call]
        weight = next(p for name, p in live.compute_model.named_parameters() if "attn.Wqkv" in name)
        assert weight.grad is not None
        found.append((states[mask.bool()].detach(), weight.grad.clone()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_texts_of_8192_tokens_train_one_at_a_time(tmp_path: Path) -> None:
    backbone = load_long_backbone(tmp_path, 8_192)
    events: list[FitEvent] = []
    context = make_context(max_tokens=8_192, epochs=1, micro_batch_tokens=8_192, batch_examples=2, report=events.append)
    train_set = make_long_train_set(9_000, every=12)
    made: Any = Lora(rank=4).fit(make_task(), train_set, backbone, context)
    assert all(len(ids) == 8_192 for (ids, _), *_ in made.encode_rows([e.input for e in train_set.train]))
    assert any(isinstance(event, StepFinished) for event in events)
