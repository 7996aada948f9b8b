"""Fit contenders: trials of the tunable option, several seeds, each fit an artifact that is made once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.durable_files import to_json, write_json
from loratory.artifacts.manifests import read_manifest, stage_artifact, verify_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.base_locations import make_name_portable
from loratory.errors import (
    ArtifactError,
    ContenderPruned,
    ExtensionError,
    LoratoryError,
    RunInterrupted,
    StorageError,
    TrainingDiverged,
    blame_extension,
)
from loratory.evaluation.prediction_rows import write_predictions
from loratory.experiment.events import reference_artifact
from loratory.experiment.run_context import (
    FittedContender,
    RunContext,
    find_start_fit,
    fit_identity,
    makes_several_fits,
    require_start,
    validation_rank_key,
)
from loratory.experiment.start_kinds import contender_start_kind
from loratory.experiment.steps.operating_points import fit_operating_point
from loratory.experiment.steps.racing import describe_race, make_race_check
from loratory.experiment.steps.tuning_trials import tune_contender
from loratory.predictors import predictor_files
from loratory.protocols import NOTHING, FitContext, Predictor, Scores, Start, events, list_files, predict_and_score
from loratory.protocols.events import (
    ContenderFailed,
    EventListener,
    FitEvent,
    FitFailed,
    FitFinished,
    FitReused,
    FitStarted,
    Message,
    PredictorFitted,
)
from loratory.specs.spec import Contender
from loratory.training import memory
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.seeds import derive_seed

FAILURE_FILE = "failed.json"


@contextmanager
def isolate_failure(on_event: EventListener, name: str, failures: dict[str, LoratoryError]) -> Iterator[None]:
    """What goes wrong with one contender is kept under its name, and the others go on.

    A stop and a failing disk are no contender's own: they are raised.
    """
    try:
        yield
    except (RunInterrupted, StorageError):
        raise
    except LoratoryError as problem:
        failures[name] = problem
        if isinstance(problem, ContenderPruned):
            on_event(events.ContenderPruned(name, problem.problem))
        else:
            on_event(ContenderFailed(name, str(problem)))


def fit_contender(context: RunContext, contender: Contender) -> FittedContender:
    """All fits of one contender; what is on disk is kept. What it starts from is fitted before it.

    Raises RunInterrupted, LoratoryError when no fit held, UnsupportedTask where its start failed. Only what diverged is
    not tried again by the next run: anything else may have been mended meanwhile.
    """
    if contender.start:
        require_start(context, contender.start)
    home, identity = context.folder / contender.name, _contender_identity(context, contender)
    if failure := _read_earlier_failure(home / FAILURE_FILE, identity):
        raise failure
    try:
        with memory.explain_failure(contender.name):
            contender, trials = tune_contender(context, contender, _fit_or_reuse)
            folders = _fit_seeds(context, contender)
    except (TrainingDiverged, ContenderPruned) as problem:
        kept = {"problem": problem.problem, "where": problem.where, "remedy": problem.remedy}
        write_json(home / FAILURE_FILE, {"identity": identity, "pruned": isinstance(problem, ContenderPruned), **kept})
        raise
    shipped = max(folders, key=lambda seed: (validation_rank_key(context, folders[seed]), -seed))
    context.fitted[contender.name] = FittedContender(contender, folders, shipped, trials)
    return context.fitted[contender.name]


def _contender_identity(context: RunContext, contender: Contender) -> str:
    """Of what decides whether a contender fails or is pruned: its fits, and against whom it races."""
    return f"{fit_identity(context, contender, 0)}/{context.spec.training.seeds}{describe_race(context, contender)}"


def _read_earlier_failure(file: Path, identity: str) -> TrainingDiverged | ContenderPruned | None:
    """The same fit would fail in the same way again: every random choice is derived from the seed."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("identity") != identity:
        return None
    if kept.get("pruned"):
        return ContenderPruned(kept["problem"], where=kept["where"], remedy=kept["remedy"])
    return TrainingDiverged(
        kept["problem"], where=kept["where"], remedy=f"{kept['remedy']} (it failed before; kept in {file})"
    )


def _fit_seeds(context: RunContext, contender: Contender) -> dict[int, Path]:
    folders: dict[int, Path] = {}
    problem = TrainingDiverged("no fit")
    for seed in range(1, (context.spec.training.seeds if makes_several_fits(context.spec, contender.name) else 1) + 1):
        try:
            folders[seed] = _fit_or_reuse(context, contender, seed, context.folder / contender.name / f"seed-{seed}")
        except TrainingDiverged as diverged:
            problem = diverged
            context.on_event(FitFailed(contender.name, seed, str(diverged)))
    if not folders:
        raise problem
    return folders


def _fit_or_reuse(context: RunContext, contender: Contender, seed: int, folder: Path) -> Path:
    """One fit as an artifact with its validation rows; the valid one on disk is kept."""
    identity = fit_identity(context, contender, seed)
    say = lambda text: context.on_event(Message(text, contender.name, seed))  # noqa: E731
    checkpoints = FolderCheckpoints(folder.with_name(f".{folder.name}.checkpoints"), identity, say)
    if _is_reusable(context, folder, identity):
        context.on_event(FitReused(contender.name, seed, reference_artifact(folder)))
        checkpoints.clear()  # of a run that ended between the fit and this line
        return folder
    context.on_event(FitStarted(contender.name, seed, contender.regime))
    facts: dict[str, Any] = {}
    started, context.activation_cache.shared_seconds = time.monotonic(), 0.0
    predictor = _fit_predictor(context, contender, seed, checkpoints, facts)
    # as if alone: before a stop, now, and what another contender had computed for this one
    facts["seconds"] = (
        max(facts.get("seconds", 0.0), time.monotonic() - started) + context.activation_cache.shared_seconds
    )
    about = {
        "kind": "fit",
        "identity": identity,
        "contender": contender.name,
        "regime": contender.regime,
        "base": make_name_portable(contender.base) if contender.base else None,
        **_describe_start(context, contender, seed),
        "seed": seed,
        "loratory": __version__,
    }
    scores = _write_fit(context, folder, predictor, about, {"options": _options_as_written(contender), "facts": facts})
    context.on_event(FitFinished(contender.name, seed, scores, facts["seconds"], reference_artifact(folder)))
    checkpoints.clear()
    return folder


def _describe_start(context: RunContext, contender: Contender, seed: int) -> dict[str, Any]:
    """Of a contender that starts from another one: whose fit it was, and by what that one was decided."""
    if contender.start is None:
        return {}
    manifest = read_manifest(find_start_fit(context, contender.start, seed)) or {}
    return {"start": {"contender": contender.start, "seed": manifest["seed"], "identity": manifest["identity"]}}


def _options_as_written(contender: Contender) -> dict[str, Any]:
    """As they were asked for; of a file its name, for where it lay is this machine's matter."""
    options: dict[str, Any] = contender.options.model_dump(mode="json")
    return options | {name: Path(file).name for name, file in list_files(contender.options).items()}


def _is_reusable(context: RunContext, folder: Path, identity: str) -> bool:
    manifest = read_manifest(folder)
    if not manifest or manifest.get("identity") != identity:
        return False
    try:
        verify_artifact(folder)
    except ArtifactError as problem:
        where = f" ({problem.where})" if problem.where else ""
        context.on_event(Message(f"{folder} is damaged and is fitted again: {problem.problem}{where}"))
        return False
    return True


def _write_fit(
    context: RunContext, folder: Path, predictor: Predictor, about: Mapping[str, Any], facts: Mapping[str, Any]
) -> Scores:
    """Write the artifact of a fit; returns its scores on validation."""
    predictor, point = fit_operating_point(context, predictor)
    validation = predict_and_score(predictor, context.train_set.validation, run_locally)
    size = predictor.count_parameters()
    facts = {**facts, "facts": {**facts["facts"], **({"operating": point} if point else {})}}
    fit = {**about, **facts, "parameters": {"trained": size.trained, "total": size.total}}
    with stage_artifact(folder, about) as part:
        predictor_files.save_predictor(part, predictor)
        write_predictions(part / "validation.parquet", validation)
        (part / "fit.json").write_text(to_json(fit), encoding="utf-8")
    return predictor.task.summarise(validation.sum_counts())


def _fit_predictor(
    run_context: RunContext, contender: Contender, seed: int, checkpoints: FolderCheckpoints, facts: dict[str, Any]
) -> Predictor:
    if run_context.should_stop():
        raise RunInterrupted("stopped; finished work is kept: run the same command again to resume")

    def report(event: FitEvent) -> None:
        if isinstance(event, PredictorFitted):
            facts.update(event.facts)
        run_context.on_event(replace(event, contender=contender.name, seed=seed))

    context = FitContext(
        seed=derive_seed(run_context.spec.training.seed, seed),
        run=run_locally,
        checkpoints=checkpoints,
        report=report,
        activations=run_context.activation_cache,
        training=run_context.training,
        should_stop=run_context.should_stop,
        device=run_context.device,
        check_race=make_race_check(run_context, contender),
        start_kind=contender_start_kind(run_context.spec, contender, lambda name: run_context.resolve_base(name).kind),
    )
    start = _load_start(run_context, contender, seed)
    regime = contender.options
    with blame_extension(f"the regime {contender.regime}", regime):
        predictor: Predictor = regime.fit(run_context.split.task, run_context.train_set, start, context)
    said = regime.predictor_kind(run_context.split.task, context.start_kind or NOTHING)
    _check_predictor_kind(contender, predictor, said)
    return predictor


def _check_predictor_kind(contender: Contender, predictor: Predictor, said: str) -> None:
    """Raise ExtensionError where a regime made another predictor than it said: what starts from it went by that."""
    if said != (made := predictor_files.find_kind(predictor)):
        raise ExtensionError(
            f"the regime {contender.regime} made a predictor of kind {made}, and its predictor_kind says {said!r}",
            where=f"module {type(contender.options).__module__}",
            allowed="the name that the predictor's class has in loratory.predictors",
        )


def _load_start(context: RunContext, contender: Contender, seed: int) -> Start:
    """What a fit begins with. Of another contender the predictor alone: an operating point is measured anew."""
    if contender.start:
        return predictor_files.load_uncalibrated(find_start_fit(context, contender.start, seed), context.pool)
    return context.pool.get_base(contender.base) if contender.base else None
