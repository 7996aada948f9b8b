"""`loratory init`: what it writes, `loratory run` takes, whatever labels and columns are called."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loratory.errors import SpecError
from loratory.experiment.init.spec_writer import copy_recipe_spec, write_spec_for_data
from loratory.experiment.prepare import prepare_split
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.events import Event, ignore_event
from loratory.specs.spec import Spec

NASTY = (
    *("yes", "no", "on", "off", "true", "null", "~", "1", "010", "1e-4", "0x1F", "12:30", "2024-01-01", "with: colon"),
    *(
        "it's",
        'say "hi"',
        "{brace}",
        "[x]",
        "a, b",
        "# hash",
        "- dash",
        "* star",
        "& and",
        "! bang",
        "| pipe",
        "> more",
    ),
    *(
        "% per",
        "@ at",
        "` tick",
        "back\\slash",
        "naïve",
        "日本",
        "emoji 🙂",
        "tab\there",
        "?",
        ":",
        "<<",
        "=",
        "a #b",
        "---",
    ),
)


WORDS = ("a card", "this shop", "that letter", "my house", "our garden", "her bicycle", "his boat", "their dog")


def table(
    file: Path, labels: Sequence[str], columns: tuple[str, str] = ("text", "label"), delimiter: str = ","
) -> Path:
    with file.open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, delimiter=delimiter)
        rows.writerow(columns)
        rows.writerows([f"{word} of {label}", label] for word in WORDS for label in labels)
    return file


def write_spec(data: Path | str, output: Path, name: str | None = None) -> tuple[Spec, str]:
    write_spec_for_data(str(data), output, name)
    spec, text = load_spec(str(output)), output.read_text(encoding="utf-8")
    assert "calibration" not in text, "no example is set apart for a part that nothing uses"
    assert spec.data.split.calibration == 0
    return spec, text


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.jsonl", "d.json", "folder"])
def test_every_form_of_examples(name: str, tmp_path: Path) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
        table(tmp_path / name / "train.csv", ["A", "B"])
        table(tmp_path / name / "test.csv", ["A", "B"])
    elif name.startswith("d.js"):
        rows = [{"text": f"{label} {i}", "label": label} for i in range(6) for label in ("A", "B")]
        text = json.dumps(rows) if name == "d.json" else "\n".join(map(json.dumps, rows))
        (tmp_path / name).write_text(text, encoding="utf-8")
    else:
        table(tmp_path / name, ["A", "B"], delimiter="\t" if name == "d.tsv" else ",")
    spec, _ = write_spec(tmp_path / name, tmp_path / "spec.yaml")
    assert spec.data.path == name
    assert spec.task.labels == ("A", "B")
    assert spec.name == name.split(".")[0]
    assert [c.regime for c in spec.ladder][:3] == ["majority", "rules", "tfidf"]


@pytest.mark.parametrize("form", ["messages", "conversations", "prompt"])
def test_conversations_get_a_spec_for_written_answers(form: str, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    row: dict[str, Any] = {"prompt": "hello", "completion": "yes?"} if form == "prompt" else {form: turns}
    (tmp_path / "talk.json").write_text(json.dumps([row] * 3), encoding="utf-8")
    spec, _ = write_spec(tmp_path / "talk.json", tmp_path / "spec.yaml")
    assert spec.task.kind == "generate"
    assert spec.data.columns[form if form == "prompt" else "messages"] == form
    assert [c.regime for c in spec.ladder] == ["majority", "prompted", "lora"]


@pytest.mark.parametrize("label", NASTY)
def test_a_label_survives_the_written_spec(label: str, tmp_path: Path) -> None:
    spec, text = write_spec(table(tmp_path / "d.csv", ["plain", label]), tmp_path / "spec.yaml")
    assert set(spec.task.labels) == {"plain", label.strip()}
    # the gate is offered as a comment: it must hold when the comment is taken off
    gated = text.replace("# gate:", "gate:").replace("#   recall:", "  recall:").replace("#   not_worse", "  not_worse")
    (tmp_path / "spec.yaml").write_text(gated, encoding="utf-8")
    assert load_spec(str(tmp_path / "spec.yaml")).gate is not None


def test_plain_yaml_readers_see_the_same_labels(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")  # PyYAML reads version 1.1, where no is False; transformers installs it
    write_spec(table(tmp_path / "d.csv", NASTY[:20]), tmp_path / "spec.yaml")
    labels = yaml.safe_load((tmp_path / "spec.yaml").read_text(encoding="utf-8"))["task"]["labels"]
    assert sorted(labels) == sorted(NASTY[:20])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(label=st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=15))
def test_any_label_survives(label: str, tmp_path: Path) -> None:
    if not label.strip() or label.strip() == "plain":
        return
    spec, _ = write_spec(table(tmp_path / "d.csv", ["plain", label]), tmp_path / "spec.yaml")
    assert set(spec.task.labels) == {"plain", label.strip()}


@pytest.mark.parametrize("columns", [("yes", "no"), ("a: b", "c, d"), ("1", "2"), ("seq.in", "{x}")])
def test_columns_with_odd_names(columns: tuple[str, str], tmp_path: Path) -> None:
    spec, _ = write_spec(table(tmp_path / "d.csv", ["A", "B"], columns), tmp_path / "spec.yaml")
    assert (spec.data.columns["text"], spec.data.columns["label"]) == columns
    heard: list[Event] = []
    prepare_split(
        load_spec(str(tmp_path / "spec.yaml"), None, ["ladder=[rules]", "data.near_duplicates=1"]),
        heard.append,
    )


@pytest.mark.parametrize(
    "name", ["2024.csv", "yes.csv", "null.csv", "-x.csv", "ü.csv", "a b: c.csv", ".csv", "x" * 90 + ".csv"]
)
def test_the_name_comes_from_the_file_and_is_one(name: str, tmp_path: Path) -> None:
    spec, _ = write_spec(table(tmp_path / name, ["A", "B"]), tmp_path / "spec.yaml")
    assert spec.name


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="--name: 'a/b' is no name"):
        write_spec(table(tmp_path / "d.csv", ["A", "B"]), tmp_path / "spec.yaml", "a/b")
    assert not (tmp_path / "spec.yaml").exists()


def test_an_output_in_another_folder_still_finds_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").mkdir()
    table(tmp_path / "examples" / "d.csv", ["A", "B"])
    monkeypatch.chdir(tmp_path)
    spec, _ = write_spec("examples/d.csv", Path("specs/inner/s.yaml"))
    assert spec.data.path == "../../examples/d.csv"
    assert (spec.folder / spec.data.path).resolve() == tmp_path / "examples" / "d.csv"
    monkeypatch.chdir(tmp_path / "specs")
    prepare_split(load_spec("inner/s.yaml", None, ["ladder=[rules]", "data.near_duplicates=1"]), ignore_event)


def test_many_labels_are_left_to_the_data(tmp_path: Path) -> None:
    spec, text = write_spec(table(tmp_path / "d.csv", [f"label {i}" for i in range(40)]), tmp_path / "spec.yaml")
    assert spec.task.labels is None
    assert "# labels: the 40 labels are read from the training data" in text


def test_long_label_lists_stay_readable_yaml(tmp_path: Path) -> None:
    labels = [f"{i} " + "word " * 30 + "end" for i in range(20)]
    spec, _ = write_spec(table(tmp_path / "d.csv", labels), tmp_path / "spec.yaml")
    assert sorted(spec.task.labels) == sorted(labels)


def test_a_recipe_is_copied_with_its_data_found_from_anywhere(tmp_path: Path) -> None:
    copy_recipe_spec("risk-triage", tmp_path / "mine.yaml")
    spec = load_spec(str(tmp_path / "mine.yaml"))
    assert Path(spec.data.path).is_absolute()
    assert Path(spec.data.path).is_file()
    assert spec.task == load_spec("risk-triage").task
    assert "#" in (tmp_path / "mine.yaml").read_text(encoding="utf-8"), "its comments come along"
    with pytest.raises(SpecError, match="did you mean 'risk-triage'"):
        copy_recipe_spec("risk-triag", tmp_path / "other.yaml")
