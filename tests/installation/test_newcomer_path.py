"""The first ten minutes of a newcomer: from the wheel, in an empty folder, with the commands of the quick start.

By default the wheel is unpacked on the path of this environment, and the ladder is short. With `-m slow` the wheel is
installed into an environment of its own with `loratory[train,serve]`, each command is a process, and the ladder
trains.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from .environments import create_environment
from .shells import Done, ForkShell, ProcessShell, Shell, wait_for

MESSAGES: Mapping[str, tuple[str, ...]] = {
    "card": ("i lost my card", "my card is stolen", "the card does not work", "please block the card", "a new card"),
    "cash": ("the machine gave no cash", "cash is missing", "i want cash", "the cash was short", "no cash came out"),
    "login": (
        "i cannot log in",
        "my password is wrong",
        "the login fails",
        "reset my password",
        "the login code is old",
    ),
}
PLACES = ("in leeds", "since monday", "at the corner shop", "while i travel", "this morning", "again", "after lunch")
QUICK = ("--set", "evidence.resamples=200", "--set", "evidence.latency_texts=5")
SHORT_LADDER = ("--set", "ladder=[rules, tfidf]")
TRAINED_LADDER = ("--set", "ladder=[rules, tfidf, head, lora]", "--set", "training.epochs=3")
SLOW_INSTALLATION = (pytest.mark.slow, pytest.mark.timeout(1800))  # an environment with torch is installed first
CONTACT = "Mail anna.berg@example.com or call."


@dataclass(frozen=True)
class Newcomer:
    """Somebody in a folder with examples, a spec and a run; `steps` holds what the commands printed."""

    shell: Shell
    trained: bool  # whether the ladder has contenders on a base
    steps: Mapping[str, Done]


def write_tickets(file: Path) -> None:
    rows = [f"{text} {place},{team}" for team, texts in MESSAGES.items() for text in texts for place in PLACES]
    file.write_text("message,team\n" + "\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module", params=["unpacked", pytest.param("installed", marks=SLOW_INSTALLATION)])
def newcomer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("empty")
    if request.param == "installed":
        programs = tmp_path_factory.mktemp("environment") / "env"
        create_environment(programs, request.getfixturevalue("wheel"), "train,serve")
        yield take_first_steps(ProcessShell(folder, programs / "bin"), trained=True)
        return
    shell = ForkShell(folder, request.getfixturevalue("unpacked"))
    yield take_first_steps(shell, trained=False)
    shell.close()


def take_first_steps(shell: Shell, *, trained: bool) -> Newcomer:
    write_tickets(shell.folder / "tickets.csv")
    steps = {
        "init": shell.run("init", "tickets.csv"),
        "check": shell.run("check", "spec.yaml"),
        "run": shell.run("run", "spec.yaml", *(TRAINED_LADDER if trained else SHORT_LADDER), *QUICK),
    }
    return Newcomer(shell, trained, steps)


def test_the_wheels_own_files_run(newcomer: Newcomer) -> None:
    done = newcomer.shell.run_python("import loratory; print(loratory.__file__)")
    assert "src/loratory" not in done.stdout.replace("\\", "/"), "the tree is tested, not the wheel"
    assert done.code == 0, done.stderr


def test_init_check_and_run_end_well(newcomer: Newcomer) -> None:
    for step, done in newcomer.steps.items():
        assert done.code == 0, f"{step}: {done.text}"
        assert "Traceback" not in done.text, step
    folder = newcomer.shell.folder
    assert (folder / "loratory.schema.json").is_file()
    assert "105" in newcomer.steps["check"].text, "the number of examples"
    assert "tfidf" in newcomer.steps["run"].text
    assert (folder / "runs" / "tickets" / "report.html").stat().st_size > 10_000


def test_predict_answers_a_text_a_file_and_stdin(newcomer: Newcomer) -> None:
    shell = newcomer.shell
    (shell.folder / "new.csv").write_text("id,message\n7,no cash came out\n8,a new card\n", encoding="utf-8")
    one = shell.run("predict", "runs/tickets", "my card is stolen")
    file = shell.run("predict", "runs/tickets", "--file", "new.csv", "--column", "message")
    lines = shell.run("predict", "runs/tickets", "--json", stdin="reset my password\ni want cash\n")
    assert (one.code, file.code, lines.code) == (0, 0, 0), one.stderr + file.stderr + lines.stderr
    assert json.loads(one.stdout) == {"label": "card"}
    assert [json.loads(line)["label"] for line in file.stdout.splitlines()] == ["cash", "card"]
    assert [json.loads(line)["answer"]["label"] for line in lines.stdout.splitlines()] == ["login", "cash"]


def test_predict_keeps_the_columns_of_a_file(newcomer: Newcomer) -> None:
    shell = newcomer.shell
    if "--output" not in shell.run("predict", "--help").stdout:
        pytest.skip("this version of predict writes no file")
    (shell.folder / "more.csv").write_text("id,message\n7,no cash came out\n", encoding="utf-8")
    done = shell.run("predict", "runs/tickets", "--file", "more.csv", "--column", "message", "-o", "answers.csv")
    assert done.code == 0, done.stderr
    head, row = (shell.folder / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert head.startswith("id,message,")
    assert row.startswith("7,no cash came out,cash")


def test_the_report_is_written_again(newcomer: Newcomer) -> None:
    report = newcomer.shell.folder / "runs" / "tickets" / "report.html"
    report.unlink()
    done = newcomer.shell.run("report", "runs/tickets")
    assert done.code == 0, done.stderr
    assert "report.html" in done.text
    assert "tickets" in report.read_text(encoding="utf-8")


def test_curl_asks_the_server(newcomer: Newcomer) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl on this machine")
    with newcomer.shell.start("serve", "runs/tickets", "--port", "0") as read_output:
        url = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", read_output()))[0]
        body = json.dumps({"inputs": ["my card is stolen", "i want cash"]})
        words = [curl, "--silent", "--fail", "--header", "Content-Type: application/json", "--data", body]
        done = subprocess.run(
            [*words, f"{url}/v1/tasks/tickets/predict"], capture_output=True, text=True, check=False, timeout=60
        )
        page = subprocess.run([curl, "--silent", "--fail", url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r'"label": ?"(\w+)"', done.stdout)[:2] == ["card", "cash"], done.stdout
    assert "<html" in page.stdout


def test_python_loads_the_run(newcomer: Newcomer) -> None:
    shell = newcomer.shell
    if "AttributeError" in shell.run_python("import loratory; loratory.load").stderr:
        pytest.skip("this version has no loratory.load")
    done = shell.run_python(
        "import json, loratory\n"
        "model = loratory.load('runs/tickets', contender='tfidf')\n"
        "answers = [model.predict('my card is stolen'), *model.predict(['i want cash', 'reset my password'])]\n"
        "run = loratory.open_run('runs/tickets')\n"
        "shape = model.predict_proba(['i want cash']).shape\n"
        "print(json.dumps([answers, run.verdict.headline, [row.name for row in run.ladder], shape]))\n"
    )
    assert done.code == 0, done.stderr
    answers, headline, names, shape = json.loads(done.stdout)
    assert answers == ["card", "cash", "login"]
    assert headline
    assert {"rules", "tfidf"} <= set(names)
    assert shape == [1, 3]


def test_redact_takes_personal_data_out(newcomer: Newcomer) -> None:
    shell = newcomer.shell
    made = shell.run("init", "--recipe", "pii", "--output", "pii.yaml")
    run = shell.run("run", "pii.yaml", "--set", "ladder=[rules]", *QUICK)
    done = shell.run("redact", "runs/pii", CONTACT)
    assert (made.code, run.code, done.code) == (0, 0, 0), made.stderr + run.stderr + done.stderr
    assert "[EMAIL_ADDRESS]" in done.stdout
    assert "anna.berg" not in done.stdout


def test_export_writes_a_folder_or_says_why_not(newcomer: Newcomer) -> None:
    shell = newcomer.shell
    listed = shell.run("export", "runs/tickets")
    assert listed.code == 0, listed.stderr
    assert "peft" in listed.text
    refused = shell.run("export", "runs/tickets", "-c", "tfidf", "-o", "none")
    assert refused.code == 2
    assert "to mend it:" in refused.stderr
    assert not (shell.folder / "none").exists()
    if newcomer.trained:
        done = shell.run("export", "runs/tickets", "-c", "lora", "-o", "exported")
        assert done.code == 0, done.stderr
        assert list((shell.folder / "exported").rglob("*.safetensors"))
