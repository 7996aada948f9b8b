"""The wheel in an environment of its own: with no extra, and with each extra alone. What works, and what is named."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from loratory.cli.missing_extras import EXTRA_BY_LIBRARY

from .environments import create_environment
from .shells import Done, ForkShell, ProcessShell, wait_for
from .test_newcomer_path import QUICK, SHORT_LADDER, write_tickets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NEEDS_ANOTHER_PLATFORM = {"uvloop"} if sys.platform == "win32" else set()
WITH_MODELS = ("predict", "redact", "check")  # check: the embedded base brings scikit-learn
EXTRAS: Mapping[str, tuple[str, ...]] = {  # extra -> the commands of COMMANDS that it is enough for
    "": (),
    "client": ("predict --url",),
    "excel": ("init xlsx",),
    "evaluation": (),
    "models": WITH_MODELS,
    "redact": (*WITH_MODELS, "redact fake"),
    "structured": WITH_MODELS,
    "int8": WITH_MODELS,
    "gguf": WITH_MODELS,
    "serve": (*WITH_MODELS, "serve"),
    "train": (*WITH_MODELS, "report"),
}
COMMANDS: Mapping[str, tuple[tuple[str, ...], str]] = {  # command -> its words, and the extra it names where it fails
    "check": (("check", "spec.yaml"), "train"),
    "report": (("report", "runs/tickets"), "train"),
    "init xlsx": (("init", "tickets.xlsx", "-o", "xlsx.yaml"), "excel"),
    "predict": (("predict", "runs/tickets", "-c", "rules", "my card is stolen"), "models"),
    "predict --url": (("predict", "--url", "http://127.0.0.1:1", "hello"), "client"),
    "redact": (("redact", "runs/pii", "Mail anna.berg@example.com"), "models"),
    "redact fake": (("redact", "runs/pii", "--how", "fake", "Mail anna.berg@example.com"), "redact"),
    "serve": (("serve", "runs/tickets", "--port", "0"), "serve"),
}


@dataclass(frozen=True)
class Installed:
    """An environment with one extra, in a folder with examples and finished runs."""

    extra: str
    shell: ProcessShell


@pytest.fixture(scope="module")
def prepared(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples as CSV and as a workbook, a spec, and the runs `tickets` and `pii`."""
    from openpyxl import Workbook

    folder = tmp_path_factory.mktemp("prepared")
    write_tickets(folder / "tickets.csv")
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for line in (folder / "tickets.csv").read_text(encoding="utf-8").splitlines():
        sheet.append(line.split(","))
    book.save(folder / "tickets.xlsx")
    shell = ForkShell(folder, unpacked)
    try:
        made = [
            shell.run("init", "tickets.csv"),
            shell.run("run", "spec.yaml", *SHORT_LADDER, *QUICK),
            shell.run("run", "pii", "--set", "ladder=[rules]", *QUICK),
        ]
    finally:
        shell.close()
    assert [done.code for done in made] == [0, 0, 0], [done.stderr for done in made]
    spec = (folder / "spec.yaml").read_text(encoding="utf-8")
    (folder / "spec.yaml").write_text(re.sub(r"\nladder:\n( .*\n)+", "\nladder: [tfidf]\n", spec), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=EXTRAS, ids=lambda extra: extra or "none")
def installed(
    request: pytest.FixtureRequest, wheel: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    programs = create_environment(tmp_path_factory.mktemp("environment") / "env", wheel, request.param)
    return Installed(request.param, ProcessShell(prepared, programs))


def test_the_package_and_its_lists_need_no_extra(installed: Installed) -> None:
    shell = installed.shell
    imported = shell.run_python("import loratory, sys; print(loratory.__version__, 'torch' in sys.modules)")
    assert imported.stdout.split()[1:] == ["False"], imported.stderr
    for words in (("--help",), ("recipes",), ("schema",), ("init", "tickets.csv", "-o", "made.yaml", "--force")):
        done = shell.run(*words)
        assert done.code == 0, done.stderr
    assert json.loads(shell.run("schema").stdout)["title"] == "loratory spec"
    assert "risk-triage" in shell.run("recipes").text


def test_the_libraries_of_the_extra_can_be_imported(installed: Installed) -> None:
    modules = sorted(
        {module for module, extra in EXTRA_BY_LIBRARY.items() if extra == installed.extra} - NEEDS_ANOTHER_PLATFORM
    )
    done = installed.shell.run_python(f"for name in {modules}: __import__(name)")
    assert done.code == 0, done.stderr
    assert modules or not installed.extra


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_or_names_the_extra(command: str, installed: Installed) -> None:
    words, extra = COMMANDS[command]
    if command == "serve" and command in EXTRAS[installed.extra]:
        with installed.shell.start(*words) as read_output:
            assert wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", read_output()))
        return
    done = installed.shell.run(*words, *(("--force",) if command == "init xlsx" else ()))
    if command not in EXTRAS[installed.extra]:
        assert_extra_is_named(done, extra)
    elif command == "predict --url":  # nobody listens there, which is told
        assert done.code == 2
        assert "127.0.0.1:1" in done.stderr
        assert "is not installed" not in done.stderr
    else:
        assert done.code == 0, done.stderr


def assert_extra_is_named(done: Done, extra: str) -> None:
    assert done.code == 2, done.text
    assert "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("loratory: ")]
    assert len(messages) == 1, done.stderr
    assert "is not installed" in messages[0]
    assert f'pip install "loratory[{extra}]"' in done.stderr
