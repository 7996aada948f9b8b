"""From what a person types (a file, a folder, a recipe's name) to a parsed spec, and back to text."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from loratory.discovery import list_names, load_named
from loratory.errors import SpecError, suggest_nearest
from loratory.experiment.recipes import find_recipe_folder
from loratory.protocols import JSON, Labelled, Task, list_files
from loratory.protocols.recipes import SPEC_FILE
from loratory.specs.field_descriptions import summarise_field
from loratory.specs.overrides import apply_overrides
from loratory.specs.parser import SpecParser
from loratory.specs.spec import Contender, Spec, parse_spec
from loratory.specs.yaml_files import load_yaml
from loratory.specs.yaml_lines import KeyPath as KeyPath
from loratory.specs.yaml_writer import dump_yaml

LOCK_HEADER = "# What this run was made from: every value, given or left out. It runs again: loratory run {file}\n"


def find_spec_file(target: str) -> Path:
    """The YAML that a file name, a folder with spec.yaml, or a recipe's name means."""
    path = Path(target).expanduser()
    if path.is_dir() and (path / SPEC_FILE).is_file():
        return path / SPEC_FILE
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if target in list_names("recipes"):
        return find_recipe_folder(target) / SPEC_FILE
    raise SpecError(
        f"{target!r} is no spec{suggest_nearest(target, list_names('recipes'))}",
        allowed=f"a YAML file, a folder with {SPEC_FILE}, or a recipe: {', '.join(list_names('recipes'))}",
        remedy="loratory init DATA writes a spec for your examples",
    )


def make_parser(file: Path, lines: Mapping[KeyPath, int], changes: Mapping[KeyPath, str] | None = None) -> SpecParser:
    """A parser that knows the tasks and regimes that are installed."""
    return SpecParser(
        str(file),
        lines,
        partial(load_named, "tasks"),
        partial(load_named, "regimes"),
        list_names("regimes"),
        dict(changes or {}),
        partial(load_named, "trackers"),
    )


def load_spec(target: str, data: str | None = None, changes: Sequence[str] = ()) -> Spec:
    """Parse a spec; `data` replaces its data path (relative to where the person is), `changes` are KEY=VALUE."""
    file = find_spec_file(target)
    values, lines = load_yaml(file)
    if data is not None:  # before the changes: a test file that is asked for by name is meant
        values = {**values, "data": replace_data_path(values.get("data"), data)}
    values, changed = apply_overrides(values, changes)
    return build_spec(values, make_parser(file, lines, changed), file.parent)


def build_spec(values: Mapping[str, Any], parser: SpecParser, folder: Path) -> Spec:
    """The spec that plain values mean; relative paths start at `folder`. Raises SpecError."""
    spec = resolve_bases_and_prompts(parse_spec(values, parser, folder))
    try:
        check_gate(spec, spec.task)
    except SpecError as problem:
        raise _locate_error(problem, parser) from None
    return spec


def replace_data_path(data: JSON, path: str) -> dict[str, Any]:
    """The same options on other files: the spec's own test and validation files do not go with them."""
    kept = (
        {key: value for key, value in data.items() if key not in ("test", "validation")}
        if isinstance(data, dict)
        else {}
    )
    local = Path(path).expanduser()
    return {**kept, "path": str(local.resolve()) if local.exists() else path}


def resolve_bases_and_prompts(spec: Spec) -> Spec:
    """The spec with folders of bases and files of options made absolute; relative ones start at the spec or at the
    person.

    Raises SpecError for a file that is not there.
    """

    def place(name: str) -> Path | None:
        found = (start / Path(name).expanduser() for start in (spec.folder, Path.cwd()))
        return next((path.resolve() for path in found if path.exists()), None)

    def find_base(name: str) -> str:
        folder = place(name)
        return str(folder) if folder and folder.is_dir() else name

    def resolve_contender(contender: Contender) -> Contender:
        base = find_base(contender.base) if contender.base else None
        files = {name: place_file(contender, name, file) for name, file in list_files(contender.options).items()}
        return replace(contender, base=base, options=contender.options.model_copy(update=files))

    def place_file(contender: Contender, option: str, name: str) -> str:
        if (file := place(name)) is None:
            about = summarise_field(type(contender.options).model_fields[option]) or "a file"
            raise SpecError(
                f"there is no {option} file {name!r}",
                where=f"ladder: {contender.name}: {option}",
                allowed=f"{about}; its path is relative to the spec",
            )
        return str(file)

    return replace(spec, base=find_base(spec.base), ladder=tuple(map(resolve_contender, spec.ladder)))


def resolve_data_paths(spec: Spec) -> Spec:
    """The spec with data files made absolute, so that it means the same wherever it is written."""

    def place(path: str | None) -> str | None:
        found = spec.folder / Path(path).expanduser() if path else None
        return str(found.resolve()) if found is not None and found.exists() else path

    files = {key: place(getattr(spec.data, key)) for key in ("path", "test", "validation")}
    moved = replace(spec, data=spec.data.model_copy(update=files))
    abstain = spec.operating.abstain if spec.operating else None
    if spec.operating is None or abstain is None:
        return moved
    outside = {"out_of_scope": place(abstain.out_of_scope), "test": {k: place(v) for k, v in abstain.test.items()}}
    own = spec.operating.model_copy(update={"abstain": abstain.model_copy(update=outside)})
    return replace(moved, operating=own)


def check_gate(spec: Spec, task: Task) -> None:
    """Refuse a gate on a label or contender that does not exist. Raises SpecError.

    Labels that the spec leaves to the data are checked once the task is settled, before anything is trained.
    """
    if spec.gate is None:
        return
    labels = getattr(task, "labels", None)
    if labels is None and isinstance(task, Labelled):
        of_flips = (name.partition("/")[2] for name in spec.gate.flips)
        labels = (*spec.gate.recall, *spec.gate.precision, *filter(None, of_flips))
    evaluation = importlib.import_module("loratory.evaluation.gate")
    evaluation.check_gate(spec.gate, labels, [c.name for c in spec.ladder], _list_perturbations(spec))


def _list_perturbations(spec: Spec) -> tuple[str, ...]:
    return tuple(spec.stress.build_perturbations()) if spec.stress else ()


def _locate_error(problem: SpecError, parser: SpecParser) -> SpecError:
    where = parser.locate(tuple(problem.where.split(": ")))
    return SpecError(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy)


def format_lock(spec: Spec, file: Path) -> str:
    """The text of spec.lock.yaml: every value, and paths that hold wherever it stands."""
    return LOCK_HEADER.format(file=file) + dump_yaml(resolve_data_paths(spec).to_dict())
