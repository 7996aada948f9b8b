"""What is tried on a backbone before it is believed: architectures differ in what they do with masks and caches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.backbones.generation.generator import Generator, TokenSequence
from loratory.backbones.generation.prefix_cache import MIN_PREFIX_TOKENS, Forward
from loratory.backbones.generation.scorer import Scorer, ScoringMode
from loratory.protocols import GenerateRequest, Network, ScoreRequest, TokenIds

TOLERANCE = 1e-4  # of log-probabilities computed in two ways, in float32
PROBE_CONTINUATIONS: tuple[TokenIds, ...] = ((8, 9, 10), (8, 9, 11, 12), (13,))
PROBE_PREFIX = tuple(5 + k % 11 for k in range(MIN_PREFIX_TOKENS))
PROBE_PROMPTS: tuple[TokenIds, ...] = ((*PROBE_PREFIX, 6, 9, 7), (*PROBE_PREFIX, 8), (*PROBE_PREFIX, 8, 5))


def probe_trees(scorer: Scorer, forward: Forward, network: Network) -> bool:
    """Whether a tree gives what rows give, on a small one."""
    sample = ScoreRequest(network, (5, 6, 7), PROBE_CONTINUATIONS)
    try:
        (by_tree,), (by_rows,) = (scorer.score([sample], forward, ScoringMode(trees)) for trees in (True, False))
    except (RuntimeError, TypeError, ValueError):
        return False
    return _are_close(by_tree, by_rows)


def probe_prefix_sharing(scorer: Scorer, forward: Forward, network: Network, trees: bool) -> bool:
    """Whether prompts behind a shared beginning give what whole prompts give, scored and written, on short ones."""
    samples = [ScoreRequest(network, prompt, PROBE_CONTINUATIONS) for prompt in PROBE_PROMPTS]
    ways = {ScoringMode(way, True) for way in (trees, False)}
    try:
        whole = torch.cat(scorer.score(samples, forward, ScoringMode()))
        scored = [torch.cat(scorer.score(samples, forward, way)) for way in ways]
        (ids, odds), (ids_whole, odds_whole) = (_generate_probe(scorer, forward, network, way) for way in (True, False))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return all(_are_close(found, whole) for found in scored) and ids == ids_whole and _are_close(odds, odds_whole)


def probe_joining(scorer: Scorer, forward: Forward, network: Network) -> bool:
    """Whether who comes late, and those that are joined, write what they write alone, on short prompts."""
    sequences, alone = _create_sequences(network, 5), _create_sequences(network, 5)
    generator = Generator(scorer, forward)
    try:
        for late, sequence in zip(sequences, alone, strict=True):
            Generator(scorer, forward).generate([sequence], False)
            generator.add([late], joining=True)
            generator.step()
        while not generator.is_done:
            generator.step()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return [sequence.ids for sequence in sequences] == [sequence.ids for sequence in alone] and _are_close(
        _collect_log_probabilities(sequences), _collect_log_probabilities(alone)
    )


def _generate_probe(
    scorer: Scorer, forward: Forward, network: Network, share_prefixes: bool
) -> tuple[list[list[int]], Tensor]:
    """The likeliest tokens behind each prompt, and the logarithms of their odds."""
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
        [odds for sequence in sequences for odds in sequence.token_probabilities], dtype=torch.float64
    ).log()


def _are_close(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
