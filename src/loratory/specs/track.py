"""`track:` where the events of a run are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loratory.errors import SpecError, format_value
from loratory.specs.parser import SpecParser
from loratory.specs.yaml_lines import KeyPath

TRACK_FORM = "a tracker's name, {to: jsonl, path: events.jsonl}, or a list of these"


@dataclass(frozen=True)
class TrackSpec:
    """One tracker with its options."""

    to: str
    options: Any  # the tracker's own model

    def to_dict(self) -> dict[str, Any]:
        """As plain data that parses to the same."""
        return {"to": self.to, **self.options.model_dump(mode="json")}


def parse_trackers(values: object, parser: SpecParser) -> tuple[TrackSpec, ...]:
    """The trackers of a spec, none where there are none; raises SpecError."""
    if values is None:
        return ()
    if not isinstance(values, list):
        return (_parse_tracker(values, ("track",), parser),)
    return tuple(_parse_tracker(value, ("track", place), parser) for place, value in enumerate(values))


def _parse_tracker(value: object, path: KeyPath, parser: SpecParser) -> TrackSpec:
    given = {"to": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or "to" not in given:
        raise SpecError(f"{format_value(value)} is no tracker", where=parser.locate(path), allowed=TRACK_FORM)
    name = parser.require_text(given["to"], (*path, "to"))
    tracker = parser.find_tracker(name, parser.locate((*path, "to")))
    options = {key: inner for key, inner in given.items() if key != "to"}
    return TrackSpec(name, parser.validate_model(tracker.Options, options, path))
