"""The frame of the YAML. Task and regime classes are passed in, so that new ones need no change here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loratory.errors import SpecError, format_value, suggest_nearest
from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec, GateSpec
from loratory.specs.operating_point import OperatingSpec
from loratory.specs.parser import SpecParser
from loratory.specs.serve import ServeSpec
from loratory.specs.stress import StressSpec
from loratory.specs.track import TrackSpec, parse_trackers
from loratory.specs.training import TrainingSpec
from loratory.specs.yaml_lines import KeyPath as KeyPath

SECTIONS = (
    "name",
    "task",
    "data",
    "base",
    "ladder",
    "training",
    "operating",
    "evidence",
    "stress",
    "gate",
    "serve",
    "track",
)
REQUIRED_KEYS = {"name": "name: my-task", "data": "data: {path: examples.csv}", "ladder": "ladder: [tfidf, head, lora]"}
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "letters, digits, dots, dashes and underscores, 64 at most, a letter or digit first"
DEFAULT_BASE = "minilm"
NOTHING, CONTENDER = "nothing", "contender"  # kinds of start that are no base: see protocols.Regime.starts
MAJORITY = "majority"  # the regime that every ladder begins with: what must be beaten before anything was learnt


@dataclass(frozen=True)
class Contender:
    """One row of the ladder: a regime with its options, and what it starts from.

    `start` is another contender by name; `base` is then the base beneath that one. With neither it starts from nothing.
    """

    name: str
    regime: str
    options: Any  # a protocols.Regime
    base: str | None
    start: str | None = None

    def to_options(self) -> dict[str, Any]:
        """Its part of the YAML, every value given."""
        start = {"start": self.start} if self.start else {"base": self.base} if self.base else {}
        return {"regime": self.regime, **start, **self.options.model_dump(mode="json")}


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
    track: tuple[TrackSpec, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Every value, given or left out, as plain data that parses to the same spec."""
        data = self.data.model_dump(mode="json")
        columns = data.pop("columns")
        ladder = [{contender.name: contender.to_options()} for contender in self.ladder]
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
        trackers = {"track": [one.to_dict() for one in self.track]} if self.track else {}
        return facts | {key: spec.model_dump(mode="json") for key, spec in asked.items() if spec} | trackers


def parse_spec(values: Mapping[str, Any], parser: SpecParser, folder: Path) -> Spec:
    """A spec from plain values; every mistake is a SpecError before any weight is loaded."""
    parser.check_keys(values, (*SECTIONS, *parser.regimes), ())
    for key, example in REQUIRED_KEYS.items():
        if values.get(key) is None:
            raise SpecError(f"{key!r} is missing", where=parser.locate((key,)), remedy=f"add {example}")
    task, columns = _parse_task(values.get("task"), parser)
    spec = Spec(
        _parse_name(values["name"], ("name",), parser),
        task,
        _parse_data(values["data"], columns, parser),
        (),
        folder,
        parser.require_text(values.get("base", DEFAULT_BASE), ("base",)),
        parser.validate_model(TrainingSpec, values.get("training"), ("training",)),
        parser.validate_model(EvidenceSpec, values.get("evidence"), ("evidence",)),
        _parse_optional(GateSpec, "gate", values, parser),
        _parse_optional(OperatingSpec, "operating", values, parser),
        _parse_optional(StressSpec, "stress", values, parser),
        _parse_optional(ServeSpec, "serve", values, parser),
        parse_trackers(values.get("track"), parser),
    )
    for regime in parser.regimes:  # by itself first, so that the error names its own line
        if values.get(regime) is not None:
            parser.validate_model(parser.find_regime(regime, parser.locate((regime,))), values[regime], (regime,))
    spec = replace(spec, data=_fill_calibration_share(spec, parser), ladder=_parse_ladder(values, spec, parser))
    _check_serving(spec, parser)
    return spec


def _fill_calibration_share(spec: Spec, parser: SpecParser) -> DataSpec:
    """The data options with a calibration part where something uses it."""
    try:
        return spec.data.with_calibration_share(spec.operating is not None)
    except ValueError:
        raise SpecError(
            "test + validation leave less than 0.1 for train beside the 0.1 of calibration that operating: uses",
            where=parser.locate(("data", "split")),
            remedy="lower test or validation, or say calibration: 0.05",
        ) from None


def _check_serving(spec: Spec, parser: SpecParser) -> None:
    """Who is to answer stands in the ladder."""
    serve, names = spec.serve or ServeSpec(), [contender.name for contender in spec.ladder]
    for key, given in (("contender", [serve.contender] if serve.contender else []), ("fallback", serve.fallback)):
        for name in given:
            if name not in names:
                raise SpecError(
                    f"{name!r} is no contender of the ladder{suggest_nearest(name, names)}",
                    where=parser.locate(("serve", key)),
                    allowed=", ".join(names),
                )


def _parse_optional(cls: type[Any], key: str, values: Mapping[str, Any], parser: SpecParser) -> Any:
    return parser.validate_model(cls, values[key], (key,)) if values.get(key) is not None else None


def _parse_name(value: object, path: KeyPath, parser: SpecParser) -> str:
    if not NAME_PATTERN.fullmatch(parser.require_text(value, path)):
        raise SpecError(
            f"{format_value(value)} is no name",
            where=parser.locate(path),
            allowed=NAME_RULE,
        )
    return str(value)


def _parse_task(values: object, parser: SpecParser) -> tuple[Any, Sequence[str]]:
    values = parser.require_mapping(values, ("task",), "{kind: classify}")
    path: KeyPath = ("task", "kind")
    cls = parser.find_task(parser.require_text(values.get("kind", "classify"), path), parser.locate(path))
    return parser.validate_model(cls, values, ("task",)), tuple(cls.columns)


def _parse_data(values: object, columns: Sequence[str], parser: SpecParser) -> DataSpec:
    """The task's columns stand beside the options in the YAML; here they move into `columns`."""
    values = parser.require_mapping(
        {"path": values} if isinstance(values, str) else values, ("data",), "{path: examples.csv}"
    )
    options = [key for key in DataSpec.model_fields if key != "columns"]
    if "rejected" in values and "rejected" not in columns:
        raise SpecError(
            "this task has no use of a rejected answer",
            where=parser.locate(("data", "rejected")),
            allowed="data: rejected: where the task reads preferences (generate)",
            remedy="remove the line; to carry the column all the same: data: extras: {rejected: COLUMN}",
        )
    parser.check_keys(values, (*options, *columns, "columns"), ("data",))
    given = parser.require_mapping(values.get("columns"), ("data", "columns"), "task column -> column in the file")
    beside = {key: value for key, value in values.items() if key in columns}
    parser.check_keys(given, columns, ("data", "columns"))
    for key, value in beside.items():
        parser.require_text(value, ("data", key))
    rest = {key: value for key, value in values.items() if key in options}
    return parser.validate_model(DataSpec, {**rest, "columns": {**given, **beside}}, ("data",))


def _parse_ladder(values: Mapping[str, Any], spec: Spec, parser: SpecParser) -> tuple[Contender, ...]:
    rows = values["ladder"]
    if not isinstance(rows, list) or not rows:
        raise SpecError(
            "the ladder is empty" if not rows else f"{format_value(rows)} is no list of contenders",
            where=parser.locate(("ladder",)),
            allowed=f"a list of {', '.join(parser.regimes)}, or of name: {{regime: ..., options}}",
            remedy=REQUIRED_KEYS["ladder"],
        )
    made: dict[str, Contender] = {}
    paths: dict[str, KeyPath] = {}
    for i, row in enumerate(rows):
        name, own = _parse_row(row, ("ladder", i), parser)
        if name in made:
            raise SpecError(
                f"two contenders are called {name!r}",
                where=parser.locate(("ladder", i)),
                remedy=f"give one another name: {name}-2: {{regime: {made[name].regime}}}",
            )
        made[name] = _parse_contender(name, own, ("ladder", i, name), values, parser, spec)
        paths[name] = ("ladder", i, name, "start")
    contenders = _begin_with_majority(made, values, spec, parser)
    return link_starts(contenders, lambda name: parser.locate(paths[name]))


def _begin_with_majority(
    contenders: Mapping[str, Contender], values: Mapping[str, Any], spec: Spec, parser: SpecParser
) -> tuple[Contender, ...]:
    """The ladder with the contender that learns nothing in front, whether or not the spec lists it."""
    listed = next((one for one in contenders.values() if one.regime == MAJORITY), None)
    if listed is None and MAJORITY in contenders:
        raise SpecError(
            f"{MAJORITY!r} is the name of the contender that every ladder begins with",
            where=parser.locate(("ladder",)),
            remedy=f"give yours another name: my-{MAJORITY}: {{regime: {contenders[MAJORITY].regime}}}",
        )
    first = listed or _parse_contender(MAJORITY, None, ("ladder",), values, parser, spec)
    return (first, *(one for one in contenders.values() if one is not first))


def _parse_row(row: object, path: KeyPath, parser: SpecParser) -> tuple[str, Any]:
    if not isinstance(row, (str, Mapping)) or (isinstance(row, Mapping) and len(row) != 1):
        raise SpecError(
            f"{format_value(row)} is no contender",
            where=parser.locate(path),
            allowed="a regime's name, or name: {regime: ..., options}",
            remedy="indent a contender's options below its name" if isinstance(row, Mapping) else "",
        )
    name, own = (row, None) if isinstance(row, str) else next(iter(row.items()))
    return _parse_name(name, path, parser), own


def _parse_contender(
    name: str, own_options: object, path: KeyPath, values: Mapping[str, Any], parser: SpecParser, spec: Spec
) -> Contender:
    options = dict(parser.require_mapping(own_options, path, "{regime: ..., options}"))
    regime = parser.require_text(options.pop("regime", name), (*path, "regime"))
    cls = _find_regime(name, regime, path, parser)
    start = _parse_start(regime, cls.starts, options, path, parser)
    base = options.pop("base", None)
    made = parser.validate_model(cls, {**(values.get(regime) or {}), **options}, path)
    if start or not takes_base(cls.starts):
        return Contender(name, regime, made, None, start)
    return Contender(name, regime, made, spec.base if base is None else parser.require_text(base, (*path, "base")))


def takes_base(starts: Sequence[str]) -> bool:
    """Whether a base is among the kinds of start that a regime can use."""
    return bool(set(starts) - {NOTHING, CONTENDER})


def _parse_start(
    regime: str, starts: Sequence[str], options: dict[str, Any], path: KeyPath, parser: SpecParser
) -> str | None:
    """Take `start:` out of a contender's options; raises SpecError where it, or its `base:`, cannot stand there."""
    start, base = options.pop("start", None), options.get("base")
    if base is not None and not takes_base(starts):
        raise SpecError(
            f"{regime} starts from {' or '.join(starts)}, so it takes no base",
            where=parser.locate((*path, "base")),
            remedy="remove it",
        )
    if start is not None and CONTENDER not in starts:
        raise SpecError(
            f"{regime} starts from {' or '.join(starts)}, so it takes no other contender",
            where=parser.locate((*path, "start")),
            remedy="remove start:, or choose a regime that goes on from another one, such as lora",
        )
    if start is not None and base is not None:
        raise SpecError(
            "a contender starts from a base or from another contender, not from both",
            where=parser.locate((*path, "start")),
            remedy="remove base: (the start's own is beneath it), or remove start:",
        )
    if start is None and base is None and set(starts) == {CONTENDER}:
        raise SpecError(f"{regime} starts from another contender", where=parser.locate(path), remedy="add start: NAME")
    return None if start is None else parser.require_text(start, (*path, "start"))


def _find_regime(name: str, regime: str, path: KeyPath, parser: SpecParser) -> Any:
    if regime != name:
        return parser.find_regime(regime, parser.locate((*path, "regime")))
    try:
        return parser.find_regime(regime, parser.locate(path))
    except SpecError as problem:
        remedy = f"correct it, or say which it is: {name}: {{regime: lora}}"
        raise SpecError(problem.problem, where=problem.where, allowed=problem.allowed, remedy=remedy) from None


def link_starts(contenders: Sequence[Contender], locate: Callable[[str], str]) -> tuple[Contender, ...]:
    """The contenders, each that starts from another one with the base beneath it.

    Raises SpecError for a start that is no contender, or that leads back to itself; `locate` says where NAME has it.
    """
    known = {one.name: one for one in contenders}
    for one in contenders:
        _check_start(one, known, locate)
    return tuple(replace(one, base=list_starts(known, one.name)[-1].base) if one.start else one for one in contenders)


def _check_start(contender: Contender, known: Mapping[str, Contender], locate: Callable[[str], str]) -> None:
    passed = [contender.name]
    while (start := known[passed[-1]].start) is not None:
        if start not in known:
            others = [name for name in known if name != passed[-1]]
            raise SpecError(
                f"{start!r} is no contender of the ladder{suggest_nearest(start, others)}",
                where=locate(passed[-1]),
                allowed=", ".join(others),
            )
        if start in passed:
            circle = " starts from ".join([*passed[passed.index(start) :], start])
            raise SpecError(
                f"a contender cannot start from itself: {circle}",
                where=locate(passed[-1]),
                remedy="let one of them start from its base: remove its start:",
            )
        passed.append(start)


def list_starts(known: Mapping[str, Contender], name: str) -> list[Contender]:
    """The contenders that one starts from, by way of each other: the nearest first, the one that stands on a base (or
    on nothing) last. Empty where it starts from no contender.
    """
    found: list[Contender] = []
    while (start := known[name].start) is not None:
        found.append(known[start])
        name = start
    return found


def sort_by_start(contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders in an order in which they can be fitted: each behind its start, else as they are given."""
    known = {one.name: one for one in contenders}
    order: dict[str, Contender] = {}
    for one in contenders:
        for each in (*reversed(list_starts(known, one.name)), one):
            order.setdefault(each.name, each)
    return list(order.values())
