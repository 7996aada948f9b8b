"""BPE with bytes to fall back on, as sentencepiece's, in the metadata of a GGUF file, and back.

llama.cpp merges the pair whose joined token has the highest score, where `tokenizers` takes the first merge of a list.
The two are the same where a token's merges stand together in the list and none is missing: the tokenizers of Llama 2,
TinyLlama and Mistral, which were made from sentencepiece's scores. Any other is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loratory.protocols import JSON

MODEL_NAME, RULE = "llama", "default"
SPACE = "\u2581"
NORMALIZER: Mapping[str, JSON] = {  # a space before every part of a text, and a mark for each space
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
    ],
}
DECODER: Mapping[str, JSON] = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))


def is_sentencepiece(raw: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json falls back on bytes."""
    return raw["model"]["type"] == "BPE" and bool(raw["model"].get("byte_fallback"))


def find_problem(raw: Mapping[str, Any]) -> str | None:
    """Why llama.cpp would read texts as other tokens than this tokenizer.json; None where it would not."""
    if raw.get("normalizer") != NORMALIZER or raw.get("pre_tokenizer") is not None:
        return "its tokenizer does not put a space before every part of a text"
    vocab = raw["model"]["vocab"]
    if any(byte not in vocab for byte in BYTE_TOKENS):
        return "its tokenizer lacks a token for some byte"
    pairs = list_pairs(raw)
    ranks: dict[str, list[int]] = {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, []).append(rank)
    scattered = any(own[-1] - own[0] != len(own) - 1 for own in ranks.values())
    added = {one["content"] for one in raw["added_tokens"]}
    known = set(pairs)
    missing = any(
        pair not in known
        for token in vocab
        if token not in added and token not in BYTE_TOKENS
        for pair in list_splits(token, vocab)
    )
    return "its merges are not those of a sentencepiece model" if scattered or missing else None


def list_pairs(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Merges in their order."""
    return [_split_merge(one) for one in raw["model"]["merges"]]


def _split_merge(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def list_splits(token: str, vocab: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Every pair of tokens that a token is made of, in the order of their ids."""
    cuts = ((token[:k], token[k:]) for k in range(1, len(token)))
    yield from sorted(
        (cut for cut in cuts if cut[0] in vocab and cut[1] in vocab), key=lambda c: (vocab[c[0]], vocab[c[1]])
    )


def compute_scores(raw: Mapping[str, Any], tokens: Sequence[str]) -> tuple[float, ...]:
    """A score for each token: the later its merges stand, the lower."""
    first: dict[str, int] = {}
    for rank, (left, right) in enumerate(list_pairs(raw)):
        first.setdefault(left + right, rank)
    return tuple(-float(first[token] + 1) if token in first else 0.0 for token in tokens)


def describe_tokenizer(vocab: Mapping[str, int], scores: Sequence[float], unknown: str | None) -> dict[str, JSON]:
    """tokenizer.json of a vocabulary by id with a score for each, without added tokens."""
    merged = sorted((token for token in vocab if scores[vocab[token]] < 0), key=lambda token: -scores[vocab[token]])
    merges: list[JSON] = [[left, right] for token in merged for left, right in list_splits(token, vocab)]
    return {
        "version": "1.0",
        "normalizer": dict(NORMALIZER),
        "model": {
            "type": "BPE",
            "vocab": dict(vocab),
            "merges": merges,
            "byte_fallback": True,
            "fuse_unk": True,
            "unk_token": unknown,
        },
        "decoder": dict(DECODER),
        "added_tokens": [],
    }
