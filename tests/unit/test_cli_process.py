"""The command as it is installed: quick, quiet, and with the right exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from loratory import __version__
from loratory.cli.error_handler import redact_arguments
from loratory.discovery import list_names

HEAVY = ("torch", "transformers", "sklearn", "pyarrow", "peft", "datasets", "scipy", "matplotlib")


def command(
    *words: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "loratory", *words],
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
        **{"stdin": subprocess.DEVNULL, **options},
    )


def test_help_takes_a_moment_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['loratory', '--help']\nfrom loratory.cli import main\ntry:\n    main()\nfinally:\n"
        f"    print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert time.monotonic() - started < 5  # a few hundred milliseconds, on a machine that does much else
    assert done.stderr == b"[]\n"
    assert b"Usage: loratory" in done.stdout


LIGHT = [
    ["recipes"],
    ["run", "--help"],
    ["run", "no.yaml"],
    ["train", "bad.yaml"],
    ["predict", "nowhere", "text"],
    ["evaluate", "nowhere"],
    ["report", "nowhere"],
    ["import", "nowhere"],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_light_verbs_and_mistakes_wait_for_no_library(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\ndata: x\nladder: [lorra]\n")
    code = (
        f"import sys\nsys.argv = ['loratory', *{words}]\nfrom loratory.cli import main\ntry:\n    main()\nfinally:\n"
        f"    assert not set({HEAVY}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=False, timeout=60)
    assert b"AssertionError" not in done.stderr, done.stderr


def test_the_version_and_the_recipes_are_data() -> None:
    assert command("--version").stdout.decode().strip() == __version__
    done = command("recipes", "--json")
    assert done.returncode == 0
    assert done.stderr == b""
    rows = json.loads(done.stdout)
    assert {row["name"] for row in rows} == set(list_names("recipes"))
    assert all(row["about"] and Path(row["spec"]).is_file() for row in rows)
    human = command("recipes")
    assert b"risk-triage" in human.stdout
    assert b"next: loratory run NAME" in human.stderr
    assert command("recipes", "-q").stderr == b""


MISTAKES = {
    "No such command 'rn'": ["rn"],
    "Missing argument": ["run"],
    "No such option": ["run", "x", "--nonsense"],
    "no.yaml: this spec does not exist": ["run", "no.yaml"],
    "give either your examples or --recipe": ["init"],
    "nowhere: there is no such folder": ["predict", "nowhere", "text"],
    "nowhere: neither a run (ladder.json) nor an artifact": ["evaluate", "nowhere"],
    "no/where: there is no such folder": ["import", "no/where"],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_ends_with_two_and_a_message_on_stderr(said: str, tmp_path: Path) -> None:
    done = command(*MISTAKES[said], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert list(tmp_path.iterdir()) == []


def test_init_asks_before_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\n" + "a b,A\nc d,B\n" * 5, encoding="utf-8")
    first = command("init", "d.csv", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout == b"wrote spec.yaml\n"
    assert b"next: loratory check spec.yaml" in first.stderr
    second = command("init", "d.csv", cwd=tmp_path)
    assert second.returncode == 2
    assert b"this spec exists" in second.stderr
    assert command("init", "d.csv", "--force", cwd=tmp_path).returncode == 0
    assert b"this is a folder" in command("init", "d.csv", "-o", ".", cwd=tmp_path).stderr


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "COLUMNS": "20"}, {"TERM": "dumb"}])
def test_check_without_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    things = ("card", "letter", "house", "garden", "bicycle", "boat", "dog", "lamp", "chair", "window", "tree", "river")
    rows = "".join(f"{word} the {one},{label}\n" for one in things for word, label in (("lost", "A"), ("bought", "B")))
    (tmp_path / "d.csv").write_text("text,label\n" + rows, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("name: x\ndata: {path: d.csv, near_duplicates: 1}\nladder: [tfidf]\n")
    done = command("check", "s.yaml", "--json", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["train"]
    assert done.stdout.count(b"\n") == 1, "JSON alone"
    assert not re.search(rb"\x1b\[", done.stderr), "escape codes without a terminal"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.csv", "s.yaml"], "check writes nothing"


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "loratory", "recipes", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert process.returncode == 0
    assert process.stderr == b""


BROKEN = (
    "import loratory.experiment.recipes as r, sys\n"
    "def broken(): raise {error}\n"
    "r.list_recipes = broken\nsys.argv = ['loratory', 'recipes', '--json']\nfrom loratory.cli import main\nmain()\n"
)


def run_ending(error: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`loratory recipes` where the flow raises this."""
    return subprocess.run(
        [sys.executable, "-c", BROKEN.format(error=error)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_STATE_HOME": str(home), "LORATORY_DEBUG": "", **more},
    )


def test_an_error_of_ours_writes_a_report_and_says_one_line(tmp_path: Path) -> None:
    done = run_ending("KeyError('a fault in the program')", tmp_path)
    assert done.returncode == 70
    assert "Traceback" not in done.stderr
    (report,) = (tmp_path / "loratory" / "errors").iterdir()
    assert str(report) in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert report.stat().st_mode & 0o077 == 0
    text = report.read_text(encoding="utf-8")
    assert all(said in text for said in ("a fault in the program", "Traceback", __version__, "loratory recipes --json"))


def test_where_no_report_can_be_written_the_line_says_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_ending("KeyError('a fault in the program')", tmp_path / "file")
    assert (done.returncode, "Traceback" in done.stderr) == (70, False)
    assert "a fault in the program" in done.stderr


def test_the_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    done = run_ending("KeyError('a fault in the program')", tmp_path, LORATORY_DEBUG="1")
    assert done.returncode == 70
    assert "Traceback" in done.stderr


ENDS = {
    "KeyboardInterrupt()": (130, ""),
    "BrokenPipeError()": (0, ""),
    "MemoryError()": (2, "there is not enough memory"),
    "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried')": (2, "there is not enough memory"),
    "RecursionError('maximum')": (2, "nested too deeply"),
    "PermissionError(13, 'Permission denied', 'x.json')": (2, "x.json: the system refuses: Permission denied"),
    "OSError(28, 'No space left on device')": (2, "the disk refuses"),
    "ModuleNotFoundError('No module', name='torch.nn')": (2, "torch is not installed"),
    "ModuleNotFoundError('No module', name='ours')": (70, "ModuleNotFoundError"),
    "type('PanicException', (BaseException,), {})('rust')": (70, "PanicException"),
}


@pytest.mark.parametrize("error", ENDS)
def test_whatever_ends_a_command_it_is_told_in_words(error: str, tmp_path: Path) -> None:
    done = run_ending(error, tmp_path)
    code, said = ENDS[error]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert (done.stderr == "") == (said == "")


def test_a_report_holds_no_text_key_or_address() -> None:
    words = ["predict", "run", "my card is 4111", "--url=https://u:secret@host", "--keys", "secret", "--json"]
    plain = " ".join(redact_arguments(words))
    assert not any(said in plain for said in ("4111", "secret", "host"))
    assert all(said in plain for said in ("predict", "--url=", "--keys", "--json"))
