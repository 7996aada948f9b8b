"""`loratory discover`: what a router would take of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.errors import ArtifactError
from loratory.integrations.semantic_router.model_discovery import Discovery, discover_models

REMEDIES = {
    False: "loratory export RUN --to router --set merged_only=true --set task_name=TASK -o FOLDER for each task",
    True: "keep the adapters' folders, without _rust, out of it: loratory export --set merged_only=true writes none",
}
TABLE_HEADER = ("", "task", "architecture", "holds", "folder", "state")


def discovery_to_json(found: Discovery, root: Path) -> dict[str, Any]:
    """What was found as plain data; folders as seen from `root`."""
    taken = {id(model) for model in found.chosen.values()}
    return {
        "architecture": found.architecture,
        "reason": found.reason,
        "sound": found.is_usable,
        "chosen": {task: _relative_folder(model.folder, root) for task, model in found.chosen.items()},
        "models": [
            {
                "folder": _relative_folder(model.folder, root),
                "task": model.task,
                "architecture": model.architecture,
                "holds": model.holds,
                "chosen": id(model) in taken,
                "problems": list(model.problems),
            }
            for model in found.models
        ],
    }


def _relative_folder(folder: Path, root: Path) -> str:
    return folder.relative_to(root.resolve()).as_posix()


def format_discovery(found: dict[str, Any]) -> list[str]:
    """A table of what was found, what was taken and why, and what is broken."""
    rows = [
        (
            "*" if model["chosen"] else "",
            model["task"],
            model["architecture"],
            model["holds"],
            model["folder"],
            f"{len(model['problems'])} broken" if model["problems"] else "in order",
        )
        for model in found["models"]
    ]
    widths = [max(len(row[k]) for row in (TABLE_HEADER, *rows)) for k in range(len(TABLE_HEADER))]
    made = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (TABLE_HEADER, *rows)
    ]
    made += ["", f"taken (*): {found['architecture'] or 'nothing'}: {found['reason']}"]
    for model in found["models"]:
        if model["problems"]:
            made += ["", f"{model['folder']}:", *(f"  - {problem}" for problem in model["problems"])]
    return made


def inspect_models(root: Path) -> dict[str, Any]:
    """Everything about a folder, as plain data; raises ArtifactError where there is none."""
    return discovery_to_json(discover_models(root), root)


def check_discovery(found: dict[str, Any], root: Path) -> None:
    """Raises ArtifactError where the router would not get three models that are in order."""
    if not found["sound"]:
        broken = [name for name in found["chosen"].values() if _is_broken(found, name)]
        raise ArtifactError(
            f"what the router would take is broken: {', '.join(broken)}" if broken else found["reason"],
            where=str(root),
            allowed="a sound intent, pii and jailbreak model of one architecture",
            remedy=REMEDIES[any(_is_broken(found, name, "adapter") for name in broken)],
        )


def _is_broken(found: dict[str, Any], folder: str, holds: str = "") -> bool:
    models = (model for model in found["models"] if model["folder"] == folder and model["problems"])
    return any(holds in ("", model["holds"]) for model in models)
