"""Text to ids with a base's own fast tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.loading.bases import TOKENIZER_FILES
from loratory.errors import BaseModelError, first_line
from loratory.protocols import Offsets, TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAST_REMEDY = (
    "save a fast one beside the model: AutoTokenizer.from_pretrained(name, use_fast=True).save_pretrained(folder)"
)
UNBOUNDED = 1_000_000  # tokenizers without a limit report about 1e30
VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spm.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)

STALE_KEYS = (  # in tokenizer_config.json: how the base's files, or the last call, cut and padded, and where they lay
    "max_length",
    "stride",
    "truncation_strategy",
    "pad_to_multiple_of",
    "is_local",
    "local_files_only",
    "name_or_path",
)


def replace_surrogates(text: str) -> str:
    """The text with a question mark for each lone surrogate, which JSON can carry and no tokenizer can read."""
    return text.encode("utf-8", "replace").decode("utf-8")


MAX_CACHED_TEXTS = 256  # texts at most that are remembered until the next ones are asked for


class FastTokenizer:
    """A transformers fast tokenizer behind the two calls that predictors need."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
        self.tokenizer: Any = tokenizer  # its calls return one type or another, by their options
        self._max_length = limit
        self._last: tuple[Any, list[tuple[TokenIds, Offsets]]] = (None, [])

    @classmethod
    def load(cls, source: Path | VerifiedFiles, positions: int | None) -> FastTokenizer:
        """From a model folder; `positions` is how many the backbone has. Raises BaseModelError without
        tokenizer.json.
        """
        from transformers import AutoTokenizer

        files = open_files(source)
        folder = files.folder
        if not any(files.has(file) for file in VOCABULARY_FILES):  # transformers would make up an empty one
            raise BaseModelError(
                "it has no tokenizer",
                where=str(folder),
                allowed="a fast tokenizer (tokenizer.json)",
                remedy="save it beside the model: tokenizer.save_pretrained(folder)",
            )
        try:
            with files.copy_to_temporary((*TOKENIZER_FILES, "added_tokens.json", "config.json")) as own:
                tokenizer: Any = AutoTokenizer.from_pretrained(str(own), use_fast=True, trust_remote_code=False)
            tokenizer.name_or_path = str(folder)
        except Exception as problem:
            raise BaseModelError(
                f"its tokenizer cannot be loaded: {first_line(problem)}",
                where=str(folder),
                allowed="a fast tokenizer (tokenizer.json)",
                remedy=FAST_REMEDY,
            ) from problem
        if not tokenizer.is_fast:
            raise BaseModelError(
                "its tokenizer is not a fast one, so character offsets are unknown",
                where=str(folder),
                allowed="a fast tokenizer (tokenizer.json)",
                remedy=FAST_REMEDY,
            )
        if tokenizer.pad_token_id is None:  # the mask hides it, but stock classifiers and batches ask for one
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        return cls(tokenizer, min(tokenizer.model_max_length, positions or UNBOUNDED, UNBOUNDED))

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that a row is cut to."""
        return self._max_length

    @property
    def pad_token_id(self) -> int:
        """The id that fills short rows; the mask hides it."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def separator_token_id(self) -> int | None:
        """The id between the two texts of a pair, where token types are needed; else None."""
        typed = "token_type_ids" in self.tokenizer.model_input_names
        return self.tokenizer.sep_token_id if typed else None

    def encode(self, text: str, pair: str | None = None) -> tuple[TokenIds, Offsets]:
        """Ids and character offsets of a text, or of a pair in one row; cut at `max_length`."""
        texts = [replace_surrogates(text)] if pair is None else [replace_surrogates(text), replace_surrogates(pair)]
        made = self.tokenizer(*texts, truncation=True, max_length=self._max_length, return_offsets_mapping=True)
        return self._to_row(made["input_ids"], made["offset_mapping"])

    def _to_row(self, ids: Sequence[int], offsets: Sequence[Sequence[int]]) -> tuple[TokenIds, Offsets]:
        """A text without a single token (empty, and no special tokens) is one padding token: models need one."""
        if not ids:
            return (self.pad_token_id,), ((0, 0),)
        return tuple(ids), tuple((start, end) for start, end in offsets)

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[tuple[TokenIds, Offsets]]:
        """As `encode`, of many texts: the fast tokenizer reads them side by side."""
        if not texts:
            return []
        most = min(max_length or self._max_length, self._max_length)
        if len(texts) > MAX_CACHED_TEXTS:
            return self._encode_batch(texts, most)
        asked, (known, rows) = (most, tuple(texts)), self._last
        if known != asked:  # several tasks on the same texts ask one after another
            rows = self._encode_batch(texts, most)
            self._last = asked, rows
        return list(rows)

    def _encode_batch(self, texts: Sequence[str], max_tokens: int) -> list[tuple[TokenIds, Offsets]]:
        clean = [replace_surrogates(text) for text in texts]
        made = self.tokenizer(clean, truncation=True, max_length=max_tokens, return_offsets_mapping=True)
        return [self._to_row(ids, at) for ids, at in zip(made["input_ids"], made["offset_mapping"], strict=True)]

    def encode_head_and_tail(self, texts: Sequence[str], max_length: int) -> list[tuple[TokenIds, Offsets]]:
        """Of longer texts a quarter from the beginning and the rest from the end (Sun et al. 2019)."""
        if not texts:
            return []
        most = min(max_length, self._max_length)
        made = self.tokenizer([replace_surrogates(text) for text in texts], return_offsets_mapping=True, verbose=False)
        first = most // 4

        def both(whole: Sequence[Any]) -> Sequence[Any]:
            return whole if len(whole) <= most else [*whole[:first], *whole[len(whole) - most + first :]]

        pairs = zip(made["input_ids"], made["offset_mapping"], strict=True)
        return [self._to_row(both(ids), both(at)) for ids, at in pairs]

    def encode_windows(
        self, texts: Sequence[str], max_length: int, stride: int
    ) -> list[list[tuple[TokenIds, Offsets]]]:
        """Every text whole, in windows of at most `max_length` tokens that share `stride` of them with the next."""
        if not texts:
            return []
        made = self.tokenizer(
            [replace_surrogates(text) for text in texts],
            truncation=True,
            max_length=min(max_length, self._max_length),
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found: list[list[tuple[TokenIds, Offsets]]] = [[] for _ in texts]
        for text, ids, at in zip(
            made["overflow_to_sample_mapping"], made["input_ids"], made["offset_mapping"], strict=True
        ):
            found[text].append(self._to_row(ids, at))
        return found

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special ones included."""
        clean = [replace_surrogates(text) for text in texts]
        return [len(ids) for ids in self.tokenizer(clean, verbose=False)["input_ids"]] if texts else []

    def tokenize_with_offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int, bool]]]:
        """Of each whole text its tokens: first character, the one behind the last, whether the token is unknown."""
        if not texts:
            return []
        clean = [replace_surrogates(text) for text in texts]
        made = self.tokenizer(clean, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        unknown = self.tokenizer.unk_token_id
        return [
            [(start, end, one == unknown) for one, (start, end) in zip(ids, at, strict=True)]
            for ids, at in zip(made["input_ids"], made["offset_mapping"], strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids spell, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def raise_max_length(self, limit: int) -> None:
        """Read as many tokens as the base does, where the files were written for a fit that reads fewer."""
        self._max_length = max(self._max_length, limit)

    def save(
        self, folder: Path, max_tokens: int | None = None, overlap: int = 0, padding_side: str | None = None
    ) -> None:
        """Write the tokenizer's files beside a model: other libraries then cut and pad texts as was done here.

        max_tokens: of a row; longer texts are cut there, and where `overlap` is not 0 they go on in further rows that
        begin with so many tokens of the row before. None: nothing is cut. padding_side: that on which batches are
        padded when they are asked to be, where it is not the base's own; no text is padded unless that is asked for.
        """
        self.tokenizer.save_pretrained(str(folder))
        max_tokens = None if max_tokens is None else min(max_tokens, self._max_length)
        _write_truncation(folder / "tokenizer.json", max_tokens, overlap, self.tokenizer.truncation_side)
        _write_tokenizer_config(folder / "tokenizer_config.json", max_tokens or self._max_length, padding_side)


def _write_truncation(file: Path, max_tokens: int | None, overlap: int, side: str) -> None:
    """Truncation and padding of tokenizer.json, which Rust, JavaScript and plain `tokenizers` go by.

    What stands there after save_pretrained is the base's own, or what the last text happened to be read with.
    """
    from tokenizers import Tokenizer

    made: Any = Tokenizer.from_file(str(file))
    made.no_padding()
    made.no_truncation()
    if max_tokens is not None:
        made.enable_truncation(max_length=max_tokens, stride=overlap, strategy="longest_first", direction=side)
    made.save(str(file), pretty=True)


def _write_tokenizer_config(file: Path, max_tokens: int, padding_side: str | None) -> None:
    """tokenizer_config.json: what transformers and transformers.js cut at, without what is left of earlier calls."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in raw.items() if name not in STALE_KEYS}
    if max_tokens < UNBOUNDED:
        kept["model_max_length"] = max_tokens
    if padding_side is not None:
        kept["padding_side"] = padding_side
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
