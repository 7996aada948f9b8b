"""Texts that are longer than a row: by their beginning, by both ends, or whole in windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import SpecError
from loratory.predictors import predictor_files
from loratory.protocols import EncodeRequest, Example, Prediction, TrainSet
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.regimes.prototype import Prototype
from loratory.specs.training import ConsistencySpec
from tiny_models import load_backbone_from, make_context, make_task, save_base

FILLER = "please help a week today hello what now "
TELLING = {"card": ("card", "arrive"), "cash": ("cash", "machine"), "login": ("password", "code")}
MAX_TOKENS = 16


def make_long_train_set() -> TrainSet:
    """What tells the label stands at the end, behind more words than a row holds."""
    rows = [
        Example({"text": FILLER * count + word}, {"label": label})
        for label, words in TELLING.items()
        for word in words
        for count in (3, 4, 5, 6)
    ]
    return TrainSet(rows, rows)


def share_right(made: Any, lessons: TrainSet) -> float:
    found: list[Prediction] = made.predict([example.input for example in lessons.validation], run_locally)
    right: list[bool] = [p.answer == example.answer for p, example in zip(found, lessons.validation, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize("long", ["ends", "windows"])
@pytest.mark.parametrize("regime", [Lora(rank=4, learning_rate=3e-3), Head(), Prototype()])
def test_what_stands_at_the_end_is_read(tmp_path: Path, long: str, regime: Any) -> None:
    backbone, lessons = load_backbone_from(save_base(tmp_path / "base", "bert")), make_long_train_set()
    made = regime.fit(make_task(), lessons, backbone, make_context(epochs=20, max_tokens=MAX_TOKENS, long=long))
    cut = regime.fit(make_task(), lessons, backbone, make_context(epochs=20, max_tokens=MAX_TOKENS))
    assert share_right(cut, lessons) == pytest.approx(1 / 3)  # all beginnings are alike
    assert share_right(made, lessons) > (0.8 if long == "ends" else 0.5)  # most windows hold nothing that tells
    with stage_artifact(tmp_path / "fit", {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, made)
    inputs = [example.input for example in lessons.validation]
    assert predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool()).predict(
        inputs, run_locally
    ) == made.predict(inputs, run_locally)


def test_rows_of_each_way(tmp_path: Path) -> None:
    backbone = load_backbone_from(save_base(tmp_path / "base", "bert"))
    text = FILLER * 6
    ((whole, _),) = backbone.tokenizer.encode_batch([text], 10_000)
    ((ends, at),) = backbone.tokenizer.encode_head_and_tail([text], MAX_TOKENS)
    assert ends == whole[: MAX_TOKENS // 4] + whole[-(MAX_TOKENS - MAX_TOKENS // 4) :]
    assert len(at) == MAX_TOKENS
    assert backbone.tokenizer.encode_head_and_tail(["card", ""], MAX_TOKENS) == backbone.tokenizer.encode_batch(
        ["card", ""], MAX_TOKENS
    )
    made = Lora(rank=2).fit(
        make_task(), make_long_train_set(), backbone, make_context(epochs=1, max_tokens=MAX_TOKENS, long="windows")
    )
    (parts,) = made.encode_rows([{"text": text}])  # type: ignore[attr-defined]
    assert len(parts) > 2
    outputs = run_locally([EncodeRequest(made.network, ids) for ids, _ in parts])  # type: ignore[attr-defined]
    odds = torch.stack(outputs).mean(0).softmax(-1).tolist()
    (prediction,) = made.predict([{"text": text}], run_locally)
    assert list(prediction.probabilities["/label"].values()) == pytest.approx(odds, abs=1e-5)


def test_windows_of_twins_are_refused(tmp_path: Path) -> None:
    backbone = load_backbone_from(save_base(tmp_path / "base", "bert"))
    with pytest.raises(SpecError, match="long: ends"):
        Lora(consistency=ConsistencySpec()).fit(
            make_task(), make_long_train_set(), backbone, make_context(epochs=1, max_tokens=MAX_TOKENS, long="windows")
        )
