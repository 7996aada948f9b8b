"""The data that recipes ship: what make_data writes, in enough groups, with the labels that the spec declares."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

import pytest
from recipes.intent_router import make_data as router
from recipes.orders import make_data as orders
from recipes.pii import make_data as pii
from recipes.prompt_guard import make_data as guard
from recipes.risk_triage import make_data as triage

from loratory.discovery import list_names
from loratory.experiment.recipes import find_recipe_folder
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.predictors.validators import is_iban, is_luhn_valid, is_social_security_number
from loratory.protocols.events import ignore_event
from loratory.regimes.rules import Rules
from loratory.tasks.tag import Tag
from tiny_models import BasePathOf

GROUPS = {"prompt-guard": "family", "intent-router": "group", "pii": "template_id"}
FILES = {"prompt-guard": "prompts.jsonl", "intent-router": "questions.jsonl", "pii": "messages.jsonl"}
QUICK = ("training.epochs=1", "evidence.resamples=200", "evidence.latency_texts=5")
SHORT = "training.max_tokens=64"  # what the tiny bases read


@cache
def text_of(recipe: str) -> str:
    return (find_recipe_folder(recipe) / FILES[recipe]).read_text(encoding="utf-8")


@cache
def rows_of(recipe: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(recipe).splitlines()]


def sample_of(recipe: str, folder: Path, share: int) -> Path:
    """Every so-manieth group, whole."""
    groups = sorted({row[GROUPS[recipe]] for row in rows_of(recipe)})
    kept = set(Random(1).sample(groups, len(groups) // share))
    file = folder / FILES[recipe]
    rows = [row for row in rows_of(recipe) if row[GROUPS[recipe]] in kept]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_prompts_are_what_make_data_makes() -> None:
    assert "".join(map(guard.to_json_line, guard.make_prompts())) == text_of("prompt-guard")


def test_questions_are_what_make_data_makes() -> None:
    assert "".join(map(router.to_json_line, router.make_questions())) == text_of("intent-router")


def test_messages_and_orders_are_what_make_data_makes() -> None:
    made = "".join(map(triage.to_json_line, triage.make_messages()))
    assert made == (find_recipe_folder("risk-triage") / "messages.jsonl").read_text(encoding="utf-8")
    told = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in orders.make_conversations())
    assert told == (find_recipe_folder("orders") / "orders.jsonl").read_text(encoding="utf-8")


def test_no_generator_and_nothing_that_it_alone_reads_is_in_the_package() -> None:
    for name in list_names("recipes"):
        folder = find_recipe_folder(name)
        kept = {file.name for file in folder.iterdir() if file.is_file()}
        assert "make_data.py" not in kept
        spec = (folder / "spec.yaml").read_text(encoding="utf-8")
        assert all(file in spec for file in kept if file.endswith(".yaml") and file != "spec.yaml"), name


def test_spans_are_what_make_data_makes() -> None:
    faker = pytest.importorskip("faker")
    if faker.VERSION != "40.54.0":
        pytest.skip("other versions of Faker make other names")
    made = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pii.make_rows())
    assert made == text_of("pii")


@pytest.mark.parametrize("recipe", sorted(FILES))
def test_texts_are_distinct_and_small(recipe: str) -> None:
    texts = [row["text"] for row in rows_of(recipe)]
    assert len(set(texts)) == len(texts)
    assert len(text_of(recipe).encode()) <= 1_200_000
    assert not [text for text in texts if text != text.strip() or re.search(r"[\x00-\x09\x0b-\x1f]", text)]


def test_prompt_families() -> None:
    rows = rows_of("prompt-guard")
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row["family"]].add(row["label"])
    assert all(len(of_family) == 1 for of_family in labels.values())
    each = Counter(next(iter(of_family)) for of_family in labels.values())
    assert set(each) == {"benign", "jailbreak"}
    assert min(each.values()) >= 60
    variants = Counter(row["family"] for row in rows)
    assert min(variants.values()) >= 12
    assert max(variants.values()) <= 20


def test_no_template_sign_is_left_in_prompts() -> None:
    """`{slot}`, `{code:slot}` or an alternative with a bar between braces."""
    left = re.compile(r"\{[a-z0-9:,' ]+\}|\{[^{}\n]*\|[^{}\n]*\}", re.IGNORECASE)
    assert not [row["text"] for row in rows_of("prompt-guard") if left.search(row["text"])]


def test_sources_of_attacks_are_sources_of_harmless_prompts_too() -> None:
    sources = {
        label: {row["source"] for row in rows_of("prompt-guard") if row["label"] == label} for label in guard.LABELS
    }
    assert sources["benign"] == sources["jailbreak"]


def test_a_choice_nests_and_leaves_slots_alone() -> None:
    random = Random(0)
    made = {guard.choose_alternatives("{a {x}|b {c|d}}", random) for _ in range(60)}
    assert made == {"a \x04x\x05", "b c", "b d"}


def test_subjects_and_frames_are_enough() -> None:
    frames = router.read_yaml(router.FOLDER / "frames.yaml")
    subjects = Counter(subject.category for subject in router.read_subjects())
    labels = load_spec("intent-router").task.labels
    assert set(subjects) == set(labels) == set(frames["own"]) == set(frames["problems"])
    assert min(subjects.values()) >= 60
    assert len(set(frames["common"])) >= 20
    assert all(len(frames["common"]) + len(own) >= 25 for own in frames["own"].values())


def test_no_term_crosses_categories_or_groups() -> None:
    subjects = router.read_subjects()
    assert len({(subject.category, subject.term) for subject in subjects}) == len(subjects)
    shares = Counter(row["label"] for row in rows_of("intent-router"))
    assert min(shares.values()) > 150


def test_spans_of_pii_are_valid_and_of_declared_labels() -> None:
    task = load_spec("pii", changes=()).task
    assert isinstance(task, Tag)
    found: Counter[str] = Counter()
    for row in rows_of("pii"):
        example = task.read(row)
        assert not task.check_answer(example.input, example.answer)
        found.update(label for _, _, label in task.spans_of(example.answer))
    assert set(found) == set(task.span_labels)
    assert min(found.values()) >= 50


@pytest.mark.skipif("validators" not in Rules.model_fields, reason="the regime `rules` does not speak of spans")
def test_validators_of_pii_speak_for_declared_labels() -> None:
    spec = load_spec("pii")
    rules = next(contender.options for contender in spec.ladder if contender.name == "rules")
    assert isinstance(spec.task, Tag)
    assert set(rules.model_dump()["validators"].values()) <= set(spec.task.span_labels)


def test_numbers_carry_their_check_digits_and_look_alikes_do_not() -> None:
    holds = {"CREDIT_CARD": is_luhn_valid, "IBAN_CODE": is_iban, "US_SSN": is_social_security_number}
    for row in rows_of("pii"):
        values = [(row["text"][span["start"] : span["end"]], span["label"]) for span in row["spans"]]
        assert all(holds[label](value) for value, label in values if label in holds), row
        outside = row["text"]
        for span in reversed(row["spans"]):
            outside = outside[: span["start"]] + "_" + outside[span["end"] :]
        assert not [number for number in re.findall(r"\b\d{16}\b", outside) if is_luhn_valid(number)]


def test_mail_addresses_are_at_reserved_domains() -> None:
    for row in rows_of("pii"):
        assert not re.search(r"@(?!(?:example)\.(?:com|org|net)\b)", row["text"]), row["text"]


def test_templates_with_and_without_personal_data() -> None:
    templates = pii.read_templates()
    labelled = {template.name for template in templates if re.search(r"\{[A-Z_]+(\.[a-z]+)?\}", template.text)}
    assert len(labelled) >= 150
    assert len(templates) - len(labelled) >= 25
    for row in rows_of("pii"):
        assert bool(row["spans"]) == (row["template_id"] in labelled)


@pytest.mark.parametrize(("recipe", "least", "most"), [("prompt-guard", 0.55, 0.99), ("intent-router", 0.2, 0.9)])
def test_the_recipe_runs_and_is_neither_trivial_nor_chance(
    recipe: str, least: float, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = sample_of(recipe, tmp_path, 2)
    spec = load_spec(recipe, data=str(data), changes=("ladder=[rules, tfidf]", *QUICK))
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), ignore_event)
    majority, rules, tfidf = (row["metrics"]["accuracy"]["mean"] for row in ladder["contenders"])
    assert majority < rules < tfidf
    assert least < tfidf < most


def test_pii_runs_on_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_path_of: BasePathOf) -> None:
    monkeypatch.chdir(tmp_path)
    data = sample_of("pii", tmp_path, 4)
    spec = load_spec("pii", data=str(data), changes=(f"base={base_path_of('bert')}", SHORT, *QUICK))
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), ignore_event)
    assert 0 <= ladder["contenders"][1]["metrics"]["strict_f1"]["mean"] <= 1


def test_pii_takes_presidios_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_path_of: BasePathOf) -> None:
    monkeypatch.chdir(tmp_path)
    records = [
        {
            "full_text": f"{name} lives in {town}",
            "masked": "{{PERSON}} lives in {{GPE}}",
            "spans": [
                {"entity_type": "PERSON", "entity_value": name, "start_position": 0, "end_position": len(name)},
                {
                    "entity_type": "GPE",
                    "entity_value": town,
                    "start_position": len(name) + 10,
                    "end_position": len(name) + 10 + len(town),
                },
            ],
            "template_id": number,
            "metadata": None,
        }
        for number, (name, town) in enumerate((f"Ana{sign}", f"Lund{sign}") for sign in ascii_letters)
    ]
    (tmp_path / "synth.json").write_text(json.dumps(records), encoding="utf-8")
    spec = load_spec("pii", data="synth.json", changes=(f"base={base_path_of('bert')}", SHORT, *QUICK))
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), ignore_event)
    assert ladder["split"]["columns"] == {"text": "full_text", "spans": "spans", "group": "template_id"}
