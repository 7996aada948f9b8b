"""Every tracker that is discovered; and the list of events that they are tried with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from loratory.discovery import list_names, load_named
from loratory.protocols.events import Event
from loratory.tracking.contract_checks import make_events, verify_tracker
from loratory.tracking.jsonl import JsonlOptions, JsonlTracker


@pytest.mark.parametrize("name", list_names("trackers"))
def test_a_tracker_takes_every_event(name: str, tmp_path: Path) -> None:
    verify_tracker(load_named("trackers", name)(), tmp_path)


def test_every_class_of_event_is_tried(tmp_path: Path) -> None:
    assert {type(event) for event in make_events(tmp_path)} == set(get_args(Event))


def test_each_event_is_a_line_of_json(tmp_path: Path) -> None:
    events = make_events(tmp_path)
    session = JsonlTracker().open(events[0], JsonlOptions(steps=2))  # type: ignore[arg-type]
    for event in events:
        session.on_event(event)
    session.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == [type(e).__name__ for e in events if type(e).__name__ != "StepFinished"]
    assert lines[-2]["ladder"]["verdict"] == {"recommended": "lora"}
