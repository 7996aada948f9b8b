"""Answers that cannot leave their schema, and are whole within their budget. The only importer of llguidance.

The grammar says which tokens may come next (llguidance); `closing` says how far the end is. Before a token is taken the
rest of the budget must hold the shortest way from there to the end, so the end is always in reach.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from loratory.errors import Unfit, missing_extra
from loratory.models import closing
from loratory.protocols import Schema, Tokens

TRIES = 16  # tokens that are looked at in a step before the way to the end is taken
COMPACT: Any = {"whitespace_flexible": False}


class Grammars:
    """The guides of one tokenizer; making its table takes about a second, and is done once."""

    def __init__(self, tokenizer: Any, vocabulary: int, end: int) -> None:
        try:
            import llguidance.hf
        except ImportError:
            raise missing_extra("llguidance", "structured") from None
        self.end, self.vocabulary = end, vocabulary
        self._table = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end)

    def guide(self, schema: Schema, most: int) -> Guide:
        """For one answer of at most `most` tokens, its end counted; raises Unfit where that cannot be promised."""
        from llguidance import LLMatcher

        closing.check(schema)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), COMPACT)
        if problem := LLMatcher.validate_grammar(grammar, self._table):
            raise Unfit(f"the schema cannot be held while writing: {problem.splitlines()[0]}", where="contract")
        guide = Guide(self, LLMatcher(self._table, grammar), schema, most)
        if len(guide.plan) + 1 > most:
            raise Unfit(
                f"the shortest answer of this schema takes {len(guide.plan) + 1} tokens and the budget is {most}",
                where="contract",
                remedy="raise the budget, or ask for less",
            )
        return guide

    def tokens(self, text: bytes) -> Tokens:
        return tuple(self._table.tokenize_bytes(text))

    def spelled(self, token: int) -> bytes:
        return bytes(self._table.decode_bytes([token]))


class Guide:
    """One answer while it is written: what may come next, and the shortest way to the end from here."""

    def __init__(self, grammars: Grammars, matcher: Any, schema: Schema, most: int) -> None:
        self._grammars, self._matcher, self._schema = grammars, matcher, schema
        self._written, self._left = b"", most
        self.plan = self._way(b"") or ()

    def _way(self, written: bytes) -> Tokens | None:
        """Tokens of the shortest end, without the end token; None where there is none."""
        text, begun = _decoded(written)
        rest = _continued(begun)
        ending = closing.shortest(self._schema, text + (begun + rest).decode("utf-8", "replace"))
        return None if ending is None else self._grammars.tokens(rest + ending.encode())

    @torch.inference_mode()
    def allowed(self) -> Tensor:
        """Bool[V]: tokens that the grammar allows."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        return bits.flatten()[: self._grammars.vocabulary].bool()

    def fits(self, token: int) -> bool:
        """Whether the end is still in reach behind this token; it is taken if so."""
        if token == self._grammars.end:
            return True
        written = self._written + self._grammars.spelled(token)
        way = self._way(written)
        if way is None or len(way) + 1 > self._left - 1 or not self._matcher.consume_token(token):
            return False
        self._written, self._left, self.plan = written, self._left - 1, way
        return True

    def forced(self) -> int:
        """The next token of the way to the end; it is taken."""
        if not self.plan:
            return self._grammars.end
        token, *rest = self.plan
        spelled = self._grammars.spelled(token)
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"the grammar refuses its own end: {spelled!r} behind {self._written!r}")
        self._written += spelled
        self._left, self.plan = self._left - 1, tuple(rest)
        return token


def _decoded(written: bytes) -> tuple[str, bytes]:
    """Whole characters, and the bytes of one that is begun."""
    for cut in range(min(4, len(written) + 1)):
        try:
            return written[: len(written) - cut].decode(), written[len(written) - cut :]
        except UnicodeDecodeError:
            continue
    return written.decode("utf-8", "replace"), b""


def _continued(begun: bytes) -> bytes:
    """The fewest bytes that make a begun UTF-8 character whole (RFC 3629, section 4)."""
    if not begun:
        return b""
    lead = begun[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    second = {0xE0: 0xA0, 0xF0: 0x90}.get(lead, 0x80)
    rest = bytes([second] + [0x80] * (size - 2))
    return rest[len(begun) - 1 :]
