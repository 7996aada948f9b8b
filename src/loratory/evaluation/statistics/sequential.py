"""Tests that may be looked at after every observation: betting e-processes, and a confidence sequence.

Each e-process is the wealth of a player who bets against a hypothesis and cannot gain on average where it is true. By
Ville's inequality the chance that the wealth ever reaches 1 / alpha is then alpha at most, however often one looks, so
a decision may be taken at any time. Bets follow Waudby-Smith and Ramdas (2024), "Estimating means of bounded random
variables by betting", JRSS B 86; a mixture of several stakes is a bet, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

STAKES = (0.03, 0.1, 0.3, 0.6, 0.97)  # shares of what may be staked at most
STAKE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 2.0)  # the large one finds what is much worse within a few labels
RATE_RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)  # rates over the limit that a rate guard bets on
MAX_BET = 0.75  # of the confidence sequence, as the paper has it
Decision = Literal["better", "worse", "open"]


def log_sum_exp(values: Sequence[float]) -> float:
    """Log of the sum of exp(values), without overflow."""
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))


@dataclass
class EProcess:
    """Wealth that starts at 1, as a mixture over stakes; kept as logarithms, since it grows exponentially."""

    log_wealths: list[float]  # of each stake, times its weight in the mixture
    observations: int = 0
    log_peak: float = 0.0  # the largest so far: a decision once taken stands

    @classmethod
    def start(cls, weights: Sequence[float]) -> EProcess:
        """Before the first observation; the mixture's weights are these over their sum."""
        return cls([math.log(weight / sum(weights)) for weight in weights])

    def multiply(self, factors: Sequence[float]) -> None:
        """One observation: a factor above 0 for each stake, whose mean under the hypothesis is 1 at most."""
        for place, factor in enumerate(factors):
            self.log_wealths[place] += math.log(factor)
        self.observations += 1
        self.log_peak = max(self.log_peak, self.log_wealth)

    @property
    def log_wealth(self) -> float:
        """Of the mixture."""
        return log_sum_exp(self.log_wealths)

    def rejects(self, alpha: float) -> bool:
        """Whether the hypothesis has been rejected at any time so far, at error probability `alpha`."""
        return self.log_peak >= -math.log(alpha)

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` of it goes on to the same numbers."""
        return {"log_wealths": list(self.log_wealths), "observations": self.observations, "log_peak": self.log_peak}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> EProcess:
        """What `to_json` gave."""
        return cls(list(facts["log_wealths"]), int(facts["observations"]), float(facts["log_peak"]))


@dataclass
class MeanTest:
    """Whether the mean of observations in [-1, 1] is above or below a boundary, at any time.

    For a challenger answered beside the champion an observation is (challenger right) - (champion right), and the
    boundary is minus the margin: "better" means not worse than the margin allows. At the boundary itself each of the
    two decisions has a chance of `alpha` at most.
    """

    boundary: float
    alpha: float = 0.05
    above: EProcess = field(default_factory=lambda: EProcess.start(STAKE_WEIGHTS))
    below: EProcess = field(default_factory=lambda: EProcess.start(STAKE_WEIGHTS))
    total: float = 0.0

    def __post_init__(self) -> None:
        if not -1 < self.boundary < 1:
            raise ValueError(f"the boundary {self.boundary} is not between -1 and 1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha {self.alpha} is not between 0 and 1")

    def observe(self, value: float) -> Decision:
        """Take one observation in; returns the decision so far. Raises ValueError where it is not in [-1, 1]."""
        if not -1 <= value <= 1:
            raise ValueError(f"an observation of {value}: allowed is -1 to 1")
        distance = value - self.boundary
        self.above.multiply([1 + stake / (1 + self.boundary) * distance for stake in STAKES])
        self.below.multiply([1 - stake / (1 - self.boundary) * distance for stake in STAKES])
        self.total += value
        return self.decision

    @property
    def observations(self) -> int:
        """How many were taken in."""
        return self.above.observations

    @property
    def mean(self) -> float:
        """Of the observations; 0 before the first."""
        return self.total / max(1, self.observations)

    @property
    def decision(self) -> Decision:
        """The first that was reached stands, even if the wealth falls again."""
        if self.above.rejects(self.alpha):
            return "better"
        return "worse" if self.below.rejects(self.alpha) else "open"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "boundary": self.boundary,
            "alpha": self.alpha,
            "above": self.above.to_json(),
            "below": self.below.to_json(),
            "total": self.total,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> MeanTest:
        """What `to_json` gave."""
        above, below = EProcess.from_json(facts["above"]), EProcess.from_json(facts["below"])
        return cls(float(facts["boundary"]), float(facts["alpha"]), above, below, float(facts["total"]))


@dataclass
class RateGuard:
    """Whether events (errors, late answers) come more often than a limit allows, at any time.

    The bet is the likelihood ratio of a higher rate to the limit, mixed over RATE_RATIOS.
    """

    limit: float
    alpha: float = 0.01
    process: EProcess = field(default_factory=lambda: EProcess.start([1.0] * len(RATE_RATIOS)))
    events: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise ValueError(f"the limit {self.limit} is not between 0 and 1")

    def observe(self, event: bool) -> bool:
        """Take one request in; returns whether the limit is proven to be exceeded."""
        rates = [min(self.limit * ratio, (1 + self.limit) / 2) for ratio in RATE_RATIOS]
        none = [(1 - rate) / (1 - self.limit) for rate in rates]
        self.process.multiply([rate / self.limit for rate in rates] if event else none)
        self.events += event
        return self.exceeded

    @property
    def exceeded(self) -> bool:
        """Whether the hypothesis "the rate is within the limit" has been rejected."""
        return self.process.rejects(self.alpha)

    @property
    def observations(self) -> int:
        """Requests so far."""
        return self.process.observations

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"limit": self.limit, "alpha": self.alpha, "process": self.process.to_json(), "events": self.events}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> RateGuard:
        """What `to_json` gave."""
        process = EProcess.from_json(facts["process"])
        return cls(float(facts["limit"]), float(facts["alpha"]), process, int(facts["events"]))


@dataclass
class ConfidenceSequence:
    """An interval for the mean of values in [0, 1] that holds at all times together with probability 1 - alpha.

    The predictable plug-in empirical-Bernstein sequence (Waudby-Smith and Ramdas 2024, theorem 2), intersected over
    time.
    """

    alpha: float = 0.05
    observations: int = 0
    low: float = 0.0
    high: float = 1.0
    _bets: float = 0.0  # sum of the bets
    _weighted: float = 0.0  # sum of bet x value
    _spread: float = 0.0  # sum of v x psi(bet)
    _sum: float = 0.5  # of the values, with the half of a prior observation
    _variance_sum: float = 0.25  # of squared distances to the running mean, with a prior one

    def observe(self, value: float) -> tuple[float, float]:
        """Take one value in; returns the interval. Raises ValueError where it is not in [0, 1]."""
        if not 0 <= value <= 1:
            raise ValueError(f"a value of {value}: allowed is 0 to 1")
        step = self.observations + 1
        before = self._sum / step  # the running mean of what came before, with the prior
        variance = self._variance_sum / step
        target = math.log(2 / self.alpha)
        bet = min(math.sqrt(2 * target / (variance * step * math.log(1 + step))), MAX_BET)
        self._bets += bet
        self._weighted += bet * value
        self._spread += 4 * (value - before) ** 2 * (-math.log(1 - bet) - bet) / 4
        self._sum += value
        self.observations = step
        self._variance_sum += (value - self._sum / (step + 1)) ** 2
        centre, half = self._weighted / self._bets, (target + self._spread) / self._bets
        self.low, self.high = max(self.low, centre - half), min(self.high, centre + half)
        return self.low, self.high

    @property
    def mean(self) -> float:
        """Of the values; 0.5 before the first."""
        return (self._sum - 0.5) / self.observations if self.observations else 0.5

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {name.lstrip("_"): value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> ConfidenceSequence:
        """What `to_json` gave."""
        made = cls(float(facts["alpha"]), int(facts["observations"]), float(facts["low"]), float(facts["high"]))
        for name in ("bets", "weighted", "spread", "sum", "variance_sum"):
            setattr(made, f"_{name}", float(facts[name]))
        return made


def difference_interval(one: ConfidenceSequence, other: ConfidenceSequence) -> tuple[float, float]:
    """Of (mean of `one`) - (mean of `other`), at all times; each of the two holds its own part of the error."""
    return one.low - other.high, one.high - other.low
