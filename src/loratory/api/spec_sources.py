"""What a call may be given (a file, a recipe's name, a spec, a mapping, a table) as a spec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loratory.api.named_columns import NamedColumns
from loratory.data.readers.in_memory import TABLE_FORMS, is_table, is_table_of_parts, write_table
from loratory.errors import DataError, SpecError, format_value
from loratory.experiment.artifact_lookup import LADDER_FILE
from loratory.experiment.init.task_inference import InitOptions
from loratory.experiment.spec_loading import build_spec, find_spec_file, make_parser, replace_data_path
from loratory.protocols.recipes import SPEC_FILE
from loratory.specs.overrides import merge_changes
from loratory.specs.spec import SECTIONS, Spec
from loratory.specs.yaml_files import load_yaml

ARGUMENT = Path("the spec")  # how errors name a spec that is no file
DEFAULT_NAME = "table"  # of a run on a table that was given no name
ALLOWED_SOURCES = (
    f"a spec (a YAML file, a folder with {SPEC_FILE}, a recipe's name, a Spec, a mapping), a data file, "
    f"or {TABLE_FORMS}"
)


@dataclass(frozen=True)
class SpecSource:
    """A source with the changes that a call makes to it."""

    source: Any
    data: Any = None
    columns: NamedColumns = field(default_factory=NamedColumns)
    changes: Mapping[str, Any] | None = None

    def read(self, folder: Path | None) -> Spec:
        """The spec. Examples that are held in memory are written into `folder`, or into runs/NAME.

        Raises SpecError and DataError.
        """
        changes = dict(self.changes or {})
        if isinstance(self.source, os.PathLike) and not isinstance(self.source, Path):
            return replace(self, source=Path(self.source)).read(folder)
        if _is_examples(self.source):
            if self.data is not None:
                raise SpecError("both are examples", where="data", remedy="leave data= out")
            return _read_examples(self, folder, changes)
        values, parser_arguments, home = _read_values(self.source)
        values, changes = self._place_data(values, changes, folder)
        values = values if not isinstance(self.source, Spec) else _open_contenders(values, changes)
        values, by = merge_changes(values, changes)
        return build_spec(values, make_parser(*parser_arguments, by), home)

    def _place_data(
        self, values: Mapping[str, Any], changes: dict[str, Any], folder: Path | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values with other examples, and the changes with the columns that were named."""
        made, data = dict(values), self.data
        if is_table(data) or is_table_of_parts(data):
            name = str(changes.get("name") or made.get("name") or DEFAULT_NAME)
            data = write_table(data, folder or Path("runs") / name)
        if isinstance(data, (str, Path)):
            made["data"] = replace_data_path(made.get("data"), str(data))
        elif isinstance(data, Mapping):
            changes = {**changes, "data": data}
        elif data is not None:
            raise SpecError(f"{format_value(data)} is no data", where="data", allowed=f"a path, or {TABLE_FORMS}")
        task = made.get("task")
        if columns := self.columns.to_dict(str(task.get("kind")) if isinstance(task, Mapping) else ""):
            changes = {**changes, "data": {**(changes.get("data") or {}), **columns}}
            if isinstance(made.get("data"), str):
                made["data"] = {"path": made["data"]}
        return made, changes


def _is_examples(source: object) -> bool:
    """Whether a source is examples, and no spec that names them."""
    if isinstance(source, Mapping):
        return not ({"data", "ladder"} <= set(source)) and (is_table(source) or is_table_of_parts(source))
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.is_dir():
            return not (path / SPEC_FILE).is_file() and not (path / LADDER_FILE).is_file()
        return path.is_file() and path.suffix not in (".yaml", ".yml")
    return is_table(source)


def _read_values(source: object) -> tuple[dict[str, Any], tuple[Path, Mapping[Any, int]], Path]:
    """The plain values of a spec, what a parser says of their places, and where relative paths start."""
    if isinstance(source, Spec):
        return source.to_dict(), (ARGUMENT, {}), source.folder
    if isinstance(source, Mapping):
        return merge_changes({}, source)[0], (ARGUMENT, {}), Path.cwd()
    if isinstance(source, (str, Path)):
        folder = Path(source).expanduser()
        if (folder / LADDER_FILE).is_file() and not (folder / SPEC_FILE).is_file():
            raise SpecError(
                "this is a finished run, and no spec",
                where=str(folder),
                remedy=f"loratory.open_run({str(folder)!r}); to run it again: {folder / 'spec.lock.yaml'}",
            )
        file = find_spec_file(str(source))
        values, lines = load_yaml(file)
        return values, (file, lines), file.parent
    raise SpecError(f"{format_value(source)} is no spec and no examples", allowed=ALLOWED_SOURCES)


def _open_contenders(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed spec's values without what the changes give: each contender there holds all of its options."""
    made = dict(values)
    for position, row in enumerate(made["ladder"]):
        ((name, options),) = row.items()
        given = changes.get(options["regime"])
        dropped = set(given) if isinstance(given, Mapping) else set()
        if "base" in changes and options.get("base") == values["base"]:
            dropped.add("base")
        made["ladder"][position] = {name: {key: value for key, value in options.items() if key not in dropped}}
    return made


def _read_examples(source: SpecSource, folder: Path | None, changes: dict[str, Any]) -> Spec:
    """A spec for examples, as `loratory init` writes one; it and a table's rows are kept in the run's folder."""
    from loratory.experiment.init.spec_writer import write_spec_for_data

    task = changes.get("task")
    kind = task.get("kind") if isinstance(task, Mapping) else task
    if isinstance(task, str):
        del changes["task"]
    _check_keywords(changes)
    is_file = isinstance(source.source, (str, Path))
    name = changes.get("name") or (None if is_file else DEFAULT_NAME)
    home = folder or Path("runs") / str(name or Path(source.source).expanduser().resolve().name.split(".")[0])
    data = str(source.source) if is_file else str(write_table(source.source, home))
    wishes = InitOptions(task=kind, **source.columns.to_dict())
    try:
        write_spec_for_data(data, home / SPEC_FILE, str(name) if name else None, wishes)
    except (DataError, SpecError) as problem:
        raise _name_arguments(problem) from None
    values, lines = load_yaml(home / SPEC_FILE)
    values, by = merge_changes(values, changes)
    return build_spec(values, make_parser(home / SPEC_FILE, lines, by), home)


def _check_keywords(changes: Mapping[str, Any]) -> None:
    """Refuse an unknown keyword before anything is written."""
    parser = make_parser(ARGUMENT, {}, merge_changes({}, changes)[1])
    parser.check_keys(changes, (*SECTIONS, *parser.regimes), ())


def _name_arguments(problem: DataError | SpecError) -> DataError | SpecError:
    """The same error, its remedy in a call's words: `label=` in the place of `--label`."""
    remedy = problem.remedy.replace("--label ", "label=").replace("--text ", "text=").replace("--task ", "task=")
    return type(problem)(problem.problem, where=problem.where, allowed=problem.allowed, remedy=remedy)
