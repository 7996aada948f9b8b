"""Every mistake in a spec is a SpecError: file, line, key, the value seen, what is allowed, the nearest known key."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml.error import YAMLError

from loratory.errors import SpecError
from loratory.experiment.spec_loading import format_lock, load_spec, resolve_data_paths
from loratory.specs.spec import Spec
from loratory.specs.yaml_values import parse_yaml_value

GOOD = """\
name: tiny
task: {kind: classify, labels: [A, B]}
data:
  path: data.csv
  split: {test: 0.2}
ladder:
  - tfidf
  - lora: {rank: 4}
"""


def read_refusal(folder: Path, text: str | bytes, *changes: str) -> str:
    """The message of the error that a spec ends in, its folder left out."""
    file = folder / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load_spec(str(file), None, changes)
    assert caught.value.exit_code == 2
    assert sorted(entry.name for entry in folder.iterdir()) == ["s.yaml"], "something was written"
    return str(caught.value).replace(f"{folder}/", "")


def parse_spec_text(folder: Path, text: str, *changes: str) -> Spec:
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return load_spec(str(file), None, changes)


UNKNOWN = {
    "trainig: {epochs: 2}": ("s.yaml:9: trainig: unknown key 'trainig'; did you mean 'training'?", "name, task, data"),
    "training: {epoch: 2}": ("s.yaml:9: training: epoch: unknown key 'epoch'; did you mean 'epochs'?", "batch_tokens"),
    "evidence: {margn: 1}": ("s.yaml:9: evidence: margn: unknown key 'margn'; did you mean 'margin'?", "resamples"),
    "gate: {recal: {A: {at_least: 1}}}": ("s.yaml:9: gate: recal: unknown key 'recal'; did you mean 'recall'?", "acc"),
    "gate: {recall: {A: {atleast: 1, at_least: 1}}}": (
        "s.yaml:9: gate: recall: A: atleast: unknown key 'atleast'; did you mean 'at_least'?",
        "at_least, confidence",
    ),
    "lora:\n  rnk: 8": ("s.yaml:10: lora: rnk: unknown key 'rnk'; did you mean 'rank'?", "alpha"),
    "lora:\n  loss:\n    focal_gama: 1": (
        "s.yaml:11: lora: loss: focal_gama: unknown key 'focal_gama'; did you mean 'focal_gamma'?",
        "class_weights, focal_gamma, label_smoothing",
    ),
    "true: 3": ("s.yaml:9: true: unknown key 'true'", "name"),
}


@pytest.mark.parametrize("extra", UNKNOWN)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(extra: str, tmp_path: Path) -> None:
    first, allowed = UNKNOWN[extra]
    said = read_refusal(tmp_path, GOOD + extra + "\n")
    assert said.startswith(first)
    assert f"  allowed: {allowed}" in said or f", {allowed}" in said


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ("labels:", "lables:", "s.yaml:2: task: lables: unknown key 'lables'; did you mean 'labels'?"),
        ("path:", "pth:", "s.yaml:4: data: pth: unknown key 'pth'; did you mean 'path'?"),
        ("test: 0.2", "tset: 0.2", "s.yaml:5: data: split: tset: unknown key 'tset'; did you mean 'test'?"),
        ("rank: 4", "rnk: 4", "s.yaml:8: ladder: lora: rnk: unknown key 'rnk'; did you mean 'rank'?"),
        (
            "- lora: {rank: 4}",
            "- lorra",
            "s.yaml:8: ladder: lorra: there is no regime called 'lorra'; did you mean 'lo",
        ),
        (
            "- lora: {rank: 4}",
            "- mine: {regime: lorra}",
            "s.yaml:8: ladder: mine: regime: there is no regime called 'lorra'; did you mean 'lora'?",
        ),
        ("classify", "clasify", "s.yaml:2: task: kind: there is no task called 'clasify'; did you mean 'classify'?"),
    ],
)
def test_an_unknown_name_inside_a_section(old: str, new: str, first: str, tmp_path: Path) -> None:
    assert read_refusal(tmp_path, GOOD.replace(old, new)).startswith(first)


NUMBERS = {
    "data: split: test: 1.5 is too large": ("test: 0.2", "test: 1.5", 5, "a number, more than 0 and less than 1"),
    "data: split: test: 0 is too small": ("test: 0.2", "test: 0", 5, "a number, more than 0 and less than 1"),
    "ladder: lora: rank: 0 is too small": ("rank: 4", "rank: 0", 8, "a whole number, at least 1 and at most 1024"),
    "ladder: lora: rank: 1.5 is no whole number": ("rank: 4", "rank: 1.5", 8, "a whole number"),
    "ladder: lora: rank: 'many' is no whole number": ("rank: 4", "rank: many", 8, "a whole number"),
    "ladder: lora: rank: true is no number": ("rank: 4", "rank: true", 8, "a whole number"),
    "ladder: lora: rank: null is no whole number": ("rank: 4", "rank:", 8, "a whole number"),
    "ladder: lora: alpha: inf is no number": ("rank: 4", "alpha: .inf", 8, "a number, more than 0"),
    "ladder: lora: alpha: nan is too small": ("rank: 4", "alpha: .nan", 8, "a number, more than 0"),
    "ladder: lora: loss: focal_gamma: 11 is too large": ("rank: 4", "loss: {focal_gamma: 11}", 8, "a number"),
    "training: epochs: 0 is too small": (
        "  - tfidf",
        "  - tfidf\ntraining: {epochs: 0}",
        8,
        "a whole number, at least",
    ),
    "evidence: margin: 2 is too large": ("  - tfidf", "  - tfidf\nevidence: {margin: 2}", 8, "a number, at least 0"),
}


@pytest.mark.parametrize("problem", NUMBERS)
def test_an_impossible_number(problem: str, tmp_path: Path) -> None:
    old, new, line, allowed = NUMBERS[problem]
    text = GOOD.replace(old, new)
    if "\ntraining" in new or "\nevidence" in new:
        text = text.replace("  - lora: {rank: 4}\n", "")
    said = read_refusal(tmp_path, text)
    assert said.startswith(f"s.yaml:{line}: {problem}\n  allowed: {allowed}"), said


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[A, B]", "A", "task: labels: 'A' is no list"),
        ("[A, B]", "[A]", "task: labels: give at least two distinct, non-empty labels; found ['A']"),
        ("[A, B]", "[a, null]", "task: labels: number 2: null is no text"),
        ("[A, B]", "[1, '1']", "task: labels: give at least two distinct"),
        ("kind: classify", "kind: 3", "task: kind: 3 is no text"),
        ("name: tiny", "name: 2024", "name: 2024 is no text"),
        ("name: tiny", "name: a/b", "name: 'a/b' is no name"),
        ("name: tiny", "name: ../up", "name: '../up' is no name"),
        ("lora: {rank: 4}", "lo/ra: {regime: lora}", "ladder: number 2: 'lo/ra' is no name"),
        ("rank: 4", "targets: 5", "ladder: lora: targets: 5 is not allowed"),
        ("rank: 4", "targets: [q, 5]", "ladder: lora: targets: ['q', 5] is not allowed"),
        (
            "rank: 4",
            "layers: top-0",
            'ladder: lora: layers: layers is "auto", "all", "top-half", "top-2" or a list of layer numbers; found',
        ),
        ("rank: 4", "layers: {a: 1}", "ladder: lora: layers: {'a': 1} is not allowed"),
        ("rank: 4", "head: poled", "ladder: lora: head: 'poled' is not allowed; did you mean 'pooled'?"),
        ("rank: 4", "loss: 5", "ladder: lora: loss: 5 is no mapping"),
        ("rank: 4", "rslora: maybe", "ladder: lora: rslora: 'maybe' is neither true nor false"),
        ("rank: 4", "loss: {class_weights: some}", "ladder: lora: loss: class_weights: 'some' is not allowed"),
        ("test: 0.2", "test: 0.85", "data: split: test + validation + calibration leave less than 0.1 for train"),
        ("path: data.csv", "path: [a]", "data: path: ['a'] is no text"),
        ("path: data.csv", "path: a\n  label: 5", "data: label: 5 is no text"),
        ("lora: {rank: 4}", "tfidf", "ladder: number 2: two contenders are called 'tfidf'"),
        ("lora: {rank: 4}", "{a: 1, b: 2}", "ladder: number 2: {'a': 1, 'b': 2} is no contender"),
        ("lora: {rank: 4}", "5", "ladder: number 2: 5 is no contender"),
        ("lora: {rank: 4}", "lora: 5", "ladder: lora: 5 is no mapping"),
        ("rank: 4", "base: [a]", "ladder: lora: base: ['a'] is no text"),
        ("lora: {rank: 4}", "mine: {regime: tfidf, base: x}", "ladder: mine: base: tfidf starts from nothing, so it"),
    ],
)
def test_a_value_of_the_wrong_form(old: str, new: str, problem: str, tmp_path: Path) -> None:
    assert old in GOOD
    said = read_refusal(tmp_path, GOOD.replace(old, new))
    assert f": {problem}" in said.splitlines()[0]
    assert said.startswith("s.yaml:")


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("ladder: []", "s.yaml:3: ladder: the ladder is empty"),
        ("ladder: tfidf", "s.yaml:3: ladder: 'tfidf' is no list of contenders"),
        ("ladder: {tfidf: {}}", "s.yaml:3: ladder: {'tfidf': {}} is no list of contenders"),
        ("", "s.yaml:1: ladder: 'ladder' is missing"),
        ("ladder: [tfidf]\ntraining: [1]", "s.yaml:4: training: [1] is no mapping"),
        ("ladder: [tfidf]\nlora: [1]", "s.yaml:4: lora: [1] is no mapping"),  # though no contender uses it
        ("ladder: [tfidf]\nlora:\n  rank: 0", "s.yaml:5: lora: rank: 0 is too small"),
        ("ladder: [tfidf]\nbase: 5", "s.yaml:4: base: 5 is no text"),
        ("ladder: [tfidf]\ntask: 5", "s.yaml:4: task: 5 is no mapping"),
    ],
)
def test_sections_and_the_ladder(rest: str, problem: str, tmp_path: Path) -> None:
    assert read_refusal(tmp_path, f"name: a\ndata: x\n{rest}\n").startswith(problem)


def test_a_section_that_is_left_empty_holds_the_defaults(tmp_path: Path) -> None:
    spec = parse_spec_text(tmp_path, GOOD + "training:\nevidence:\ngate:\nlora:\n")
    assert spec.training.epochs is None
    assert spec.gate is None


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("  recall:\n    C: {at_least: 0.5}", "s.yaml:11: gate: recall: C: 'C' is no label of this spec"),
        ("  precision: {C: {at_least: 0.5}}", "s.yaml:10: gate: precision: C: 'C' is no label of this spec"),
        (
            "  not_worse_than: {tfid: 0}",
            "s.yaml:10: gate: not_worse_than: tfid: 'tfid' is no contender of this spec; did",
        ),
        ("  recall: {A: 0.5}", "s.yaml:10: gate: recall: A: 0.5 is no mapping"),
        ("  recall: {A: {confidence: 0.9}}", "s.yaml:10: gate: recall: A: 'at_least' is missing"),
        ("  accuracy: {at_least: 1.5}", "s.yaml:10: gate: accuracy: at_least: 1.5 is too large"),
    ],
)
def test_a_gate_that_no_fit_could_be_held_to(gate: str, problem: str, tmp_path: Path) -> None:
    assert read_refusal(tmp_path, f"{GOOD}gate:\n{gate}\n").startswith(problem)


def test_a_gate_on_labels_that_only_the_data_knows_waits_for_the_data(tmp_path: Path) -> None:
    spec = parse_spec_text(tmp_path, GOOD.replace(", labels: [A, B]", "") + "gate: {recall: {C: {at_least: 0.5}}}\n")
    assert spec.gate is not None
    assert "tfid" in read_refusal(
        tmp_path, GOOD.replace(", labels: [A, B]", "") + "gate: {not_worse_than: {tfid: 0}}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("[A, B]", "[A, B"), "s.yaml:2: this is no YAML: expected ',' or ']'"),
        (GOOD + "training:\n\tepochs: 3\n", "s.yaml:10: a tab, which YAML does not allow here"),
        (GOOD + "name: other\n", "s.yaml:9: the key 'name' is written twice (before in line 1)"),
        (GOOD.replace("rank: 4", "rank: 4, rank: 5"), "s.yaml:8: the key 'rank' is written twice (before in line 8)"),
        (GOOD + "1: a\n'1': b\n", "s.yaml:10: the key '1' is written twice (before in line 9)"),
        ("- a\n", "s.yaml: a spec is a mapping of keys, and this file holds ['a']"),
        ("", "s.yaml: a spec is a mapping of keys, and this file holds nothing"),
        ("# only a comment\n", "s.yaml: a spec is a mapping of keys, and this file holds nothing"),
        (b"name: a\nbase: caf\xe9\n", "s.yaml:2: byte 17 (0xe9) is not UTF-8"),
        ("name: \x00\n", "s.yaml: this is no YAML: unacceptable character"),
        ("name: !!python/object:os.system x\n", "s.yaml:1: this is no YAML: could not determine a constructor"),
        (GOOD + "---\nname: b\n", "s.yaml:9: this is no YAML: but found another document"),
        (GOOD + "? [a, b]\n: 3\n", "s.yaml:9: this is no YAML: found unhashable key"),
        ("[" * 5000, "s.yaml: nested too deeply"),
    ],
)
def test_what_is_no_yaml_or_no_mapping(text: str | bytes, said: str, tmp_path: Path) -> None:
    assert read_refusal(tmp_path, text).startswith(said)


def test_aliases_that_grow_without_bound_end_at_once(tmp_path: Path) -> None:
    letters = "abcdefghijkl"
    bomb = "name: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"k{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in pairwise(letters)
    )
    assert "its aliases stand for more than 200,000 values" in read_refusal(tmp_path, bomb)
    assert "its aliases stand for" in read_refusal(tmp_path, "name: &a [*a]\ndata: x\nladder: [tfidf]\n")
    few = "name: &a [x, x]\nkb: [*a, *a]\ndata: x\nladder: [tfidf]\n"
    assert "unknown key 'kb'" in read_refusal(tmp_path, few)
    merges = "a: &a {x: 1}\n" + "".join(
        f"{new}: &{new} {{<<: [{', '.join(['*' + old] * 10)}], {new}{new}: 1}}\n" for old, new in pairwise(letters)
    )
    assert "its aliases stand for" in read_refusal(tmp_path, merges)
    grown = bomb.replace("name: &a", "data: {path: &a").replace("x]\n", "x]}\n", 1)
    assert len(read_refusal(tmp_path, grown)) < 2000


def test_a_missing_file_a_folder_and_an_unknown_recipe(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this spec does not exist"):
        load_spec(str(tmp_path / "no.yaml"))
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(SpecError, match="this is a folder"):
        load_spec(str(tmp_path / "d.yaml"))
    with pytest.raises(SpecError, match="'bankin77' is no spec; did you mean 'banking77'"):
        load_spec("bankin77")


def test_words_that_older_yaml_takes_for_something_else_stay_text(tmp_path: Path) -> None:
    spec = parse_spec_text(
        tmp_path, GOOD.replace("[A, B]", "[yes, no, on, off, 12:30, 2024-01-01, 0o, 1_000, y, '1', 'null']")
    )
    assert spec.task.labels == ("yes", "no", "on", "off", "12:30", "2024-01-01", "0o", "1_000", "y", "1", "null")


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    spec = parse_spec_text(tmp_path, GOOD.replace("rank: 4", "rank: 010, learning_rate: 1e-4, alpha: +8, rslora: true"))
    options = spec.ladder[2].options
    assert (options.rank, options.learning_rate, options.alpha, options.rslora) == (10, 1e-4, 8.0, True)


def test_keys_that_look_like_numbers_or_truth_are_labels(tmp_path: Path) -> None:
    text = GOOD.replace("[A, B]", "['1', 'true', 'null'], descriptions: {1: one, true: yes, null: nothing}")
    spec = parse_spec_text(tmp_path, text + "rules: {keywords: {1: [one], null: [none]}}\n")
    assert spec.task.descriptions == {"1": "one", "true": "yes", "null": "nothing"}


# ---- --set
def test_set_reaches_into_sections_regimes_and_contenders(tmp_path: Path) -> None:
    text = GOOD + "lora: {alpha: 3}\n"
    changes = (
        "training.seeds=3",
        "lora.alpha=9",
        "ladder.tfidf.c=2",
        "ladder.lora.dropout=0.1",
        "evidence.margin=1e-2",
    )
    spec = parse_spec_text(tmp_path, text, *changes)
    assert spec.training.seeds == 3
    assert spec.evidence.margin == 0.01
    assert spec.ladder[1].options.c == 2
    lora = spec.ladder[2].options
    assert (lora.rank, lora.alpha, lora.dropout) == (4, 9, 0.1)
    assert parse_spec_text(tmp_path, text, "ladder=[rules]").ladder[1].regime == "rules"
    assert parse_spec_text(tmp_path, text, "task.labels=[yes, no]").task.labels == ("yes", "no")
    assert parse_spec_text(tmp_path, text, "ladder.lora={regime: lora, rank: 2}").ladder[2].options.rank == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("x", "--set: 'x' is no change"),
        ("=3", "--set: '=3' is no change"),
        ("a..b=3", "--set: 'a..b=3' is no change"),
        ("lora.rank=0", "--set lora.rank=0: 0 is too small"),
        ("training.seeds=three", "--set training.seeds=three: 'three' is no whole number"),
        ("trainin.seeds=3", "--set trainin.seeds=3: unknown key 'trainin'; did you mean 'training'?"),
        ("training.seds=3", "--set training.seds=3: unknown key 'seds'; did you mean 'seeds'?"),
        ("training.seeds=[1", "--set training.seeds=[1: '[1' is no YAML value"),
        ("data.path.x=3", "--set data.path.x=3: 'path' holds 'data.csv', and no keys"),
        ("training.seeds.x=3", "--set training.seeds.x=3: {'x': 3} is no whole number"),
        ("ladder.lara.rank=3", "--set ladder.lara.rank=3: the ladder has no contender 'lara'"),
        ("ladder.lora.rank=0", "--set ladder.lora.rank=0: 0 is too small"),
    ],
)
def test_a_change_that_cannot_be_meant(change: str, said: str, tmp_path: Path) -> None:
    assert read_refusal(tmp_path, GOOD, change).startswith(said)


# ---- the lock
FULL = (
    GOOD.replace("[A, B]", "[yes, 'no', '1', 'null', '1e-4', 'with: colon', \"it's\", '{b}', ' x']")
    + """\
  - stock: {regime: lora, head: stock, layers: [0, 1], loss: {class_weights: {'yes': 2, '1': 0.5}}}
  - full: {base: elsewhere}
rules: {patterns: {'no': ['^a: b$']}, keywords: {'1': [one]}}
training: {patience: 2, seeds: 3}
gate: {recall: {'1e-4': {at_least: 0.5}}, not_worse_than: {tfidf: 0.0}}
"""
)


def test_a_lock_parses_to_the_spec_that_it_was_written_from(tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    spec = parse_spec_text(tmp_path, FULL)
    (away := tmp_path / "runs" / "tiny").mkdir(parents=True)
    (away / "spec.lock.yaml").write_text(format_lock(spec, away / "spec.lock.yaml"), encoding="utf-8")
    again = load_spec(str(away / "spec.lock.yaml"))
    assert again.to_dict() == resolve_data_paths(spec).to_dict()
    assert again.task == spec.task
    assert again.ladder == spec.ladder
    assert (again.training, again.evidence, again.gate) == (spec.training, spec.evidence, spec.gate)
    assert again.data.path == str(tmp_path / "data.csv")  # resolves from wherever the lock stands
    assert format_lock(again, away / "spec.lock.yaml") == (away / "spec.lock.yaml").read_text(encoding="utf-8")


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(WORDS, min_size=2, max_size=4, unique=True))
def test_any_label_survives_the_lock(labels: list[str], tmp_path: Path) -> None:
    spec = parse_spec_text(tmp_path, GOOD)
    spec = replace(spec, task=spec.task.model_copy(update={"labels": tuple(labels)}))
    (tmp_path / "l.yaml").write_text(format_lock(spec, tmp_path / "l.yaml"), encoding="utf-8", newline="")
    assert load_spec(str(tmp_path / "l.yaml")).task.labels == tuple(labels)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("ab:[]{}-,#&*!|>'\"%@`? \n\t1.e~"), max_size=60), cut=st.integers(0, 100))
def test_whatever_stands_in_the_file_it_is_a_spec_or_a_spec_error(text: str, cut: int, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD[:cut] + text + GOOD[cut:], encoding="utf-8")
    with suppress(SpecError):  # anything else is a traceback in somebody's face
        load_spec(str(tmp_path / "s.yaml"))


def test_a_relative_base_starts_at_the_spec(tmp_path: Path) -> None:
    (tmp_path / "mybase").mkdir()
    spec = parse_spec_text(tmp_path, GOOD + "base: mybase\n")
    assert spec.base == str(tmp_path / "mybase")
    assert spec.ladder[2].base == str(tmp_path / "mybase")
    assert spec.ladder[1].base is None


def test_a_spec_is_parsed_and_refused_without_any_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD.replace("rank: 4", "rank: 0"), encoding="utf-8")
    code = (
        "import sys\nfrom loratory.experiment.spec_loading import load_spec\nfrom loratory.errors import SpecError\n"
        "try: load_spec(sys.argv[1])\nexcept SpecError: pass\nelse: raise SystemExit(1)\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'pyarrow', 'peft'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.yaml")], check=True, timeout=60)


def test_a_test_file_asked_for_by_name_goes_with_other_data(tmp_path: Path) -> None:
    text = "name: a\ndata: {path: old.csv, test: old-test.csv, group: family}\nladder: [tfidf]\n"
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    moved = load_spec(str(tmp_path / "spec.yaml"), str(tmp_path / "new.csv"))
    assert (moved.data.test, moved.data.columns) == (None, {"group": "family"})
    named = load_spec(str(tmp_path / "spec.yaml"), str(tmp_path / "new.csv"), ["data.test=new-test.csv"])
    assert named.data.test == "new-test.csv"


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[0, 1]", ("0", "1")),
        ("[true, false]", ("true", "false")),
        ("[True, False]", ("True", "False")),  # as pandas writes them into a CSV file
        ("[yes, no]", ("yes", "no")),
        ("[01, 1.0, 1e3, 0x1F]", ("01", "1.0", "1e3", "0x1F")),
    ],
)
def test_labels_are_what_is_written_in_the_file_and_on_the_command_line(
    tmp_path: Path, written: str, labels: tuple[str, ...]
) -> None:
    assert parse_spec_text(tmp_path, GOOD.replace("[A, B]", written)).task.labels == labels
    (tmp_path / "s.yaml").write_text(GOOD, encoding="utf-8")
    spec = load_spec(str(tmp_path / "s.yaml"), None, [f"task.labels={written}"])
    assert spec.task.labels == labels


def test_a_label_that_is_a_number_is_named_everywhere_alike(tmp_path: Path) -> None:
    text = GOOD.replace("[A, B]", "[0, 1], descriptions: {0: none, 1: some}")
    text += (
        "gate: {recall: {1: {at_least: 0.5}}, precision: {0: {at_least: 0.5}}}\n"
        "operating: {thresholds: {1: {recall: 0.9}}}\n"
    )
    spec = parse_spec_text(tmp_path, text)
    assert spec.task.labels == ("0", "1") == tuple(spec.task.descriptions)
    assert spec.gate is not None
    assert spec.operating is not None
    assert (list(spec.gate.recall), list(spec.gate.precision)) == (["1"], ["0"])
    assert list(spec.operating.thresholds) == ["1"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a:}", {"a": None}),  # ruamel.yaml alone reads the colon as the key's last character
        ("{a:, b: 1}", {"a": None, "b": 1}),
        ("[a:, b]", [{"a": None}, "b"]),
        ("a:: 1", {"a:": 1}),
        ("a::\n", {"a:": None}),
        ("[what?, 'b:']", ["what?", "b:"]),
        ("%YAML 1.1\n---\n[no, yes, 010]", ["no", "yes", 10]),  # the file's version turns no label into False
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("[0o17, 0x1F, 1e3, -.inf, ~]", [15, 31, 1000.0, float("-inf"), None]),
        ("[1_000, 12:30, 2024-01-01, 0b1, '<<', =]", ["1_000", "12:30", "2024-01-01", "0b1", "<<", "="]),
    ],
)
def test_a_value_is_what_the_core_schema_says_and_nothing_is_warned_of(
    text: str, value: object, recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_yaml_value(text) == value
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["!!int x", "!!bool 3", "!!set {a}", "!!binary aGk=", "1" * 301, "[a, &x [*x]]"])
def test_a_value_of_a_type_that_a_spec_has_not_is_refused(text: str) -> None:
    with pytest.raises(YAMLError):
        parse_yaml_value(text)
