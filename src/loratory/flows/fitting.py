"""Fit contenders: trials of the tunable option, several seeds, each fit an artifact that is made once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.files import to_json, write_json
from loratory.artifacts.manifests import read_manifest, staging, verified
from loratory.errors import ArtifactError, Diverged, LoratoryError, Stopped, StorageError
from loratory.evaluation.rows import write_rows
from loratory.flows.bench import Bench, Fitted, identity_of, validation_key
from loratory.flows.listening import Listener
from loratory.flows.operating import operated
from loratory.flows.trials import tuned
from loratory.models.execution import run_here
from loratory.models.places import portable
from loratory.predictors import store
from loratory.protocols import Context, Predictor, answer
from loratory.specs.frame import Contender
from loratory.training import memory
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.seeds import seed_of

FAILED = "failed.json"


@contextmanager
def alone(listen: Listener, name: str, failures: dict[str, LoratoryError]) -> Iterator[None]:
    """What goes wrong with one contender is kept under its name, and the others go on.

    A stop and a failing disk are no contender's own: they are raised.
    """
    try:
        yield
    except (Stopped, StorageError):
        raise
    except LoratoryError as problem:
        failures[name] = problem
        listen("failed", {"contender": name, "text": str(problem)})


def fit_contender(bench: Bench, contender: Contender) -> Fitted:
    """All fits of one contender; what is on disk already is kept. Raises Stopped, and LoratoryError when no fit held.

    Only what diverged is not tried again by the next run: anything else may have been mended meanwhile.
    """
    home, identity = bench.folder / contender.name, _whole_identity(bench, contender)
    if failure := _failed_before(home / FAILED, identity):
        raise failure
    try:
        with memory.explained(contender.name):
            contender, trials = tuned(bench, contender, _fit)
            folders = _fit_seeds(bench, contender)
    except Diverged as problem:
        write_json(
            home / FAILED,
            {"identity": identity, "problem": problem.problem, "where": problem.where, "remedy": problem.remedy},
        )
        raise
    shipped = max(folders, key=lambda seed: (validation_key(bench, folders[seed]), -seed))
    return Fitted(contender, folders, shipped, trials)


def _whole_identity(bench: Bench, contender: Contender) -> str:
    return f"{identity_of(bench, contender, 0)}/{bench.spec.training.seeds}"


def _failed_before(file: Path, identity: str) -> Diverged | None:
    """The same fit would fail in the same way again: every random choice is derived from the seed."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("identity") != identity:
        return None
    return Diverged(kept["problem"], where=kept["where"], remedy=f"{kept['remedy']} (it failed before; kept in {file})")


def _fit_seeds(bench: Bench, contender: Contender) -> dict[int, Path]:
    folders: dict[int, Path] = {}
    problem = Diverged("no fit")
    for seed in range(1, (bench.spec.training.seeds if contender.options.seeded else 1) + 1):
        try:
            folders[seed] = _fit(bench, contender, seed, bench.folder / contender.name / f"seed-{seed}")
        except Diverged as diverged:
            problem = diverged
            bench.listen("said", {"text": f"{contender.name} seed {seed}: {diverged}"})
    if not folders:
        raise problem
    return folders


def _fit(bench: Bench, contender: Contender, seed: int, folder: Path) -> Path:
    """One fit as an artifact with its validation rows; the valid one on disk is kept."""
    identity = identity_of(bench, contender, seed)
    say = lambda text: bench.listen("said", {"text": text})  # noqa: E731
    checkpoints = FolderCheckpoints(folder.with_name(f".{folder.name}.checkpoints"), identity, say)
    if _is_kept(bench, folder, identity):
        bench.listen("kept", {"contender": contender.name, "seed": seed})
        checkpoints.clear()  # of a run that ended between the fit and this line
        return folder
    bench.listen("fit", {"contender": contender.name, "seed": seed, "regime": contender.regime})
    facts: dict[str, Any] = {}
    started, bench.activations.lent = time.monotonic(), 0.0
    predictor = _taught(bench, contender, seed, checkpoints, facts)
    # as if alone: before a stop, now, and what another contender had computed for this one
    facts["seconds"] = max(facts.get("seconds", 0.0), time.monotonic() - started) + bench.activations.lent
    about = {
        "kind": "fit",
        "identity": identity,
        "contender": contender.name,
        "regime": contender.regime,
        "base": portable(contender.base) if contender.base else None,
        "seed": seed,
        "loratory": __version__,
    }
    _keep(bench, folder, predictor, about, {"options": _options(contender), "facts": facts})
    checkpoints.clear()
    return folder


def _options(contender: Contender) -> dict[str, Any]:
    """As they were asked for; of a file its name, for where it lay is this machine's matter."""
    options: dict[str, Any] = contender.options.model_dump(mode="json")
    return options | ({"prompt": Path(options["prompt"]).name} if options.get("prompt") else {})


def _is_kept(bench: Bench, folder: Path, identity: str) -> bool:
    manifest = read_manifest(folder)
    if not manifest or manifest.get("identity") != identity:
        return False
    try:
        verified(folder)
    except ArtifactError as problem:
        where = f" ({problem.where})" if problem.where else ""
        bench.listen("said", {"text": f"{folder} is damaged and is made again: {problem.problem}{where}"})
        return False
    return True


def _keep(bench: Bench, folder: Path, predictor: Predictor, about: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    predictor, point = operated(bench, predictor)
    validation = answer(predictor, bench.lessons.validation, run_here)
    size = predictor.size()
    facts = {**facts, "facts": {**facts["facts"], **({"operating": point} if point else {})}}
    fit = {**about, **facts, "parameters": {"trained": size.trained, "total": size.total}}
    with staging(folder, about) as part:
        store.write(part, predictor)
        write_rows(part / "validation.parquet", validation)
        (part / "fit.json").write_text(to_json(fit), encoding="utf-8")


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
        training=bench.training,
        stopping=bench.stopping,
        device=bench.device,
    )
    start = bench.pool.base(contender.base) if contender.base else None
    predictor: Predictor = contender.options.fit(bench.split.task, bench.lessons, start, context)
    return predictor
