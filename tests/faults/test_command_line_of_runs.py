"""What the verbs print for a run, and where: results on stdout, JSON alone, and nothing more than errors with -q."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Workspace
from .run_fixtures import make_spec, make_workspace, run_command

GATE = "{recall: {FRAUD: {at_least: %s}}}"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of tfidf, whose gate fails; it was made with --strict."""
    folder = tmp_path_factory.mktemp("small") / "w"
    make_workspace(folder, folder, make_spec("  - tfidf\n", gate=GATE % "0.9999"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")
        done = run_command(folder, "run", "spec.yaml", "--strict", "--set", "data.suspects=false")
    (folder / "code").write_text(str(done.code))
    (folder / "out").write_text(done.out)
    (folder / "err").write_text(done.err)
    return folder


def test_a_gate_that_fails_ends_a_strict_run_with_three(small_run: Path) -> None:
    assert (small_run / "code").read_text() == "3", (small_run / "err").read_text()
    ladder = json.loads((small_run / "runs/tiny/ladder.json").read_text(encoding="utf-8"))
    assert ladder["verdict"]["gate"]["holds"] is False
    assert (small_run / "runs/tiny/report.html").is_file(), "everything is written as without --strict"
    out, err = (small_run / "out").read_text(), (small_run / "err").read_text()
    assert ladder["verdict"]["headline"] in out
    assert "failed: recall of FRAUD" in out
    assert "report: runs/tiny/report.html" in out
    assert "training contender 1 of 2" not in out
    assert "training contender 1 of 2" in err
    assert 'loratory predict runs/tiny "a text"' in err
    assert "the exit code is 3" in err


@pytest.mark.usefixtures("without_charts")
def test_the_same_run_without_strict_or_with_a_lower_gate_is_done(small_run: Path) -> None:
    words = ("run", "spec.yaml", "--set", "data.suspects=false", "-q", "--json")
    plain = run_command(small_run, *words)
    assert (plain.code, plain.err) == (0, "")
    assert json.loads(plain.out)["verdict"]["gate"]["holds"] is False
    passed = run_command(small_run, *words, "--strict", "--set", f"gate={GATE % 0.1}")
    assert (passed.code, passed.err) == (0, "")


def test_a_strict_run_needs_a_gate(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    done = run_command(folder, "run", "spec.yaml", "--strict")
    assert (done.code, done.out) == (2, "")
    assert "--strict needs a gate" in done.read_stderr()
    assert not (folder / "runs").exists()


VERBS: dict[str, tuple[str, ...]] = {
    "check": ("check", "spec.yaml", "--set", "data.suspects=false"),
    "train": ("train", "spec.yaml", "-c", "tfidf", "--set", "data.suspects=false"),
    "evaluate": ("evaluate", "runs/tiny"),
    "scores": ("evaluate", "runs/tiny", "--data", "data.csv"),
    "stress": ("stress", "runs/tiny", "--texts", "5", "--set", "stress.of=[case]"),
    "exporters": ("export", "runs/tiny"),
    "predict": ("predict", "runs/tiny", "my card"),
    "report": ("report", "runs/tiny"),
}


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("verb", VERBS)
def test_quiet_json_is_one_document_and_nothing_else(verb: str, small_run: Path) -> None:
    done = run_command(small_run, *VERBS[verb], "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    value: Any = json.loads(done.out)
    assert value


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("verb", VERBS)
def test_without_json_a_person_reads_the_result_on_stdout(verb: str, small_run: Path) -> None:
    done = run_command(small_run, *VERBS[verb], "-q")
    assert (done.code, done.err) == (0, "")
    wanted = {
        "check": "examples     120",
        "train": "tfidf            accuracy",
        "evaluate": "* recommended",
        "scores": "accuracy     ",
        "stress": "worst first",
        "exporters": "peft ",
        "predict": '{"label": "FRAUD"}',
        "report": "report: runs/tiny/report.html",
    }
    assert wanted[verb] in done.out


def test_the_verbs_of_keys_and_init_speak_json(small_run: Path, tmp_path: Path) -> None:
    made = json.loads(run_command(tmp_path, "keys", "add", "one", "--admin", "--json").out)
    assert made["name"] == "one"
    assert made["key"].startswith("lk_")
    listed = json.loads(run_command(tmp_path, "keys", "list", "--json").out)
    assert [key["name"] for key in listed] == ["one"]
    assert listed[0]["scopes"]
    assert json.loads(run_command(tmp_path, "keys", "revoke", "one", "--json").out) == {"revoked": "one"}
    done = run_command(tmp_path, "init", small_run / "data.csv", "--json", "-q")
    assert done.err == ""
    assert json.loads(done.out)["spec"] == "spec.yaml"
    assert any("examples of 3 labels" in note for note in json.loads(done.out)["notes"])
