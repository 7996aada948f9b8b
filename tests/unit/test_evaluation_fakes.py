"""Contenders made of random numbers, with known skill, for the other tests of evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.protocols import Example, ParameterCount, Prediction, ScoredPredictions
from loratory.specs.evidence import EvidenceSpec
from loratory.tasks.classify import Classify

FOUR = ("FRAUD", "INFO", "MERCHANT_ERROR", "PASSWORD_RESET")
WORDS = (
    "my card was used in a shop that I never went to",
    "the transfer did not arrive",
    "what does this fee <b>mean</b>?",
    "I cannot log in & the code is late",
    'they said "wait" but I need cash tomorrow',
    "please lock it",
)


@dataclass(frozen=True)
class Skill:
    """A contender to be made up."""

    name: str
    level: float  # higher is better; on the scale of a standard normal difficulty
    adapts: bool = False
    seeds: int = 1
    latency: float = 1.0
    trained: int = 0


LADDER = (
    Skill("rules", 0.2, latency=0.04),
    Skill("tfidf", 1.2, latency=0.3, trained=29_600),
    Skill("zero-shot", 0.6, latency=6.1),
    Skill("prototype", 1.3, latency=6.0, trained=1_536),
    Skill("head", 1.75, seeds=3, latency=6.2, trained=30_000),
    Skill("lora", 1.8, adapts=True, seeds=3, latency=6.8, trained=700_000),
    Skill("full", 1.78, adapts=True, seeds=3, latency=6.3, trained=22_700_000),
)


def examples(labels: Sequence[str], n: int, group_size: int = 1, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(labels), n)
    return [
        Example(
            {"text": f"{WORDS[i % len(WORDS)]} ({i})"},
            {"label": labels[picked[i - i % group_size]]},
            group=f"family-{i // group_size}" if group_size > 1 else "",
            origin=f"messages.jsonl:{i + 2}",
        )
        for i in range(n)
    ]


def draw_answers(
    task: Classify, rows: Sequence[Example], level: float, seed: int, hardness: Sequence[float]
) -> ScoredPredictions:
    """A right answer where skill exceeds the example's own hardness and a little noise; the rest at random."""
    labels, rng = task.labels or (), np.random.default_rng(seed)
    edge = level - np.asarray(hardness) + rng.normal(0, 0.6, len(rows))
    predictions = [_prediction(labels, example, float(edge[i]), rng) for i, example in enumerate(rows)]
    return ScoredPredictions(
        rows, predictions, [task.score_example(e, p) for e, p in zip(rows, predictions, strict=True)]
    )


def _prediction(labels: Sequence[str], example: Example, edge: float, rng: np.random.Generator) -> Prediction:
    answer: Mapping[str, str] = example.answer or {}
    right = labels.index(answer["label"])
    best = right if edge > 0 else (right + 1 + int(rng.geometric(0.4)) % (len(labels) - 1)) % len(labels)
    best = (right + 1) % len(labels) if edge <= 0 and best == right else best
    top = float(1 / len(labels) + (1 - 1 / len(labels)) / (1 + np.exp(-2.5 * abs(edge) - 0.5)))
    odds = dict.fromkeys(labels, (1 - top) / (len(labels) - 1))
    odds[labels[best]] = top
    return Prediction({"label": labels[best]}, {"/label": odds})


def hardness(rows: int, group_size: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Standard normal; half of the variance is the group's."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(0, 1, -(-rows // group_size)), group_size)[:rows]
    return np.asarray(np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(0, 1, rows))


def draw_result(
    task: Classify, skill: Skill, tests: Sequence[Example], group_size: int = 1, seed: int = 1
) -> ContenderResult:
    validation = examples(task.labels or (), max(len(tests) // 4, 20), seed=77)
    hard, easy = hardness(len(tests), group_size, seed), hardness(len(validation), 1, seed + 1)
    fits = []
    for number in range(skill.seeds):
        history = (
            [
                {"epoch": epoch, "loss": 2.0 / epoch + 0.03 * number, "score": 0.9 - 0.5 / epoch - 0.004 * number}
                for epoch in range(1, 7)
            ]
            if skill.trained
            else []
        )
        of = (sum(map(ord, skill.name)), number, seed)
        fits.append(
            Fit(
                6 + number,
                draw_answers(task, validation, skill.level, hash((1, *of)) % 2**32, easy.tolist()),
                draw_answers(task, tests, skill.level, hash((2, *of)) % 2**32, hard.tolist()),
                skill.latency * 5,
                {"learning_rate": 1e-3, "history": history},
            )
        )
    return ContenderResult(
        skill.name,
        skill.name,
        None if skill.name in ("rules", "tfidf") else "minilm",
        skill.adapts,
        tuple(fits),
        6,
        ParameterCount(skill.trained, max(skill.trained, 22_700_000 if skill.latency > 1 else 0)),
        90_000_000,
        {"p50": skill.latency, "p95": 1.4 * skill.latency},
        [{"option": "learning_rate", "value": 1e-3, "score": 0.9}],
    )


def world(
    labels: Sequence[str] = FOUR, n: int = 400, group_size: int = 1, ladder: Sequence[Skill] = LADDER, seed: int = 1
) -> tuple[Classify, list[ContenderResult]]:
    task = Classify(labels=tuple(labels), headline="accuracy")
    tests = examples(labels, n, group_size, seed)
    return task, [draw_result(task, skill, tests, group_size, seed) for skill in ladder]


def make_failed_result(name: str) -> ContenderResult:
    return ContenderResult(
        name, name, "minilm", True, (), 6, ParameterCount(0, 0), 0, {}, failure="the loss only grew; try a lower rate"
    )


QUICK = EvidenceSpec(resamples=400)
FACTS: dict[str, Any] = {
    "name": "risk-triage",
    "split": {"test": 400},
    "test_reads": 1,
    "budget": {"trials": 1, "seeds": 3, "epochs": 6},
}


def test_the_fakes_have_the_skill_they_claim() -> None:
    _, made = world(n=2000)
    accuracy = {one.name: one.shipped_fit.test.sum_counts()["reward"] / 2000 for one in made}
    assert accuracy["rules"] < accuracy["zero-shot"] < accuracy["tfidf"] < accuracy["head"]
