"""Fit contenders: trials of the tunable option, several seeds, each fit an artifact that is made once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.files import storage, to_json, write_json
from loratory.artifacts.manifests import digest_of, read_manifest, staging, verified
from loratory.data.store import digest
from loratory.errors import ArtifactError, Diverged, Stopped, Unfit
from loratory.evaluation.rows import read_rows, write_rows
from loratory.flows.listening import Listener
from loratory.flows.preparing import Split
from loratory.models.activations import Remembered
from loratory.models.execution import run_here
from loratory.models.trunks import Pool
from loratory.predictors import store
from loratory.protocols import Context, Lessons, Outcome, Predictor, answer
from loratory.specs.frame import Contender, Spec
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.seeds import seed_of

FACTORS = (1.0, 10**-0.5, 10**0.5, 0.1, 10.0, 10**-0.25, 10**0.25, 10**-0.75, 10**0.75)


@dataclass(frozen=True)
class Bench:
    """What all fits of a run share."""

    spec: Spec
    split: Split
    folder: Path  # runs/<name>/contenders
    pool: Pool
    activations: Remembered
    listen: Listener
    stopping: Any
    device: str = "cpu"

    @property
    def lessons(self) -> Lessons:
        return Lessons(self.split.parts.train, self.split.parts.validation)


@dataclass(frozen=True)
class Fitted:
    """A contender's fits on disk."""

    contender: Contender
    folders: Mapping[int, Path]  # seed number -> artifact
    shipped: int
    trials: list[dict[str, Any]] = field(default_factory=list)


def check_ladder(spec: Spec, pool: Pool) -> None:
    """Refuse a contender that cannot fulfil the task from its base, before anything is trained."""
    from loratory.models.bases import resolve

    for contender in spec.ladder:
        start = resolve(contender.base).kind if contender.base else "nothing"
        if objection := contender.options.objection(spec.task, start):
            raise Unfit(
                objection, where=f"ladder: {contender.name}", remedy="choose another base: or take it off the ladder"
            )


def fit_contender(bench: Bench, contender: Contender) -> Fitted:
    """All fits of one contender; what is on disk already is kept. Raises Diverged when no fit held, and Stopped."""
    trials = _trials(bench, contender)
    if trials:
        best = max(trials, key=lambda trial: trial["score"])
        contender = _with(contender, best["value"])
    seeds = bench.spec.training.seeds if contender.options.seeded else 1
    folders: dict[int, Path] = {}
    problem: Diverged | None = None
    for seed in range(1, seeds + 1):
        try:
            folders[seed] = _fit(bench, contender, seed, bench.folder / contender.name / f"seed-{seed}")
        except Diverged as diverged:
            problem = diverged
            bench.listen("said", {"text": f"{contender.name} seed {seed}: {diverged}"})
    if not folders:
        raise problem or Diverged("no fit")
    shipped = max(folders, key=lambda seed: (_validation_key(bench, folders[seed]), -seed))
    return Fitted(contender, folders, shipped, trials)


def _with(contender: Contender, value: float) -> Contender:
    from dataclasses import replace

    options = contender.options
    return replace(contender, options=options.model_copy(update={options.tunable: value}))


def _validation_key(bench: Bench, folder: Path) -> tuple[float, float]:
    """What fits are chosen by: the headline on validation, then the log-loss (small validation sets tie often)."""
    task = bench.split.task
    scores = task.summarise(read_rows(folder / "validation.parquet").totals())
    return scores[task.headline], -scores.get("log_loss", 0.0)


def _trials(bench: Bench, contender: Contender) -> list[dict[str, Any]]:
    """Validation scores of the tunable option's values; the winner's fit becomes the first seed's."""
    count, option = bench.spec.training.trials, contender.options.tunable
    if count == 1 or option is None:
        return []
    home = bench.folder / contender.name
    identity = identity_of(bench, contender, 0)
    kept = _read_trials(home / "trials.json", identity)
    if kept is not None:
        return kept
    centre = getattr(contender.options, option)
    trials, folders = [], {}
    for number, factor in enumerate(FACTORS[:count], 1):
        value = float(f"{centre * factor:.3g}")
        folders[value] = home / f"trial-{number}"
        try:
            _fit(bench, _with(contender, value), 1, folders[value])
            key = _validation_key(bench, folders[value])
            trials.append({"option": option, "value": value, "score": key[0], "log_loss": -key[1]})
        except Diverged as problem:
            trials.append({"option": option, "value": value, "score": -1.0, "failure": problem.problem})
    trials.sort(key=lambda trial: (-trial["score"], trial.get("log_loss", 0.0)))
    if trials[0]["score"] < 0:
        raise Diverged(f"every trial of {contender.name} diverged", remedy=f"lower {option}")
    write_json(home / "trials.json", {"identity": identity, "trials": trials})
    with storage(home):
        shutil.rmtree(home / "seed-1", ignore_errors=True)
        folders[trials[0]["value"]].rename(home / "seed-1")
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    return trials


def _read_trials(file: Path, identity: str) -> list[dict[str, Any]] | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept["trials"] if kept.get("identity") == identity else None


def identity_of(bench: Bench, contender: Contender, seed: int) -> str:
    """Digest of all that decides a fit: task, lessons, base, regime and options, budget, seed, code."""
    spec, parts = bench.spec, bench.split.parts
    training = spec.training.model_dump(
        exclude={"checkpoint_seconds", "threads", "seeds"} | ({"trials"} if seed else set())
    )
    base = bench.pool.base(contender.base).digest if contender.base else None
    return digest_of(
        {
            "task": bench.split.task.model_dump(),
            "train": digest(parts.train),
            "validation": digest(parts.validation),
            "base": base,
            "regime": contender.regime,
            "options": contender.options.model_dump(),
            "seed": seed,
            "training": training,
            "code": __version__,
        }
    )


def _fit(bench: Bench, contender: Contender, seed: int, folder: Path) -> Path:
    """One fit as an artifact with its validation rows; the valid one on disk is kept."""
    identity = identity_of(bench, contender, seed)
    manifest = read_manifest(folder)
    if manifest and manifest.get("identity") == identity:
        try:
            verified(folder)
            bench.listen("kept", {"contender": contender.name, "seed": seed})
            return folder
        except ArtifactError as problem:
            bench.listen("said", {"text": f"{folder} is damaged and is made again ({problem.problem})"})
    bench.listen("fit", {"contender": contender.name, "seed": seed, "regime": contender.regime})
    checkpoints = FolderCheckpoints(folder.with_name(f".{folder.name}.checkpoints"), identity)
    facts: dict[str, Any] = {}
    started = time.monotonic()
    predictor = _taught(bench, contender, seed, checkpoints, facts)
    facts["seconds"] = max(facts.get("seconds", 0.0), time.monotonic() - started)
    validation = answer(predictor, bench.lessons.validation, run_here)
    size = predictor.size()
    about = {
        "kind": "fit",
        "identity": identity,
        "contender": contender.name,
        "regime": contender.regime,
        "base": contender.base,
        "seed": seed,
        "loratory": __version__,
    }
    with staging(folder, about) as part:
        store.write(part, predictor)
        write_rows(part / "validation.parquet", validation)
        (part / "fit.json").write_text(
            to_json(
                {
                    **about,
                    "options": contender.options.model_dump(mode="json"),
                    "facts": facts,
                    "parameters": {"trained": size.trained, "total": size.total},
                }
            ),
            encoding="utf-8",
        )
    checkpoints.clear()
    return folder


def _taught(
    bench: Bench, contender: Contender, seed: int, checkpoints: FolderCheckpoints, facts: dict[str, Any]
) -> Predictor:
    if bench.stopping():
        raise Stopped("stopped; what is finished is kept, and the same command goes on from there")

    def report(event: str, values: Mapping[str, Any]) -> None:
        if event == "fitted":
            facts.update(values)
        bench.listen(event, {"contender": contender.name, "seed": seed, **values})

    context = Context(
        seed=seed_of(bench.spec.training.seed, seed),
        run=run_here,
        checkpoints=checkpoints,
        report=report,
        activations=bench.activations,
        training=bench.spec.training,
        stopping=bench.stopping,
        device=bench.device,
    )
    start = bench.pool.base(contender.base) if contender.base else None
    predictor: Predictor = contender.options.fit(bench.split.task, bench.lessons, start, context)
    return predictor


def outcome_rows(folder: Path, name: str) -> Outcome | None:
    """Rows of an artifact that its manifest lists, or None."""
    manifest = read_manifest(folder)
    return read_rows(folder / name) if manifest and name in manifest["files"] else None
