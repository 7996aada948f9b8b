"""A byte-level BPE tokenizer in the metadata of a GGUF file, and back.

llama.cpp knows the rule that cuts a text before BPE by a name (`tokenizer.ggml.pre`) alone. With a wrong one nothing
fails: other tokens come out. So a rule has to be found in this table exactly, or the export is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import UnsupportedTask
from loratory.exporting.encoder_fits import OTHER_FORMATS
from loratory.protocols import JSON

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # token types of GGUF
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2: Mapping[str, JSON] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BYTES: Mapping[str, JSON] = {**GPT2, "use_regex": False}


def _sequence(*parts: Mapping[str, JSON]) -> dict[str, JSON]:
    return {"type": "Sequence", "pretokenizers": [dict(part) for part in parts]}


def _split(pattern: str) -> dict[str, JSON]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


RULES: tuple[tuple[str, bool, Mapping[str, JSON]], ...] = (  # name, whole words are looked up first, pre_tokenizer
    ("gpt-2", False, GPT2),
    ("smollm", False, _sequence({"type": "Digits", "individual_digits": True}, GPT2)),
    ("smollm", False, _sequence(_split(r"\p{N}"), GPT2)),
    ("llama-bpe", True, _sequence(_split(WORDS + r"\p{N}{1,3}" + REST), BYTES)),
    ("qwen2", False, _sequence(_split(WORDS + r"\p{N}" + REST), BYTES)),
)


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF file says of its tokenizer."""

    rule: str
    tokens: tuple[str, ...]  # by id
    types: tuple[int, ...]
    merges: tuple[str, ...]  # "a b", in their order
    adds_start: bool  # every text begins with the start token
    start_token_id: int | None
    end_token_id: int | None  # of a text
    stop_token_id: int  # of an answer
    pad_token_id: int | None


def read_vocabulary(tokenizer: Any, size: int, stop: int, adds_special: bool, name: str) -> GgufVocabulary:
    """Of a fast tokenizer of transformers. `size`: of the model's embedding; ids without a token are unused.

    `adds_special`: prompts get what the tokenizer adds around a text. Raises UnsupportedTask where llama.cpp would read
    texts as other tokens.
    """
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    rule = _find_rule(raw, name)
    tokens = [f"[UNUSED{i}]" for i in range(size)]
    types = [UNUSED] * size
    for token, place in tokenizer.get_vocab().items():
        if place >= size:
            raise _make_error(name, f"the token {token!r} has no embedding")
        tokens[place], types[place] = token, NORMAL
    for place, added in tokenizer.added_tokens_decoder.items():
        types[place] = CONTROL if added.special else USER_DEFINED
    pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in raw["model"]["merges"]]
    return GgufVocabulary(
        rule,
        tuple(tokens),
        tuple(types),
        tuple(pairs),
        adds_special and _adds_start(tokenizer, name),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        stop,
        tokenizer.pad_token_id,
    )


def _find_rule(raw: Mapping[str, Any], name: str) -> str:
    model = raw["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise _make_error(name, f"its tokenizer is {model['type']}, and not byte-level BPE")
    if raw.get("normalizer") not in (None, {"type": "NFC"}):
        raise _make_error(name, f"its tokenizer changes texts first ({raw['normalizer'].get('type')})")
    asked = _strip(raw["pre_tokenizer"] or {})
    for rule, whole_words, known in RULES:
        if asked == known and bool(model.get("ignore_merges")) == whole_words:
            return rule
    raise _make_error(name, "llama.cpp has no name for the rule by which its tokenizer cuts texts")


def _strip(value: Any) -> Any:
    """A pre-tokenizer without what changes no token."""
    if isinstance(value, dict):
        return {key: _strip(one) for key, one in value.items() if key != "trim_offsets"}
    return [_strip(one) for one in value] if isinstance(value, list) else value


def _adds_start(tokenizer: Any, name: str) -> bool:
    """Whether the tokenizer puts its start token, and nothing else, before a text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    extra = whole[: len(whole) - len(bare)] if whole[len(whole) - len(bare) :] == bare else None
    if extra is None or (extra and extra != [tokenizer.bos_token_id]):
        raise _make_error(name, "its tokenizer adds more around a text than a start token")
    return bool(extra)


def _make_error(name: str, problem: str) -> UnsupportedTask:
    return UnsupportedTask(
        f"{name} cannot be written as GGUF: {problem}",
        where="base: tokenizer.json",
        allowed=f"byte-level BPE cut as by {', '.join(dict.fromkeys(rule for rule, *_ in RULES))}",
        remedy=f"convert merged/ with llama.cpp's own converter; or {OTHER_FORMATS}",
    )


def build_tokenizer(vocabulary: GgufVocabulary) -> Any:
    """A tokenizer of `tokenizers` that reads texts as the metadata says, special tokens in them too."""
    from tokenizers import AddedToken, Tokenizer

    whole_words, known = next((whole, known) for rule, whole, known in RULES if rule == vocabulary.rule)
    vocab = {token: place for place, token in enumerate(vocabulary.tokens) if vocabulary.types[place] != UNUSED}
    raw = {
        "version": "1.0",
        "model": {
            "type": "BPE",
            "vocab": vocab,
            "merges": list(vocabulary.merges),
            "ignore_merges": whole_words,
        },
        "pre_tokenizer": _add_trimming(known),
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "added_tokens": [],
    }
    made = Tokenizer.from_str(json.dumps(raw))
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        added = [token for token, one in zip(vocabulary.tokens, vocabulary.types, strict=True) if one == kind]
        tokens = [AddedToken(token, special=special, normalized=False) for token in added]
        (made.add_special_tokens if special else made.add_tokens)(tokens)
    return made


def _add_trimming(value: Any) -> Any:
    if isinstance(value, Mapping):
        own = {key: _add_trimming(one) for key, one in value.items()}
        return {**own, "trim_offsets": True} if own.get("type") == "ByteLevel" else own
    return [_add_trimming(one) for one in value] if isinstance(value, list) else value


def encode(tokenizer: Any, vocabulary: GgufVocabulary, text: str) -> Sequence[int]:
    """Ids of a whole prompt, the start token before it where the file says so."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    start = vocabulary.start_token_id
    return [start, *ids] if vocabulary.adds_start and start is not None else ids
