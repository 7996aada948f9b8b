"""Folders, data and specs of strangers through the command line: refused in words, or taken; never hung or grown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attempts import Ending, attempt, preload
from hostile_files import CSV, SPEC, data_files, specs
from hostile_folders import folders

from fault_recording import FaultCounts, FaultTries
from loratory.importing import sandbox
from loratory.importing.import_folder import import_in_sandbox
from loratory.importing.sandbox import SandboxLimits, call_limited
from tiny_models import save_base

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="attempts are forks")
FOLDERS, FILES = 240, 180
QUICK_FOLDERS, QUICK_FILES = 10, 6
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier that can be imported."""
    preload(sandbox.PRELOADED_LIBRARIES)
    names = ("card", "cash", "login")
    maps: dict[str, Any] = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    folder = tmp_path_factory.mktemp("good") / "m"
    return save_base(folder, "bert", kind="AutoModelForSequenceClassification", **maps)


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    preload()


def note(tries: FaultTries | None, ending: Ending, fault: str | None) -> None:
    if tries is not None:
        megabytes = ending.peak // 2**20
        tries.add(failures=fault is not None, seconds=round(ending.seconds, 1), megabytes=megabytes)


def fault_of_folder(good: Path, place: Path, change: Change, tries: FaultTries | None = None) -> str | None:
    shutil.copytree(good, place / "m")
    change(place / "m")
    ending = attempt(["import", "m", "-o", "out"], place)
    fault = ending.fault()
    left = [file.name for file in place.iterdir() if file.name.startswith((".out", "out"))]
    if fault is None and ending.code == 2 and left:
        fault = f"it left {left}"
    note(tries, ending, fault)
    return fault and f"{fault}: {ending.said[-500:]}"


def faults_of_file(place: Path, name: str, make: Change, tries: FaultTries | None = None) -> list[str]:
    make(place)
    (place / "s.yaml").write_text(SPEC.format(path=name), encoding="utf-8")
    endings = [attempt(words, place) for words in (["check", "s.yaml"], ["init", name, "-o", "i.yaml"])]
    for ending in endings:
        note(tries, ending, ending.fault())
    return [f"{fault}: {ending.said[-500:]}" for ending in endings if (fault := ending.fault()) is not None]


def test_the_good_folder_is_taken(good: Path, tmp_path: Path) -> None:
    """Otherwise the others would be refused for nothing."""
    assert fault_of_folder(good, tmp_path, lambda folder: None) is None
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_some_hostile_folders(good: Path, tmp_path: Path) -> None:
    for number, (name, change) in enumerate(folders(1, QUICK_FOLDERS)):
        (tmp_path / str(number)).mkdir()
        assert fault_of_folder(good, tmp_path / str(number), change) is None, name


def test_some_hostile_data_files(tmp_path: Path) -> None:
    for number, (name, file, make) in enumerate(data_files(5, QUICK_FILES)):
        (tmp_path / str(number)).mkdir()
        assert faults_of_file(tmp_path / str(number), file, make) == [], name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hostile_folders(good: Path, tmp_path: Path, faults: FaultCounts) -> None:
    tries, found = faults.tries_of("hostile folders given to import"), {}
    for name, change in folders(2, FOLDERS):
        place = tmp_path / "place"
        place.mkdir()
        if (fault := fault_of_folder(good, place, change, tries)) is not None:
            found[name] = fault
        shutil.rmtree(place)
    assert found == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hostile_data_files(tmp_path: Path, faults: FaultCounts) -> None:
    tries, found = faults.tries_of("hostile data files given to check and to init"), {}
    for name, file, make in data_files(2, FILES):
        place = tmp_path / "place"
        place.mkdir()
        if wrong := faults_of_file(place, file, make, tries):
            found[name] = wrong
        shutil.rmtree(place)
    assert found == {}


@pytest.mark.slow
def test_hostile_specs(tmp_path: Path, faults: FaultCounts) -> None:
    tries = faults.tries_of("hostile specs given to check")
    (tmp_path / "d.csv").write_text(CSV, encoding="utf-8")
    found = {}
    for name, data in specs():
        (tmp_path / "s.yaml").write_bytes(data)
        ending = attempt(["check", "s.yaml"], tmp_path)
        note(tries, ending, fault := ending.fault())
        if fault is not None:
            found[name] = f"{fault}: {ending.said[-500:]}"
    assert found == {}


# ---- the process of its own
def test_a_call_that_hangs_or_grows_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(
        sandbox,
        "CHILD_CODE",
        "from loratory.importing import sandbox as s; s.PRELOADED_LIBRARIES = (); s._serve_call()",
    )
    with pytest.raises(ChildProcessError, match="more than 1 s"):
        call_limited("runaway_functions:loop_forever", [], SandboxLimits(1.0, 2**30))
    with pytest.raises(ChildProcessError, match="memory"):
        call_limited("runaway_functions:exhaust_memory", [], SandboxLimits(20.0, 2**28))


@pytest.mark.slow
def test_an_import_in_a_process_of_its_own(good: Path, tmp_path: Path) -> None:
    assert import_in_sandbox(good, tmp_path / "out") == "plain"
    assert (tmp_path / "out" / "manifest.json").is_file()
