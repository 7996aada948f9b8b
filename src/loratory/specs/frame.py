"""The frame of the YAML. Task and regime classes are passed in, so that new ones need no change here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loratory.errors import SpecError, nearest, shown
from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec, GateSpec
from loratory.specs.lines import Path as KeyPath
from loratory.specs.operating import OperatingSpec
from loratory.specs.parser import Parser
from loratory.specs.serve import ServeSpec
from loratory.specs.stress import StressSpec
from loratory.specs.training import TrainingSpec

OWN = ("name", "task", "data", "base", "ladder", "training", "operating", "evidence", "stress", "gate", "serve")
NEEDED = {"name": "name: my-task", "data": "data: {path: examples.csv}", "ladder": "ladder: [tfidf, head, lora]"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMED = "letters, digits, dots, dashes and underscores, 64 at most, a letter or digit first"
DEFAULT_BASE = "minilm"
MAJORITY = "majority"  # the regime that every ladder begins with: what must be beaten before anything was learnt


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
    operating: OperatingSpec | None = None
    stress: StressSpec | None = None
    serve: ServeSpec | None = None

    def facts(self) -> dict[str, Any]:
        """Every value, given or left out, as plain data that parses to the same spec."""
        data = self.data.model_dump(mode="json")
        columns = data.pop("columns")
        ladder = [
            {c.name: {"regime": c.regime, **({"base": c.base} if c.base else {}), **c.options.model_dump(mode="json")}}
            for c in self.ladder
        ]
        facts = {
            "name": self.name,
            "task": self.task.model_dump(mode="json"),
            "data": {**data, **columns},
            "base": self.base,
            "ladder": ladder,
            "training": self.training.model_dump(mode="json"),
            "evidence": self.evidence.model_dump(mode="json"),
        }
        asked = {"operating": self.operating, "stress": self.stress, "gate": self.gate, "serve": self.serve}
        return facts | {key: spec.model_dump(mode="json") for key, spec in asked.items() if spec}


def parse(values: Mapping[str, Any], parser: Parser, folder: Path) -> Spec:
    """A spec from plain values; every mistake is a SpecError before any weight is loaded."""
    parser.known(values, (*OWN, *parser.regimes), ())
    for key, example in NEEDED.items():
        if values.get(key) is None:
            raise SpecError(f"{key!r} is missing", where=parser.where((key,)), remedy=f"add {example}")
    task, columns = _task(values.get("task"), parser)
    spec = Spec(
        _name(values["name"], ("name",), parser),
        task,
        _data(values["data"], columns, parser),
        (),
        folder,
        parser.text(values.get("base", DEFAULT_BASE), ("base",)),
        parser.model(TrainingSpec, values.get("training"), ("training",)),
        parser.model(EvidenceSpec, values.get("evidence"), ("evidence",)),
        _optional(GateSpec, "gate", values, parser),
        _optional(OperatingSpec, "operating", values, parser),
        _optional(StressSpec, "stress", values, parser),
        _optional(ServeSpec, "serve", values, parser),
    )
    for regime in parser.regimes:  # by itself first, so that the error names its own line
        if values.get(regime) is not None:
            parser.model(parser.regime_of(regime, parser.where((regime,))), values[regime], (regime,))
    spec = replace(spec, data=_settled(spec, parser), ladder=_ladder(values, spec, parser))
    _check_serving(spec, parser)
    return spec


def _settled(spec: Spec, parser: Parser) -> DataSpec:
    """The data options with a calibration part where something uses it."""
    try:
        return spec.data.settled(spec.operating is not None)
    except ValueError:
        raise SpecError(
            "test + validation leave less than 0.1 for train beside the 0.1 of calibration that operating: uses",
            where=parser.where(("data", "split")),
            remedy="lower test or validation, or say calibration: 0.05",
        ) from None


def _check_serving(spec: Spec, parser: Parser) -> None:
    """Who is to answer stands in the ladder."""
    serve, names = spec.serve or ServeSpec(), [contender.name for contender in spec.ladder]
    for key, given in (("contender", [serve.contender] if serve.contender else []), ("fallback", serve.fallback)):
        for name in given:
            if name not in names:
                raise SpecError(
                    f"{name!r} is no contender of the ladder{nearest(name, names)}",
                    where=parser.where(("serve", key)),
                    allowed=", ".join(names),
                )


def _optional(cls: type[Any], key: str, values: Mapping[str, Any], parser: Parser) -> Any:
    return parser.model(cls, values[key], (key,)) if values.get(key) is not None else None


def _name(value: Any, path: KeyPath, parser: Parser) -> str:
    if not NAME.fullmatch(parser.text(value, path)):
        raise SpecError(
            f"{shown(value)} is no name",
            where=parser.where(path),
            allowed=NAMED,
        )
    return str(value)


def _task(values: Any, parser: Parser) -> tuple[Any, Sequence[str]]:
    values = parser.mapping(values, ("task",), "{kind: classify}")
    path: KeyPath = ("task", "kind")
    cls = parser.task_of(parser.text(values.get("kind", "classify"), path), parser.where(path))
    return parser.model(cls, values, ("task",)), tuple(cls.columns)


def _data(values: Any, columns: Sequence[str], parser: Parser) -> DataSpec:
    """The task's columns stand beside the options in the YAML; here they move into `columns`."""
    values = parser.mapping({"path": values} if isinstance(values, str) else values, ("data",), "{path: examples.csv}")
    options = [key for key in DataSpec.model_fields if key != "columns"]
    parser.known(values, (*options, *columns, "columns"), ("data",))
    given = parser.mapping(values.get("columns"), ("data", "columns"), "task column -> column in the file")
    beside = {key: value for key, value in values.items() if key in columns}
    parser.known(given, columns, ("data", "columns"))
    for key, value in beside.items():
        parser.text(value, ("data", key))
    rest = {key: value for key, value in values.items() if key in options}
    return parser.model(DataSpec, {**rest, "columns": {**given, **beside}}, ("data",))


def _ladder(values: Mapping[str, Any], spec: Spec, parser: Parser) -> tuple[Contender, ...]:
    rows = values["ladder"]
    if not isinstance(rows, list) or not rows:
        raise SpecError(
            "the ladder is empty" if not rows else f"{shown(rows)} is no list of contenders",
            where=parser.where(("ladder",)),
            allowed=f"a list of {', '.join(parser.regimes)}, or of name: {{regime: ..., options}}",
            remedy=NEEDED["ladder"],
        )
    made: dict[str, Contender] = {}
    for i, row in enumerate(rows):
        name, own = _row(row, ("ladder", i), parser)
        if name in made:
            raise SpecError(
                f"two contenders are called {name!r}",
                where=parser.where(("ladder", i)),
                remedy=f"give one another name: {name}-2: {{regime: {made[name].regime}}}",
            )
        made[name] = _contender(name, own, ("ladder", i, name), values, parser, spec)
    return _begin_with_majority(made, values, spec, parser)


def _begin_with_majority(
    made: Mapping[str, Contender], values: Mapping[str, Any], spec: Spec, parser: Parser
) -> tuple[Contender, ...]:
    """The ladder with the contender that learns nothing in front, whether or not the spec lists it."""
    listed = next((one for one in made.values() if one.regime == MAJORITY), None)
    if listed is None and MAJORITY in made:
        raise SpecError(
            f"{MAJORITY!r} is the name of the contender that every ladder begins with",
            where=parser.where(("ladder",)),
            remedy=f"give yours another name: my-{MAJORITY}: {{regime: {made[MAJORITY].regime}}}",
        )
    first = listed or _contender(MAJORITY, None, ("ladder",), values, parser, spec)
    return (first, *(one for one in made.values() if one is not first))


def _row(row: Any, path: KeyPath, parser: Parser) -> tuple[str, Any]:
    if not isinstance(row, (str, Mapping)) or (isinstance(row, Mapping) and len(row) != 1):
        raise SpecError(
            f"{shown(row)} is no contender",
            where=parser.where(path),
            allowed="a regime's name, or name: {regime: ..., options}",
            remedy="indent a contender's options below its name" if isinstance(row, Mapping) else "",
        )
    name, own = (row, None) if isinstance(row, str) else next(iter(row.items()))
    return _name(name, path, parser), own


def _contender(name: str, own: Any, path: KeyPath, values: Mapping[str, Any], parser: Parser, spec: Spec) -> Contender:
    options = dict(parser.mapping(own, path, "{regime: ..., options}"))
    regime = parser.text(options.pop("regime", name), (*path, "regime"))
    base = options.pop("base", None)
    cls = _regime(name, regime, path, parser)
    if base is not None and cls.starts == ("nothing",):
        raise SpecError(
            f"{regime} starts from nothing, so it takes no base",
            where=parser.where((*path, "base")),
            remedy="remove it",
        )
    made = parser.model(cls, {**(values.get(regime) or {}), **options}, path)
    start = spec.base if base is None else parser.text(base, (*path, "base"))
    return Contender(name, regime, made, None if cls.starts == ("nothing",) else start)


def _regime(name: str, regime: str, path: KeyPath, parser: Parser) -> Any:
    if regime != name:
        return parser.regime_of(regime, parser.where((*path, "regime")))
    try:
        return parser.regime_of(regime, parser.where(path))
    except SpecError as problem:
        remedy = f"correct it, or say which it is: {name}: {{regime: lora}}"
        raise SpecError(problem.problem, where=problem.where, allowed=problem.allowed, remedy=remedy) from None
