"""Spans through an encoder: learnt, kept, and found in texts that are longer than a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.predictors import predictor_files
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Example, TrainSet
from loratory.regimes.full import Full
from loratory.regimes.lora import Lora
from loratory.tasks.tag import Tag
from tiny_models import OPENINGS, TOPICS, load_backbone_from, make_context, save_base

WANTED = {"card": "THING", "cash": "THING", "password": "SECRET", "code": "SECRET"}


def mark_wanted_words(text: str) -> Example:
    """Every wanted word of a text as a span."""
    task = Tag(labels=("SECRET", "THING"))
    spans, place = [], 0
    for word in text.split(" "):
        if word in WANTED:
            spans.append([place, place + len(word), WANTED[word]])
        place += len(word) + 1
    return task.read({"text": text, "spans": spans})


def build_train_set() -> TrainSet:
    made = [
        mark_wanted_words(f"{opening} {words}")
        for listed in TOPICS.values()
        for words in listed
        for opening in OPENINGS
    ]
    return TrainSet(made, made[::2])  # whether it generalises is not asked of a backbone of random weights


SLOW_MARK = pytest.mark.slow


@pytest.mark.parametrize(("family", "regime"), [
    ("bert", Lora(rank=8, learning_rate=1e-2, head_learning_rate=2e-2)),
    pytest.param("llama", Lora(rank=8, learning_rate=4e-3, head_learning_rate=1e-2, head="pooled"), marks=SLOW_MARK),
    pytest.param("roberta", Full(learning_rate=3e-3, head_learning_rate=2e-2), marks=SLOW_MARK),
    pytest.param("bert", Lora(rank=8, learning_rate=1e-2, head_learning_rate=2e-2, head="stock"), marks=SLOW_MARK),
])  # fmt: skip
def test_spans_are_learnt_kept_and_found_in_long_texts(tmp_path: Path, family: str, regime: Any) -> None:
    task = Tag(labels=("SECRET", "THING"))
    backbone = load_backbone_from(save_base(tmp_path / "base", family))
    made = regime.fit(task, build_train_set(), backbone, make_context(epochs=40, max_tokens=24))
    inputs = [example.input for example in build_train_set().validation]
    found = made.predict(inputs, run_locally)
    marks = [task.score_example(e, p) for e, p in zip(build_train_set().validation, found, strict=True)]
    assert sum(mark["reward"] for mark in marks) / len(marks) > 0.9
    for input, prediction in zip(inputs, found, strict=True):
        assert task.check_answer(input, prediction.answer) == []
        assert len(prediction.probabilities) == len(prediction.answer["spans"])

    long = mark_wanted_words(" ".join(str(example.input["text"]) for example in build_train_set().validation[:20]))
    assert len(backbone.tokenizer.encode_batch([str(long.input["text"])], 10_000)[0][0]) >= 60 or family == "llama"
    (one,) = made.predict([long.input], run_locally)
    assert task.score_example(long, one)["reward"] > 0.7  # rows longer than those that were learnt from

    with stage_artifact(tmp_path / "fit", {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, made)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert again.predict([long.input], run_locally) == [one]  # in the passes of before: others round otherwise
    assert again.predict(inputs, run_locally) == found


def test_windows_are_no_longer_than_the_base_can_read(tmp_path: Path) -> None:
    """Whatever training.max_tokens allows: the shared part is one of the window that is there."""
    backbone = load_backbone_from(save_base(tmp_path / "base", "bert"))
    task = Tag(labels=("SECRET", "THING"))
    text = " ".join(str(example.input["text"]) for example in build_train_set().validation)
    (rows,) = load_output_adapter("spans").encode_rows(
        task, backbone.tokenizer, [{"text": text}], 4 * backbone.tokenizer.max_length, "head"
    )
    assert len(rows) > 1
    assert max(len(ids) for ids, _ in rows) == backbone.tokenizer.max_length
