"""Help texts are whole on a terminal of 80 columns, and their examples are commands that the program takes."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from typer.testing import CliRunner

from loratory.cli import VERBS, app

COLUMNS = 80
PAGES = [(), *((verb.NAME,) for verb in VERBS)]


def help_of(words: tuple[str, ...]) -> str:
    environment = {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    done = CliRunner().invoke(app, [*words, "--help"], env=environment, prog_name="loratory")
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("words", PAGES, ids=lambda words: " ".join(words) or "loratory")
def test_help_is_whole_at_80_columns(words: tuple[str, ...]) -> None:
    lines = help_of(words).rstrip().splitlines()
    assert max(map(len, lines)) <= COLUMNS
    cut = [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]
    assert cut == []
    assert any(line.strip().startswith(("Example", "First steps")) for line in lines)


def test_each_verb_is_told_in_one_whole_sentence() -> None:
    shown = help_of(()).split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in shown] == [verb.NAME for verb in VERBS]
    assert all(line.endswith(".") and re.match(r"  [a-z]+ +[A-Z]", line) for line in shown), shown


def test_every_verb_has_an_example() -> None:
    assert all(verb.EXAMPLES for verb in VERBS)


@pytest.mark.parametrize("example", [example for verb in VERBS for example in verb.EXAMPLES])
def test_examples_are_commands_of_these_verbs(example: str) -> None:
    command = next(part for part in re.split(r" [|>] ", example) if part.startswith("loratory "))
    _, name, *words = shlex.split(command)
    verb = next(verb for verb in VERBS if verb.NAME == name)
    group = typer.main.get_command(app)
    context = typer.Context(group)
    made = group.get_command(context, verb.NAME)  # type: ignore[attr-defined]
    made.make_context(name, words)  # raises for an option that does not exist


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.NAME)
def test_every_verb_has_json_and_quiet(verb: object) -> None:
    shown = help_of((verb.NAME,))  # type: ignore[attr-defined]
    assert "--json" in shown
    assert "-q, --quiet" in shown
