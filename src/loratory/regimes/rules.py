"""`rules`: keywords and patterns from the spec, and phrases mined from train."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import regex
from pydantic import Field, field_validator

from loratory.errors import SpecError, suggest_nearest
from loratory.predictors.label_rules import LabelRule, LabelRules
from loratory.predictors.linear import word_ngrams
from loratory.predictors.span_rules import SpanRule, SpanRules
from loratory.protocols import (
    Backbone,
    FitContext,
    Labelled,
    Predictor,
    RegimeOptions,
    Spanned,
    Start,
    StartKind,
    Task,
    TrainSet,
)
from loratory.regimes.compatibility import check_support
from loratory.regimes.span_rule_mining import ValidatorName, compute_precision, mine_phrases, select_by_precision


class Rules(RegimeOptions):
    """The first rule that matches gives the answer. Its probabilities are the label shares of the training texts that
    it matches.
    """

    patterns: dict[str, list[str]] = Field(
        default_factory=dict, description="Label -> regular expressions. They are tried first."
    )
    validators: Literal["auto"] | dict[ValidatorName, str] = Field(
        "auto",
        description="For spans, tried second: validator (card, iban and so on) -> label. auto: those that are precise "
        "on the training split.",
    )
    keywords: dict[str, list[str]] = Field(
        default_factory=dict, description="Label -> words or phrases. They are tried third."
    )
    mined: int = Field(
        20,
        ge=0,
        le=500,
        description="Maximum number of phrases (up to three words) mined from the training split for each label. 0: "
        "only your own rules.",
    )
    precision: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Minimum precision of a mined phrase: share of its texts that have its label. Raise it for fewer, "
        "safer rules.",
    )

    @field_validator("patterns")
    @classmethod
    def _check_patterns(cls, patterns: dict[str, list[str]]) -> dict[str, list[str]]:
        for label, listed in patterns.items():
            for pattern in listed:
                try:
                    regex.compile(pattern)
                except regex.error as problem:
                    raise ValueError(f"{label}: {pattern!r} is no regular expression: {problem}") from None
        return patterns

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_support("rules", task, start, self.starts, (Labelled, Spanned))

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "label_rules" if isinstance(task, Labelled) else "span_rules"

    def check_backbone(self, task: Task, backbone: Backbone | None, context: FitContext) -> None:
        if isinstance(task, Labelled) and self.validators not in ("auto", {}):
            raise _build_spans_required_error()

    def check_examples(
        self, task: Labelled | Spanned, train_set: TrainSet, backbone: Backbone | None, context: FitContext
    ) -> None:
        self.check_labels((task.labels or ()) if isinstance(task, Labelled) else task.span_labels)

    def fit(self, task: Labelled | Spanned, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        make = next(make for capability, make in FIT_BY_CAPABILITY if isinstance(task, capability))
        return make(self, task, train_set)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Raise SpecError where an option names a label that is none of these."""
        mapped = () if self.validators == "auto" else self.validators.values()
        for label in (*self.patterns, *self.keywords, *mapped):
            if label not in labels:
                raise SpecError(
                    f"{label!r} is no label{suggest_nearest(label, labels)}", where="rules", allowed=", ".join(labels)
                )


def _build_spans_required_error() -> SpecError:
    return SpecError(
        "validators find spans, and this task's answer is one label",
        where="rules: validators",
        remedy="take it out, or give patterns",
    )


def fit_label_rules(options: Rules, task: Labelled, train_set: TrainSet) -> LabelRules:
    """The user's rules, then what is mined, each with the label odds on train."""
    if options.validators not in ("auto", {}):
        raise _build_spans_required_error()
    options.check_labels(task.labels or ())
    texts = [task.text(e.input) for e in train_set.train]
    labels = [task.label_of(e.answer) for e in train_set.train]
    own = [LabelRule(label, p, "pattern") for label, listed in options.patterns.items() for p in listed]
    own += [LabelRule(label, k, "keyword") for label, listed in options.keywords.items() for k in listed]
    rules = (*own, *mine_label_phrases(texts, labels, options.mined, options.precision))
    return LabelRules(task, rules, estimate_probabilities(LabelRules(task, rules, ()), texts, labels))


def fit_span_rules(options: Rules, task: Spanned, train_set: TrainSet) -> SpanRules:
    """The user's rules, then validators, then the wordings of spans in train."""
    options.check_labels(task.span_labels)
    marked = [(task.text(e.input), task.spans_of(e.answer)) for e in train_set.train]
    own = [SpanRule(label, "pattern", (p,)) for label, listed in options.patterns.items() for p in listed]
    own = [replace(finder, precision=compute_precision(finder, marked)) for finder in own]
    own += select_by_precision(options.validators, marked, options.precision)
    spoken = [SpanRule(label, "keyword", tuple(listed)) for label, listed in options.keywords.items() if listed]
    own += [replace(finder, precision=compute_precision(finder, marked)) for finder in spoken]
    return SpanRules(task, (*own, *mine_phrases(marked, options.mined, options.precision)))


FIT_BY_CAPABILITY: tuple[
    tuple[Any, Callable[[Rules, Any, TrainSet], Predictor]], ...
] = (  # by what the task's answer is
    (Labelled, fit_label_rules),
    (Spanned, fit_span_rules),
)


def estimate_probabilities(
    rules: LabelRules, texts: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, float], ...]:
    """For each rule, and for none, the label shares on train, smoothed by one text that is divided as all of train is.

    A rule speaks for its label like one more text, so that one which train never met still answers with it.
    """
    known = rules.task.labels or ()
    counts: list[Counter[str]] = [Counter() for _ in range(len(rules.rules) + 1)]
    for text, label in zip(texts, labels, strict=True):
        counts[rules.find_first_match(text)][label] += 1
    for rule, count in zip(rules.rules, counts, strict=False):
        count[rule.label] += 1
    shares = Counter(labels)
    prior = {label: (shares[label] + 0.5) / (len(labels) + 0.5 * len(known)) for label in known}
    return tuple({label: (c[label] + prior[label]) / (c.total() + 1) for label in known} for c in counts)


def mine_label_phrases(
    texts: Sequence[str], labels: Sequence[str], max_phrases: int, precision: float
) -> list[LabelRule]:
    """Phrases that nearly always mean one label, chosen greedily by how many texts not yet covered they explain."""
    seen: dict[str, set[int]] = defaultdict(set)
    for i, text in enumerate(texts):
        for phrase in set(word_ngrams(text, 1, 3)):
            seen[phrase].add(i)
    least = 2 if len(texts) < 500 else 3
    candidates: dict[str, list[tuple[str, set[int], float]]] = defaultdict(list)
    for phrase, where in seen.items():
        if len(where) < least:
            continue
        label, hits = Counter(labels[i] for i in where).most_common(1)[0]
        if (sure := hits / len(where)) >= precision:
            candidates[label].append((phrase, {i for i in where if labels[i] == label}, sure))
    chosen = [
        (sure, len(right), phrase, label)
        for label in sorted(candidates)
        for phrase, right, sure in _select_greedily(candidates[label], max_phrases)
    ]
    chosen.sort(key=lambda c: (-c[0], -c[1], c[2]))
    return [LabelRule(label, phrase, "mined") for _, _, phrase, label in chosen]


def _select_greedily(
    candidates: list[tuple[str, set[int], float]], max_phrases: int
) -> list[tuple[str, set[int], float]]:
    covered: set[int] = set()
    chosen: list[tuple[str, set[int], float]] = []
    pool = sorted(candidates, key=lambda c: (-len(c[1]), c[0]))[:2000]
    while pool and len(chosen) < max_phrases:
        best = max(pool, key=lambda c: (len(c[1] - covered) * c[2], len(c[1])))
        if not best[1] - covered:
            break
        chosen.append(best)
        covered |= best[1]
        pool.remove(best)
    return chosen
