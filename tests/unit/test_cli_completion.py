"""What the shell completes: through the protocol that typer's scripts use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loratory.cli import app
from loratory.discovery import list_names

Complete = Callable[[str], list[str]]
HEAVY = ("torch", "transformers", "sklearn", "pyarrow", "peft", "datasets", "scipy", "matplotlib", "numpy")


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """A folder with a spec, data and a run, and what is completed there."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "tickets"
    (run / "data").mkdir(parents=True)
    rows = [{"name": "rules", "status": "fitted"}, {"name": "lora", "status": "failed"}]
    (run / "ladder.json").write_text(json.dumps({"contenders": [*rows, {"name": "tfidf", "status": "fitted"}]}))
    (run / "data" / "labels.json").write_text(json.dumps({"label2id": {"EMAIL": 0, "NAME": 1}}))
    (tmp_path / "spec.yaml").write_text("name: x\nladder: [rules, tfidf, lora-8: {regime: lora}]\n")
    (tmp_path / "new.csv").touch()
    (tmp_path / "notes.md").touch()

    def ask_shell(line: str) -> list[str]:
        words = line.split(" ")
        environment = {
            "_LORATORY_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        done = CliRunner().invoke(app, [], env=environment, prog_name="loratory")
        assert done.exit_code == 0, done.output
        return done.stdout.split()

    return ask_shell


def test_specs_and_recipes(complete: Complete) -> None:
    assert complete("loratory run ") == ["runs/", "spec.yaml", *list_names("recipes")]
    assert complete("loratory check s") == ["spec.yaml"]
    assert complete("loratory init --recipe ri") == ["risk-triage"]
    assert complete("loratory predict runs/tickets --file n") == ["new.csv"]


def test_runs_and_their_contenders(complete: Complete) -> None:
    assert complete("loratory predict ") == ["runs/tickets"]
    assert complete("loratory report runs/t") == ["runs/tickets", "runs/tickets/"]
    assert complete("loratory predict runs/tickets -c ") == ["rules", "tfidf"]
    assert complete("loratory export runs/tickets --contender t") == ["tfidf"]
    assert complete("loratory serve runs/tickets -c r") == ["rules"]
    assert complete("loratory train spec.yaml -c ") == ["rules", "tfidf", "lora-8"]


def test_layouts_methods_labels_and_actions(complete: Complete) -> None:
    assert complete("loratory export runs/tickets --to ") == sorted(list_names("exporters"))
    assert complete("loratory redact runs/tickets --how ") == ["type", "mask", "hash", "fake"]
    assert complete("loratory redact runs/tickets --label E") == ["EMAIL"]
    assert complete("loratory keys ") == ["add", "list", "revoke"]


@pytest.mark.parametrize(
    "line",
    [
        "loratory predict nowhere -c ",
        "loratory train nothing -c ",
        "loratory run no/such/",
        "loratory redact runs --label ",
    ],
)
def test_what_cannot_be_read_is_silent(line: str, complete: Complete) -> None:
    assert complete(line) == []


def test_a_damaged_run_completes_nothing(complete: Complete) -> None:
    Path("runs/tickets/ladder.json").write_text("{torn")
    assert complete("loratory predict runs/tickets -c ") == []


def test_completion_loads_nothing_heavy(complete: Complete, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "os.environ.update(_LORATORY_COMPLETE='complete_bash', COMP_WORDS=sys.argv[1], COMP_CWORD='4')\n"
        "sys.argv = ['loratory']\nfrom loratory.cli import main\ntry:\n    main()\nfinally:\n"
        f"    print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    for line, word in (("loratory train spec.yaml -c ", b"tfidf"), ("loratory redact runs/tickets --how ", b"mask")):
        done = subprocess.run([sys.executable, "-c", code, line], cwd=tmp_path, capture_output=True, timeout=60)
        assert word in done.stdout.split()
        assert done.stderr == b"[]\n"
