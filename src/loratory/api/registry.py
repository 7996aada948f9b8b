"""The registry from Python: register a run, promote a release on its evidence, go back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loratory.registry.gates import GateOutcome
    from loratory.registry.registry import Registry
    from loratory.registry.releases import Release


def open_registry(folder: str | Path | None = None, create: bool = False) -> Registry:
    """The registry in `folder`; by default $LORATORY_REGISTRY, else loratory/registry in the user's data folder.

    Raises:
        ArtifactError: there is none, and `create` is not set.
    """
    from loratory.registry.registry import Registry, find_registry_folder

    return Registry(find_registry_folder(None if folder is None else Path(folder)), create)


def register(
    run: str | Path,
    name: str | None = None,
    *,
    contender: str | None = None,
    registry: str | Path | None = None,
    by: str | None = None,
) -> Release:
    """Register a finished run's fit with its evidence. The same run registered again is the same release.

    Args:
        run: the run's folder.
        name: the release's name; by default the run's.
        contender: which contender; by default the recommended one.
        registry: the registry's folder; it is made where it is missing.
        by: who registers; by default the user of this process.

    Raises:
        ArtifactError: the run is unfinished, or was changed after it was measured.
        StorageError: the disk refused; nothing was registered.
    """
    from loratory.experiment.register_run import register_run

    return register_run(open_registry(registry, create=True), Path(run).expanduser(), contender, name, by)


def judge_release(registry: Registry, release: Release, champion: Release | None) -> GateOutcome:
    """What the gate and the comparison with the champion say of a release, computed from the rows that it keeps."""
    from loratory.discovery import load_named
    from loratory.registry.gates import evaluate_release

    facts = release.contents.facts["task"]
    assert isinstance(facts, dict)
    task = load_named("tasks", str(facts["kind"])).model_validate(facts)
    return evaluate_release(registry.objects, task, release, champion)


def gate(reference: str, *, registry: str | Path | None = None) -> GateOutcome:
    """Every demand on a release, as a promotion to champion would compute it. Nothing is changed.

    Raises:
        ArtifactError: there is no such release, or its evidence was changed.
    """
    opened = open_registry(registry)
    release = opened.find(reference)
    return judge_release(opened, release, opened.find_champion(release.name))


def promote(
    reference: str, to: str, *, registry: str | Path | None = None, by: str | None = None, reason: str = ""
) -> GateOutcome:
    """Let an alias (staging, canary, champion, challenger) name a release, where its evidence holds what is asked.

    Raises:
        PromotionRefused: the evidence does not hold; nothing was changed.
        ArtifactError: there is no such release, or its evidence was changed.
    """
    opened = open_registry(registry)
    return opened.promote(reference, to, lambda one, other: judge_release(opened, one, other), by, reason)


def rollback(name: str, *, registry: str | Path | None = None, by: str | None = None, reason: str = "") -> Release:
    """Make the release that was champion before the champion again; twice in a row goes two back.

    Raises:
        ArtifactError: there was no champion before.
    """
    return open_registry(registry).rollback(name, by, reason)
