"""What all fits of a run share, and what decides whether a fit is the same fit."""

from __future__ import annotations

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
from loratory.evaluation.prediction_rows import read_predictions
from loratory.experiment.events import EventListener
from loratory.experiment.prepare import PreparedSplit
from loratory.protocols import ScoredPredictions, TrainSet
from loratory.specs.spec import Contender, Spec
from loratory.specs.training import TrainingSpec


@dataclass(frozen=True)
class RunContext:
    """What all fits of a run share. `bases` remembers what was resolved: its digest is read from gigabytes."""

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
    """Digest of all that decides a fit: task, lessons, base, regime and options, budget, seed, code.

    Seed 0 stands for the contender as a whole, with its trials and seeds. Train counts with its order and weights,
    since batches go by them; validation as a set, since only its scores are looked at.
    """
    spec, parts = context.spec, context.split.parts
    free = {"checkpoint_seconds", "threads", "gradient_checkpointing"} | ({"trials", "seeds"} if seed else {"seeds"})
    prompt = getattr(contender.options, "prompt", None)
    return digest_of(
        {
            "task": context.split.task.model_dump(),
            "train": digest_training_order(parts.train),
            "validation": digest_examples(parts.validation),
            "base": context.resolve_base(contender.base).digest if contender.base else None,
            "regime": contender.regime,
            "options": contender.options.model_dump(),
            "seed": seed,
            "training": spec.training.model_dump(exclude=free),
            "code": __version__,
        }
        | ({"prompt": hash_file(Path(prompt))} if prompt else {})
        | _operating_identity(context)
    )


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
