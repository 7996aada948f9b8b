"""A tokenizer in the metadata of a GGUF file, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import UnsupportedTask
from loratory.exporting.encoder_fits import OTHER_FORMATS
from loratory.exporting.gguf import byte_level, sentencepiece

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # token types of GGUF


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF file says of its tokenizer."""

    model: str  # gpt2: byte-level BPE; llama: sentencepiece's
    rule: str  # by which texts are cut first
    tokens: tuple[str, ...]  # by id
    types: tuple[int, ...]
    merges: tuple[str, ...]  # "a b", in their order; of gpt2
    scores: tuple[float, ...]  # by id; of llama
    adds_start: bool  # every text begins with the start token
    start_token_id: int | None
    end_token_id: int | None  # of a text
    stop_token_id: int  # of an answer
    pad_token_id: int | None
    unknown_token_id: int | None = None
    composes: bool = False  # the tokenizer composes characters (NFC), which llama.cpp does not


def read_vocabulary(tokenizer: Any, size: int, stop: int, adds_special: bool, name: str) -> GgufVocabulary:
    """Of a fast tokenizer of transformers. `size`: of the model's embedding; ids without a token are unused.

    `adds_special`: prompts get what the tokenizer adds around a text. Raises UnsupportedTask where llama.cpp would read
    texts as other tokens.
    """
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    pieces = sentencepiece.is_sentencepiece(raw)
    if problem := _find_stripping(raw) or (sentencepiece if pieces else byte_level).find_problem(raw):
        raise _make_error(name, problem)
    tokens, types = _list_tokens(tokenizer, size, pieces, name)
    return GgufVocabulary(
        sentencepiece.MODEL_NAME if pieces else byte_level.MODEL_NAME,
        sentencepiece.RULE if pieces else str(byte_level.find_rule(raw)),
        tokens,
        types,
        () if pieces else byte_level.list_merges(raw),
        sentencepiece.compute_scores(raw, tokens) if pieces else (),
        adds_special and _adds_start(tokenizer, name),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        stop,
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        not pieces and raw.get("normalizer") is not None,
    )


def _find_stripping(raw: Mapping[str, Any]) -> str | None:
    """llama.cpp leaves the spaces beside a special token where they are."""
    strips = [one["content"] for one in raw["added_tokens"] if one["lstrip"] or one["rstrip"]]
    return f"its tokenizer takes the spaces beside {strips[0]!r} away" if strips else None


def _list_tokens(tokenizer: Any, size: int, pieces: bool, name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Tokens and their types, by id."""
    tokens, types = [f"[UNUSED{i}]" for i in range(size)], [UNUSED] * size
    for token, place in tokenizer.get_vocab().items():
        if place >= size:
            raise _make_error(name, f"the token {token!r} has no embedding")
        tokens[place], types[place] = token, BYTE if pieces and token in sentencepiece.BYTE_TOKENS else NORMAL
    for place, added in tokenizer.added_tokens_decoder.items():
        types[place] = CONTROL if added.special else USER_DEFINED
    if pieces and tokenizer.unk_token_id is not None:
        types[tokenizer.unk_token_id] = UNKNOWN
    return tuple(tokens), tuple(types)


def _adds_start(tokenizer: Any, name: str) -> bool:
    """Whether the tokenizer puts its start token, and nothing else, before a text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    extra = whole[: len(whole) - len(bare)] if whole[len(whole) - len(bare) :] == bare else None
    if extra is None or (extra and extra != [tokenizer.bos_token_id]):
        raise _make_error(name, "its tokenizer adds more around a text than a start token")
    return bool(extra)


def _make_error(name: str, problem: str) -> UnsupportedTask:
    rules = dict.fromkeys(rule for rule, *_ in byte_level.RULES)
    return UnsupportedTask(
        f"{name} cannot be written as GGUF: {problem}",
        where="base: tokenizer.json",
        allowed=f"byte-level BPE cut as by {', '.join(rules)}; sentencepiece's BPE as of Llama 2",
        remedy=f"convert merged/ with llama.cpp's own converter; or {OTHER_FORMATS}",
    )


def build_tokenizer(vocabulary: GgufVocabulary) -> Any:
    """A tokenizer of `tokenizers` that reads texts as the metadata says, special tokens in them too."""
    from tokenizers import AddedToken, Tokenizer

    known = zip(vocabulary.tokens, vocabulary.types, strict=True)
    vocab = {token: place for place, (token, kind) in enumerate(known) if kind != UNUSED}
    if vocabulary.model == sentencepiece.MODEL_NAME:
        unknown = None if vocabulary.unknown_token_id is None else vocabulary.tokens[vocabulary.unknown_token_id]
        raw = sentencepiece.describe_tokenizer(vocab, vocabulary.scores, unknown)
    else:
        raw = byte_level.describe_tokenizer(vocabulary.rule, vocab, vocabulary.merges)
    made = Tokenizer.from_str(json.dumps(raw))
    for kinds, special in (((CONTROL, UNKNOWN), True), ((USER_DEFINED,), False)):
        added = [token for token, one in zip(vocabulary.tokens, vocabulary.types, strict=True) if one in kinds]
        tokens = [AddedToken(token, special=special, normalized=False) for token in added]
        (made.add_special_tokens if special else made.add_tokens)(tokens)
    return made


def encode(tokenizer: Any, vocabulary: GgufVocabulary, text: str) -> Sequence[int]:
    """Ids of a whole prompt, the start token before it where the file says so."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    start = vocabulary.start_token_id
    return [start, *ids] if vocabulary.adds_start and start is not None else ids
