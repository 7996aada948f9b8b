"""Bad examples and bases through the command line: file, line, field, remedy, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Workspace
from .run_fixtures import make_rows, make_spec, run_command, to_csv

Harm = Callable[[Path], object]
LADDER = "  - tfidf\n"


def write(text: str | bytes, name: str = "data.csv") -> Harm:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data)


GOOD = to_csv(make_rows())
ONE_OF_A_KIND = GOOD + "only one of these,ALONE\n"
JSONL = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in make_rows())
BROKEN = JSONL.replace(
    '{"text": "cannot login to my account please help', '{"text": cannot login to my account please help'
)
HUGE = GOOD + f'"{"long " * 2_000_000}",FRAUD\n'
PLAIN = make_spec(LADDER)


def spec(**data: str) -> str:
    return PLAIN.replace(
        "path: data.csv", ", ".join(f"{key}: {value}" for key, value in {"path": "data.csv", **data}.items())
    )


CASES: dict[str, tuple[Harm, str, str, str]] = {  # what is done, the spec, what is said, the remedy
    "missing file": (
        lambda folder: (folder / "data.csv").unlink(),
        PLAIN,
        "no such file or folder: data.csv",
        "correct",
    ),
    "misspelt file": (write(GOOD, "dat.csv"), spec(path="daat.csv"), "did you mean 'dat", "correct the path"),
    "wrong column": (
        write(GOOD),
        spec(label="lable"),
        "data.csv: label: there is no column 'lable'; did you mean 'label'",
        "",
    ),
    "no column for the label": (
        write("text,x\na,\nb,\n"),
        PLAIN,
        "no column can be taken for 'label'",
        "data: label: COLUMN",
    ),
    "empty file": (write(""), PLAIN, "data.csv: the file is empty", ""),
    "only a header": (write("text,label\n"), PLAIN, "data.csv", ""),
    "one class": (
        write("text,label\n" + "".join(f"text {i},A\n" for i in range(50))),
        PLAIN,
        "train holds 1 label",
        "",
    ),
    "a class with one example": (
        write(ONE_OF_A_KIND),
        PLAIN,
        "data.csv:122: label 'ALONE' has one example",
        "add examples",
    ),
    "not UTF-8": (write(GOOD.encode() + b"caf\xe9,FRAUD\n"), PLAIN, "data.csv:122: byte", "encoding: cp1252"),
    "a broken JSONL line": (write(BROKEN, "d.jsonl"), spec(path="d.jsonl"), "d.jsonl:42: ", ""),
    "a 10 MB text": (write(HUGE), PLAIN, "data.csv:122: text: the text has 10,000,000 characters", "max_characters"),
    "an empty text": (write(GOOD + "  ,FRAUD\n"), PLAIN, "data.csv:122: text: the text is empty", "fill it in"),
    "an empty label": (write(GOOD + "something,\n"), PLAIN, "data.csv:122: label: the label is ", "a non-empty string"),
    "a label that the spec does not know": (
        write(GOOD + "hello,FRUAD\n"),
        PLAIN + "task: {labels: [FRAUD, RESET, SHOP]}\n",
        "data.csv:122: label: 'FRUAD' is no label of this task; did you mean 'FRAUD'?",
        "correct the row, or add the label",
    ),
    "missing test file": (write(GOOD), spec(test="no.csv"), "data: test: no such file or folder: no.csv", "correct"),
    "too few": (write("text,label\na,A\nb,B\nc,A\nd,B\n"), PLAIN, "too few", "add examples"),
    "an Excel workbook": (
        write(b"PK\x03\x04rest"),
        PLAIN,
        "data.csv: this is a zip archive or an Excel workbook",
        "CSV",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_examples(case: str, workspace: Workspace) -> None:
    harm, text, said, remedy = CASES[case]
    folder = workspace(text)
    harm(folder)
    before = sorted(folder.iterdir())
    for verb in ("check", "run"):
        done = run_command(folder, verb, "spec.yaml")
        assert done.code == 2, done.err
        assert said in done.read_stderr()
        assert remedy in done.err
        assert "loratory: " in done.err
        assert len(done.err) < 3000
        assert done.out == ""
        assert sorted(folder.iterdir()) == before, "something was left behind"


@pytest.mark.parametrize("case", ["missing file", "empty file", "not UTF-8", "a broken JSONL line", "one class"])
def test_init_refuses_them_too_and_writes_no_spec(case: str, workspace: Workspace) -> None:
    harm, text, _, _ = CASES[case]
    folder = workspace(text)
    harm(folder)
    data = "d.jsonl" if "JSONL" in case else "data.csv"
    done = run_command(folder, "init", data, "-o", "new.yaml")
    assert done.code == 2, done.err
    assert done.read_stderr()
    assert not (folder / "new.yaml").exists()


def test_a_failed_run_leaves_the_one_before_it_alone(run_copy: Path) -> None:
    held = {path: path.stat().st_mtime_ns for path in (run_copy / "runs").rglob("*")}
    (run_copy / "data.csv").write_text("text,label\n", encoding="utf-8")
    assert run_command(run_copy, "run", "spec.yaml").code == 2
    assert {path: path.stat().st_mtime_ns for path in (run_copy / "runs").rglob("*")} == held


# ---- bases
@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("minilmm", "there is no base called 'minilmm'; did you mean 'minilm'?"),
        ("./nowhere", "there is no base called './nowhere'"),
    ],
)
def test_an_unknown_base(base: str, said: str, workspace: Workspace) -> None:
    folder = workspace(make_spec("  - tfidf\n  - head\n").replace("base: base", f"base: {base}"))
    for verb in ("check", "run", "train"):
        done = run_command(folder, verb, "spec.yaml")
        assert done.code == 2
        assert said in done.read_stderr()
        assert not (folder / "runs").exists()


def damage(name: str, text: str | None) -> Harm:
    def harm(folder: Path) -> None:
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text, encoding="utf-8")

    return harm


BASES: dict[str, tuple[Harm, str]] = {
    "no configuration": (damage("config.json", None), "has no readable config.json"),
    "a broken configuration": (damage("config.json", "{"), "has no readable config.json"),
    "an unknown architecture": (damage("config.json", '{"model_type": "brt"}'), "which transformers does not know"),
    "no weights": (damage("model.safetensors", None), "has no safetensors weights"),
    "torn weights": (damage("model.safetensors", "torn"), "damaged, or no safetensors"),
    "no tokenizer": (damage("tokenizer.json", None), "tokenizer"),
    "a broken tokenizer": (damage("tokenizer.json", "{"), "tokenizer"),
}


@pytest.mark.parametrize("case", BASES)
def test_a_damaged_base(case: str, workspace: Workspace, base: Path) -> None:
    harm, said = BASES[case]
    folder = workspace(make_spec("  - head\n"))
    (folder / "base").unlink()
    shutil.copytree(base, folder / "base")
    harm(folder / "base")
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2, done.err
    assert said in done.read_stderr()
    assert {fit.parent.name for fit in folder.rglob("seed-1")} <= {"majority"}  # which needs no base
    assert [file for file in folder.rglob("*.part")] == []


def test_a_regime_that_cannot_start_from_a_base_is_refused_before_anything_is_read(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - zero-shot\n  - head\n"))
    (folder / "base").unlink()
    _nli(folder / "base")
    (folder / "data.csv").unlink()  # it is not even looked for
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "ladder: head: head starts from encoder or causal, not from nli" in done.read_stderr()


def _nli(made: Path) -> None:
    made.mkdir()
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (made / "config.json").write_text(json.dumps({**config, "id2label": {"0": "entailment", "1": "contradiction"}}))
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    (made / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
