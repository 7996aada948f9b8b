"""What all fits of a run share, and what decides whether a fit is the same fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.manifests import digest_of, file_digest, open_artifact, read_manifest
from loratory.data.store import digest, group_digest, order_digest
from loratory.evaluation.rows import read_rows
from loratory.flows.listening import Listener
from loratory.flows.preparing import Split
from loratory.models.activations import Remembered
from loratory.models.bases import Base, resolve
from loratory.models.trunks import Pool
from loratory.protocols import Lessons, Outcome
from loratory.specs.frame import Contender, Spec
from loratory.specs.training import TrainingSpec


@dataclass(frozen=True)
class Bench:
    """What all fits of a run share. `bases` remembers what was resolved: its digest is read from gigabytes."""

    spec: Spec
    split: Split
    folder: Path  # runs/<name>/contenders
    pool: Pool
    activations: Remembered
    listen: Listener
    stopping: Callable[[], bool]
    training: TrainingSpec  # the spec's, with every `auto` settled for this machine
    device: str = "cpu"
    bases: dict[str, Base] = field(default_factory=dict)

    @property
    def lessons(self) -> Lessons:
        return Lessons(self.split.parts.train, self.split.parts.validation)

    def base(self, name: str) -> Base:
        """A base on disk, its weights not loaded."""
        if name not in self.bases:
            self.bases[name] = resolve(name)
        return self.bases[name]


@dataclass(frozen=True)
class Fitted:
    """A contender's fits on disk."""

    contender: Contender
    folders: Mapping[int, Path]  # seed number -> artifact
    shipped: int
    trials: list[dict[str, Any]] = field(default_factory=list)


def _operating(bench: Bench) -> dict[str, Any]:
    """What decides an operating point beside the fit: its options, the calibration part, texts out of scope.

    Files count by what they hold, and those under `abstain: test` not at all: they are measured and choose nothing.
    """
    spec, examples = bench.spec.operating, bench.split.parts.calibration
    if spec is None:
        return {}
    outside = spec.abstain.out_of_scope if spec.abstain else None
    return {
        "operating": spec.model_dump(exclude={"abstain": {"out_of_scope", "test"}}),
        "outside": file_digest(bench.spec.folder / Path(outside).expanduser()) if outside else None,
        "calibration": [digest(examples), group_digest(examples)],  # a bound is of groups
    }


def identity_of(bench: Bench, contender: Contender, seed: int) -> str:
    """Digest of all that decides a fit: task, lessons, base, regime and options, budget, seed, code.

    Seed 0 stands for the contender as a whole, with its trials and seeds. Train counts with its order and weights,
    since batches go by them; validation as a set, since only its scores are looked at.
    """
    spec, parts = bench.spec, bench.split.parts
    free = {"checkpoint_seconds", "threads", "gradient_checkpointing"} | ({"trials", "seeds"} if seed else {"seeds"})
    prompt = getattr(contender.options, "prompt", None)
    return digest_of(
        {
            "task": bench.split.task.model_dump(),
            "train": order_digest(parts.train),
            "validation": digest(parts.validation),
            "base": bench.base(contender.base).digest if contender.base else None,
            "regime": contender.regime,
            "options": contender.options.model_dump(),
            "seed": seed,
            "training": spec.training.model_dump(exclude=free),
            "code": __version__,
        }
        | ({"prompt": file_digest(Path(prompt))} if prompt else {})
        | _operating(bench)
    )


def validation_key(bench: Bench, folder: Path) -> tuple[float, float]:
    """What fits are chosen by: the headline on validation, then the log-loss (small validation sets tie often)."""
    task = bench.split.task
    scores = task.summarise(listed_rows(folder, "validation.parquet").totals())
    return scores[task.headline], -scores.get("log_loss", 0.0)


def outcome_rows(folder: Path, name: str) -> Outcome | None:
    """Rows of an artifact that its manifest lists, or None."""
    manifest = read_manifest(folder)
    return listed_rows(folder, name) if manifest and name in manifest["files"] else None


def listed_rows(folder: Path, name: str) -> Outcome:
    """Rows of an artifact, from bytes that have the digest of its manifest; raises ArtifactError."""
    return read_rows(folder / name, open_artifact(folder).read(name))
