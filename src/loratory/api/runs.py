"""Runs, and what comes before them: specs, recipes, checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loratory.api.named_columns import NamedColumns
from loratory.api.results import Run
from loratory.api.spec_sources import SpecSource
from loratory.display.progress import show_progress
from loratory.errors import SpecError, suggest_nearest
from loratory.experiment.init.task_inference import InitOptions
from loratory.protocols.events import EventListener
from loratory.protocols.recipes import SPEC_FILE
from loratory.specs.spec import Spec


@dataclass(frozen=True)
class CheckResult:
    """What a check found in the examples and the spec; nothing that a run would refuse."""

    lines: tuple[str, ...]  # all that was found, in words
    warnings: tuple[str, ...]
    facts: Mapping[str, Any]  # quality.json: the parts, labels, near-duplicates, languages, suspected wrong labels

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        from loratory.api.notebook_html import render_lines

        return render_lines(self.lines, self.warnings)


@dataclass(frozen=True)
class Recipe:
    """A spec with sample data, or with the place where its data is."""

    name: str
    about: str
    spec: Path  # its file


@dataclass(frozen=True)
class WrittenSpec:
    """A spec that was written, and what was guessed for it. It may stand where a path may."""

    file: Path
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        return str(self.file)

    def __str__(self) -> str:
        return str(self.file)


def run(
    source: object,
    *,
    data: object = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    output: str | Path | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Run:
    """Check and split the examples, fit the ladder, compare the contenders, and write the report.

    Args:
        source: a spec (a YAML file, a folder with spec.yaml, a recipe's name, a `Spec`, a mapping), or examples (a
            data file; a table of pandas, polars, pyarrow or datasets; a list of dicts; a dict of columns). For
            examples a spec is written as `loratory init` writes it; it is kept in the run's folder.
        data: other examples than the spec's: a path, a table, or keys of the spec's `data:` section.
        text: the column of the text; found by its name and content when left out.
        label: the column of the label, of the spans, or of the answer.
        group: the column of groups that no split may cut, such as a customer's number.
        output: the folder of the run; runs/NAME when left out.
        progress: show progress; None: in a notebook and on a terminal.
        **changes: keys of the spec. A mapping is merged into the spec's own: `training={"epochs": 3}`.

    A run that was stopped is resumed by the same call: what is finished is kept.

    Returns:
        The finished run.

    Raises:
        SpecError, DataError: the spec or the examples are wrong; nothing was fitted.
        RunInterrupted: Ctrl-C; what is finished is kept.
        LoratoryError: no contender could be fitted.
    """
    folder = Path(output).expanduser() if output is not None else None
    spec = SpecSource(source, data, NamedColumns(text, label, {"group": group}), changes).read(folder)
    with show_progress(progress) as on_event:
        return run_spec(spec, folder, on_event)


def run_spec(spec: Spec, folder: Path | None, on_event: EventListener) -> Run:
    """As `run`, for a parsed spec; `on_event` hears what happens."""
    from loratory.experiment.run import run_experiment
    from loratory.experiment.run_paths import RunPaths

    paths = RunPaths.for_spec(spec, folder)
    return Run(paths.folder, run_experiment(spec, paths, on_event))


def open_run(folder: str | Path) -> Run:
    """A finished run. Raises ArtifactError where the folder is none, or its evidence was changed."""
    from loratory.experiment.artifact_lookup import read_ladder

    path = Path(folder).expanduser()
    return Run(path, read_ladder(path))


def check(
    source: object,
    *,
    data: object = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> CheckResult:
    """Read, group, split and inspect the examples. Nothing is fitted, and nothing is kept.

    Args: as those of `loratory.run`.

    Raises:
        LoratoryError: whatever `loratory.run` would refuse before its first fit.
    """
    with TemporaryDirectory(prefix="loratory-") as folder, show_progress(progress) as on_event:
        spec = SpecSource(source, data, NamedColumns(text, label, {"group": group}), changes).read(Path(folder))
        return check_parsed_spec(spec, on_event)


def check_parsed_spec(spec: Spec, on_event: EventListener) -> CheckResult:
    """As `check`, for a parsed spec; `on_event` hears what happens."""
    from loratory.data.quality.quality_report import format_quality_lines
    from loratory.experiment.steps.preflight import check_spec

    quality = check_spec(spec, on_event).quality
    warnings = tuple(f"{one['what']}; {one['do']}" for one in quality.get("warnings", ()))
    return CheckResult(tuple(format_quality_lines(quality)), warnings, quality)


def read_spec(source: str | os.PathLike[str] | Mapping[str, Any] | Spec, **changes: Any) -> Spec:
    """Parse a spec (a YAML file, a folder with spec.yaml, a recipe's name, a mapping) with changes merged into it.

    Raises:
        SpecError: an unknown key or a value that is not allowed; the message names file and line.
    """
    return SpecSource(source, changes=changes).read(None)


def init(
    data: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] = "spec.yaml",
    *,
    recipe: str | None = None,
    name: str | None = None,
    force: bool = False,
    ask: Callable[[str, Sequence[str]], str] | None = None,
    **options: str | None,
) -> WrittenSpec:
    """Write a commented spec for examples in a file, a folder or a data set of the hub, or a copy of a recipe's.

    Args:
        data: the examples.
        output: the spec's file.
        recipe: a recipe's name, in the place of examples.
        name: the run's name; from the data file's name when left out.
        force: replace a spec that is there.
        ask: is given a question and its answers where two columns could be meant, and returns one of the answers.
        **options: what is known of the examples, and else found: task (classify, tag or generate), text, label and
            group (columns), tag_names, encoding, sheet, config, revision.

    Raises:
        SpecError: the spec is there already, an unknown option, or two columns could be the label.
        DataError: the examples cannot be read.
    """
    from loratory.experiment.init.spec_writer import copy_recipe_spec, write_spec_for_data

    file, wishes = Path(output), _read_init_options(options)
    _check_init(data, file, recipe, force)
    if recipe is not None:
        if wishes != InitOptions():
            raise SpecError("a recipe has its own data and columns", remedy="leave these options out, or give DATA")
        return WrittenSpec(file, tuple(copy_recipe_spec(recipe, file)))
    return WrittenSpec(file, tuple(write_spec_for_data(os.fspath(data or ""), file, name, wishes, ask)))


def _read_init_options(options: Mapping[str, str | None]) -> InitOptions:
    known = [field.name for field in fields(InitOptions)]
    for name in options:
        if name not in known:
            raise SpecError(
                f"unknown option {name!r}{suggest_nearest(name, known)}", where="init", allowed=", ".join(known)
            )
    return InitOptions(**options)


def _check_init(data: object, file: Path, recipe: str | None, force: bool) -> None:
    if (data is None) == (recipe is None):
        raise SpecError(
            "give either your examples or --recipe",
            remedy="loratory init examples.csv, or loratory init --recipe risk-triage",
        )
    if file.is_dir():
        raise SpecError("this is a folder", where=str(file), remedy=f"--output {file / SPEC_FILE}")
    if file.exists() and not force:
        raise SpecError("this spec exists", where=str(file), remedy="give another --output, or replace it with --force")


def recipes() -> list[Recipe]:
    """The recipes that are installed: `loratory.run(recipe.name)` runs one."""
    from loratory.experiment.recipes import list_recipes

    return [Recipe(row["name"], row["about"], Path(row["spec"])) for row in list_recipes()]
