"""Where the words of a verb go."""

from __future__ import annotations

import time

import pytest
from rich.table import Table

from loratory.cli.output import Output

Capture = pytest.CaptureFixture[str]


def say_everything(out: Output) -> None:
    table = Table("column")
    table.add_row("cell")
    out.print(table, "a [bold]result[/bold] :warning:")
    out.json({"result": 1})
    out.note("a note")
    out.next("first", "second")
    with out.progress() as screen:
        screen.console.print("progress")


def test_results_on_stdout_and_notes_on_stderr(capsys: Capture) -> None:
    say_everything(Output())
    said = capsys.readouterr()
    assert "cell" in said.out
    assert said.out.endswith("a [bold]result[/bold] :warning:\n")
    assert "{" not in said.out
    assert said.err == "a note\nnext: first\n      second\nprogress\n"


def test_json_stands_alone(capsys: Capture) -> None:
    say_everything(Output(as_json=True))
    said = capsys.readouterr()
    assert said.out == '{"result": 1}\n'
    assert said.err == "a note\nprogress\n"


def test_quiet_leaves_stderr_empty(capsys: Capture) -> None:
    say_everything(Output(quiet=True))
    said = capsys.readouterr()
    assert said.err == ""
    assert "cell" in said.out


def test_a_slow_step_says_what_it_does(capsys: Capture) -> None:
    with Output().note_when_slow("loading minilm ...", seconds=60):
        pass
    with Output(quiet=True).note_when_slow("loading minilm ...", seconds=0):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
    end = time.monotonic() + 20
    with Output().note_when_slow("loading minilm ...", seconds=0):
        heard = ""
        while not heard and time.monotonic() < end:
            time.sleep(0.01)
            heard = capsys.readouterr().err
    assert heard == "loading minilm ...\n"


def test_many_texts_are_counted(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("loratory.display.count_screen.time.monotonic", lambda: now[0])
    for quiet in (False, True):
        with Output(quiet=quiet).count("answers", 2000) as screen:
            for _ in range(1050):
                now[0] += 0.03125
                screen.advance()
    assert capsys.readouterr().err == "  answers: 641 of 2,000\n"
