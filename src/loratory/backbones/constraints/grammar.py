"""Answers that cannot leave their schema, and are whole within their budget. The only importer of llguidance.

The grammar says which tokens may come next (llguidance); json_completion how far the end is. Before a token is taken
the rest of the budget must hold the shortest way from there to the end, so the end is always in reach.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from loratory.backbones.constraints import json_completion, schema_support
from loratory.errors import UnsupportedTask, make_missing_extra
from loratory.protocols import Schema, TokenIds

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerFast

MAX_TOKEN_TRIES = 16  # tokens that are looked at in a step before the way to the end is taken
MAX_CACHED_ENDINGS = 1024  # whose tokens are remembered: the same few end most beginnings
MAX_CACHED_SCHEMAS, MAX_CACHED_CHARACTERS = (
    64,
    1 << 17,
)  # whose grammars are remembered: so many, of so many characters together
COMPACT_JSON: Any = {"whitespace_flexible": False}


def check_schema(schema: Schema) -> None:
    """Raises UnsupportedTask for what would be refused when an answer is to be written, and MissingExtra."""
    try:
        import llguidance  # noqa: F401
    except ImportError:
        raise make_missing_extra("llguidance", "structured") from None
    compile_grammar(json_completion.JsonCompleter(schema), None)


def compile_grammar(completer: json_completion.JsonCompleter, vocabulary: LLTokenizer | None) -> str:
    """The grammar of a schema; raises UnsupportedTask where it cannot be held. The table is that of a tokenizer,
    or None.
    """
    from llguidance import LLMatcher

    schema_support.check_completable(completer.schema)
    grammar: str = LLMatcher.grammar_from_json_schema(json.dumps(completer.schema), COMPACT_JSON)
    if problem := LLMatcher.validate_grammar(grammar, vocabulary):
        raise UnsupportedTask(f"the schema cannot be held while writing: {problem.splitlines()[0]}", where="contract")
    return grammar


class GrammarCache:
    """What was made of the schemas that were asked for last; those of clients come and go."""

    def __init__(self) -> None:
        self._grammars: OrderedDict[str, tuple[LLMatcher, json_completion.JsonCompleter]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, schema: str, compile_schema: Callable[[str], tuple[LLMatcher, json_completion.JsonCompleter]]
    ) -> tuple[LLMatcher, json_completion.JsonCompleter]:
        """Made only where it is not there."""
        with self._lock:
            found = self._grammars.get(schema)
        made = found or compile_schema(schema)
        with self._lock:
            self._grammars[schema] = made
            self._grammars.move_to_end(schema)
            while len(self._grammars) > 1 and (
                len(self._grammars) > MAX_CACHED_SCHEMAS or sum(map(len, self._grammars)) > MAX_CACHED_CHARACTERS
            ):
                self._grammars.popitem(last=False)
        return made


class GrammarCompiler:
    """The guides of one tokenizer; making its table takes about a second, and is done once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab_size: int, end_token_id: int) -> None:
        try:
            import llguidance.hf
        except ImportError:
            raise make_missing_extra("llguidance", "structured") from None
        self.end_token_id, self.vocab_size = end_token_id, vocab_size
        self._vocabulary = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=end_token_id)
        self.tokenize, self._cache = lru_cache(MAX_CACHED_ENDINGS)(self._tokenize_bytes), GrammarCache()

    def create_constraint(self, schema: Schema, max_tokens: int) -> TokenConstraint:
        """For one answer of at most `max_tokens` tokens, its end counted; raises UnsupportedTask where that cannot be
        promised.
        """
        matcher, ends = self._cache.get(json.dumps(schema), self._compile_schema)
        guide = TokenConstraint(self, matcher.deep_copy(), ends, max_tokens)
        if len(guide.completion) + 1 > max_tokens:
            raise UnsupportedTask(
                f"the shortest answer of this schema takes {len(guide.completion) + 1} tokens and the budget is "
                f"{max_tokens}",
                where="contract",
                remedy="raise the budget, or ask for less",
            )
        return guide

    def _compile_schema(self, schema: str) -> tuple[LLMatcher, json_completion.JsonCompleter]:
        """What every answer of a schema begins with: a matcher that nothing was given to, and the ends."""
        from llguidance import LLMatcher

        ends = json_completion.JsonCompleter(json.loads(schema))
        return LLMatcher(self._vocabulary, compile_grammar(ends, self._vocabulary)), ends

    def _tokenize_bytes(self, text: bytes) -> TokenIds:
        return tuple(self._vocabulary.tokenize_bytes(text))

    def decode_token(self, token: int) -> bytes:
        """The bytes that a token spells: not every token ends with a whole character."""
        return bytes(self._vocabulary.decode_bytes([token]))


class TokenConstraint:
    """One answer while it is written: what may come next, and the shortest way to the end from here."""

    def __init__(
        self, compiler: GrammarCompiler, matcher: LLMatcher, completer: json_completion.JsonCompleter, max_tokens: int
    ) -> None:
        self._compiler, self._matcher, self._completer = compiler, matcher, completer
        self._written, self._tokens_left = b"", max_tokens
        self.completion: TokenIds
        self._free_characters: float
        self.completion, self._free_characters = self._find_completion(b"") or ((), 0)

    def _find_completion(self, written: bytes) -> tuple[TokenIds, float] | None:
        """Tokens of the shortest end without the end token, and how many plain characters may come before it (as of
        a PartialParse); None where there is none.
        """
        text, begun = _decode_partial(written)
        rest = _complete_character(begun)
        ending, room = self._completer.find_completion(text + (begun + rest).decode("utf-8", "replace"))
        return None if ending is None else (self._compiler.tokenize(rest + ending.encode()), 0 if begun else room)

    def _extend_string(self, spelled: bytes) -> tuple[TokenIds, float] | None:
        """As before, behind plain characters that lengthen a string; None where they may be something else."""
        try:
            text = spelled.decode() if self._free_characters else ""
        except UnicodeDecodeError:
            return None
        return (
            (self.completion, self._free_characters - len(text))
            if len(text) <= self._free_characters and json_completion.is_plain_text(text)
            else None
        )

    def compute_allowed_tokens(self) -> Tensor:
        """Bool[V]: tokens that the grammar allows."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, count=self._compiler.vocab_size, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def try_accept(self, token: int) -> bool:
        """Whether the grammar allows this token, and the end is still in reach behind it; it is taken if so."""
        return bool(self._matcher.validate_tokens([token])) and self.try_accept_allowed(token)

    def try_accept_allowed(self, token: int) -> bool:
        """Whether the end is still in reach behind this token, which the grammar allows; it is taken if so."""
        if token == self._compiler.end_token_id:
            return True
        spelled = self._compiler.decode_token(token)
        found = self._extend_string(spelled) or self._find_completion(self._written + spelled)
        if found is None or len(found[0]) + 1 > self._tokens_left - 1 or not self._matcher.consume_token(token):
            return False
        self._written, self._tokens_left = self._written + spelled, self._tokens_left - 1
        self.completion, self._free_characters = found
        return True

    def force_token(self) -> int:
        """The next token of the way to the end; it is taken."""
        if not self.completion:
            return self._compiler.end_token_id
        token, *rest = self.completion
        spelled = self._compiler.decode_token(token)
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"the grammar refuses its own end: {spelled!r} behind {self._written!r}")
        self._written += spelled
        self._tokens_left, self.completion, self._free_characters = self._tokens_left - 1, tuple(rest), 0
        return token


def _decode_partial(written: bytes) -> tuple[str, bytes]:
    """Whole characters, and the bytes of one that is begun."""
    for cut in range(min(4, len(written) + 1)):
        try:
            return written[: len(written) - cut].decode(), written[len(written) - cut :]
        except UnicodeDecodeError:
            continue
    return written.decode("utf-8", "replace"), b""


def _complete_character(partial: bytes) -> bytes:
    """The fewest bytes that make a begun UTF-8 character whole (RFC 3629, section 4)."""
    if not partial:
        return b""
    lead = partial[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    second = {0xE0: 0xA0, 0xF0: 0x90}.get(lead, 0x80)
    rest = bytes([second] + [0x80] * (size - 2))
    return rest[len(partial) - 1 :]
