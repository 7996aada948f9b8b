"""Byte-level BPE in the metadata of a GGUF file, and back.

llama.cpp knows the rule that cuts a text before BPE by a name (`tokenizer.ggml.pre`) alone. With a wrong one nothing
fails: other tokens come out. So a rule has to be found in this table exactly, or the export is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.protocols import JSON

MODEL_NAME = "gpt2"  # what llama.cpp calls byte-level BPE
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


def find_problem(raw: Mapping[str, Any]) -> str | None:
    """Why llama.cpp would read texts as other tokens than this tokenizer.json; None where it would not."""
    if raw["model"]["type"] != "BPE":
        return f"its tokenizer is {raw['model']['type']}, and not BPE"
    if raw.get("normalizer") not in (None, {"type": "NFC"}):
        return f"its tokenizer changes texts first ({raw['normalizer'].get('type')})"
    if find_rule(raw) is None:
        return "llama.cpp has no name for the rule by which its tokenizer cuts texts"
    return None


def find_rule(raw: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the rule by which texts are cut."""
    asked, whole_words = _strip(raw["pre_tokenizer"] or {}), bool(raw["model"].get("ignore_merges"))
    return next((rule for rule, whole, known in RULES if asked == known and whole == whole_words), None)


def list_merges(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Merges in their order, as "a b"."""
    return tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in raw["model"]["merges"])


def describe_tokenizer(rule: str, vocab: Mapping[str, int], merges: tuple[str, ...]) -> dict[str, JSON]:
    """tokenizer.json of a rule, without added tokens."""
    whole_words, known = next((whole, known) for name, whole, known in RULES if name == rule)
    return {
        "version": "1.0",
        "model": {"type": "BPE", "vocab": dict(vocab), "merges": list(merges), "ignore_merges": whole_words},
        "pre_tokenizer": add_trimming(known),
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "added_tokens": [],
    }


def _strip(value: Any) -> Any:
    """A pre-tokenizer without what changes no token."""
    if isinstance(value, dict):
        return {key: _strip(one) for key, one in value.items() if key != "trim_offsets"}
    return [_strip(one) for one in value] if isinstance(value, list) else value


def add_trimming(value: Any) -> Any:
    """A pre-tokenizer as `tokenizers` reads it."""
    if isinstance(value, Mapping):
        own = {key: add_trimming(one) for key, one in value.items()}
        return {**own, "trim_offsets": True} if own.get("type") == "ByteLevel" else own
    return [add_trimming(one) for one in value] if isinstance(value, list) else value
