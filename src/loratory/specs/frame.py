"""The frame of the YAML. Task and regime classes are passed in, so that new ones need no change here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from loratory.errors import SpecError, nearest
from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec, GateSpec
from loratory.specs.lines import Path as KeyPath
from loratory.specs.lines import line_at, lines_of
from loratory.specs.training import TrainingSpec

Model = TypeVar("Model", bound=BaseModel)
OWN = ("name", "task", "data", "base", "ladder", "training", "evidence", "gate")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_BASE = "minilm"


@dataclass(frozen=True)
class Contender:
    """One row of the ladder: a regime with its options, and the base it starts from (None: nothing)."""

    name: str
    regime: str
    options: Any
    base: str | None


@dataclass(frozen=True)
class Spec:
    """A parsed YAML. `folder` is what relative paths in it start from."""

    name: str
    task: Any
    data: DataSpec
    ladder: tuple[Contender, ...]
    folder: Path
    base: str = DEFAULT_BASE
    training: TrainingSpec = field(default_factory=TrainingSpec)
    evidence: EvidenceSpec = field(default_factory=EvidenceSpec)
    gate: GateSpec | None = None

    def facts(self) -> dict[str, Any]:
        """Every value, given or derived, as plain data: what spec.lock.yaml holds."""

        def plain(model: Any) -> Any:
            return model.model_dump(mode="json", exclude_none=True)

        columns = {key: path for key, path in self.data.columns.items()}
        data = {key: value for key, value in plain(self.data).items() if key != "columns"}
        ladder = [
            {c.name: {"regime": c.regime, **({"base": c.base} if c.base else {}), **plain(c.options)}}
            for c in self.ladder
        ]
        facts = {
            "name": self.name,
            "task": plain(self.task),
            "data": {**data, **columns},
            "base": self.base,
            "ladder": ladder,
            "training": plain(self.training),
            "evidence": plain(self.evidence),
        }
        return facts | ({"gate": plain(self.gate)} if self.gate else {})


@dataclass(frozen=True)
class Parser:
    """One parse: the text's values, where each key stands, and the classes that may be named."""

    file: str
    lines: Mapping[KeyPath, int]
    task_of: Callable[[str, str], Any]  # (kind, where) -> class; raises SpecError
    regime_of: Callable[[str, str], Any]
    regimes: Sequence[str]

    def where(self, path: KeyPath) -> str:
        """file:line: key path."""
        return f"{self.file}:{line_at(dict(self.lines), path)}: {': '.join(str(p) for p in path)}"

    def model(self, cls: type[Model], values: Any, path: KeyPath) -> Model:
        """Validate values into a model; a SpecError names the line, the value seen and what is allowed."""
        if not isinstance(values, Mapping):
            raise SpecError(f"{values!r} is no mapping", where=self.where(path), allowed=", ".join(cls.model_fields))
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problem:
            raise self._error(cls, problem.errors()[0], path) from None

    def _error(self, cls: type[BaseModel], error: Any, path: KeyPath) -> SpecError:
        at = (*path, *(p for p in error["loc"] if not (isinstance(p, str) and p.endswith("]"))))
        if error["type"] == "extra_forbidden":
            known = _fields_at(cls, error["loc"][:-1])
            return SpecError(
                f"unknown key {error['loc'][-1]!r}{nearest(str(error['loc'][-1]), known)}",
                where=self.where(at),
                allowed=", ".join(known),
            )
        if error["type"] == "missing":
            return SpecError(
                f"{error['loc'][-1]!r} is missing", where=self.where(path), remedy=f"add {error['loc'][-1]}: ..."
            )
        help = getattr(cls.model_fields.get(str(error["loc"][0])) if error["loc"] else None, "description", None)
        message = error["msg"].removeprefix("Value error, ")
        return SpecError(
            f"{message[:1].lower()}{message[1:]}; found {error.get('input')!r}",
            where=self.where(at),
            allowed=help or "",
        )


def _fields_at(cls: type[BaseModel], loc: Sequence[Any]) -> list[str]:
    for part in loc:
        inner = cls.model_fields.get(str(part))
        kind = inner.annotation if inner else None
        cls = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else cls
    return list(cls.model_fields)


def load_yaml(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """A YAML file's mapping and the line of every key; raises SpecError."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError("this spec does not exist", where=str(file), remedy="loratory init DATA writes one") from None
    except UnicodeDecodeError as problem:
        raise SpecError(
            f"not UTF-8 at byte {problem.start}", where=str(file), remedy="save the file as UTF-8"
        ) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f"{file}:{mark.line + 1}" if mark else str(file)
        raise SpecError(
            f"no YAML: {getattr(problem, 'problem', problem)}", where=at, remedy="check indentation and quotes"
        ) from None
    if not isinstance(values, dict):
        raise SpecError("a spec is a mapping of keys", where=str(file), allowed=", ".join(OWN))
    return values, lines_of(text)


def parse(values: Mapping[str, Any], parser: Parser, folder: Path) -> Spec:
    """A spec from plain values; every mistake is a SpecError before any weight is loaded."""
    known = (*OWN, *parser.regimes)
    for key in values:
        if key not in known:
            raise SpecError(
                f"unknown key {key!r}{nearest(str(key), known)}",
                where=parser.where((str(key),)),
                allowed=", ".join(known),
            )
    for key in ("name", "data", "ladder"):
        if key not in values:
            raise SpecError(f"{key!r} is missing", where=parser.where(()), remedy=f"add {key}: ...")
    task, columns = _task(values.get("task", {}), parser)
    spec = Spec(
        _name(values["name"], ("name",), parser),
        task,
        _data(values["data"], columns, parser),
        (),
        folder,
        str(values.get("base", DEFAULT_BASE)),
        parser.model(TrainingSpec, values.get("training", {}), ("training",)),
        parser.model(EvidenceSpec, values.get("evidence", {}), ("evidence",)),
        parser.model(GateSpec, values["gate"], ("gate",)) if "gate" in values else None,
    )
    return replace(spec, ladder=_ladder(values, spec, parser))


def _name(value: Any, path: KeyPath, parser: Parser) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SpecError(
            f"{value!r} is no name",
            where=parser.where(path),
            allowed="letters, digits, dots, dashes and underscores, 64 at most",
        )
    return value


def _task(values: Any, parser: Parser) -> tuple[Any, Sequence[str]]:
    if not isinstance(values, Mapping):
        raise SpecError(f"{values!r} is no mapping", where=parser.where(("task",)), remedy="task: {kind: classify}")
    cls = parser.task_of(str(values.get("kind", "classify")), parser.where(("task", "kind")))
    return parser.model(cls, values, ("task",)), tuple(cls.columns)


def _data(values: Any, columns: Sequence[str], parser: Parser) -> DataSpec:
    """The task's columns stand beside the options in the YAML; here they move into `columns`."""
    if isinstance(values, str):
        values = {"path": values}
    if not isinstance(values, Mapping):
        raise SpecError(f"{values!r} is no mapping", where=parser.where(("data",)), remedy="data: {path: examples.csv}")
    for key in values:
        if key not in DataSpec.model_fields and key not in columns:
            known = [k for k in (*DataSpec.model_fields, *columns) if k != "columns"]
            raise SpecError(
                f"unknown key {key!r}{nearest(str(key), known)}",
                where=parser.where(("data", str(key))),
                allowed=", ".join(known),
            )
    mapped = {key: value for key, value in values.items() if key in columns}
    rest = {key: value for key, value in values.items() if key not in columns}
    return parser.model(DataSpec, {**rest, "columns": {**rest.get("columns", {}), **mapped}}, ("data",))


def _ladder(values: Mapping[str, Any], spec: Spec, parser: Parser) -> tuple[Contender, ...]:
    rows = values["ladder"]
    if not isinstance(rows, list) or not rows:
        raise SpecError(
            "the ladder is empty",
            where=parser.where(("ladder",)),
            allowed=", ".join(parser.regimes),
            remedy="ladder: [tfidf, head, lora]",
        )
    made: list[Contender] = []
    for i, row in enumerate(rows):
        if not isinstance(row, (str, Mapping)) or (isinstance(row, Mapping) and len(row) != 1):
            raise SpecError(
                f"{row!r} is no contender",
                where=parser.where(("ladder", i)),
                allowed="a regime's name, or name: {regime: ..., options}",
            )
        name, own = (row, {}) if isinstance(row, str) else next(iter(row.items()))
        contender = _contender(_name(name, ("ladder", i), parser), own or {}, ("ladder", i), values, parser, spec)
        if contender.name in {c.name for c in made}:
            raise SpecError(
                f"two contenders are called {name!r}", where=parser.where(("ladder", i)), remedy="give one another name"
            )
        made.append(contender)
    return tuple(made)


def _contender(name: str, own: Any, path: KeyPath, values: Mapping[str, Any], parser: Parser, spec: Spec) -> Contender:
    at = (*path, name) if (*path, name) in parser.lines else path
    if not isinstance(own, Mapping):
        raise SpecError(f"{own!r} is no mapping of options", where=parser.where(at))
    own = dict(own)
    regime, base = str(own.pop("regime", name)), str(own.pop("base", spec.base))
    cls = parser.regime_of(regime, parser.where(at))
    shared = values.get(regime) or {}
    parser.model(cls, shared, (regime,))  # the shared part by itself first, so that the error names its own line
    options = parser.model(cls, {**shared, **own}, at)
    return Contender(name, regime, options, None if cls.starts == ("nothing",) else base)
