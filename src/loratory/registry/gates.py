"""What a promotion asks for, computed from the rows that a release keeps; no verdict is taken from whoever asks.

The gate of the spec is held against the shipped fits' rows as in a run. A release that is to be champion is compared
with the champion, too, on the texts that both answered in their tests: paired, and not worse than the margin allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.artifacts.manifests import digest_of
from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.gate import check_gate, evaluate_all_gates
from loratory.evaluation.statistics.comparison_set import build_comparison_set, find_best
from loratory.evaluation.statistics.comparisons import pair_contenders
from loratory.protocols import JSON, ParameterCount, ScoredPredictions, Task
from loratory.registry.evidence_rows import pair_rows, read_results
from loratory.registry.object_store import ObjectStore
from loratory.registry.releases import Release
from loratory.specs.evidence import EvidenceSpec, GateSpec

MIN_COMMON_TEXTS = 30  # texts that both releases answered, below which they are not compared
RELEASE, CHAMPION = "release", "champion"


@dataclass(frozen=True)
class GateLine:
    """One demand: what, what was measured, and whether it holds. `says` is the same for a person."""

    what: str
    required: JSON
    value: float | None
    bound: float | None
    holds: bool
    says: str


@dataclass(frozen=True)
class GateOutcome:
    """All demands of one promotion. `evidence` is the digest of the release and of what it was compared with."""

    lines: tuple[GateLine, ...]
    evidence: str

    @property
    def holds(self) -> bool:
        """Whether every demand is met."""
        return all(line.holds for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"holds": self.holds, "evidence": self.evidence, "lines": [vars(line) for line in self.lines]}


def evaluate_release(store: ObjectStore, task: Task, release: Release, champion: Release | None) -> GateOutcome:
    """The demands on a release, beside the champion if there is one.

    Raises ArtifactError where rows are missing or were changed: nothing is promoted on evidence that is not there.
    """
    facts = release.contents.facts
    results = read_results(store, release.contents.evidence, facts)
    if not any(one.name == facts["contender"] for one in results):
        said = f"{release.reference} was registered without evidence: a model is promoted only by answers to a test set"
        return GateOutcome((GateLine("evidence", None, None, None, False, said),), digest_of([release.digest]))
    gate, evidence = GateSpec.model_validate(facts["gate"] or {}), EvidenceSpec.model_validate(facts["evidence"] or {})
    lines = _evaluate_spec_gate(task, results, gate, evidence, str(facts["contender"]))
    if champion is not None and champion.version != release.version:
        lines.append(_compare_with_champion(store, task, release, champion, evidence))
    covered = [release.digest, champion.digest if champion else None]
    return GateOutcome(tuple(lines), digest_of(covered))


def _evaluate_spec_gate(
    task: Task, results: Sequence[ContenderResult], gate: GateSpec, evidence: EvidenceSpec, contender: str
) -> list[GateLine]:
    labels = getattr(task, "labels", None)
    stressed = sorted({str(row["name"]) for one in results for row in one.stress_rows})
    check_gate(gate, labels, [one.name for one in results], stressed)
    comparison_set = build_comparison_set(task, results, evidence)
    checks = evaluate_all_gates(gate, comparison_set, find_best(comparison_set.ranks))[contender]["checks"]
    return [
        GateLine(
            str(one["what"]),
            one.get("at_least", one.get("at_most")),
            one.get("value"),
            one.get("bound"),
            bool(one["holds"]),
            str(one["says"]),
        )
        for one in checks
    ]


def _compare_with_champion(
    store: ObjectStore, task: Task, release: Release, champion: Release, evidence: EvidenceSpec
) -> GateLine:
    """The headline score on the test texts of both; the margin is that of the release's spec."""
    what = f"not_worse_than/{champion.reference}"
    mine, theirs = (_read_test_rows(store, one) for one in (release, champion))
    ours, others = pair_rows(mine, theirs)
    if len(ours.examples) < MIN_COMMON_TEXTS:
        said = (
            f"{release.reference} and the champion {champion.reference} share {len(ours.examples)} test texts; "
            f"at least {MIN_COMMON_TEXTS} are needed to compare them"
        )
        return GateLine(what, -evidence.margin, None, None, False, said)
    comparison_set = build_comparison_set(task, [_as_result(CHAMPION, others), _as_result(RELEASE, ours)], evidence)
    champion_rank, rank = comparison_set.ranks
    found = pair_contenders(comparison_set, rank, champion_rank)
    bound = float(found.interval(2 * evidence.confidence - 1)[0])
    holds = bound >= -evidence.margin
    said = (
        f"{task.headline} is {100 * found.difference:+.1f} points against the champion {champion.reference} on "
        f"{len(ours.examples)} texts of both tests; with {evidence.confidence:.0%} confidence at least "
        f"{100 * bound:+.1f}, {'and' if holds else 'but'} {-100 * evidence.margin:+.1f} is required"
    )
    return GateLine(what, -evidence.margin, float(found.difference), bound, holds, said)


def _read_test_rows(store: ObjectStore, release: Release) -> ScoredPredictions:
    facts: Mapping[str, JSON] = release.contents.facts
    rows = read_results(store, release.contents.evidence, facts)
    return next(one for one in rows if one.name == facts["contender"]).shipped_fit.test


def _as_result(name: str, rows: ScoredPredictions) -> ContenderResult:
    fit = Fit(0, rows, rows, 0.0)
    return ContenderResult(name, "", None, False, (fit,), 0, ParameterCount(0, 0), 0, {})
