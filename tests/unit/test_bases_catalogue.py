"""The catalogue of bases, the base that texts ask for, and the verb `loratory bases`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from typer.testing import CliRunner

from loratory.api.bases import bases, get_base
from loratory.backbones.loading import base_catalogue
from loratory.backbones.loading.base_catalogue import choose_catalogue_base, find_local_base, read_catalogue
from loratory.backbones.loading.bases import EMBEDDED_BASES, HUB_ID, ORIGINS, locate_base, resolve_base
from loratory.cli import app
from loratory.data.dataset import Dataset
from loratory.data.quality.languages import GENERATIVE_BASE, MULTILINGUAL_BASE
from loratory.data.quality.letter_case import measure_span_case
from loratory.errors import BaseModelError, SpecError
from loratory.experiment.base_suggestions import BaseSuggestion, format_suggestion, suggest_base
from loratory.protocols import Example
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

ENGLISH = [
    "Where is the parcel that I ordered on Monday?",
    "The lift on the second floor has been out of order since yesterday.",
    "Please send me the documents again, I cannot find them.",
    "I was charged twice for the same order, and nobody answers the phone.",
]
GERMAN = [
    "Wo finde ich die Rechnung für meine letzte Bestellung?",
    "Der Aufzug im zweiten Stock steht seit gestern still.",
    "Bitte schicken Sie mir die Unterlagen noch einmal zu.",
    "Ich habe für die gleiche Bestellung zweimal bezahlt, und niemand ist am Telefon.",
]
JAPANESE = [
    "注文した荷物はいつ届きますか。",
    "二階のエレベーターが昨日から止まっています。",
    "書類をもう一度送ってください。",
    "同じ注文に二回請求されました。",
]
PEOPLE = ("Rose Baker", "Mark Field", "Grace Hill", "Frank Stone", "Will Young")


def suggest_for(texts: Sequence[str], base: str = "minilm") -> BaseSuggestion:
    task = Classify(labels=("a", "b"))
    rows = [Example({"text": text}, {"label": "ab"[at % 2]}, f"line {at}") for at, text in enumerate(texts)]
    return suggest_base(base, Dataset.of(task, rows))


def suggest_for_names(lower: bool) -> BaseSuggestion:
    """Names inside of sentences; in small letters they look like the words that they are."""
    examples = []
    for at in range(40):
        name = PEOPLE[at % len(PEOPLE)]
        text = f"The invoice of last week was sent to {name} by mistake, and the letter is still missing."
        start = text.index(name)
        span = {"start": start, "end": start + len(name), "label": "PERSON", "text": name}
        if lower:
            text, span = text.lower(), {**span, "text": name.lower()}
        examples.append(Example({"text": text}, {"spans": [span]}, f"line {at}"))
    return suggest_base("minilm", Dataset.of(Tag(labels=("PERSON",)), examples))


def list_needs(found: BaseSuggestion) -> dict[str, str]:
    return {one.about: one.asks_for for one in found.findings if one.asks_for}


def test_a_catalogue_row_names_a_base_that_the_spec_takes() -> None:
    names = [base.name for base in read_catalogue()]
    assert len(set(names)) == len(names)
    assert names[: len(EMBEDDED_BASES)] == list(EMBEDDED_BASES)
    assert {MULTILINGUAL_BASE, GENERATIVE_BASE} <= set(names)  # what the quality report suggests
    for base in read_catalogue():
        assert base.name in EMBEDDED_BASES or HUB_ID.fullmatch(base.name)
        assert base.kind in ("encoder", "causal")
        assert base.language_count >= len(base.languages) or base.languages == ("many",)
    minilm = next(base for base in read_catalogue() if base.name == "minilm")
    assert (minilm.origin, minilm.licence) == ORIGINS["minilm"]


@pytest.mark.parametrize("name", list(EMBEDDED_BASES))
def test_the_facts_of_an_embedded_base_are_those_of_its_files(name: str) -> None:
    from safetensors import safe_open

    fact, base, local = (
        next(one for one in read_catalogue() if one.name == name),
        resolve_base(name),
        find_local_base(name),
    )
    with safe_open(base.folder / "model.safetensors", "np") as weights:
        count = sum(_multiply(weights.get_slice(key).get_shape()) for key in weights.keys())
    assert fact.parameters == pytest.approx(count, rel=0.02)
    assert (fact.kind, fact.window) == (base.kind, base.config["max_position_embeddings"])
    assert local.digest == base.digest
    assert local.bytes == (base.folder / "model.safetensors").stat().st_size


def _multiply(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


@pytest.mark.parametrize(
    ("needs", "name"),
    [
        ({"kind": "encoder", "languages": ["English"]}, "minilm"),
        ({"kind": "encoder", "languages": ["English"], "cased": True}, "google-bert/bert-base-cased"),
        ({"kind": "encoder", "languages": ["English"], "window": 3000}, "answerdotai/ModernBERT-base"),
        ({"kind": "encoder", "languages": ["German"]}, MULTILINGUAL_BASE),
        ({"kind": "causal", "languages": ["English"]}, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ({"kind": "causal", "languages": ["Japanese"]}, GENERATIVE_BASE),
        ({"kind": "encoder", "languages": ["German"], "window": 3000}, "jhu-clsp/mmBERT-small"),
        ({"kind": "encoder", "languages": ["German"], "window": 20_000}, None),
    ],
)
def test_the_smallest_base_with_all_needs_is_chosen(needs: dict[str, Any], name: str | None) -> None:
    found = choose_catalogue_base(**needs)
    assert (found.name if found else None) == name


def test_english_texts_keep_the_default_base() -> None:
    found = suggest_for(ENGLISH)
    assert found.keeps
    assert list_needs(found) == {}
    assert "nothing in the texts asks" in format_suggestion(found)[0]


@pytest.mark.parametrize(("texts", "language"), [(GERMAN, "German"), (JAPANESE, "Japanese")])
def test_another_language_asks_for_a_base_that_knows_it(texts: Sequence[str], language: str) -> None:
    found = suggest_for(texts)
    assert found.suggested == MULTILINGUAL_BASE
    assert list_needs(found) == {"language": f"a base of {language}"}
    assert all(one.texts == len(texts) and one.threshold for one in found.findings)


def test_texts_of_two_languages_ask_for_a_base_of_both() -> None:
    found = suggest_for([*ENGLISH, *GERMAN])
    assert (found.suggested, list_needs(found)["language"]) == (MULTILINGUAL_BASE, "a base of German")


def test_long_texts_ask_for_a_longer_window_and_a_few_do_not() -> None:
    long = " ".join(ENGLISH * 20)  # about 1,000 tokens
    found = suggest_for([long] * 10 + ENGLISH)
    assert (found.suggested, list(list_needs(found))) == ("answerdotai/ModernBERT-base", ["length"])
    assert suggest_for([long] + ENGLISH * 20).keeps  # 1 of 81


def test_texts_beyond_every_window_ask_for_the_longest_one() -> None:
    found = suggest_for([" ".join(ENGLISH * 250)] * 4)  # about 12,000 tokens
    assert found.suggested == "answerdotai/ModernBERT-base"
    assert [what.startswith("a window of 1") for what in found.unmet] == [True]


def test_what_no_base_of_the_catalogue_has_is_said() -> None:
    found = suggest_for([" ".join(GERMAN * 400)] * 10)
    assert found.suggested == "jhu-clsp/mmBERT-small"  # of the longest window
    assert [what.startswith("a window of") for what in found.unmet] == [True]
    assert any(line.startswith("not met") for line in format_suggestion(found))


def test_capital_letters_that_tell_the_spans_ask_for_a_cased_base() -> None:
    found = suggest_for_names(lower=False)
    assert (found.suggested, list_needs(found)) == ("google-bert/bert-base-cased", {"case": "a cased base"})


def test_spans_in_small_letters_ask_for_nothing() -> None:
    assert suggest_for_names(lower=True).keeps


def test_the_first_word_of_a_sentence_and_letters_of_codes_count_for_nothing() -> None:
    text = "Rose is here. Mark sends GB82WEST and nothing else to us today at all."
    texts, spans = [text] * 40, [[(0, 4, "P"), (14, 18, "P"), (25, 33, "IBAN")]] * 40
    assert measure_span_case(texts, spans) is None
    inside = [[(0, 4, "P"), (57, 62, "T")]] * 40  # "today"
    found = measure_span_case(texts, inside)
    assert found is not None
    assert (found.label, found.inside, found.outside, found.words) == ("T", 0.0, 0.0, 40)


def test_a_check_names_the_base_that_the_texts_ask_for(tmp_path: Path) -> None:
    from loratory import check

    things = ("die Rechnung", "den Vertrag", "das Paket", "die Karte", "den Schlüssel", "das Fahrrad", "die Lampe")
    whys = ("nicht finde", "noch einmal brauche", "gestern verloren habe", "zurückgeben will", "nie bekommen habe")
    texts = [f"Bitte helfen Sie mir, weil ich {thing} {why} und es eilig ist." for thing in things for why in whys]
    rows = [{"text": text, "label": "ab"[at % 2]} for at, text in enumerate(texts)]
    data = {"path": _write_rows(tmp_path, rows), "near_duplicates": 1}
    found = check({"name": "x", "task": {"kind": "classify"}, "data": data, "ladder": ["head"]})
    line = next(line for line in found.lines if line.startswith("base  "))
    assert f"try base: {MULTILINGUAL_BASE}" in line
    assert "German" in line
    assert found.facts["base"]["suggested"] == MULTILINGUAL_BASE


def _write_rows(folder: Path, rows: Sequence[dict[str, str]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["bases", *words])


def test_the_verb_lists_the_catalogue() -> None:
    rows = json.loads(invoke("--json").stdout)
    assert [row["name"] for row in rows] == [base.name for base in read_catalogue()]
    assert rows == bases()
    minilm = rows[0]
    assert (minilm["here"], minilm["embedded"]) == (True, True)
    assert minilm["digest"] == resolve_base("minilm").digest
    shown = invoke("-q").stdout
    assert all(row["name"] in shown for row in rows)
    assert minilm["digest"] in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [(["sugest", "x"], "did you mean"), (["suggest"], "needs"), (["get"], "needs"), (["list", "x"], "nothing")],
)
def test_a_wrong_action_is_told(words: Sequence[str], told: str) -> None:
    problem = invoke(*words).exception
    assert isinstance(problem, SpecError)
    assert told in str(problem)


class FakeHub:
    """huggingface_hub's download: what is fetched lies in a folder as the hub's cache has it."""

    def __init__(self, cache: Path, online: bool) -> None:
        self.folder, self.online = cache / "snapshots" / "abc123", online

    def snapshot_download(self, hub: str, *, local_files_only: bool = False, **_: object) -> str:
        if not self.folder.exists():
            if local_files_only:
                raise LocalEntryNotFoundError("not in the cache")
            if not self.online:
                raise ConnectionError("no route to the host")
            self.folder.parent.mkdir(parents=True)
            self.folder.symlink_to(locate_base("seedling"))
        return str(self.folder)


def test_get_fetches_a_hub_base_and_records_revision_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(tmp_path, online=True).snapshot_download)
    assert find_local_base("Qwen/Qwen3-0.6B").folder is None
    found = get_base("Qwen/Qwen3-0.6B")
    assert (found["revision"], found["digest"]) == ("abc123", resolve_base("seedling").digest)
    assert find_local_base("Qwen/Qwen3-0.6B").digest == found["digest"]


def test_get_without_a_network_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(tmp_path, online=False).snapshot_download)
    with pytest.raises(BaseModelError, match=r"cannot be fetched.*no route"):
        get_base("Qwen/Qwen3-0.6B")
    assert base_catalogue.find_local_base("Qwen/Qwen3-0.6B") == base_catalogue.LocalBase(None)


def test_what_is_here_and_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(tmp_path, online=True)
    hub.folder.mkdir(parents=True)
    (hub.folder / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    found = find_local_base("google-bert/bert-base-cased")
    assert found.digest is None
    assert found.problem is not None
    assert "no safetensors" in found.problem
