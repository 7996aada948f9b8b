"""Pretraining's rows of tokens: running text and exercises, packed so that none sees another."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exercises import exercise

PROMPT_WEIGHT = 0.1  # of a prompt's tokens in the loss: what people ask is not what it has to learn to say
HELD_OUT = 100  # every so many-th stretch of text is held out
STRETCH = 40  # paragraphs of one stretch

Piece = tuple[list[int], list[float]]  # tokens and their weights in the loss


def paragraphs(file: Path) -> list[str]:
    """Running text of a gzipped plain-text file: lines joined, headings, tables and notes left out."""
    text = gzip.decompress(file.read_bytes()).decode("utf-8", "replace").replace("\r\n", "\n")
    found = (" ".join(part.split()).replace("_", "") for part in re.split(r"\n\s*\n", text))
    return [part for part in found if _runs(part)]


def _runs(part: str) -> bool:
    letters = sum(c.isalpha() for c in part)
    small = sum(c.islower() for c in part)
    return (
        len(part) >= 60
        and small > 0.9 * letters
        and letters > 0.7 * len(part)
        and not part.startswith("[")
        and "gutenberg" not in part.lower()
    )


def parts(found: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training and held-out passages, by stretches, so that a held-out page has no neighbour in training."""
    train: list[str] = []
    held: list[str] = []
    for i, passage in enumerate(found):
        (held if i // STRETCH % HELD_OUT == 0 else train).append(passage)
    return train, held


@dataclass(frozen=True)
class Writer:
    """Tokens of passages and conversations under the model's own template."""

    tokenizer: Any  # tokenizers.Tokenizer
    start: int
    end: int
    document_end: int

    @classmethod
    def of(cls, tokenizer: Any) -> Writer:
        return cls(tokenizer, *(tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")))

    def text(self, passages: Sequence[str]) -> Piece:
        ids = [*self.tokenizer.encode("\n\n".join(passages)).ids, self.document_end]
        return ids, [1.0] * len(ids)

    def talk(self, messages: Sequence[dict[str, str]]) -> Piece:
        """ChatML; only what the assistant says weighs in full."""
        ids: list[int] = []
        weights: list[float] = []
        for message in messages:
            mine = message["role"] == "assistant"
            head = [self.start, *self.tokenizer.encode(f"{message['role']}\n").ids]
            body = [*self.tokenizer.encode(message["content"]).ids, self.end]
            tail = self.tokenizer.encode("\n").ids
            ids += [*head, *body, *tail]
            weights += [PROMPT_WEIGHT] * len(head) + [1.0 if mine else PROMPT_WEIGHT] * len(body)
            weights += [PROMPT_WEIGHT] * len(tail)
        return ids, weights


def pieces(
    writer: Writer, passages: Sequence[str], chance: random.Random, share: float, tokens: int
) -> Iterator[Piece]:
    """Without end: running text, and with probability `share` of the tokens exercises."""
    written = spoken = 0
    while True:
        if spoken < share * (written + spoken + 1):
            piece = writer.talk(exercise(chance, chance.choice(passages)))
            if len(piece[0]) > tokens:
                continue
            spoken += len(piece[0])
        else:
            at = chance.randrange(len(passages) - 8)
            ids, weights = writer.text(passages[at : at + 8])
            piece = ids[:tokens], weights[:tokens]
            written += len(piece[0])
        yield piece


@dataclass(frozen=True)
class Row:
    """One packed row: tokens, their positions (from 0 in each piece) and weights; of full length."""

    ids: list[int]
    positions: list[int]
    weights: list[float]


def packed(found: Iterator[Piece], tokens: int) -> Iterator[Row]:
    """Whole pieces one after another; what does not fit any more opens the next row, padding weighs nothing."""
    ids: list[int] = []
    positions: list[int] = []
    weights: list[float] = []
    for piece, weight in found:
        if len(ids) + len(piece) > tokens:
            room = tokens - len(ids)
            yield Row([*ids, *[0] * room], [*positions, *range(room)], [*weights, *[0.0] * room])
            ids, positions, weights = [], [], []
        ids += piece
        positions += range(len(piece))
        weights += [0.0, *weight[1:]]  # nothing foretells a piece's first token
