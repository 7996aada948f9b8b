"""Trials of a regime's tunable option: as many for each contender, judged on validation, made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loratory.artifacts.durable_files import translate_write_errors, write_json
from loratory.errors import ContenderPruned, TrainingDiverged
from loratory.experiment.run_context import RunContext, fit_identity, validation_rank_key
from loratory.protocols.events import TrialFinished
from loratory.specs.spec import Contender

TRIAL_FACTORS = (  # as many as training: trials: allows
    1.0,
    10**-0.5,
    10**0.5,
    0.1,
    10.0,
    10**-0.25,
    10**0.25,
    10**-0.75,
    10**0.75,
)
TRIALS_FILE = "trials.json"
FitFunction = Callable[[RunContext, Contender, int, Path], Path]


def tune_contender(
    context: RunContext, contender: Contender, fit: FitFunction
) -> tuple[Contender, list[dict[str, Any]]]:
    """The contender with the best value of its option, and what was tried; the best trial becomes the first seed's fit.

    Raises TrainingDiverged when every trial did, and Stopped.
    """
    count, option = context.spec.training.trials, contender.options.tunable
    if count == 1 or option is None:
        return contender, []
    home, identity = context.folder / contender.name, fit_identity(context, contender, 0)
    trials = _read_trials(home / TRIALS_FILE, identity)
    if trials is None:
        trials = [_run_and_report_trial(context, contender, number, home, fit) for number in range(1, count + 1)]
        trials.sort(key=lambda trial: (-trial["score"], trial.get("log_loss", 0.0)))
        if trials[0]["score"] < 0 and all(trial.get("pruned") for trial in trials):
            raise ContenderPruned(trials[0]["failure"], where="training: racing")
        if trials[0]["score"] < 0:
            said = "; ".join(f"{trial['value']:g}: {trial['failure']}" for trial in trials)
            raise TrainingDiverged(
                f"every trial of {contender.name} failed ({option} {said})", remedy=f"lower {option}"
            )
        write_json(home / TRIALS_FILE, {"identity": identity, "trials": trials})
    _promote_best_trial(home, trials[0]["number"])
    return with_option_value(contender, trials[0]["value"]), trials


def with_option_value(contender: Contender, value: float) -> Contender:
    """The contender with another value of its tunable option; raises ValidationError beyond the option's bounds."""
    options = contender.options
    changed = {**options.model_dump(), options.tunable: value}
    return replace(contender, options=type(options).model_validate(changed))


def _run_and_report_trial(
    context: RunContext, contender: Contender, number: int, home: Path, fit: FitFunction
) -> dict[str, Any]:
    trial = _run_trial(context, contender, number, home, fit)
    score = None if "failure" in trial else trial["score"]
    context.on_event(
        TrialFinished(contender.name, number, trial["option"], trial["value"], score, trial.get("failure", ""))
    )
    return trial


def _run_trial(context: RunContext, contender: Contender, number: int, home: Path, fit: FitFunction) -> dict[str, Any]:
    option = contender.options.tunable
    value = float(f"{getattr(contender.options, option) * TRIAL_FACTORS[number - 1]:.3g}")
    trial: dict[str, Any] = {"option": option, "value": value, "number": number}
    try:
        score, log_loss = validation_rank_key(
            context, fit(context, with_option_value(contender, value), 1, home / f"trial-{number}")
        )
    except (TrainingDiverged, ContenderPruned) as problem:
        return {**trial, "score": -1.0, "failure": problem.problem, "pruned": isinstance(problem, ContenderPruned)}
    except ValidationError as problem:
        return {**trial, "score": -1.0, "failure": problem.errors()[0]["msg"].lower()}
    return {**trial, "score": score, "log_loss": -log_loss}


def _promote_best_trial(home: Path, number: int) -> None:
    """Make the best trial the first seed's fit and forget the others; doing it twice changes nothing."""
    with translate_write_errors(home):
        best = home / f"trial-{number}"
        if best.is_dir():
            shutil.rmtree(home / "seed-1", ignore_errors=True)
            best.rename(home / "seed-1")
        for left in (*home.glob("trial-*"), *home.glob(".trial-*")):
            shutil.rmtree(left, ignore_errors=True)


def _read_trials(file: Path, identity: str) -> list[dict[str, Any]] | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return list(kept["trials"]) if isinstance(kept, dict) and kept.get("identity") == identity else None
