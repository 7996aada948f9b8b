"""What all fits of a run share, and what decides whether a fit is the same fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.manifests import digest_of, hash_file, open_artifact, read_manifest
from loratory.backbones.forward.activation_cache import ActivationCache
from loratory.backbones.loading.bases import Base, resolve_base
from loratory.backbones.pool import TorchBackbonePool
from loratory.data.split_files import digest_examples, digest_groups, digest_training_order
from loratory.errors import TrainingDiverged, UnsupportedTask, is_own_module
from loratory.evaluation.prediction_rows import read_predictions
from loratory.experiment.prepare import PreparedSplit
from loratory.protocols import ScoredPredictions, TrainSet, list_files
from loratory.protocols.events import EventListener
from loratory.specs.spec import Contender, Spec, list_starts
from loratory.specs.training import TrainingSpec


@dataclass(frozen=True)
class RunContext:
    """What all fits of a run share. `bases` remembers what was resolved: its digest is read from gigabytes. `fitted`
    holds the contenders that are fitted so far, by name: what others start from.
    """

    spec: Spec
    split: PreparedSplit
    folder: Path  # runs/<name>/contenders
    pool: TorchBackbonePool
    activation_cache: ActivationCache
    on_event: EventListener
    should_stop: Callable[[], bool]
    training: TrainingSpec  # the spec's, with every `auto` settled for this machine
    device: str = "cpu"
    bases: dict[str, Base] = field(default_factory=dict)
    fitted: dict[str, FittedContender] = field(default_factory=dict)

    @property
    def train_set(self) -> TrainSet:
        return TrainSet(self.split.parts.train, self.split.parts.validation)

    def resolve_base(self, name: str) -> Base:
        """A base on disk, its weights not loaded."""
        if name not in self.bases:
            self.bases[name] = resolve_base(name)
        return self.bases[name]


@dataclass(frozen=True)
class FittedContender:
    """A contender's fits on disk."""

    contender: Contender
    folders: Mapping[int, Path]  # seed number -> artifact
    shipped_seed: int
    trials: list[dict[str, Any]] = field(default_factory=list)


def _operating_identity(context: RunContext) -> dict[str, Any]:
    """What decides an operating point beside the fit: its options, the calibration part, texts out of scope.

    Files count by what they hold, and those under `abstain: test` not at all: they are measured and choose nothing.
    """
    spec, examples = context.spec.operating, context.split.parts.calibration
    if spec is None:
        return {}
    outside = spec.abstain.out_of_scope if spec.abstain else None
    return {
        "operating": spec.model_dump(exclude={"abstain": {"out_of_scope", "test"}}),
        "outside": hash_file(context.spec.folder / Path(outside).expanduser()) if outside else None,
        "calibration": [digest_examples(examples), digest_groups(examples)],  # a bound is of groups
    }


def fit_identity(context: RunContext, contender: Contender, seed: int) -> str:
    """Digest of all that decides a fit: task, train set, base, regime and options, budget, seed, code.

    Seed 0 stands for the contender as a whole, with its trials and seeds. Train counts with its order and weights,
    since batches go by them; validation as a set, since only its scores are looked at.
    """
    spec, parts = context.spec, context.split.parts
    free = {"checkpoint_seconds", "threads", "gradient_checkpointing", "racing", "seeds"} | (
        {"trials"} if seed else set()
    )
    files = {name: hash_file(Path(file)) for name, file in list_files(contender.options).items()}
    options = contender.options.model_dump()
    return digest_of(
        {
            "task": context.split.task.model_dump(),
            "train": digest_training_order(parts.train),
            "validation": digest_examples(parts.validation),
            "base": context.resolve_base(contender.base).digest if contender.base else None,
            "regime": contender.regime,
            "options": {name: value for name, value in options.items() if name not in files},
            "seed": seed,
            "training": spec.training.model_dump(exclude=free),
            "code": __version__,
        }
        | ({"extension": code} if (code := digest_extension(type(contender.options))) else {})
        | ({"files": files} if files else {})
        | ({"start": _digest_start(context, contender.start, seed)} if contender.start else {})
        | _operating_identity(context)
    )


def digest_extension(owner: type) -> str | None:
    """SHA-256 of the file of a class that is not ours, since another code is another fit; None for ours."""
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    return None if is_own_module(owner.__module__) or not file else hash_file(Path(file))


def find_start_fit(context: RunContext, start: str, seed: int) -> Path:
    """The fit that a contender's fit with this seed starts from: that of the same seed, or the only one.

    Raises UnsupportedTask where the start failed, TrainingDiverged where its fit of this seed did.
    """
    require_start(context, start)
    folders = context.fitted[start].folders
    if not makes_several_fits(context.spec, start):
        return next(iter(folders.values()))
    if seed not in folders:
        raise TrainingDiverged(f"its start {start} has no fit with seed {seed}", remedy=f"mend {start} first")
    return folders[seed]


def require_start(context: RunContext, start: str) -> None:
    """Raise UnsupportedTask where the contender that another one starts from has no fit."""
    if start not in context.fitted:
        raise UnsupportedTask(f"its start {start} failed", remedy=f"mend {start}, or start from another contender")


def makes_several_fits(spec: Spec, name: str) -> bool:
    """Whether another seed gives another fit: by the contender's regime, or by one that it starts from."""
    known = {one.name: one for one in spec.ladder}
    return any(one.options.seeded for one in (known[name], *list_starts(known, name)))


def _digest_start(context: RunContext, start: str, seed: int) -> str:
    """Of the fit that this one starts from, or for seed 0 of all fits of that contender."""
    if seed:
        return _digest_fit(find_start_fit(context, start, seed))
    return digest_of([_digest_fit(folder) for folder in context.fitted[start].folders.values()])


def _digest_fit(folder: Path) -> str:
    """Of what decided a fit and what came out, without what is added to it later or differs from time to time."""
    manifest = read_manifest(folder) or {"files": {}}
    weights = {
        name: digest
        for name, digest in manifest["files"].items()
        if name.endswith(".safetensors") and not name.startswith(("base_", "merged/"))
    }
    return digest_of([manifest.get("identity"), weights])


def validation_rank_key(context: RunContext, folder: Path) -> tuple[float, float]:
    """What fits are chosen by: the headline on validation, then the log-loss (small validation sets tie often)."""
    task = context.split.task
    scores = task.summarise(read_outcome(folder, "validation.parquet").sum_counts())
    return scores[task.headline], -scores.get("log_loss", 0.0)


def read_outcome_if_listed(folder: Path, name: str) -> ScoredPredictions | None:
    """Rows of an artifact that its manifest lists, or None."""
    manifest = read_manifest(folder)
    return read_outcome(folder, name) if manifest and name in manifest["files"] else None


def read_outcome(folder: Path, name: str) -> ScoredPredictions:
    """Rows of an artifact, from bytes that have the digest of its manifest; raises ArtifactError."""
    return read_predictions(folder / name, open_artifact(folder).read(name))
