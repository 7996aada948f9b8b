"""One JSON Schema of the spec, for editors: the frame, with the tasks and regimes that are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec, GateSpec
from loratory.specs.operating_point import OperatingSpec
from loratory.specs.serve import ServeSpec
from loratory.specs.spec import CONTENDER, DEFAULT_BASE, NAME_PATTERN, takes_base
from loratory.specs.stress import StressSpec
from loratory.specs.training import TrainingSpec

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODEL_REFERENCE = "#/$defs/{model}"
START_HELP = (
    "Name of another contender to start from instead of a base. Training continues from its fit with the same seed."
)
SECTION_HELP = {
    "name": "Name of the run. Its folder is runs/<name>.",
    "task": "Kind of task: what the model answers. Example: {kind: classify}.",
    "data": "Where the examples are and how they are split.",
    "base": "Default base model: minilm (included), a folder (relative to the spec) or a hub id.",
    "ladder": "Contenders, simplest first: the name of a regime, or name: {regime: lora, base: minilm, rank: 8}.",
    "training": "Training budget, shared by every trained regime.",
    "operating": "How the probabilities of a classifier become answers: temperature, thresholds, abstention.",
    "evidence": "How scores become a verdict: margin, confidence, resamples.",
    "stress": "Harmless changes of the texts that should not change answers. Default: no stress test.",
    "gate": "Requirements that must hold before a contender is called fit for use.",
    "serve": "Which contender answers when the run is served. Default: the recommended one, without a fallback.",
    "track": "Where events of the run are stored: a name, {to: jsonl, steps: 10}, or a list. Default: nowhere.",
}


@dataclass(frozen=True)
class KnownClasses:
    """The classes that a spec may name."""

    tasks: Mapping[str, Any]
    regimes: Mapping[str, Any]
    trackers: Mapping[str, Any] = field(default_factory=dict)


def build_spec_schema(known: KnownClasses) -> dict[str, Any]:
    """The schema of a whole spec, draft 2020-12."""
    definitions: dict[str, Any] = {}
    made = {
        "name": {"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"},
        "task": _build_any_of(known.tasks, definitions),
        "data": _build_data_section(known.tasks, definitions),
        "base": {"type": "string", "default": DEFAULT_BASE},
        "ladder": {"type": "array", "minItems": 1, "items": _build_ladder_row(known.regimes, definitions)},
        "training": _add_model(TrainingSpec, definitions),
        "operating": _add_model(OperatingSpec, definitions),
        "evidence": _add_model(EvidenceSpec, definitions),
        "stress": _add_model(StressSpec, definitions),
        "gate": _add_model(GateSpec, definitions),
        "serve": _add_model(ServeSpec, definitions),
        "track": _build_track_section(known.trackers),
    }
    sections = {key: {"description": SECTION_HELP[key], **value} for key, value in made.items()}
    options = {
        name: {
            "description": f"Options for all {name} contenders of the ladder. Options of one contender override them.",
            **_add_model(cls, definitions),
        }
        for name, cls in known.regimes.items()
    }
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "loratory spec",
        "type": "object",
        "properties": {**sections, **{key: _allow_null(value) for key, value in options.items()}},
        "required": ["name", "data", "ladder"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _build_track_section(trackers: Mapping[str, Any]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [{"type": "string", "enum": list(trackers)}]
    for name, tracker in trackers.items():
        options = tracker.Options.model_json_schema()
        properties = {"to": {"const": name}, **options.get("properties", {})}
        required = ["to", *options.get("required", ())]
        rows.append({"type": "object", "properties": properties, "required": required, "additionalProperties": False})
    return {"anyOf": [*rows, {"type": "array", "items": {"anyOf": rows}}, {"type": "null"}]}


def _add_model(cls: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    made = cls.model_json_schema(ref_template=MODEL_REFERENCE)
    definitions.update(made.pop("$defs", {}))
    definitions[cls.__name__] = made
    return {"$ref": MODEL_REFERENCE.format(model=cls.__name__)}


def _allow_null(section: dict[str, Any]) -> dict[str, Any]:
    """A section whose every line is commented out holds null."""
    about = section.pop("description")
    return {"description": about, "anyOf": [section, {"type": "null"}]}


def _build_any_of(classes: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [_add_model(cls, definitions) for cls in classes.values()]}


def _build_data_section(tasks: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The options of `data:` with the columns of every task beside them; a path alone will do."""
    _add_model(DataSpec, definitions)
    columns = {name: column for cls in tasks.values() for name, column in cls.columns.items()}
    definitions["DataSpec"]["properties"] |= {
        name: {"type": "string", "description": f"column of the file: {column.help}"}
        for name, column in columns.items()
    }
    return {"anyOf": [{"type": "string"}, {"$ref": MODEL_REFERENCE.format(model="DataSpec")}]}


def _build_ladder_row(regimes: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A contender: the name of a regime, or one name with a mapping of regime, base and that regime's options."""
    for name, cls in regimes.items():
        _add_model(cls, definitions)
        definitions[f"{cls.__name__}Contender"] = _build_contender(name, cls, definitions[cls.__name__])
    chosen = [_build_regime_condition(name, cls) for name, cls in regimes.items()]
    named = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            name: {
                "if": {"required": ["regime"]},
                "then": {"allOf": chosen},
                "else": {"$ref": MODEL_REFERENCE.format(model=f"{cls.__name__}Contender")},
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


def _build_regime_condition(name: str, cls: type) -> dict[str, Any]:
    return {
        "if": {"properties": {"regime": {"const": name}}, "required": ["regime"]},
        "then": {"$ref": MODEL_REFERENCE.format(model=f"{cls.__name__}Contender")},
    }


def _build_contender(name: str, cls: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    starts: Sequence[str] = cls.starts
    base = {"base": {"type": "string", "description": SECTION_HELP["base"]}} if takes_base(starts) else {}
    start = {"start": {"type": "string", "description": START_HELP}} if CONTENDER in starts else {}
    return {
        "type": ["object", "null"],
        "title": f"a {name} contender",
        "properties": {"regime": {"const": name}, **base, **start, **options.get("properties", {})},
        "additionalProperties": False,
    }
