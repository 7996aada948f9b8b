"""The glossary of the report: every technical term of the page in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.table_cells import format_confidence, format_points

SPAN_SCORES = ("strict_f1", "exact_f1", "partial_f1", "type_f1", "token_f1")


@dataclass(frozen=True)
class GlossaryEntry:
    """A term and its meaning. `id` is the anchor of the entry in the page, without the prefix `term-`."""

    id: str
    term: str
    meaning: str


ENTRIES = (
    GlossaryEntry("accuracy", "accuracy", "The share of test examples with the right answer."),
    GlossaryEntry(
        "bootstrap",
        "bootstrap",
        "A way to compute a confidence interval: the score is computed again on many random samples of the test set.",
    ),
    GlossaryEntry(
        "calibration",
        "calibration",
        "Whether the confidence of the answers is right. Of the answers with a confidence of 80%, about 80% should be "
        "correct. The calibration error (ECE) is the mean difference between the two; 0 is perfect.",
    ),
    GlossaryEntry(
        "contender",
        "contender",
        "One method of the ladder, for example keyword rules, a linear classifier or a fine-tuned language model.",
    ),
    GlossaryEntry(
        "f1",
        "precision, recall, F1",
        "Precision of a label: of all answers with this label, the share that is right. Recall of a label: of all "
        "examples with this label, the share that is found. F1 is one number for both (their harmonic mean).",
    ),
    GlossaryEntry("f2", "F2", "Like F1, but a missed span costs more than a wrong one."),
    GlossaryEntry(
        "gate",
        "gate",
        "The minimum quality that the spec requires, for example a recall of 80% for one label. A contender passes the "
        "gate when every requirement is proven on the test set. A measured value above the requirement is not enough.",
    ),
    GlossaryEntry(
        "group",
        "group",
        "Examples that belong together, for example messages of one customer, and near-duplicates. A group is never "
        "divided between training and test.",
    ),
    GlossaryEntry("ladder", "ladder", "All contenders of the run, the simplest first."),
    GlossaryEntry(
        "latency",
        "ms per text (p50, p95)",
        "The time for one answer in milliseconds, one text at a time. p50: half of the answers are faster. p95: 95% "
        "of the answers are faster.",
    ),
    GlossaryEntry(
        "leaks",
        "leaks",
        "Of the characters that should be found (for example personal data), the share that is missed.",
    ),
    GlossaryEntry(
        "log-loss",
        "log-loss",
        "How far the probabilities are from the right answers. A wrong answer with high confidence costs most. Lower "
        "is better; 0 is perfect.",
    ),
    GlossaryEntry(
        "macro-f1",
        "macro-F1",
        "The F1 of each label, averaged over labels. A rare label counts as much as a common one.",
    ),
    GlossaryEntry(
        "majority",
        "majority",
        "The simplest contender: it always gives the most common answer of the training data. A contender that is not "
        "better has learnt nothing.",
    ),
    GlossaryEntry(
        "p-value",
        "p-value (McNemar, bootstrap, Holm)",
        "How likely a difference of this size is when the two contenders are equally good. A small p-value, for "
        "example 0.01, means: probably not chance. McNemar and bootstrap are two tests; Holm corrects for the number "
        "of comparisons.",
    ),
    GlossaryEntry(
        "point", "point", "A difference between two percentages. From 80% to 81% is one point (percentage point)."
    ),
    GlossaryEntry(
        "seed",
        "seed",
        "The start value of the random numbers in training. Several seeds show how much a score depends on chance.",
    ),
    GlossaryEntry(
        "sets",
        "training, validation, calibration and test set",
        "The parts of the data. Contenders learn from the training set. The validation set decides which one is "
        "recommended. The calibration set, where there is one, fits the confidence and the thresholds. The test set "
        "is only used at the end, to measure.",
    ),
    GlossaryEntry(
        "ships",
        "the fit that ships",
        "A contender is trained once for each seed. The fit with the best validation score ships: it is the one that "
        "is served and exported.",
    ),
    GlossaryEntry(
        "span-f1",
        "strict, exact, partial, type and token F1",
        "F1 of marked spans. Strict: the position and the label are right. Exact: the position is right. Partial: the "
        "spans overlap. Type: the spans overlap and the label is right. Token: each word counts alone.",
    ),
    GlossaryEntry(
        "trained",
        "trained parameters",
        "How many numbers of the model training changed. k: thousand, M: million.",
    ),
)
TERM_OF_COLUMN: Mapping[str, str] = {
    "name": "contender",
    "macro_f1": "macro-f1",
    "f2": "f2",
    "leak_rate": "leaks",
    "surprise": "log-loss",
    "against": "point",
    "p50": "latency",
    "trained": "trained",
    "gate": "gate",
}
TERM_OF_SCORE: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro-f1",
    "f2": "f2",
    **dict.fromkeys(SPAN_SCORES, "span-f1"),
}


def build_glossary(ladder: Mapping[str, Any]) -> Sequence[GlossaryEntry]:
    """The terms of this report in alphabetical order, with the run's own margin and confidence."""
    scores = {name for row in ladder["contenders"] for name in row.get("metrics", ())}
    absent = {
        "f2": "f2" not in scores,
        "leaks": "leak_rate" not in scores,
        "log-loss": "log_loss" not in scores,
        "macro-f1": "macro_f1" not in scores,
        "accuracy": "accuracy" not in scores,
        "span-f1": not scores & set(SPAN_SCORES),
    }
    evidence = ladder["evidence"]
    entries = [
        *(one for one in ENTRIES if not absent.get(one.id)),
        GlossaryEntry(
            "interval",
            "confidence interval",
            f"The range, in brackets, that contains the true score with {format_confidence(evidence['confidence'])} "
            "confidence. The test set is a sample, so the measured score has an error. A larger test set gives a "
            "smaller range.",
        ),
        GlossaryEntry(
            "margin",
            "margin (non-inferiority margin)",
            "How much worse a simpler contender may be and still count as equally good. In this run: "
            f"{format_points(evidence['margin'])}.",
        ),
    ]
    return sorted(entries, key=lambda one: one.term.casefold())


def find_term(key: str, headline: str) -> str:
    """The glossary's id for a column of the ladder; empty where it has none."""
    return TERM_OF_SCORE.get(headline, "") if key == "headline" else TERM_OF_COLUMN.get(key, "")
