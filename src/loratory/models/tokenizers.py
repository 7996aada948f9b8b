"""Text to ids with a base's own fast tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loratory.errors import BaseModelError
from loratory.protocols import Offsets, Tokens

UNBOUNDED = 1_000_000  # tokenizers without a limit report about 1e30


class FastTokenizer:
    """A transformers fast tokenizer behind the two calls that predictors need."""

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer, self._limit = tokenizer, limit

    @classmethod
    def load(cls, folder: Path, positions: int | None) -> FastTokenizer:
        """From a model folder; `positions` is how many the trunk has. Raises BaseModelError without tokenizer.json."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, trust_remote_code=False)
        except Exception as problem:
            raise BaseModelError(
                "its tokenizer cannot be loaded",
                where=str(folder),
                allowed="a fast tokenizer (tokenizer.json)",
                remedy=str(problem).splitlines()[0][:200],
            ) from problem
        if not tokenizer.is_fast:
            raise BaseModelError(
                "its tokenizer is not a fast one, so character offsets are unknown",
                where=str(folder),
                allowed="a fast tokenizer (tokenizer.json)",
            )
        return cls(tokenizer, min(tokenizer.model_max_length, positions or UNBOUNDED, UNBOUNDED))

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def pad(self) -> int:
        """The id that fills short rows; the mask hides it."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def separator(self) -> int | None:
        """The id between the two texts of a pair, where token types are needed; else None."""
        typed = "token_type_ids" in self.tokenizer.model_input_names
        return self.tokenizer.sep_token_id if typed else None

    def ids(self, text: str, pair: str | None = None) -> tuple[Tokens, Offsets]:
        made = self.tokenizer(text, pair, truncation=True, max_length=self._limit, return_offsets_mapping=True)
        return tuple(made["input_ids"]), tuple(map(tuple, made["offset_mapping"]))

    def many(self, texts: Sequence[str], limit: int | None = None) -> list[tuple[Tokens, Offsets]]:
        if not texts:
            return []
        most = min(limit or self._limit, self._limit)
        made = self.tokenizer(list(texts), truncation=True, max_length=most, return_offsets_mapping=True)
        return [
            (tuple(ids), tuple(map(tuple, offsets)))
            for ids, offsets in zip(made["input_ids"], made["offset_mapping"], strict=True)
        ]

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files beside a model."""
        self.tokenizer.save_pretrained(str(folder))
