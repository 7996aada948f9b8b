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
TEXT_WEIGHT = 0.5  # of running text's: there is more of it to foretell than of answers
HELD_OUT = 100  # every so many-th stretch of text is held out
STRETCH = 40  # paragraphs of one stretch
PARAGRAPHS = 8  # of running text that are read together, as far as they fit

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
        return ids, [TEXT_WEIGHT] * len(ids)

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


@dataclass(frozen=True)
class Reader:
    """What rows are made of: conversations, and running text that fills what they leave."""

    writer: Writer
    passages: Sequence[str]
    chance: random.Random
    share: float  # of the tokens that are exercises

    def talk(self, most: int) -> Piece:
        """A conversation of at most so many tokens."""
        while True:
            piece = self.writer.talk(exercise(self.chance, self.chance.choice(self.passages)))
            if len(piece[0]) <= most:
                return piece

    def text(self, most: int) -> Piece:
        """Paragraphs that follow each other, cut where the room ends."""
        at = self.chance.randrange(len(self.passages) - PARAGRAPHS)
        ids, weights = self.writer.text(self.passages[at : at + PARAGRAPHS])
        return ids[:most], weights[:most]

    def pieces(self, tokens: int) -> Iterator[list[Piece]]:
        """The pieces of one row after another, without end; together they are exactly `tokens` long."""
        written = spoken = 0
        waiting: Piece | None = None
        while True:
            row: list[Piece] = []
            room = tokens
            while room:
                if waiting is None and spoken < self.share * (written + spoken + 1):
                    waiting = self.talk(tokens)
                    spoken += len(waiting[0])
                if waiting is not None and len(waiting[0]) <= room:
                    piece, waiting = waiting, None
                else:
                    piece = self.text(room)
                    written += len(piece[0])
                row.append(piece)
                room -= len(piece[0])
            yield row


@dataclass(frozen=True)
class Row:
    """One packed row: tokens, their positions (from 0 in each piece) and weights; of full length."""

    ids: list[int]
    positions: list[int]
    weights: list[float]


def pack_rows(reader: Reader, tokens: int) -> Iterator[Row]:
    """Rows without padding; positions begin anew with each piece."""
    for pieces in reader.pieces(tokens):
        yield Row(
            [token for ids, _ in pieces for token in ids],
            [place for ids, _ in pieces for place in range(len(ids))],
            # nothing foretells a piece's first token
            [weight for _, weights in pieces for weight in (0.0, *weights[1:])],
        )
