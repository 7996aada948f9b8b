"""What a causal backbone computes rightly, tried before it is relied on: architectures differ in what they do with
masks, positions and caches, and nothing in a configuration says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.backbones.generation.generator import Generator
from loratory.backbones.generation.prefix_cache import MIN_PREFIX_TOKENS, Forward
from loratory.backbones.generation.scorer import Scorer, ScoringMode
from loratory.backbones.generation.token_sequence import TokenSequence
from loratory.protocols import GenerateRequest, Network, ScoreRequest, TokenIds

TOLERANCE = 1e-4  # of log-probabilities computed in two ways, in float32
PROBE_CONTINUATIONS: tuple[TokenIds, ...] = ((8, 9, 10), (8, 9, 11, 12), (13,))
PROBE_PREFIX = tuple(5 + k % 11 for k in range(MIN_PREFIX_TOKENS))
PROBE_PROMPTS: tuple[TokenIds, ...] = ((*PROBE_PREFIX, 6, 9, 7), (*PROBE_PREFIX, 8), (*PROBE_PREFIX, 8, 5))
# What an architecture raises that cannot take such a mask, such positions or such a cache.
PROBE_ERRORS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Capabilities:
    """What was seen to give what the plain way gives: one row for each continuation, whole prompts, batches that nobody
    joins.
    """

    tree_scoring: bool = False  # continuations of a prompt in one row, as a tree under a mask
    prefix_sharing: bool = False  # prompts that go on behind the cached keys and values of their common beginning
    joining: bool = False  # sequences that join others between two steps


def probe_capabilities(scorer: Scorer, forward: Forward, network: Network) -> Capabilities:
    """Try all of them, on prompts of about twenty tokens."""
    trees = probe_trees(scorer, forward, network)
    return Capabilities(
        trees, probe_prefix_sharing(scorer, forward, network, trees), probe_joining(scorer, forward, network)
    )


def probe_trees(scorer: Scorer, forward: Forward, network: Network) -> bool:
    """Whether a tree gives what rows give, on a small one."""
    sample = ScoreRequest(network, (5, 6, 7), PROBE_CONTINUATIONS)
    try:
        (by_tree,), (by_rows,) = (scorer.score([sample], forward, ScoringMode(trees)) for trees in (True, False))
    except PROBE_ERRORS:
        return False
    return _are_close(by_tree, by_rows)


def probe_prefix_sharing(scorer: Scorer, forward: Forward, network: Network, trees: bool) -> bool:
    """Whether prompts behind a shared beginning give what whole prompts give, scored and generated, on short ones.

    `trees` says whether trees are scored too: they are where they work at all.
    """
    samples = [ScoreRequest(network, prompt, PROBE_CONTINUATIONS) for prompt in PROBE_PROMPTS]
    modes = {ScoringMode(mode, True) for mode in (trees, False)}
    try:
        whole = torch.cat(scorer.score(samples, forward, ScoringMode()))
        scored = [torch.cat(scorer.score(samples, forward, mode)) for mode in modes]
        (ids, logs), (ids_whole, logs_whole) = (
            _generate_probe(scorer, forward, network, share) for share in (True, False)
        )
    except PROBE_ERRORS:
        return False
    return all(_are_close(found, whole) for found in scored) and ids == ids_whole and _are_close(logs, logs_whole)


def probe_joining(scorer: Scorer, forward: Forward, network: Network) -> bool:
    """Whether a sequence that joins late, and those that it joins, become what they become alone, on short prompts."""
    sequences, alone = _create_sequences(network, 5), _create_sequences(network, 5)
    generator = Generator(scorer, forward)
    try:
        for late, sequence in zip(sequences, alone, strict=True):
            Generator(scorer, forward).generate([sequence], False)
            generator.add([late], joining=True)
            generator.step()
        while not generator.is_done:
            generator.step()
    except PROBE_ERRORS:
        return False
    return [sequence.ids for sequence in sequences] == [sequence.ids for sequence in alone] and _are_close(
        _collect_log_probabilities(sequences), _collect_log_probabilities(alone)
    )


def _generate_probe(
    scorer: Scorer, forward: Forward, network: Network, share_prefixes: bool
) -> tuple[list[list[int]], Tensor]:
    """The likeliest tokens behind each prompt, and their log-probabilities."""
    sequences = _create_sequences(network, 2)
    Generator(scorer, forward).generate(sequences, share_prefixes)
    return [sequence.ids for sequence in sequences], _collect_log_probabilities(sequences)


def _create_sequences(network: Network, max_new_tokens: int) -> list[TokenSequence]:
    return [
        TokenSequence(GenerateRequest(network, prompt, max_new_tokens, frozenset()), None, Detokenizer(lambda ids: ""))
        for prompt in PROBE_PROMPTS
    ]


def _collect_log_probabilities(sequences: Sequence[TokenSequence]) -> Tensor:
    return torch.tensor(
        [chance for sequence in sequences for chance in sequence.token_probabilities], dtype=torch.float64
    ).log()


def _are_close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)
