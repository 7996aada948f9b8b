"""`loratory stress`, and the part of a run that `stress:` asks for."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.files import write_json
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import digest_of, open_artifact, read_manifest
from loratory.data import ledger
from loratory.data.store import digest
from loratory.data.twins import check, twin
from loratory.errors import SpecError
from loratory.evaluation.stress import FORMAT, Pair, under, worst_first
from loratory.flows.bench import Bench, Fitted
from loratory.flows.evaluate import examples_of, note_read
from loratory.flows.listening import Listener
from loratory.flows.opening import open_predictor
from loratory.flows.preparing import reread
from loratory.flows.specs import parser_of
from loratory.models.execution import run_here
from loratory.predictors import store
from loratory.protocols import Example, Outcome, Predictor, answer
from loratory.specs.evidence import EvidenceSpec
from loratory.specs.frame import Spec, parse
from loratory.specs.overrides import overridden
from loratory.specs.reading import load_yaml
from loratory.specs.stress import StressSpec

STRESS = "stress.json"


@dataclass(frozen=True)
class Asked:
    """What is done, and to which texts; `data` names them where they are not a part of the run."""

    spec: StressSpec
    evidence: EvidenceSpec
    examples: Sequence[Example]
    data: str | None = None

    def facts(self) -> dict[str, Any]:
        """What the figures depend on beside the fit."""
        where = {"data": self.data} if self.data else {"part": self.spec.part}
        return {
            **where,
            "digest": digest(self.examples),
            "confidence": self.evidence.confidence,
            "resamples": self.evidence.resamples,
            "spec": self.spec.model_dump(mode="json"),
        }


# ---- in a run
def asked_of(bench: Bench) -> Asked | None:
    """What a run's spec asks for."""
    if (spec := bench.spec.stress) is None:
        return None
    return Asked(spec, bench.spec.evidence, dict(bench.split.parts.items())[spec.part])


def waiting(bench: Bench, fitted: Mapping[str, Fitted], file: Path) -> list[str]:
    """Contenders whose shipped fit has not been under this stress."""
    asked = asked_of(bench)
    return [name for name, one in fitted.items() if not _known(asked, one, file)] if asked else []


def stress_one(bench: Bench, fitted: Fitted, file: Path) -> None:
    """Put the fit of a contender that ships under the spec's stress, and write it down."""
    asked = asked_of(bench)
    assert asked is not None
    folder = fitted.folders[fitted.shipped]
    made = entry(fitted.contender.name, store.read(folder, bench.pool), asked)
    with held(file):
        keep(file, bench.spec.name, {**made, "key": key_of(asked, folder)})


def look(bench: Bench, fitted: Fitted) -> str:
    """A name for what the spec's stress of a contender looks at: the fit, by all that decided it, and what is done."""
    asked = asked_of(bench)
    manifest = read_manifest(fitted.folders[fitted.shipped]) or {}
    return digest_of({"fit": manifest.get("identity"), **(asked.facts() if asked else {})})[:16]


def known(bench: Bench, fitted: Fitted, file: Path) -> tuple[dict[str, Any], ...]:
    """What is on disk about the fit that ships under the spec's stress, worst first."""
    asked = asked_of(bench)
    found = _known(asked, fitted, file) if asked else None
    return tuple(found["perturbations"]) if found else ()


def _known(asked: Asked | None, fitted: Fitted, file: Path) -> dict[str, Any] | None:
    if asked is None:
        return None
    key = key_of(asked, fitted.folders[fitted.shipped])
    return next((one for one in read(file) if one.get("key") == key), None)


def key_of(asked: Asked, folder: Path) -> str:
    """Digest of the fit and of all that was done to its texts."""
    manifest = read_manifest(folder) or {"files": {}}
    return digest_of({"fit": manifest["files"].get("fit.json"), **asked.facts()})


# ---- by hand
@dataclass(frozen=True)
class Given:
    """What a person asks for on the command line."""

    contender: str | None = None
    data: str | None = None
    columns: Sequence[str] = ()
    changes: Sequence[str] = ()  # --set stress.KEY=VALUE


def by_hand(where: Path, given: Given, listen: Listener) -> dict[str, Any]:
    """One contender under stress. On a part of its own run it is kept in the run's stress.json."""
    spec, stress = _specs(where, given.changes)
    predictor, folder = open_predictor(where, given.contender)
    check(predictor.task)
    if given.data is not None:
        examples = examples_of(predictor.task, given.data, given.columns)
        name = given.contender or folder.parent.name
        note(folder, f"stress: {name} on {given.data}", predictor, examples)
        return entry(name, predictor, Asked(stress, spec.evidence if spec else EvidenceSpec(), examples, given.data))
    if spec is None:
        raise SpecError(
            "this is a fit by itself, which holds no texts",
            where=str(where),
            remedy="name its run instead, or give labelled examples with --data",
        )
    split = reread(spec, open_artifact(where / "data"))
    asked = Asked(stress, spec.evidence, dict(split.parts.items())[stress.part])
    if stress.part == "test":
        note(folder, f"stress: {folder.parent.name}", predictor, asked.examples)
    listen("stage", {"text": f"answering {stress.part} texts, as they are and perturbed: {folder.parent.name}"})
    made = entry(folder.parent.name, predictor, asked)
    with held(where / STRESS):  # of two that write to it, both entries stay
        keep(where / STRESS, spec.name, {**made, "key": key_of(asked, folder)})
    return made


def note(folder: Path, purpose: str, predictor: Predictor, examples: Sequence[Example]) -> None:
    """Every stress by hand is a reading of its own."""
    look = ledger.Look(folder.parent.name, str(folder.resolve()), purpose)
    note_read(look, predictor.task, examples)


def _specs(where: Path, changes: Sequence[str]) -> tuple[Spec | None, StressSpec]:
    """The spec of a run, None of a fit; and its stress with the changes. Raises SpecError."""
    file = where / "spec.lock.yaml"
    values, lines = load_yaml(file) if file.is_file() else ({}, {})
    changed, by = overridden({"stress": values.get("stress") or {}}, changes)
    parser = parser_of(file, lines, by)
    parser.known(changed, ("stress",), ())
    stress = parser.model(StressSpec, changed["stress"], ("stress",))
    return parse(values, parser_of(file, lines), where) if values else None, stress


# ---- both
def entry(name: str, predictor: Predictor, asked: Asked) -> dict[str, Any]:
    """A contender under stress, as it stands in stress.json."""
    return {"name": name, **asked.facts(), **under_stress(predictor, asked)}


def under_stress(predictor: Predictor, asked: Asked) -> dict[str, Any]:
    """Answers to the texts as they are, and to their twins of each perturbation; what cannot change is left out."""
    task, spec = predictor.task, asked.spec
    examples = drawn(asked.examples, spec)
    before = answer(predictor, examples, run_here)
    rows = []
    for name, perturbation in spec.perturbations().items():
        twins = {i: made for i, one in enumerate(examples) if (made := twin(task, one, perturbation, spec.seed))}
        after = answer(predictor, list(twins.values()), run_here) if twins else Outcome((), (), ())
        counts = {"texts": len(twins), "left_as_they_are": len(examples) - len(twins)}
        found = under(task, Pair(_some(before, list(twins)), after), asked.evidence, spec.examples)
        rows.append({"name": name, "options": perturbation.model_dump(mode="json"), **counts, **found})
    return {"texts": len(examples), "perturbations": worst_first(rows)}


def drawn(examples: Sequence[Example], spec: StressSpec) -> list[Example]:
    """So many examples as are asked for, in their order."""
    if len(examples) <= spec.texts:
        return list(examples)
    return [examples[i] for i in sorted(random.Random(spec.seed).sample(range(len(examples)), spec.texts))]


def _some(outcome: Outcome, rows: Sequence[int]) -> Outcome:
    return Outcome(
        [outcome.examples[i] for i in rows],
        [outcome.predictions[i] for i in rows],
        [outcome.marks[i] for i in rows],
    )


def read(file: Path) -> list[dict[str, Any]]:
    """The contenders in stress.json; none where there is no such file, or it is damaged."""
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["contenders"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def keep(file: Path, name: str, made: Mapping[str, Any]) -> None:
    """Put a contender's entry in the place of its older one; what other settings gave stays."""
    same = ("name", "part", "digest", "confidence", "resamples", "spec")
    others = [one for one in read(file) if any(one.get(key) != made.get(key) for key in same)]
    write_json(file, {"format": FORMAT, "name": name, "contenders": [*others, made]})
