"""What is tried on a trunk before it is believed: architectures differ in what they do with masks and caches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loratory.models.generating import Pen, Scribe
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
    return all(_alike(found, whole) for found in scored) and ids == ids_whole and _alike(odds, odds_whole)


def joining_works(speaker: Speaker, forward: Forward, network: Network) -> bool:
    """Whether who comes late, and those that are joined, write what they write alone, on short prompts."""
    pens, alone = _pens(network, 5), _pens(network, 5)
    scribe = Scribe(speaker, forward)
    try:
        for late, pen in zip(pens, alone, strict=True):
            Scribe(speaker, forward).write([pen], False)
            scribe.add([late], joining=True)
            scribe.step()
        while not scribe.done:
            scribe.step()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return [pen.ids for pen in pens] == [pen.ids for pen in alone] and _alike(_odds(pens), _odds(alone))


def _written(speaker: Speaker, forward: Forward, network: Network, shared: bool) -> tuple[list[list[int]], Tensor]:
    """The likeliest tokens behind each prompt, and the logarithms of their odds."""
    pens = _pens(network, 2)
    Scribe(speaker, forward).write(pens, shared)
    return [pen.ids for pen in pens], _odds(pens)


def _pens(network: Network, most: int) -> list[Pen]:
    return [Pen(Write(network, prompt, most, frozenset()), None, Transcript(lambda ids: "")) for prompt in PROMPTS]


def _odds(pens: Sequence[Pen]) -> Tensor:
    return torch.tensor([odds for pen in pens for odds in pen.odds], dtype=torch.float64).log()


def _alike(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
