"""Answers that cannot leave their schema, and are whole within their budget. The only importer of llguidance.

The grammar says which tokens may come next (llguidance); `closing` says how far the end is. Before a token is taken the
rest of the budget must hold the shortest way from there to the end, so the end is always in reach.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loratory.errors import Unfit, missing_extra
from loratory.models import closing
from loratory.protocols import Schema, Tokens

TRIES = 16  # tokens that are looked at in a step before the way to the end is taken
ENDINGS = 1024  # whose tokens are remembered: the same few end most beginnings
SCHEMAS, CHARACTERS = 64, 1 << 17  # whose grammars are remembered: so many, of so many characters together
COMPACT: Any = {"whitespace_flexible": False}


def check(schema: Schema) -> None:
    """Raises Unfit for what would be refused when an answer is to be written, and MissingExtra."""
    try:
        import llguidance  # noqa: F401
    except ImportError:
        raise missing_extra("llguidance", "structured") from None
    compiled(closing.Ends(schema), None)


def compiled(ends: closing.Ends, table: Any) -> str:
    """The grammar of a schema; raises Unfit where it cannot be held. The table is that of a tokenizer, or None."""
    from llguidance import LLMatcher

    closing.check(ends.schema)
    grammar: str = LLMatcher.grammar_from_json_schema(json.dumps(ends.schema), COMPACT)
    if problem := LLMatcher.validate_grammar(grammar, table):
        raise Unfit(f"the schema cannot be held while writing: {problem.splitlines()[0]}", where="contract")
    return grammar


class Shelf:
    """What was made of the schemas that were asked for last; those of clients come and go."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[Any, closing.Ends]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, schema: str, make: Callable[[str], tuple[Any, closing.Ends]]) -> tuple[Any, closing.Ends]:
        """Made only where it is not there."""
        with self._lock:
            found = self._made.get(schema)
        made = found or make(schema)
        with self._lock:
            self._made[schema] = made
            self._made.move_to_end(schema)
            while len(self._made) > 1 and (len(self._made) > SCHEMAS or sum(map(len, self._made)) > CHARACTERS):
                self._made.popitem(last=False)
        return made


class Grammars:
    """The guides of one tokenizer; making its table takes about a second, and is done once."""

    def __init__(self, tokenizer: Any, vocabulary: int, end: int) -> None:
        try:
            import llguidance.hf
        except ImportError:
            raise missing_extra("llguidance", "structured") from None
        self.end, self.vocabulary = end, vocabulary
        self._table = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end)
        self.tokens, self._known = lru_cache(ENDINGS)(self._tokens), Shelf()

    def guide(self, schema: Schema, most: int) -> Guide:
        """For one answer of at most `most` tokens, its end counted; raises Unfit where that cannot be promised."""
        matcher, ends = self._known.get(json.dumps(schema), self._new_grammar)
        guide = Guide(self, matcher.deep_copy(), ends, most)
        if len(guide.plan) + 1 > most:
            raise Unfit(
                f"the shortest answer of this schema takes {len(guide.plan) + 1} tokens and the budget is {most}",
                where="contract",
                remedy="raise the budget, or ask for less",
            )
        return guide

    def _new_grammar(self, schema: str) -> tuple[Any, closing.Ends]:
        """What every answer of a schema begins with: a matcher that nothing was given to, and the ends."""
        from llguidance import LLMatcher

        ends = closing.Ends(json.loads(schema))
        return LLMatcher(self._table, compiled(ends, self._table)), ends

    def _tokens(self, text: bytes) -> Tokens:
        return tuple(self._table.tokenize_bytes(text))

    def spelled(self, token: int) -> bytes:
        return bytes(self._table.decode_bytes([token]))


class Guide:
    """One answer while it is written: what may come next, and the shortest way to the end from here."""

    def __init__(self, grammars: Grammars, matcher: Any, ends: closing.Ends, most: int) -> None:
        self._grammars, self._matcher, self._ends = grammars, matcher, ends
        self._written, self._left = b"", most
        self.plan: Tokens
        self._room: float
        self.plan, self._room = self._way(b"") or ((), 0)

    def _way(self, written: bytes) -> tuple[Tokens, float] | None:
        """Tokens of the shortest end, without the end token, and its room (closing.Read); None where there is none."""
        text, begun = _decoded(written)
        rest = _continued(begun)
        ending, room = self._ends.end(text + (begun + rest).decode("utf-8", "replace"))
        return None if ending is None else (self._grammars.tokens(rest + ending.encode()), 0 if begun else room)

    def _along(self, spelled: bytes) -> tuple[Tokens, float] | None:
        """As before, behind plain characters that lengthen a string; None where they may be something else."""
        try:
            text = spelled.decode() if self._room else ""
        except UnicodeDecodeError:
            return None
        return (self.plan, self._room - len(text)) if len(text) <= self._room and closing.plain(text) else None

    def allowed(self) -> Tensor:
        """Bool[V]: tokens that the grammar allows."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, count=self._grammars.vocabulary, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def takes(self, token: int) -> bool:
        """Whether the grammar allows this token, and the end is still in reach behind it; it is taken if so."""
        return bool(self._matcher.validate_tokens([token])) and self.fits(token)

    def fits(self, token: int) -> bool:
        """Whether the end is still in reach behind this token, which the grammar allows; it is taken if so."""
        if token == self._grammars.end:
            return True
        spelled = self._grammars.spelled(token)
        found = self._along(spelled) or self._way(self._written + spelled)
        if found is None or len(found[0]) + 1 > self._left - 1 or not self._matcher.consume_token(token):
            return False
        self._written, self._left = self._written + spelled, self._left - 1
        self.plan, self._room = found
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
        self._left, self.plan, self._room = self._left - 1, tuple(rest), 0
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
