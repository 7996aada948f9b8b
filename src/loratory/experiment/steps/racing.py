"""Racing: a fit ends early when its validation scores cannot reach those of another contender any more.

As in Hoeffding races (Maron & Moore 1994) a contender leaves once its best case is below the leader's; here the best
case is a straight line through its last gain, which no learning curve that flattens exceeds, plus a margin for chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from loratory.errors import ContenderPruned
from loratory.experiment.run_context import RunContext, validation_rank_key
from loratory.specs.serve import ServeSpec
from loratory.specs.spec import Contender

MIN_EPOCHS = 2  # the first gives no gain to go by
MARGIN_DEVIATIONS = 2.58  # standard errors of a difference: one contender in two hundred is stopped by chance


def make_race_check(context: RunContext, contender: Contender) -> Callable[[str, Sequence[float], int], None]:
    """What is asked after each epoch of this contender's fit; it raises ContenderPruned.

    Nothing is asked of a contender that something else in the spec needs, where racing is off, and where a fit goes by
    another score than the headline (texts that are written are too slow to be scored in each epoch).
    """
    leader = _find_leader(context, contender)
    if leader is None:
        return lambda headline, scores, epochs_left: None
    name, score = leader
    count = len(context.split.parts.validation)

    def check(headline: str, scores: Sequence[float], epochs_left: int) -> None:
        reachable = find_reachable_score(scores, epochs_left, score, count)
        if headline == context.split.task.headline and reachable is not None and reachable < score:
            raise ContenderPruned(
                f"it was stopped after {len(scores)} of {len(scores) + epochs_left} epochs: at {max(scores):.3f} on "
                f"validation it cannot reach {name} ({score:.3f}); at most {reachable:.3f} was in sight",
                where="training: racing",
                remedy="set training: racing: off to train every contender to its end",
            )

    return check


def find_reachable_score(scores: Sequence[float], epochs_left: int, leading: float, count: int) -> float | None:
    """The best that a fit may still come to, with a margin for chance; None while there is nothing to go by.

    `scores` are shares (0 to 1) of `count` validation examples after each epoch. The last gain is taken for every epoch
    left; the margin is MARGIN_DEVIATIONS standard errors of the difference of two independent shares (a paired
    difference varies less).
    """
    if len(scores) < MIN_EPOCHS or epochs_left < 1:
        return None
    best = max(scores)
    gain = max(scores[-1] - max(scores[:-1]), 0.0)
    error = sqrt(sum(share * (1 - share) for share in (best, leading)) / max(count, 1))
    return min(best + gain * epochs_left + MARGIN_DEVIATIONS * error, 1.0)


def describe_race(context: RunContext, contender: Contender) -> str:
    """Against whom a contender races, for its identity; empty where it does not."""
    leader = _find_leader(context, contender)
    return "" if leader is None else f"/{leader[0]} {leader[1]}"


def _find_leader(context: RunContext, contender: Contender) -> tuple[str, float] | None:
    """The fitted contender with the best headline on validation, and its score; None where this one does not race."""
    if not context.spec.training.races or contender.name in _list_needed(context):
        return None
    scores = {
        name: validation_rank_key(context, one.folders[one.shipped_seed])[0] for name, one in context.fitted.items()
    }
    return max(scores.items(), key=lambda each: each[1]) if scores else None


def _list_needed(context: RunContext) -> set[str]:
    """Contenders that others start from, that are served, or that the gate compares with."""
    spec = context.spec
    serve = spec.serve or ServeSpec()
    needed = {one.start for one in spec.ladder if one.start} | set(serve.fallback)
    needed |= {serve.contender} if serve.contender else set()
    return needed | (set(spec.gate.not_worse_than) if spec.gate else set())
