"""What is tried on a trunk before it is believed: architectures differ in what they do with masks and caches."""

from __future__ import annotations

import torch
from torch import Tensor

from loratory.models.generating import Pen, write
from loratory.models.prefixes import LEAST, Forward
from loratory.models.transcript import Transcript
from loratory.models.writing import Manner, Speaker
from loratory.protocols import Network, Score, Tokens, Write

TOLERANCE = 1e-4  # of log-probabilities computed in two ways, in float32
CHOICES: tuple[Tokens, ...] = ((8, 9, 10), (8, 9, 11, 12), (13,))
BEGINNING = tuple(5 + k % 11 for k in range(LEAST))
PROMPTS: tuple[Tokens, ...] = ((*BEGINNING, 6, 9, 7), (*BEGINNING, 8), (*BEGINNING, 8, 5))


def trees_work(speaker: Speaker, forward: Forward, network: Network) -> bool:
    """Whether a tree gives what rows give, on a small one."""
    sample = Score(network, (5, 6, 7), CHOICES)
    try:
        (by_tree,), (by_rows,) = (speaker.scores([sample], forward, Manner(trees)) for trees in (True, False))
    except (RuntimeError, TypeError, ValueError):
        return False
    return _alike(by_tree, by_rows)


def sharing_works(speaker: Speaker, forward: Forward, network: Network, trees: bool) -> bool:
    """Whether prompts behind a shared beginning give what whole prompts give, scored and written, on short ones."""
    samples = [Score(network, prompt, CHOICES) for prompt in PROMPTS]
    ways = {Manner(way, True) for way in (trees, False)}
    try:
        whole = torch.cat(speaker.scores(samples, forward, Manner()))
        scored = [torch.cat(speaker.scores(samples, forward, way)) for way in ways]
        (ids, odds), (ids_whole, odds_whole) = (_written(speaker, forward, network, way) for way in (True, False))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return all(_alike(found, whole) for found in scored) and ids == ids_whole and _alike(odds.log(), odds_whole.log())


def _written(speaker: Speaker, forward: Forward, network: Network, shared: bool) -> tuple[list[list[int]], Tensor]:
    """The likeliest tokens behind each prompt, and their odds."""
    pens = [Pen(Write(network, prompt, 2, frozenset()), None, Transcript(lambda ids: "")) for prompt in PROMPTS]
    with torch.inference_mode():
        write(pens, speaker, forward, shared)
    return [pen.ids for pen in pens], torch.tensor([pen.odds for pen in pens], dtype=torch.float64)


def _alike(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
