"""One JSON Schema of the spec, for editors: the frame, with the tasks and regimes that are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec, GateSpec
from loratory.specs.frame import DEFAULT_BASE, NAME
from loratory.specs.operating import OperatingSpec
from loratory.specs.serve import ServeSpec
from loratory.specs.stress import StressSpec
from loratory.specs.training import TrainingSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MADE = "#/$defs/{model}"
HELP = {
    "name": "name of the run: its folder is runs/<name>",
    "task": "the contract: what a right answer is",
    "data": "where the examples are and how they are split",
    "base": "the default start: minilm (embedded), a folder (relative to the spec) or a hub id",
    "ladder": "the contenders, simplest first: a regime's name, or name: {regime: ..., base: ..., options}",
    "training": "the budget that every trained regime shares",
    "operating": "what is done to a classifier's probabilities before it answers",
    "evidence": "how figures become a verdict",
    "stress": "harmless changes of the texts, by which answers should not change; left out: none",
    "gate": "what must hold before anything may be called fit for use",
    "serve": "who answers when the run is served; left out: the recommended contender alone",
}


@dataclass(frozen=True)
class Known:
    """The classes that a spec may name."""

    tasks: Mapping[str, Any]
    regimes: Mapping[str, Any]


def schema(known: Known) -> dict[str, Any]:
    """The schema of a whole spec, draft 2020-12."""
    definitions: dict[str, Any] = {}
    made = {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "task": _one_of(known.tasks, definitions),
        "data": _data(known.tasks, definitions),
        "base": {"type": "string", "default": DEFAULT_BASE},
        "ladder": {"type": "array", "minItems": 1, "items": _row(known.regimes, definitions)},
        "training": _model(TrainingSpec, definitions),
        "operating": _model(OperatingSpec, definitions),
        "evidence": _model(EvidenceSpec, definitions),
        "stress": _model(StressSpec, definitions),
        "gate": _model(GateSpec, definitions),
        "serve": _model(ServeSpec, definitions),
    }
    sections = {key: {"description": HELP[key], **value} for key, value in made.items()}
    options = {
        name: {"description": f"options that every {name} on the ladder shares", **_model(cls, definitions)}
        for name, cls in known.regimes.items()
    }
    return {
        "$schema": DIALECT,
        "title": "loratory spec",
        "type": "object",
        "properties": {**sections, **{key: _or_empty(value) for key, value in options.items()}},
        "required": ["name", "data", "ladder"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _model(cls: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    made = cls.model_json_schema(ref_template=MADE)
    definitions.update(made.pop("$defs", {}))
    definitions[cls.__name__] = made
    return {"$ref": MADE.format(model=cls.__name__)}


def _or_empty(made: dict[str, Any]) -> dict[str, Any]:
    """A section whose every line is commented out holds null."""
    about = made.pop("description")
    return {"description": about, "anyOf": [made, {"type": "null"}]}


def _one_of(classes: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [_model(cls, definitions) for cls in classes.values()]}


def _data(tasks: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The options of `data:` with the columns of every task beside them; a path alone will do."""
    _model(DataSpec, definitions)
    columns = {name: column for cls in tasks.values() for name, column in cls.columns.items()}
    definitions["DataSpec"]["properties"] |= {
        name: {"type": "string", "description": f"column of the file: {column.help}"}
        for name, column in columns.items()
    }
    return {"anyOf": [{"type": "string"}, {"$ref": MADE.format(model="DataSpec")}]}


def _row(regimes: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A contender: the name of a regime, or one name with a mapping of regime, base and that regime's options."""
    for name, cls in regimes.items():
        _model(cls, definitions)
        definitions[f"{cls.__name__}Contender"] = _contender(name, cls, definitions[cls.__name__])
    chosen = [_when(name, cls) for name, cls in regimes.items()]
    named = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            name: {
                "if": {"required": ["regime"]},
                "then": {"allOf": chosen},
                "else": {"$ref": MADE.format(model=f"{cls.__name__}Contender")},
            }
            for name, cls in regimes.items()
        },
        "additionalProperties": {
            "type": "object",
            "required": ["regime"],
            "properties": {"regime": {"enum": list(regimes)}},
            "allOf": chosen,
        },
    }
    return {"anyOf": [{"enum": list(regimes)}, named]}


def _when(name: str, cls: Any) -> dict[str, Any]:
    return {
        "if": {"properties": {"regime": {"const": name}}, "required": ["regime"]},
        "then": {"$ref": MADE.format(model=f"{cls.__name__}Contender")},
    }


def _contender(name: str, cls: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    starts: Sequence[str] = cls.starts
    base = {} if tuple(starts) == ("nothing",) else {"base": {"type": "string", "description": HELP["base"]}}
    return {
        "type": ["object", "null"],
        "title": f"a {name} contender",
        "properties": {"regime": {"const": name}, **base, **options.get("properties", {})},
        "additionalProperties": False,
    }
