"""Writers of the same place take turns, whatever the processes do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loratory.artifacts.durable_files import make_temporary_path, remove_leftovers, write_text
from loratory.artifacts.locks import describe_holder, hold_lock
from loratory.artifacts.manifests import hash_file_cached
from loratory.errors import ArtifactError, StorageError
from loratory.experiment.artifact_lookup import read_ladder, read_unsealed_ladder, seal_run
from loratory.experiment.rebuild_report import rebuild_report
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.train import train_contenders
from loratory.protocols.events import ignore_event
from loratory.serving.http.auth.api_keys import ApiKeys

HOLD = """
import sys, time
from pathlib import Path
from loratory.artifacts.locks import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
ADD = """
import sys
from pathlib import Path
from loratory.serving import key_administration
for name in sys.argv[2:]:
    key_administration.add_key("add", Path(sys.argv[1]), name, False)
"""


def holding(target: Path) -> subprocess.Popen[str]:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_parallel_keys_add_lose_none(tmp_path: Path) -> None:
    """20 adds in 5 processes, which all begin at about the same time."""
    names = [[f"k{worker}-{n}" for n in range(4)] for worker in range(5)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    workers = [
        subprocess.Popen([sys.executable, "-c", ADD, "keys.json", *mine], cwd=tmp_path, env=environment)
        for mine in names
    ]
    assert [one.wait(120) for one in workers] == [0] * 5
    kept = {key.name for key in ApiKeys.read(tmp_path / "keys.json").by_digest.values()}
    assert kept == {name for mine in names for name in mine}
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".keys.json")], "something is left behind"


def test_the_second_is_told_who_holds_it_and_a_dead_holder_does_not(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "tiny"
    other = holding(target)
    try:
        with pytest.raises(StorageError, match=f"process {other.pid} on ") as caught, hold_lock(target, 0):
            raise AssertionError("two hold it")
        assert "since 20" in str(caught.value)
        said: list[str] = []
        with pytest.raises(StorageError), hold_lock(target, 0.3, said.append):
            raise AssertionError("two hold it")
        assert f"process {other.pid}" in said[0]
        other.send_signal(signal.SIGKILL)
        other.wait()
        with hold_lock(target, 5):  # what the dead one left is taken over
            assert f"process {os.getpid()}" in describe_holder(target)
    finally:
        other.kill()
        other.wait()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_lock_leaves_nothing_where_nothing_was_written(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "a" / "b" / "c", 0):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_one_who_waits_goes_on_when_the_other_has_ended(tmp_path: Path) -> None:
    other = holding(tmp_path / "x")
    try:
        started = time.monotonic()
        subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {other.pid}"])
        with hold_lock(tmp_path / "x", 30):
            assert time.monotonic() - started >= 0.4
    finally:
        other.kill()
        other.wait()


def test_a_second_run_in_a_folder_is_refused_before_it_writes(tmp_path: Path) -> None:
    place = RunPaths(tmp_path / "runs" / "tiny")
    spec: Any = None  # it is not looked at before the folder is held
    other = holding(place.folder)
    try:
        with pytest.raises(StorageError, match=f"process {other.pid} on "):
            train_contenders(SimpleNamespace(ladder=()), place, (), ignore_event)  # type: ignore[arg-type]
        with pytest.raises(StorageError, match=f"process {other.pid} on "):
            rebuild_report(place.folder, ignore_event)
        with pytest.raises(StorageError, match=f"process {other.pid} on "):
            run_experiment(spec, place, ignore_event)
        assert not place.folder.exists()
    finally:
        other.kill()
        other.wait()


def test_temporary_names_are_unique_and_those_of_the_dead_are_swept(tmp_path: Path) -> None:
    final = tmp_path / "x.json"
    assert len({make_temporary_path(final) for _ in range(1000)}) == 1000
    dead = subprocess.Popen(["true"])
    dead.wait()
    mine = make_temporary_path(final)
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    elsewhere = left.with_name(f".x.json.00000000-{dead.pid}-12345678.part")  # of another machine: it may be at work
    for file in (mine, left, elsewhere, tmp_path / ".x.json.part"):
        file.write_text("half")
    remove_leftovers(final)
    assert {file.name for file in tmp_path.iterdir()} == {mine.name, elsewhere.name}
    write_text(final, "whole")
    assert final.read_text() == "whole"


def test_a_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    """In a new process: size, time and inode stay, the bytes do not."""
    file = tmp_path / "data.csv"
    file.write_text("one")
    ask = "import sys; from pathlib import Path; from loratory.artifacts.manifests import hash_file_cached as k; "
    told = [sys.executable, "-c", ask + "print(k(Path(sys.argv[1])))", str(file)]
    first = subprocess.check_output(told)
    about = file.stat()
    with file.open("r+") as handle:
        handle.write("two")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert subprocess.check_output(told) != first
    assert hash_file_cached(file) == hash_file_cached(file)


def run_folder(folder: Path, name: str = "tfidf") -> Path:
    (folder / "contenders" / "tfidf" / "seed-1").mkdir(parents=True)
    (folder / "contenders/tfidf/seed-1/manifest.json").write_text('{"format": 1, "files": {}}')
    rows = [{"name": name, "status": "fitted", "shipped_seed": 1, "seeds": [1]}]
    ladder = {"name": "tiny", "verdict": {"recommended": name}, "contenders": rows}
    (folder / "ladder.json").write_text(json.dumps(ladder))
    (folder / "report.html").write_text("<p>")
    return folder


def test_a_run_is_covered_by_its_manifest(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    with pytest.raises(ArtifactError, match="older version") as caught:
        read_ladder(folder)
    assert f"loratory report {folder}" in caught.value.remedy
    seal_run(folder)
    assert read_ladder(folder)["name"] == "tiny"
    (folder / "ladder.json").write_text((folder / "ladder.json").read_text().replace("tiny", "tidy"))
    with pytest.raises(ArtifactError, match="SHA-256 differs") as caught:
        read_ladder(folder)
    assert f"loratory report {folder}" in caught.value.remedy
    assert read_unsealed_ladder(folder)["name"] == "tidy"  # for loratory report alone


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", "", ".."])
def test_a_contender_on_disk_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    folder = run_folder(tmp_path / "run", name)
    seal_run(folder)
    for read in (read_ladder, read_unsealed_ladder):
        with pytest.raises(ArtifactError, match="no name of a folder"):
            read(folder)
