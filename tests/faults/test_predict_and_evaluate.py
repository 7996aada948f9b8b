"""`predict`, `evaluate` and `import` on a real run, through the command line."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .run_fixtures import make_rows, run_command, to_csv

LABELS = {"FRAUD", "RESET", "SHOP"}


def answers(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_text(finished_run: Path) -> None:
    done = run_command(finished_run, "predict", "runs/tiny", "my card was stolen", "-q")
    assert (done.code, done.err) == (0, "")
    assert answers(done.out) == [{"label": "FRAUD"}]
    done = run_command(finished_run, "predict", "runs/tiny", "my card was stolen", "--json")
    [answer] = answers(done.out)
    assert set(answer) == {"answer", "confidence", "probabilities"}
    odds = answer["probabilities"]["/label"]
    assert set(odds) == LABELS
    assert sum(odds.values()) == pytest.approx(1, abs=1e-5)
    assert answer["confidence"] == max(odds.values())


def test_several_texts_in_order(finished_run: Path) -> None:
    texts = ["my card was stolen", "please reset the login", "the shop charged twice"]
    done = run_command(finished_run, "predict", "runs/tiny", *texts, "--json")
    made = answers(done.out)
    assert [one["text"] for one in made] == texts
    assert [one["answer"]["label"] for one in made] == ["FRAUD", "RESET", "SHOP"]


@pytest.mark.parametrize(
    "contender", ["rules", "tfidf", "zero-shot", "prototype", "head", "lora", "lora-stock", "full"]
)
def test_every_contender_answers(contender: str, finished_run: Path) -> None:
    done = run_command(finished_run, "predict", "runs/tiny", "-c", contender, "my card was stolen", "--json")
    assert done.code == 0, done.err
    assert set(answers(done.out)[0]["probabilities"]["/label"]) == LABELS


def test_files_and_stdin_say_the_same(finished_run: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in make_rows()[:50]]
    (tmp_path / "a.csv").write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    outs = [
        run_command(finished_run, "predict", "runs/tiny", "-f", tmp_path / name, "--json")
        for name in ("a.csv", "a.txt", "a.jsonl")
    ]
    for kind in ("a.txt", "a.jsonl"):
        outs.append(run_command(finished_run, "predict", "runs/tiny", "--json", stdin=(tmp_path / kind).read_bytes()))
    assert {done.code for done in outs} == {0}
    assert len({done.out for done in outs}) == 1
    assert [one["text"] for one in answers(outs[0].out)] == texts


def test_nothing_in_nothing_out(finished_run: Path) -> None:
    done = run_command(finished_run, "predict", "runs/tiny", stdin=b"")
    assert (done.code, done.out) == (0, "")


def test_blank_lines_keep_their_place(finished_run: Path, tmp_path: Path) -> None:
    lines = "my card was stolen\n\n \t\nplease reset the login\n"
    (tmp_path / "a.txt").write_text(lines, encoding="utf-8")
    done = run_command(finished_run, "predict", "runs/tiny", stdin=lines.encode())
    assert answers(done.out) == [{"label": "FRAUD"}, None, None, {"label": "RESET"}]
    assert run_command(finished_run, "predict", "runs/tiny", "-f", tmp_path / "a.txt").out == done.out
    whole = answers(run_command(finished_run, "predict", "runs/tiny", "--json", stdin=lines.encode()).out)
    assert [one.get("reason") for one in whole] == [None, "blank", "blank", None]


ROWS = "id,text,label,note\n1,my card was stolen,SHOP,=1+1\n2,,RESET,-5\n3,please reset the login,RESET,@x\n"


def test_a_file_of_answers_keeps_the_columns_of_the_input(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ROWS, encoding="utf-8")
    words = ("predict", "runs/tiny", "-c", "tfidf", "-f", tmp_path / "in.csv", "-o")
    done = run_command(finished_run, *words, tmp_path / "out.csv", "--probabilities")
    assert done.code == 0, done.err
    assert done.out.startswith(f"wrote {tmp_path / 'out.csv'}: 3 rows, 1 of them without an answer")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("id", "text", "label", "note", "predicted_label", "confidence", "reason"),
        *(f"probability_{label}" for label in sorted(LABELS)),
    ]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert [row["label"] for row in rows] == ["SHOP", "RESET", "RESET"]
    assert [row["predicted_label"] for row in rows] == ["FRAUD", "", "RESET"]
    assert [row["reason"] for row in rows] == ["", "blank", ""]
    assert [row["note"] for row in rows] == ["'=1+1", "-5", "'@x"], "no spreadsheet runs a cell; numbers stay"
    assert float(rows[0]["confidence"]) == max(float(rows[0][f"probability_{label}"]) for label in LABELS)
    done = run_command(finished_run, *words, tmp_path / "out.jsonl", "--json")
    assert json.loads(done.out) == {"file": str(tmp_path / "out.jsonl"), "rows": 3, "unanswered": 1}
    made = answers((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert [(one["label"], one["note"]) for one in made] == [("SHOP", "=1+1"), ("RESET", "-5"), ("RESET", "@x")]
    assert [one["answer"] for one in made] == [{"label": "FRAUD"}, None, {"label": "RESET"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.xlsx"), "answers cannot be written as .xlsx"),
        (("-o", "."), "this is a folder"),
        (("-o", "data.csv"), "the output is the file that is read"),
        (("--probabilities",), "--probabilities needs a file"),
    ],
)
def test_a_file_that_answers_cannot_go_into(words: tuple[str, ...], said: str, finished_run: Path) -> None:
    before = (finished_run / "data.csv").read_bytes()
    done = run_command(finished_run, "predict", "runs/tiny", "-f", "data.csv", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.read_stderr()
    assert (finished_run / "data.csv").read_bytes() == before


def test_an_interrupted_file_of_answers_leaves_the_old_one(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "out.csv"
    old.write_text("old", encoding="utf-8")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("loratory.display.count_screen.CountScreen.advance", stop)
    done = run_command(finished_run, "predict", "runs/tiny", "-c", "rules", "-f", "data.csv", "-o", old)
    assert done.code == 130
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
    assert old.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-c", "lorra", "x"), "the run has no fitted contender 'lorra'; did you mean 'lora'?"),
        (("-f", "none.csv"), "no such file or folder"),
        (("-f", "data.csv", "x"), "give either texts or --file"),
        (("-f", "data.csv", "--column", "txt"), "there is no column 'txt'; did you mean 'text'"),
        ((), "stdin:1: byte 1 of this line (0xff) is not UTF-8"),
    ],
)
def test_mistakes(words: tuple[str, ...], said: str, finished_run: Path) -> None:
    done = run_command(finished_run, "predict", "runs/tiny", *words, stdin=b"\xff\n")
    assert done.code == 2
    assert said in done.read_stderr()
    assert done.out == ""


def test_with_stdin_closed(finished_run: Path) -> None:
    command = f"{sys.executable} -m loratory predict runs/tiny -c rules <&-"
    done = subprocess.run(command, shell=True, cwd=finished_run, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert b"there is no text, no --file, and stdin is closed" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_dumb_terminal_gets_no_escape_codes(finished_run: Path) -> None:
    for words in (("predict", "runs/tiny", "stolen"), ("evaluate", "runs/tiny")):
        done = run_command(finished_run, *words, environment={"TERM": "dumb", "NO_COLOR": "1"})
        assert done.code == 0
        assert "\x1b" not in done.out + done.err


def test_evaluate_shows_the_ladder_again(finished_run: Path) -> None:
    done = run_command(finished_run, "evaluate", "runs/tiny", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads((finished_run / "runs/tiny/ladder.json").read_text(encoding="utf-8"))
    human = run_command(finished_run, "evaluate", "runs/tiny")
    assert human.err == ""
    for name in ("lora-stock", "zero-shot"):
        assert name in human.out


def test_evaluate_on_other_examples(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(to_csv(make_rows()[::5]).replace("text,label", "words,meaning"), encoding="utf-8")
    columns = ("--column", "text=words", "--column", "label=meaning")
    done = run_command(
        finished_run, "evaluate", "runs/tiny", "-c", "tfidf", "--data", tmp_path / "new.csv", *columns, "--json"
    )
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    assert scores["n"] == 24
    accuracy = scores["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] > 0.9
    (tmp_path / "new.csv").write_text("text,label\nmy card,FRUAD\n", encoding="utf-8")
    done = run_command(finished_run, "evaluate", "runs/tiny", "--data", tmp_path / "new.csv")
    assert done.code == 2
    assert "new.csv:2: label: 'FRUAD' is no label of this task; did you mean 'FRAUD'?" in done.read_stderr()
    assert run_command(finished_run, "evaluate", "runs/tiny", "--data", tmp_path / "new.csv", "--column", "x").code == 2


def test_import_of_the_layout_that_a_run_writes(finished_run: Path, tmp_path: Path) -> None:
    fit = finished_run / "runs/tiny/contenders/lora-stock/seed-1"
    for part in ("merged", "labels.json"):
        (shutil.copytree if (fit / part).is_dir() else shutil.copy)(fit / part, tmp_path / part)
    done = run_command(tmp_path.parent, "import", tmp_path, "-o", tmp_path / "taken")
    assert done.code == 0, done.err
    assert "imported the merged weights" in done.out
    text = "my card was stolen"
    one = run_command(tmp_path, "predict", "taken", text, "--json")
    other = run_command(finished_run, "predict", fit, text, "--json")
    assert one.code == 0, one.err
    mine, theirs = (answers(done.out)[0]["probabilities"]["/label"] for done in (one, other))
    assert mine == pytest.approx(theirs, abs=1e-4)
    again = run_command(tmp_path.parent, "import", tmp_path, "-o", tmp_path / "taken")
    assert again.code == 2
    assert "the output folder exists" in again.read_stderr()


def test_import_of_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("x")
    done = run_command(tmp_path, "import", "m")
    assert done.code == 2
    assert done.read_stderr()
    assert not (tmp_path / "imported").exists()


def test_predict_runs_from_another_folder(finished_run: Path, tmp_path: Path) -> None:
    """The base was a folder beside the spec; a head needs it wherever the command is given."""
    done = run_command(tmp_path, "predict", finished_run / "runs/tiny", "-c", "head", "my card was stolen")
    assert done.code == 0, done.err
