"""One request while it is written: how its next token is drawn, what holds it to a schema, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loratory.backbones.constraints.grammar import MAX_TOKEN_TRIES, TokenConstraint
from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.errors import UnsupportedTask
from loratory.protocols import GenerateRequest, Generation

# A token so likely is taken before the mask of the schema is computed: among the allowed tokens alone its probability
# would be 1e-4 higher at most.
SURE_PROBABILITY = 0.9999
MAX_TOKEN_SECONDS = 0.5  # seconds of this thread's own time that a token may take to be found under a schema


@dataclass(eq=False)
class TokenSequence:
    """One request while it is written. An error of its schema or its listener ends it, and no neighbour."""

    request: GenerateRequest
    constraint: TokenConstraint | None
    detokenizer: Detokenizer
    is_wanted: Callable[[], bool] = lambda: True  # whether somebody still waits for it
    ids: list[int] = field(default_factory=list)
    token_probabilities: list[float] = field(default_factory=list)
    finish_reason: str = ""  # as of a Generation, or "failed"
    error: Exception | None = None  # what ended it, and nobody else

    @property
    def is_active(self) -> bool:
        """Whether there is more to write, and somebody waits for it."""
        return not self.finish_reason and self.is_wanted()

    def sample_token(self, logits: Tensor) -> None:
        """Draw the next token from logits float[V], and tell what has become certain of the text."""
        started = time.thread_time()
        try:
            self._append_token(logits)
        except Exception as problem:  # of its schema: its neighbours go on
            self.error, self.finish_reason = problem, "failed"
        if self.constraint is not None and time.thread_time() - started > MAX_TOKEN_SECONDS:
            self.error = UnsupportedTask("the schema takes too long to hold", where="contract")
            self.finish_reason = "failed"

    def to_generation(self) -> Generation:
        """What is written so far: whole where it ended by itself."""
        return Generation(
            tuple(self.ids), self.detokenizer.text, self.finish_reason or "abandoned", tuple(self.token_probabilities)
        )

    def _append_token(self, logits: Tensor) -> None:
        token, probability = self._sample(logits.double())
        if token in self.request.stop_token_ids:
            self.finish_reason = self.detokenizer.update(self.ids, final=True) or "end"
            return
        self.ids.append(token)
        self.token_probabilities.append(probability)
        full = len(self.ids) >= self.request.max_new_tokens
        self.finish_reason = self.detokenizer.update(self.ids, final=full) or ("length" if full else "")

    def _apply_repetition_penalty(self, logits: Tensor) -> Tensor:
        """Logits float[V], those of tokens that were there already made smaller (Keskar et al. 2019, eq. 2)."""
        penalty = self.request.sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        seen = torch.tensor(sorted({*self.request.prompt, *self.ids}))
        mine = logits[seen]
        return logits.index_copy(0, seen, torch.where(mine > 0, mine / penalty, mine * penalty))

    def _sample(self, logits: Tensor) -> tuple[int, float]:
        """A token and its probability from logits float64[V]. Under a schema, one behind which the end is in reach;
        where such a token is hard to find, the next one of the shortest way to the end.
        """
        probabilities, scores = logits.softmax(-1), self._apply_repetition_penalty(logits)
        if self.constraint is None:
            token = self._sample_index(scores, 0)
            return token, float(probabilities[token])
        likeliest = int(scores.argmax())
        sure = not self.request.sampling.temperature and probabilities[likeliest] > SURE_PROBABILITY
        if sure and self.constraint.try_accept(likeliest):  # the likeliest of all, so of those that are allowed too
            return likeliest, float(probabilities[likeliest])
        refused = ~self.constraint.compute_allowed_tokens()
        token = self._sample_constrained(scores.masked_fill(refused, -torch.inf))
        return token, float(logits.masked_fill(refused, -torch.inf).softmax(-1)[token])

    def _sample_constrained(self, scores: Tensor) -> int:
        """Draw until a token leaves room for the end of the answer: the grammar alone knows nothing of the budget."""
        assert self.constraint is not None
        for trial in range(MAX_TOKEN_TRIES):
            if not bool(scores.max().isfinite()):
                break
            token = self._sample_index(scores, trial)
            if self.constraint.try_accept_allowed(token):
                return token
            scores[token] = -torch.inf
        return self.constraint.force_token()

    def _sample_index(self, scores: Tensor, trial: int) -> int:
        """The likeliest at temperature 0, else one drawn from the nucleus (Holtzman et al. 2020).

        A draw is a function of the seed, the place and the trial, so that neighbours and restarts do not change it.
        """
        sampling = self.request.sampling
        if not sampling.temperature:
            return int(scores.argmax())
        probabilities = (scores / sampling.temperature).softmax(-1)
        if sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            over = ordered.cumsum(-1) - ordered >= sampling.top_p
            probabilities = probabilities.index_fill(0, order[over], 0.0)
        seed = hash((sampling.seed, len(self.ids), trial)) & 0x7FFFFFFF  # of numbers: the same in every process
        return int(torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(seed)))
