"""What `loratory init` takes a file for: public shapes of data, what people say themselves, and what it asks."""

from __future__ import annotations

import csv
import json
import os
import pty
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.data.readers import hub
from loratory.data.readers.hub_files import HubFiles
from loratory.errors import LoratoryError, SpecError
from loratory.experiment.init.spec_writer import write_spec_for_data
from loratory.experiment.init.task_inference import InitOptions
from loratory.experiment.prepare import prepare_split
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.events import ignore_event
from loratory.schemas import infer_schema
from loratory.specs.spec import Spec

WORDS = "invoice refund camera battery screen router login password delay parcel broken update install crash".split()


def sentence(rng: random.Random, most: int = 12) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(most)).capitalize() + "."


def table(path: Path, rows: Sequence[dict[str, Any]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_guessed_spec(data: Path, ask: Any = None, **wishes: str) -> tuple[Spec, str]:
    """The spec that init writes beside the data, and all that it says."""
    file = data.parent / "spec.yaml"
    said = write_spec_for_data(str(data), file, None, InitOptions(**wishes), ask)
    return load_spec(str(file)), "\n".join(said)


def tickets(rng: random.Random, number: int) -> dict[str, Any]:
    kind = rng.choice(["Technical issue", "Billing inquiry", "Refund request"])
    return {
        "Ticket ID": number,
        "Customer Name": f"Somebody {number}",
        "Customer Email": f"somebody{number}@example.org",
        "Customer Age": rng.randint(18, 70),
        "Customer Gender": rng.choice(["F", "M"]),
        "Date of Purchase": f"2021-03-{rng.randint(1, 28):02d}",
        "Ticket Type": kind,
        "Ticket Description": f"{sentence(rng, 20)} {kind.split()[0]}",
        "Ticket Channel": rng.choice(["Email", "Chat", "Phone"]),
    }


def questions(rng: random.Random, number: int) -> dict[str, Any]:
    return {
        "pubid": number,
        "question": f"Does {rng.choice(WORDS)} {number} reduce {rng.choice(WORDS)}?",
        "context": {"contexts": [sentence(rng)], "labels": ["BACKGROUND"], "meshes": []},
        "long_answer": sentence(rng, 20),
        "final_decision": rng.choice(["yes", "no", "maybe"]),
    }


def receipts(rng: random.Random, number: int) -> dict[str, Any]:
    items = [{"name": rng.choice(WORDS), "price": 2.5}] * (number % 3)
    return {"receipt": sentence(rng), "fields": {"total": number / 2, "shop": rng.choice(WORDS), "items": items}}


Shape = tuple[Callable[[random.Random, int], Any], str, dict[str, str]]
SHAPES: dict[str, Shape] = {
    "tickets.csv": (tickets, "classify", {"text": "Ticket Description", "label": "Ticket Type"}),
    "pubmedqa.jsonl": (questions, "classify", {"text": "question", "label": "final_decision"}),
    "receipts.jsonl": (receipts, "generate", {"prompt": "receipt", "completion": "fields"}),
    "alpaca.jsonl": (
        lambda rng, n: {"instruction": "Shorten it", "input": sentence(rng), "output": sentence(rng, 3)},
        "generate",
        {"prompt": "instruction", "context": "input", "completion": "output"},
    ),
    "alpaca-json.jsonl": (
        lambda rng, n: {"instruction": "Extract", "input": sentence(rng), "output": {"item": "lamp", "count": n}},
        "generate",
        {"prompt": "instruction", "context": "input", "completion": "output"},
    ),
    "sharegpt.jsonl": (
        lambda rng, n: {
            "id": str(n),
            "conversations": [{"from": "human", "value": sentence(rng)}, {"from": "gpt", "value": sentence(rng)}],
        },
        "generate",
        {"messages": "conversations"},
    ),
    "sums.jsonl": (
        lambda rng, n: {"question": sentence(rng), "answer": f"{sentence(rng)}\n#### {n}"},
        "generate",
        {"prompt": "question", "completion": "answer"},
    ),
    "summaries.jsonl": (
        lambda rng, n: {"id": n, "dialogue": sentence(rng, 40), "summary": sentence(rng, 8)},
        "generate",
        {"prompt": "dialogue", "completion": "summary"},
    ),
    "choices.jsonl": (
        lambda rng, n: {
            "question_id": n,
            "question": sentence(rng),
            "options": ["a", "b"],
            "answer": rng.choice("AB"),
            "category": rng.choice(["law", "art", "math"]),
        },
        "classify",
        {"text": "question", "label": "category"},
    ),
    "tweets.csv": (
        lambda rng, n: {
            "tweet_id": 570306133677760000 + n,
            "airline_sentiment": rng.choice(["negative", "neutral", "positive"]),
            "airline_sentiment_confidence": round(rng.random(), 4),
            "airline": rng.choice(["One", "Other"]),
            "text": sentence(rng),
            "tweet_created": "2015-02-24 11:35:52 -0800",
        },
        "classify",
        {"text": "text", "label": "airline_sentiment"},
    ),
    "reviews.csv": (
        lambda rng, n: {"review": sentence(rng, 30), "sentiment": rng.choice(["positive", "negative"])},
        "classify",
        {"text": "review", "label": "sentiment"},
    ),
    "german.csv": (
        lambda rng, n: {
            "Datum": f"{n % 28 + 1}.03.2024",
            "Nachricht": sentence(rng),
            "Kategorie": rng.choice(["Karte", "Konto"]),
        },
        "classify",
        {"text": "Nachricht", "label": "Kategorie"},
    ),
    "spans.jsonl": (
        lambda rng, n: {
            "content": f"Ada wrote: {sentence(rng)}",
            "ner": [{"start": 0, "end": 3, "label": "PER"}],
            "n": n,
        },
        "tag",
        {"text": "content", "spans": "ner"},
    ),
    "words.jsonl": (
        lambda rng, n: {"id": n, "sequence": ["Ada", *sentence(rng).split()], "bio": ["B-PER", *["O"] * 12]},
        "tag",
        {"tokens": "sequence", "tags": "bio"},
    ),
    "numbers-and-names.csv": (
        lambda rng, n: {"text": sentence(rng), "label": n % 3, "label_text": ("red", "green", "blue")[n % 3]},
        "classify",
        {"text": "text", "label": "label_text"},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_public_shape_is_taken_for_what_it_is(name: str, tmp_path: Path) -> None:
    make, kind, columns = SHAPES[name]
    rng = random.Random(3)
    rows = [make(rng, number) for number in range(120)]
    spec, said = write_guessed_spec((table if name.endswith("csv") else lines)(tmp_path / name, rows))
    assert spec.task.kind == kind
    assert spec.data.columns == columns
    unused = [key for key in rows[0] if key not in columns.values()]
    for column in unused:
        assert repr(column) in said.split("not used: ")[1], "what is left out is said"
    for path in columns.values():
        assert repr(path) in said
    cheap = ["ladder=[rules]" if kind != "generate" else "ladder=[prompted]", "data.suspects=false"]
    prepare_split(load_spec(str(tmp_path / "spec.yaml"), None, cheap), ignore_event)


def test_answers_of_json_get_the_schema_that_they_are_of(tmp_path: Path) -> None:
    rng = random.Random(3)
    spec, said = write_guessed_spec(lines(tmp_path / "receipts.jsonl", [receipts(rng, n) for n in range(30)]))
    schema = spec.task.answer_schema
    assert schema["required"] == ["total", "shop", "items"]
    assert schema["properties"]["items"]["items"]["properties"] == {
        "name": {"type": "string"},
        "price": {"type": "number"},
    }
    assert spec.task.checks == ("fields",)
    assert "inferred" in said


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([True, None], {"type": ["boolean", "null"]}),
        (["a", 1], {"type": ["integer", "string"]}),
        ([[], []], {"type": "array"}),
        ([[1], ["a"]], {"type": "array", "items": {"type": ["integer", "string"]}}),
        (["a", [1]], {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}),
    ],
)
def test_an_inferred_schema_is_the_narrowest_plain_one(values: list[Any], expected: dict[str, Any]) -> None:
    assert infer_schema(values) == expected


# ---- two columns could be meant
def close(rng: random.Random, number: int) -> dict[str, Any]:
    return {
        "flags": rng.choice("BQL"),
        "text": f"{sentence(rng)} {('order', 'account')[number % 2]} {('new', 'old', 'lost')[number % 3]}",
        "category": ("ORDER", "ACCOUNT")[number % 2],
        "intent": f"{('new', 'old', 'lost')[number % 3]}_{('order', 'account')[number % 2]}",
    }


def test_two_likely_labels_are_asked_for(tmp_path: Path) -> None:
    rng = random.Random(1)
    file = table(tmp_path / "a.csv", [close(rng, n) for n in range(90)])
    with pytest.raises(SpecError, match="'intent'") as caught:
        write_guessed_spec(file)
    assert "'category' (2 values)" in caught.value.problem
    assert "--label" in caught.value.remedy
    assert not (tmp_path / "spec.yaml").exists()
    heard: list[Sequence[str]] = []

    def ask(question: str, answers: Sequence[str]) -> str:
        heard.append(answers)
        return "category"

    assert write_guessed_spec(file, ask)[0].data.columns["label"] == "category"
    assert set(heard[0]) == {"category", "intent"}
    assert write_guessed_spec(file, label="intent")[0].task.labels == tuple(
        sorted({close(rng, n)["intent"] for n in range(90)})
    )


def test_a_label_that_the_text_tells_wins_over_one_that_it_does_not(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [
        {"message": f"{sentence(rng)} {('urgent', 'calm', 'later')[n % 3]}", "priority": ("P1", "P2", "P3")[n % 3]}
        | {"status": rng.choice(["open", "closed", "waiting"])}
        for n in range(120)
    ]
    assert write_guessed_spec(table(tmp_path / "a.csv", rows))[0].data.columns["label"] == "priority"


def test_the_gender_of_a_customer_is_no_label_because_it_has_the_fewest_values(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [
        {"Customer Gender": rng.choice("FM"), "Message Text": sentence(rng), "Queue": f"q{n % 5}"} for n in range(60)
    ]
    assert write_guessed_spec(table(tmp_path / "a.csv", rows))[0].data.columns["label"] == "Queue"


def test_a_file_sorted_by_its_label_is_looked_at_from_end_to_end(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [{"message": sentence(rng), "mood": "glad" if n < 2500 else "sad"} for n in range(3000)]
    assert write_guessed_spec(table(tmp_path / "a.csv", rows))[0].data.columns["label"] == "mood"


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_on_a_terminal_the_person_is_asked(tmp_path: Path) -> None:
    rng = random.Random(1)
    table(tmp_path / "a.csv", [close(rng, n) for n in range(90)])
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "loratory", "init", "a.csv"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"nonsense\n2\n")
    heard = b""
    while chunk := _read(ours):
        heard += chunk
    assert run.wait(60) == 0, heard.decode()
    chosen = load_spec(str(tmp_path / "spec.yaml")).data.columns["label"]
    assert f"2. {chosen}" in heard.decode()
    assert "type a number from 1 to 2" in heard.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


# ---- what the person says
def test_what_is_said_wins(tmp_path: Path) -> None:
    rows = [
        {"a": f"ein Gruß {n} {w}", "b": f"long text number {n} with words", "kind": "xy"[n % 2], "doc": f"d{n // 2}"}
        for n, w in enumerate(WORDS * 4)
    ]
    file = table(tmp_path / "a.csv", rows, encoding="cp1252")
    with pytest.raises(LoratoryError, match="not utf-8") as caught:
        write_guessed_spec(file)
    assert "--encoding cp1252" in caught.value.remedy
    spec, _ = write_guessed_spec(file, text="a", label="kind", group="doc", encoding="cp1252")
    assert spec.data.columns == {"text": "a", "label": "kind", "group": "doc"}
    assert spec.data.encoding == "cp1252"
    found = prepare_split(load_spec(str(tmp_path / "spec.yaml"), None, ["ladder=[rules]"]), ignore_event)
    assert all("ein Gruß" in example.input["text"] for example in found.parts.test)
    spec, _ = write_guessed_spec(file, task="generate", text="a", label="b", encoding="cp1252")
    assert (spec.task.kind, spec.data.columns) == ("generate", {"prompt": "a", "completion": "b"})
    with pytest.raises(SpecError, match="'rank' is no kind of task"):
        write_guessed_spec(file, task="rank", encoding="cp1252")
    with pytest.raises(LoratoryError, match="no column 'knd'; did you mean 'kind'"):
        write_guessed_spec(file, label="knd", encoding="cp1252")


def test_tags_that_are_numbers_get_their_names(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [{"tokens": [*sentence(rng, 5).split(), "Ada", "Bo"], "ner_tags": [0] * 5 + [1, 2]} for _ in range(30)]
    file = lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(LoratoryError, match="the tags are") as caught:
        write_guessed_spec(file)
    assert "--tag-names O,B-PER" in caught.value.remedy
    spec, said = write_guessed_spec(file, tag_names="O, B-PER,I-PER")
    assert spec.task.tag_names == ("O", "B-PER", "I-PER")
    assert spec.task.labels == ("PER",)
    assert "30 spans of 1 labels" in said
    cheap = load_spec(str(tmp_path / "spec.yaml"), None, ["ladder=[rules]"])
    assert prepare_split(cheap, ignore_event).task.labels == ("PER",)


def test_the_label_tells_the_kind(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [
        {"text": sentence(rng), "mood": rng.choice(["glad", "sad"]), "reply": sentence(rng), "facts": {"n": n}}
        for n in range(40)
    ]
    file = lines(tmp_path / "a.jsonl", rows)
    assert write_guessed_spec(file, label="mood")[0].task.kind == "classify"
    assert write_guessed_spec(file, label="reply")[0].task.kind == "generate"
    assert write_guessed_spec(file, label="facts")[0].task.answer_schema["properties"] == {"n": {"type": "integer"}}


def test_preferences_are_told_from_examples(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [{"prompt": f"hi {n}", "chosen": "hello", "rejected": "no"} for n in range(20)])
    with pytest.raises(LoratoryError, match="preferences") as caught:
        write_guessed_spec(file)
    assert "--task generate --label chosen" in caught.value.remedy
    spec, _ = write_guessed_spec(file, task="generate", label="chosen")
    assert spec.data.columns == {"prompt": "prompt", "completion": "chosen", "rejected": "rejected"}


def test_the_hub_is_asked_for_a_configuration_and_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def find_files(name: str, revision: str | None) -> tuple[HubFiles, str | None]:
        asked.append((name, revision))
        return HubFiles({name: {"train": [f"{name}.csv"]} for name in ("pqa_labeled", "pqa_artificial")}), revision

    rng = random.Random(1)
    table(tmp_path / "pqa_labeled.csv", [{"text": sentence(rng), "label": "ab"[n % 2]} for n in range(40)])
    monkeypatch.setattr(hub, "_find_files", find_files)
    monkeypatch.setattr(hub, "_download", lambda name, path, revision: tmp_path / path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoratoryError, match="several configurations") as caught:
        write_guessed_spec(Path("owner/name"))
    assert caught.value.allowed == "pqa_labeled, pqa_artificial"
    assert "--config NAME" in caught.value.remedy
    with pytest.raises(LoratoryError, match="no configuration 'pqa_labelled'; did you mean 'pqa_labeled'"):
        write_spec_for_data("owner/name", tmp_path / "spec.yaml", None, InitOptions(config="pqa_labelled"))
    write_spec_for_data("owner/name", tmp_path / "spec.yaml", None, InitOptions(config="pqa_labeled", revision="v1"))
    spec = load_spec(str(tmp_path / "spec.yaml"))
    assert (spec.data.path, spec.data.config, spec.data.revision) == ("owner/name", "pqa_labeled", "v1")
    prepare_split(load_spec(str(tmp_path / "spec.yaml"), None, ["ladder=[rules]"]), ignore_event)
    assert asked[-1] == ("owner/name", "v1")
    table(tmp_path / "a.csv", [{"text": "a", "label": "x"}])
    with pytest.raises(LoratoryError, match="is not on the hub"):
        write_spec_for_data("a.csv", tmp_path / "b.yaml", None, InitOptions(config="pqa_labeled"))


# ---- several labels in one, and labels of given files
@pytest.mark.parametrize("sign", ["|", "#", ";", ",", "+", "/"])
def test_labels_that_look_like_several_are_said(sign: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    labels = ["flight", "fare", f"flight{sign}fare"]
    rows = [{"text": sentence(rng), "label": labels[n % 3]} for n in range(60)]
    said = write_guessed_spec(table(tmp_path / "a.csv", rows, delimiter="\t" if sign == ";" else ","))[1]
    assert repr(f"flight{sign}fare") in said
    assert "several labels in one (1 of 3" in said
    others = [row | {"label": f"a{sign}{n % 9}"} for n, row in enumerate(rows)]  # parts that never recur but one
    file = table(tmp_path / "b.csv", others, delimiter="\t" if sign == ";" else ",")
    assert "several labels" not in write_guessed_spec(file, label="label")[1]


def test_labels_of_the_test_file_alone_stand_in_the_spec(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rng = random.Random(1)
    table(folder / "train.csv", [{"text": sentence(rng), "label": "ab"[n % 2]} for n in range(40)])
    table(folder / "test.csv", [{"text": sentence(rng), "label": "abc"[n % 3]} for n in range(12)])
    spec, said = write_guessed_spec(folder)
    assert spec.task.labels == ("a", "b", "c")
    assert "test is test.csv" in said
    assert "are only in the validation or test file: 'c'" in said
    found = prepare_split(load_spec(str(tmp_path / "spec.yaml"), None, ["ladder=[rules]"]), ignore_event)
    assert any("no example in train for c" in one["what"] for one in found.quality["warnings"])


@pytest.mark.parametrize("name", ["label", "labels", "topics"])
def test_lists_of_several_labels_are_told_to_be_several(name: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [{"text": sentence(rng), name: ["a", "b", "c"][: n % 3 + 1]} for n in range(40)]
    with pytest.raises(LoratoryError, match="multi-label") as caught:
        write_guessed_spec(lines(tmp_path / "a.jsonl", rows))
    assert caught.value.where.endswith(f"a.jsonl:2: {name}")
    assert caught.value.remedy
