"""What seedling is made from: exercises with computed answers, rows without padding, a training that goes on."""

from __future__ import annotations

import gzip
import importlib
import json
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

FOLDER = Path(__file__).parents[2] / "pretraining"
NAMES = ("words", "exercises", "corpus", "tokenizer", "beginning", "train", "exam")
PASSAGE = "The old man walked down to the river, and when he came there he saw that the boat was gone from its place. "


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The scripts as modules, by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


def passages() -> list[str]:
    return [f"{PASSAGE * 2}It was day number {number} of that long summer." for number in range(8100)]


@pytest.fixture(scope="module")
def writer(parts: Any) -> Any:
    return parts["corpus"].Writer.of(parts["tokenizer"].train_tokenizer(passages()[:500]))


def test_exercises_are_the_same_for_a_seed_and_take_turns(parts: Any) -> None:
    exercise = parts["exercises"].exercise
    first, second = ([exercise(random.Random(n), PASSAGE * 2) for n in range(300)] for _ in range(2))
    assert first == second
    for messages in first:
        roles = [message["role"] for message in messages]
        assert roles[-1] == "assistant"
        assert [role for role in roles if role != "system"] == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() for message in messages)


def test_extracted_fields_stand_in_the_text(parts: Any) -> None:
    for number in range(200):
        messages = parts["exercises"].extracting(random.Random(number), PASSAGE * 2)
        asked = " ".join(message["content"] for message in messages[:-1])
        for name, value in json.loads(messages[-1]["content"]).items():
            assert name in asked
            assert value is None or isinstance(value, bool) or str(value) in asked


def test_chosen_labels_are_among_those_that_are_listed(parts: Any) -> None:
    for number in range(200):
        messages = parts["exercises"].choosing(random.Random(number), PASSAGE * 2)
        listed = "\n".join(message["content"] for message in messages if message["role"] != "assistant")
        for message in messages:
            if message["role"] == "assistant":
                said = message["content"]
                label = next(iter(json.loads(said).values())) if said.startswith("{") else said
                assert label in listed


def test_rows_are_full_and_positions_begin_anew_with_each_piece(parts: Any, writer: Any) -> None:
    corpus = parts["corpus"]
    rows = list(islice(corpus.pack_rows(corpus.Reader(writer, passages(), random.Random(1), 0.75), 128), 20))
    for row in rows:
        assert len(row.ids) == len(row.positions) == len(row.weights) == 128
        starts = [place for place, position in enumerate(row.positions) if position == 0]
        assert starts[0] == 0
        assert all(row.weights[start] == 0 for start in starts)  # nothing foretells a first token
        assert sum(weight == 1 for weight in row.weights) < 128
    spoken = sum(writer.start in row.ids for row in rows)
    assert 0 < spoken
    held, train = corpus.parts(passages())[1], corpus.parts(passages())[0]
    assert held
    assert not set(held) & set(train)


def test_only_answers_weigh_in_full(parts: Any, writer: Any) -> None:
    talk = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]
    ids, weights = writer.talk(talk)
    whole = [token for token, weight in zip(ids, weights, strict=True) if weight == 1]
    assert writer.tokenizer.decode(whole, skip_special_tokens=False) == "4<|im_end|>"


@torch.no_grad()
def test_it_begins_with_heads_that_copy(parts: Any) -> None:
    """Behind a row of random tokens that stood there before, what follows is often foretold, with nothing learnt."""
    torch.manual_seed(1)
    shape = parts["train"].SHAPE
    model: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    chance = torch.Generator().manual_seed(2)
    once = torch.randint(300, shape["vocab_size"], (4, 40), generator=chance)
    twice = torch.cat([once, once], -1)

    def copy_share() -> float:
        said = model(twice).logits[:, 41:79].argmax(-1)
        return float((said == twice[:, 42:80]).float().mean())

    assert copy_share() < 0.02
    parts["beginning"].begin(model, 1)
    assert copy_share() > 0.5


def test_training_stops_goes_on_and_writes_a_model_that_stock_transformers_opens(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = parts["train"]
    text = tmp_path / "book.txt.gz"
    text.write_bytes(gzip.compress("\n\n".join(passages()).encode()))
    small = {"hidden_size": 48, "intermediate_size": 32, "num_hidden_layers": 2}
    monkeypatch.setattr(train, "SHAPE", {**train.SHAPE, **small})
    for name, value in {
        "ROW": 64,
        "ROWS_A_STEP": 4,
        "ROWS_A_PASS": 2,
        "STEPS_AN_EPOCH": 3,
        "HELD_OUT_ROWS": 2,
        "CHECKPOINTS": 0,
    }.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setattr(sys, "argv", ["train.py", "--text", str(text), "--output", str(tmp_path), "--tokens", "1600"])
    torch.manual_seed(0)
    train.main()
    first = (tmp_path / "model" / "model.safetensors").read_bytes()
    history = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))["history"]
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[-1]["score"] > history[0]["score"]

    monkeypatch.setattr(sys, "argv", [*sys.argv, "--write"])
    train.main()
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == first
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.float16
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 512
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    right = parts["exam"].likeliest(model.float(), parts["corpus"].Writer.of(tokenizer.backend_tokenizer), [
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "bye"}])  # fmt: skip
    assert len(right) == len(tokenizer("bye")["input_ids"]) + 1
