"""`loratory stress`, and the part of a run that `stress:` asks for."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_json
from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import digest_of, open_artifact, read_manifest
from loratory.backbones.forward.execution import run_locally
from loratory.data.dataset import Dataset
from loratory.data.quality.paired_texts import perturb_example, require_comparable
from loratory.data.split_files import digest_examples
from loratory.data.splitting import ledger
from loratory.errors import SpecError
from loratory.evaluation.stress_test import STRESS_FORMAT, PerturbedOutcomes, measure_perturbation, sort_worst_first
from loratory.experiment.artifact_lookup import open_predictor
from loratory.experiment.inference.evaluate_on_data import read_labelled_examples, record_test_read
from loratory.experiment.prepare import load_prepared
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.experiment.spec_loading import make_parser
from loratory.predictors import predictor_files
from loratory.protocols import Example, Predictor, ScoredPredictions, predict_and_score
from loratory.protocols.events import EventListener, StageStarted
from loratory.specs.evidence import EvidenceSpec
from loratory.specs.overrides import apply_overrides
from loratory.specs.spec import Spec, parse_spec
from loratory.specs.stress import StressSpec
from loratory.specs.yaml_files import load_yaml

STRESS_FILE = "stress.json"


@dataclass(frozen=True)
class StressRequest:
    """What is done, and to which texts; `data` names them where they are not a part of the run."""

    spec: StressSpec
    evidence: EvidenceSpec
    examples: Sequence[Example]
    data: str | None = None

    def to_facts(self) -> dict[str, Any]:
        """What the figures depend on beside the fit."""
        where = {"data": self.data} if self.data else {"part": self.spec.part}
        return {
            **where,
            "digest": digest_examples(self.examples),
            "confidence": self.evidence.confidence,
            "resamples": self.evidence.resamples,
            "spec": self.spec.model_dump(mode="json"),
        }


# ---- in a run
def stress_request_of(context: RunContext) -> StressRequest | None:
    """What a run's spec asks for."""
    if (spec := context.spec.stress) is None:
        return None
    return StressRequest(spec, context.spec.evidence, dict(context.split.parts.items())[spec.part])


def list_unstressed(context: RunContext, fitted: Mapping[str, FittedContender], file: Path) -> list[str]:
    """Contenders whose shipped fit has not been under this stress."""
    asked = stress_request_of(context)
    return [name for name, one in fitted.items() if not _find_entry(asked, one, file)] if asked else []


def stress_contender(context: RunContext, fitted: FittedContender, file: Path) -> None:
    """Put the fit of a contender that ships under the spec's stress, and write it down."""
    asked = stress_request_of(context)
    assert asked is not None
    folder = fitted.folders[fitted.shipped_seed]
    made = make_entry(fitted.contender.name, predictor_files.load_predictor(folder, context.pool), asked)
    with hold_lock(file):
        replace_entry(file, context.spec.name, {**made, "key": stress_key(asked, folder)})


def name_test_read(context: RunContext, fitted: FittedContender) -> str:
    """A name for what the spec's stress of a contender looks at: the fit, by all that decided it, and what is done."""
    asked = stress_request_of(context)
    manifest = read_manifest(fitted.folders[fitted.shipped_seed]) or {}
    return digest_of({"fit": manifest.get("identity"), **(asked.to_facts() if asked else {})})[:16]


def read_stress_results(context: RunContext, fitted: FittedContender, file: Path) -> tuple[dict[str, Any], ...]:
    """What is on disk about the fit that ships under the spec's stress, worst first."""
    asked = stress_request_of(context)
    found = _find_entry(asked, fitted, file) if asked else None
    return tuple(found["perturbations"]) if found else ()


def _find_entry(request: StressRequest | None, fitted: FittedContender, file: Path) -> dict[str, Any] | None:
    if request is None:
        return None
    key = stress_key(request, fitted.folders[fitted.shipped_seed])
    return next((one for one in read_stress_file(file) if one.get("key") == key), None)


def stress_key(request: StressRequest, folder: Path) -> str:
    """Digest of the fit and of all that was done to its texts."""
    manifest = read_manifest(folder) or {"files": {}}
    return digest_of({"fit": manifest["files"].get("fit.json"), **request.to_facts()})


# ---- by hand
@dataclass(frozen=True)
class StressArguments:
    """What a person asks for on the command line."""

    contender: str | None = None
    data: str | None = None
    columns: Sequence[str] = ()
    overrides: Sequence[str] = ()  # --set stress.KEY=VALUE


def stress_predictor(source: Path, arguments: StressArguments, on_event: EventListener) -> dict[str, Any]:
    """One contender under stress. On a part of its own run it is kept in the run's stress.json."""
    spec, stress = _read_specs(source, arguments.overrides)
    predictor, folder = open_predictor(source, arguments.contender)
    require_comparable(predictor.task)
    if arguments.data is not None:
        examples = read_labelled_examples(predictor.task, arguments.data, arguments.columns)
        name = arguments.contender or folder.parent.name
        record_stress_read(folder, f"stress: {name} on {arguments.data}", predictor, examples)
        return make_entry(
            name, predictor, StressRequest(stress, spec.evidence if spec else EvidenceSpec(), examples, arguments.data)
        )
    if spec is None:
        raise SpecError(
            "this is a fit by itself, which holds no texts",
            where=str(source),
            remedy="name its run instead, or give labelled examples with --data",
        )
    split = load_prepared(spec, open_artifact(source / "data"))
    asked = StressRequest(stress, spec.evidence, dict(split.parts.items())[stress.part])
    if stress.part == "test":
        record_stress_read(folder, f"stress: {folder.parent.name}", predictor, asked.examples)
    on_event(StageStarted(f"answering {stress.part} texts, as they are and perturbed: {folder.parent.name}"))
    made = make_entry(folder.parent.name, predictor, asked)
    with hold_lock(source / STRESS_FILE):  # of two that write to it, both entries stay
        replace_entry(source / STRESS_FILE, spec.name, {**made, "key": stress_key(asked, folder)})
    return made


def record_stress_read(folder: Path, purpose: str, predictor: Predictor, examples: Sequence[Example]) -> None:
    """Every stress by hand is a reading of its own."""
    look = ledger.TestReader(folder.parent.name, str(folder.resolve()), purpose)
    record_test_read(look, Dataset.of(predictor.task, examples))


def _read_specs(source: Path, overrides: Sequence[str]) -> tuple[Spec | None, StressSpec]:
    """The spec of a run, None of a fit; and its stress with the changes. Raises SpecError."""
    file = source / "spec.lock.yaml"
    values, lines = load_yaml(file) if file.is_file() else ({}, {})
    changed, by = apply_overrides({"stress": values.get("stress") or {}}, overrides)
    parser = make_parser(file, lines, by)
    parser.check_keys(changed, ("stress",), ())
    stress = parser.validate_model(StressSpec, changed["stress"], ("stress",))
    return parse_spec(values, make_parser(file, lines), source) if values else None, stress


# ---- both
def make_entry(name: str, predictor: Predictor, request: StressRequest) -> dict[str, Any]:
    """A contender under stress, as it stands in stress.json."""
    return {"name": name, **request.to_facts(), **measure_under_stress(predictor, request)}


def measure_under_stress(predictor: Predictor, request: StressRequest) -> dict[str, Any]:
    """Answers to the texts as they are, and to their twins of each perturbation; what cannot change is left out."""
    task, spec = predictor.task, request.spec
    examples = sample_examples(request.examples, spec)
    before = predict_and_score(predictor, examples, run_locally)
    rows = []
    for name, perturbation in spec.build_perturbations().items():
        twins = {
            i: made for i, one in enumerate(examples) if (made := perturb_example(task, one, perturbation, spec.seed))
        }
        after = (
            predict_and_score(predictor, list(twins.values()), run_locally) if twins else ScoredPredictions((), (), ())
        )
        counts = {"texts": len(twins), "left_as_they_are": len(examples) - len(twins)}
        found = measure_perturbation(
            task, PerturbedOutcomes(_select_rows(before, list(twins)), after), request.evidence, spec.examples
        )
        rows.append({"name": name, "options": perturbation.model_dump(mode="json"), **counts, **found})
    return {"texts": len(examples), "perturbations": sort_worst_first(rows)}


def sample_examples(examples: Sequence[Example], spec: StressSpec) -> list[Example]:
    """So many examples as are asked for, in their order."""
    if len(examples) <= spec.texts:
        return list(examples)
    return [examples[i] for i in sorted(random.Random(spec.seed).sample(range(len(examples)), spec.texts))]


def _select_rows(outcome: ScoredPredictions, rows: Sequence[int]) -> ScoredPredictions:
    return ScoredPredictions(
        [outcome.examples[i] for i in rows],
        [outcome.predictions[i] for i in rows],
        [outcome.counts[i] for i in rows],
    )


def read_stress_file(file: Path) -> list[dict[str, Any]]:
    """The contenders in stress.json; none where there is no such file, or it is damaged."""
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["contenders"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def replace_entry(file: Path, name: str, made: Mapping[str, Any]) -> None:
    """Put a contender's entry in the place of its older one; what other settings gave stays."""
    same = ("name", "part", "digest", "confidence", "resamples", "spec")
    others = [one for one in read_stress_file(file) if any(one.get(key) != made.get(key) for key in same)]
    write_json(file, {"format": STRESS_FORMAT, "name": name, "contenders": [*others, made]})
