"""Make `seedling`: a small Llama, from nothing, on a CPU; stop it with Ctrl-C, and the same command goes on.

python pretraining/train.py --text FILE.txt.gz --output FOLDER [--tokens 15_000_000]

FILE is public-domain running text. The same file, seed and versions give the same tokenizer, rows and order. The
training loop, its checkpoints and its schedule are the product's own. FOLDER gets tokenizer/, checkpoints/, and, when
the budget is spent or with --write, model/ (float16 safetensors) and history.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from beginning import begin
from corpus import Reader, Row, Writer, pack_rows, paragraphs, parts
from tokenizer import train_tokenizer, write
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from loratory.backbones.forward.activation_cache import ActivationCache
from loratory.backbones.forward.attention import use_short_attention
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.forward.memory import keep_freed_memory
from loratory.errors import RunInterrupted
from loratory.protocols import JSON, FitContext, Scores
from loratory.protocols.events import EpochFinished, FitEvent
from loratory.specs.training import TrainingSpec
from loratory.training.batching import Batch
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.training_loop import TrainingJob, train

ROW, ROWS_A_STEP, ROWS_A_PASS = 384, 8, 8
STEPS_AN_EPOCH = 150  # an epoch is no pass over anything: it is what lies between two looks at held-out rows
HELD_OUT_ROWS = 48
CHECKPOINTS = 240.0  # seconds between them
SHARE = 0.75  # of the tokens that are exercises
RATE = 2e-3
SHAPE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 7,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "attention_bias": True,  # a head can look one place back whatever stands there
    "initializer_range": 0.05,
    "rms_norm_eps": 1e-5,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class Reading:
    """The rows of one epoch at a time, made anew from (seed, epoch)."""

    def __init__(self, writer: Writer, passages: Sequence[str], seed: int) -> None:
        self.writer, self.passages, self.seed = writer, passages, seed
        self.epoch, self.rows = -1, list[Row]()

    def of(self, epoch: int, count: int) -> list[Row]:
        if epoch != self.epoch or len(self.rows) != count:
            chance = random.Random(f"{self.seed} {epoch}")
            reader = Reader(self.writer, self.passages, chance, SHARE)
            self.epoch, self.rows = epoch, list(islice(pack_rows(reader, ROW), count))
        return self.rows


def tensors(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids and positions int64[B, T], weights float[B, T]."""
    return (
        torch.tensor([row.ids for row in rows]),
        torch.tensor([row.positions for row in rows]),
        torch.tensor([row.weights for row in rows]),
    )


@dataclass(frozen=True)
class Looked:
    """Cross-entropy of next tokens, whether each was the likeliest, its weight, and the row that it is of; each [K]."""

    losses: Tensor
    right: Tensor
    weights: Tensor
    rows: Tensor


def look(model: Any, rows: Sequence[Row]) -> Looked:
    """Only tokens that weigh something are scored.

    Without a mask transformers reads from the positions where a piece begins, and keeps pieces apart.
    """
    ids, positions, weights = tensors(rows)
    states = model.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[:, :-1]
    counted = weights[:, 1:] > 0
    wanted = ids[:, 1:][counted]
    logits = model.lm_head(states[counted]).float()
    losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return Looked(losses, logits.argmax(-1) == wanted, weights[:, 1:][counted], counted.nonzero()[:, 0])


@dataclass(frozen=True)
class School:
    """A model, what it reads, and how it is looked at."""

    model: Any
    reading: Reading
    held_out: list[Row]
    epochs: int

    def course(self) -> TrainingJob:
        """What the project's loop is given."""
        return TrainingJob(
            parameters=dict(self.model.named_parameters()),
            learning_rate=lambda name: RATE,
            batches=self._batches,
            losses=self._losses,
            weights=torch.ones(STEPS_AN_EPOCH * ROWS_A_STEP),
            score=self._score,
            headline="likelihood",
            epochs=self.epochs,
        )

    def _batches(self, epoch: int) -> list[Batch]:
        count = STEPS_AN_EPOCH * ROWS_A_STEP
        self.reading.of(epoch, count)
        passes = [tuple(range(start, start + ROWS_A_PASS)) for start in range(0, count, ROWS_A_PASS)]
        size = ROWS_A_STEP // ROWS_A_PASS
        return [tuple(passes[i : i + size]) for i in range(0, len(passes), size)]

    def _losses(self, indices: Sequence[int]) -> Tensor:
        found = look(self.model, [self.reading.rows[i] for i in indices])
        both = torch.stack([found.losses * found.weights, found.weights])
        sums = torch.zeros(2, len(indices)).index_add(1, found.rows, both)
        return sums[0] / sums[1]

    def _score(self) -> Scores:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            starts = range(0, len(self.held_out), ROWS_A_PASS)
            looked = [look(self.model, self.held_out[i : i + ROWS_A_PASS]) for i in starts]
        losses, weights = torch.cat([one.losses for one in looked]), torch.cat([one.weights for one in looked])
        return {"likelihood": math.exp(-float((losses * weights).sum() / weights.sum()))}


def main() -> None:
    """Go on with FOLDER, or begin it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=15_000_000, help="budget")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write model/ from the newest checkpoint and stop")
    options = parser.parse_args()
    keep_freed_memory()
    passages, held = parts(paragraphs(options.text))
    tokenizer = _tokenizer(options.output / "tokenizer", passages)
    writer = Writer.of(tokenizer)
    torch.manual_seed(options.seed)
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE))
    begin(model, options.seed)
    use_short_attention(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(passages):,} passages", flush=True)
    held_out = Reading(writer, held, -1).of(0, HELD_OUT_ROWS)
    epochs = max(options.tokens // (ROW * ROWS_A_STEP * STEPS_AN_EPOCH), 1)
    school = School(model, Reading(writer, passages, options.seed), held_out, epochs)
    identity = json.dumps([SHAPE, ROW, ROWS_A_STEP, SHARE, RATE, options.tokens, options.seed])
    checkpoints = FolderCheckpoints(options.output / "checkpoints", hashlib.sha256(identity.encode()).hexdigest()[:16])
    facts = (
        _restore_best_weights(model, checkpoints) if options.write else _train_model(school, checkpoints, options.seed)
    )
    _write(model, tokenizer, options.output / "model")
    (options.output / "history.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _restore_best_weights(model: Any, checkpoints: FolderCheckpoints) -> dict[str, Any]:
    """The best weights so far, put in place."""
    state = checkpoints.load_latest()
    if state is None:
        raise SystemExit("there is no checkpoint of this budget, seed and shape")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state.tensors[f"best/{name}"])
    return {"history": state.facts["history"]}


def _train_model(school: School, checkpoints: FolderCheckpoints, seed: int) -> dict[str, JSON]:
    started, stopping = time.monotonic(), list[bool]()
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))

    def report(event: FitEvent) -> None:
        if isinstance(event, EpochFinished):
            minutes = round((time.monotonic() - started) / 60, 1)
            print(
                {
                    "epoch": event.epoch,
                    "loss": event.loss,
                    "score": event.score,
                    "of": school.epochs,
                    "minutes": minutes,
                },
                flush=True,
            )

    spec = TrainingSpec(
        schedule="cosine", warmup=0.02, weight_decay=0.1, checkpoint_seconds=CHECKPOINTS, precision="bf16"
    )
    context = FitContext(
        seed, run_locally, checkpoints, ActivationCache(run_locally), spec, report, lambda: bool(stopping)
    )
    try:
        return train(school.course(), context)
    except RunInterrupted as stopped:
        raise SystemExit(str(stopped)) from None


def _tokenizer(folder: Path, passages: Sequence[str]) -> Tokenizer:
    if not (folder / "tokenizer.json").exists():
        write(train_tokenizer(passages), folder, SHAPE["max_position_embeddings"])
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _write(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    write(tokenizer, folder, SHAPE["max_position_embeddings"])
    model.config._attn_implementation = "sdpa"
    model.generation_config.eos_token_id = [2, 0]
    model.to(torch.float16).save_pretrained(folder)


if __name__ == "__main__":
    main()
