"""What is measured of a form on the goldens, and the first stage that is too far from the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from loratory.exporting.certificates.comparison import GoldenDifference, compare_golden
from loratory.exporting.certificates.goldens import Golden, GoldenSet
from loratory.exporting.certificates.tolerances import Tolerances
from loratory.protocols.exporters import ExportedModel, StageOutputs

CONFIDENCE = 0.95
REPEATED_TEXTS = 8  # run twice: the same numbers to the last bit
TIMED_TEXTS = 40


@dataclass(frozen=True, eq=False)
class Measurement:
    """Of one form: each golden's differences, and what batches and repetition did."""

    differences: tuple[GoldenDifference, ...]
    batch_dp: float | None  # None: the form takes one text at a time
    deterministic: bool
    answers_valid: bool
    latency_ms: dict[str, float]  # of single texts: median and p95

    def find_largest(self, name: str) -> float | None:
        """The largest difference over goldens: dp, dlogp, logits, pooled."""
        return max(self._collect(name), default=None)

    def find_quantile(self, name: str, share: float = 0.99) -> float | None:
        """That quantile over goldens of each one's largest difference."""
        values = self._collect(name)
        return float(np.quantile(values, share, method="higher")) if values else None

    def _collect(self, name: str) -> list[float]:
        values = (getattr(one, name) for one in self.differences)
        return [float(value) for value in values if value is not None]

    def count_equal(self, name: str) -> tuple[int, int]:
        """Goldens on which labels_equal, answers_equal or tokens_equal holds, and those on which it is known."""
        known = [getattr(one, name) for one in self.differences if getattr(one, name) is not None]
        return sum(known), len(known)

    def to_dict(self) -> dict[str, Any]:
        """`measured` of certificate.json, without accuracy and bytes."""
        equal, of = self.count_equal("labels_equal")
        tokens, texts = self.count_equal("tokens_equal")
        answers, answered = self.count_equal("answers_equal")
        low = compute_lower_bound(equal, of, CONFIDENCE) if of else None
        return {
            "tokens_equal": tokens == texts if texts else None,
            "max_dp": self.find_largest("dp"),
            "q99_dp": self.find_quantile("dp"),
            "max_dlogp": self.find_largest("dlogp"),
            "q99_dlogp": self.find_quantile("dlogp"),
            "label_agreement": {"equal": equal, "of": of, "at_least": low, "confidence": CONFIDENCE},
            "answers_equal": answers if answered else None,
            "answers_compared": answered,
            "stages": self.find_stage_maxima(),
            "batch_dp": self.batch_dp,
            "deterministic": self.deterministic,
            "contract_valid": self.answers_valid,
            "latency_ms": self.latency_ms,
        }

    def find_stage_maxima(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in self.differences:
            for stage, far in one.stages.items():
                if far is not None:
                    found[stage] = max(found.get(stage, 0.0), far)
        return found


def compute_lower_bound(right: int, of: int, confidence: float) -> float:
    """The one-sided lower bound of a share (Clopper and Pearson 1934), by bisection of the binomial's upper tail.

    evaluation.statistics has it from SciPy, which whoever verifies a folder need not have.
    """
    low, high = 0.0, right / of
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _compute_upper_tail(right, of, middle) < 1 - confidence else (low, middle)
    return low


def _compute_upper_tail(least: int, of: int, share: float) -> float:
    """The chance of `least` successes or more."""
    return math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(least, of + 1))


@dataclass(frozen=True)
class Divergence:
    """Where a form is not the fit: the stage, and the figures that say so."""

    stage: str
    problem: str


def measure_form(model: ExportedModel, goldens: GoldenSet, max_batch: int | None = None) -> Measurement:
    """Run every golden alone, some twice, and the batches together."""
    alone: dict[str, StageOutputs] = {}
    differences, seconds = [], []
    for golden in goldens.goldens:
        started = perf_counter()
        (found,) = model.run_stages([golden.model_text])
        seconds.append(perf_counter() - started)
        differences.append(compare_golden(golden, found))
        alone[golden.id] = StageOutputs(tokens=found.tokens, probabilities=found.probabilities, answer=found.answer)
    timed = sorted(seconds[1 : TIMED_TEXTS + 1] or seconds)
    latency = {"median": 1e3 * median(timed), "p95": 1e3 * timed[int(0.95 * (len(timed) - 1))]}
    return Measurement(
        tuple(differences),
        None if max_batch == 1 else _measure_batches(model, goldens, alone),
        _is_deterministic(model, goldens.goldens[:REPEATED_TEXTS], alone),
        all(_is_valid(found, model.output_names) for found in alone.values()),
        latency,
    )


def _measure_batches(model: ExportedModel, goldens: GoldenSet, alone: dict[str, StageOutputs]) -> float:
    """The largest difference of any probability between a text alone and the same text in a batch."""
    farthest = 0.0
    for name in goldens.batches:
        members = goldens.get_members(name)
        together = model.run_stages([one.model_text for one in members])
        for golden, found in zip(members, together, strict=True):
            expected = alone[golden.id].probabilities
            if expected is None or found.probabilities is None:
                continue
            far = (
                float(np.abs(found.probabilities - expected).max())
                if expected.shape == found.probabilities.shape
                else float("inf")
            )
            farthest = max(farthest, far if far == far else float("inf"))
    return farthest


def _is_deterministic(model: ExportedModel, texts: Sequence[Golden], alone: dict[str, StageOutputs]) -> bool:
    for golden in texts:
        (again,) = model.run_stages([golden.model_text])
        first = alone[golden.id].probabilities
        if first is not None and (again.probabilities is None or not np.array_equal(first, again.probabilities)):
            return False
    return True


def _is_valid(found: StageOutputs, names: Sequence[str]) -> bool:
    """Whether probabilities are numbers of 0 to 1 that sum to 1, and a label is one that there is."""
    if isinstance(found.answer, str) and names and found.answer not in names:
        return False
    if found.probabilities is None:
        return True
    one = np.asarray(found.probabilities)
    return bool(np.isfinite(one).all() and (one >= 0).all() and np.allclose(one.sum(-1), 1, atol=1e-3))


def find_divergence(measured: Measurement, limits: Tolerances) -> Divergence | None:
    """The first stage that is beyond its tolerance, and where it began; None where the form is the fit's.

    Tokens have to be equal on every golden. A later stage that fails began in the first one that honest arithmetic
    does not explain.
    """
    if (problem := _check_tokens(measured)) is not None:
        return problem
    failed = _find_failed_stage(measured, limits)
    if failed is None:
        return None
    return Divergence(_locate(measured, failed.stage, limits.locating), failed.problem)


def _check_tokens(measured: Measurement) -> Divergence | None:
    equal, texts = measured.count_equal("tokens_equal")
    if equal == texts:
        return None
    first = next(one.id for one in measured.differences if one.tokens_equal is False)
    return Divergence("tokens", f"the token ids of {texts - equal} of {texts} goldens differ, first of {first}")


def _find_failed_stage(measured: Measurement, limits: Tolerances) -> Divergence | None:
    for stage, far in measured.find_stage_maxima().items():
        if far > limits.states or math.isinf(far):
            return Divergence(stage, f"{far:.2g} apart, allowed {limits.states:g}")
    checks = (
        ("probabilities", "max |dp|", measured.find_largest("dp"), limits.max_dp),
        ("probabilities", "99 % quantile of |dp|", measured.find_quantile("dp"), limits.q99_dp),
    )
    for stage, name, value, limit in checks:
        if value is not None and not value <= limit:
            return Divergence(stage, f"{name} is {value:.2g}, allowed {limit:g}")
    return _check_labels(measured, limits) or _check_answers(measured, limits) or _check_batches(measured, limits)


def _check_labels(measured: Measurement, limits: Tolerances) -> Divergence | None:
    for one in measured.differences:
        if one.labels_equal is False and one.margin is not None and one.margin >= limits.label_margin:
            return Divergence("labels", f"{one.id} has another label, where the fit's lead is {one.margin:.2g}")
    return None


def _check_answers(measured: Measurement, limits: Tolerances) -> Divergence | None:
    if not measured.answers_valid:
        return Divergence("answer", "an answer is outside the task's contract, or its probabilities do not sum to 1")
    if limits.needs_evidence:
        return None  # other labels give other answers; the evidence weighs them
    for one in measured.differences:
        near = one.margin is not None and one.margin < limits.label_margin
        if one.answers_equal is False and not (near and one.labels_equal is False):
            return Divergence("answer", f"{one.id} has another answer at the operating point")
    return None


def _check_batches(measured: Measurement, limits: Tolerances) -> Divergence | None:
    if not measured.deterministic:
        return Divergence("batch", "the same text twice gives other numbers")
    if measured.batch_dp is not None and not measured.batch_dp <= limits.batch_dp:
        return Divergence(
            "batch", f"a text in a batch is {measured.batch_dp:.2g} from itself alone, allowed {limits.batch_dp:g}"
        )
    return None


def _locate(measured: Measurement, failed: str, tolerance: float) -> str:
    """The first stage on the way to `failed` that is farther off than honest arithmetic is."""
    if failed in ("answer", "batch"):
        return failed
    for stage, far in measured.find_stage_maxima().items():
        if stage == failed or far > tolerance:
            return stage
    return failed
