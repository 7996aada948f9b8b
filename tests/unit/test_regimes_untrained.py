"""Rules, TF-IDF and zero-shot against what they should be equal to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tokenizers import processors
from torch.nn.functional import normalize

from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.forward.execution import run_locally
from loratory.errors import SpecError
from loratory.experiment.spec_loading import make_parser
from loratory.predictors.label_rules import PATTERN_TIMEOUT_SECONDS, LabelRules
from loratory.predictors.linear import Linear
from loratory.protocols import Example, TrainSet
from loratory.protocols.events import FitEvent, PredictorFitted
from loratory.regimes.majority import Majority
from loratory.regimes.prototype import CANDIDATE_SCALES, Prototype
from loratory.regimes.rules import Rules, mine_label_phrases
from loratory.regimes.tfidf import Tfidf
from loratory.regimes.zero_shot import ZeroShot
from loratory.specs.spec import parse_spec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag
from tiny_models import (
    TEXTS,
    BackboneOf,
    load_backbone_from,
    make_config,
    make_context,
    make_examples,
    make_task,
    make_train_set,
    make_word_piece_tokenizer,
    save_base,
)

ODD = (
    "",
    " ",
    "!!!",
    "naïve CAFÉ",
    "İstanbul ISTANBUL",
    "ﬁne",
    "日本 語",
    "\u2028a\u00a0b",
    "a  b\t\tc",
    "😀",
    "my card",
    "é e\u0301",
)


def rules(task: Classify, taught: TrainSet, **options: Any) -> LabelRules:
    made = Rules(**options).fit(task, taught, None, make_context())
    assert isinstance(made, LabelRules)
    return made


def said(made: Any, text: str) -> str:
    return str(made.predict([{"text": text}], run_locally)[0].answer["label"])


# ---- rules
def test_patterns_come_before_keywords_and_keywords_before_mined_phrases() -> None:
    made = rules(
        make_task(), make_train_set(), patterns={"login": [r"^card\b"]}, keywords={"cash": ["card stuck", "Mango!"]}
    )
    assert said(made, "my card") == "card"  # mined
    assert said(made, "the card stuck") == "cash"  # a keyword
    assert said(made, "CARD stuck") == "login"  # a pattern, whatever the case
    assert said(made, "a mango, please") == "cash"
    assert said(made, "mangos") == said(made, "nothing known at all")


def test_a_rule_that_train_never_met_still_answers_with_its_label() -> None:
    taught = TrainSet(make_examples()[:20] + make_examples(["login"]) * 3, make_examples()[:4])  # mostly login
    made = rules(make_task(), taught, keywords={"card": ["zebra"]}, mined=0)
    assert said(made, "a zebra") == "card"
    assert said(made, "a horse") == "login"
    assert made.predict([{"text": "a zebra"}], run_locally)[0].confidence > 0.5


def test_a_phrase_is_whole_words() -> None:
    made = rules(make_task(), make_train_set(), keywords={"cash": ["art"]}, mined=0)
    assert made.find_first_match("my cart part") == 1
    assert made.find_first_match("ART, he said") == 0


def test_odds_are_the_shares_of_train() -> None:
    taught = TrainSet([Example({"text": "x"}, {"label": label}) for label in ("card", "card", "cash", "login")], [])
    made = rules(make_task(), taught, keywords={"card": ["x"]}, mined=0)
    odds = made.predict([{"text": "x"}], run_locally)[0].probabilities["/label"]
    prior = {"card": 2.5 / 5.5, "cash": 1.5 / 5.5, "login": 1.5 / 5.5}
    assert odds == pytest.approx(
        {"card": (3 + prior["card"]) / 6, **{k: (1 + prior[k]) / 6 for k in ("cash", "login")}}
    )


def test_mined_phrases_are_precise_and_cover() -> None:
    texts = [e.input["text"] for e in make_examples()]
    labels = [e.answer["label"] for e in make_examples()]  # type: ignore[index]
    found = mine_label_phrases(texts, labels, 20, 0.8)
    assert found
    for rule in found:
        hits = [
            label
            for text, label in zip(texts, labels, strict=True)
            if f" {rule.phrase} " in f" {' '.join(text.replace(',', '').replace(':', '').lower().split())} "
        ]
        assert hits.count(rule.label) / len(hits) >= 0.8
    assert {rule.label for rule in found} == {"card", "cash", "login"}
    assert all(
        sum(rule.label == label for rule in mine_label_phrases(texts, labels, 2, 0.8)) <= 2
        for label in ("card", "cash")
    )
    assert mine_label_phrases(texts, labels, 0, 0.8) == []


def test_a_pattern_that_backtracks_without_end_is_cut_off() -> None:
    made = rules(
        make_task(), TrainSet([Example({"text": "aaa"}, {"label": "card"})], []), patterns={"card": ["(a|aa)+$"]}
    )
    started = time.monotonic()
    said(made, "a" * 5000 + "!")
    assert time.monotonic() - started < 20 * PATTERN_TIMEOUT_SECONDS
    assert said(made, "baa") == "card"


def test_a_pattern_that_is_none_is_refused_with_its_label() -> None:
    with pytest.raises(ValidationError, match="card: '\\(' is no regular expression"):
        Rules(patterns={"card": ["("]})
    with pytest.raises(SpecError, match="'crad' is no label; did you mean 'card'"):
        rules(make_task(), make_train_set(), keywords={"crad": ["x"]})


# ---- tfidf
def sklearn_odds(options: Tfidf, taught: TrainSet, texts: list[str], labels: tuple[str, ...]) -> Any:
    """scikit-learn's own vectorizers and regression, float64, and its own predict_proba."""
    train = [e.input["text"] for e in taught.train]
    y = [labels.index(e.answer["label"]) for e in taught.train]  # type: ignore[index]
    word = TfidfVectorizer(
        ngram_range=(1, options.words), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32
    )
    char = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, options.characters), sublinear_tf=True, dtype=np.float32)
    share = np.float32(1 / np.sqrt(2))
    features = hstack([word.fit_transform(train) * share, char.fit_transform(train) * share]).tocsr()
    model = LogisticRegression(C=options.c, max_iter=300, tol=1e-3).fit(features, y)
    asked = hstack([word.transform(texts) * share, char.transform(texts) * share]).tocsr()
    return model, model.predict_proba(asked)


@pytest.mark.parametrize("labels", [("card", "cash"), ("card", "cash", "login")])
@pytest.mark.parametrize("options", [Tfidf(), Tfidf(words=1, characters=3, c=1.0)])
def test_tfidf_is_scikit_learns(labels: tuple[str, ...], options: Tfidf) -> None:
    odd = [Example({"text": text}, {"label": labels[i % len(labels)]}) for i, text in enumerate(ODD)]
    taught = TrainSet([*make_train_set(labels).train, *odd], [])
    texts = [*ODD, *TEXTS, *(e.input["text"] for e in make_examples())]
    made = options.fit(make_task(labels), taught, None, make_context())
    _, theirs = sklearn_odds(options, taught, texts, labels)
    for prediction, row in zip(made.predict([{"text": t} for t in texts], run_locally), theirs, strict=True):
        assert list(prediction.probabilities["/label"].values()) == pytest.approx(row.tolist(), abs=1e-5)


@pytest.mark.parametrize("kinds", [("cash", "login"), ("card", "cash", "login")])
def test_labels_that_train_lacks_get_no_probability_to_speak_of(kinds: tuple[str, ...]) -> None:
    labels = ("absent", "card", "cash", "login")
    made = Tfidf().fit(make_task(labels), make_train_set(kinds), None, make_context())
    model, theirs = sklearn_odds(Tfidf(), make_train_set(kinds), list(TEXTS), labels)
    for prediction, row in zip(made.predict([{"text": t} for t in TEXTS], run_locally), theirs, strict=True):
        odds = list(prediction.probabilities["/label"].values())
        assert [odds[i] for i in model.classes_] == pytest.approx(row.tolist(), abs=1e-5)
        assert sum(p for i, p in enumerate(odds) if i not in model.classes_) < 1e-6


def test_texts_without_a_single_word_can_be_learnt_from() -> None:
    marks = [Example({"text": text}, {"label": label}) for text, label in (("!!!", "card"), ("???", "cash")) * 4]
    made = Tfidf().fit(make_task(("card", "cash")), TrainSet(marks, []), None, make_context())
    assert [said(made, text) for text in ("!!!", "???")] == ["card", "cash"]
    empty = [Example({"text": ""}, {"label": label}) for label in ("card", "cash", "cash")]
    nothing = Tfidf().fit(make_task(("card", "cash")), TrainSet(empty, []), None, make_context())
    assert said(nothing, "anything") == "cash"


def test_a_lone_surrogate_is_saved_and_loaded(tmp_path: Path) -> None:
    odd = [Example({"text": f"\ud800{k} x{k}"}, {"label": k}) for k in ("card", "cash")] * 3
    for made in (
        Tfidf().fit(make_task(("card", "cash")), TrainSet(odd, []), None, make_context()),
        rules(make_task(("card", "cash")), TrainSet(odd, []), keywords={"card": ["\ud800card"]}),
    ):
        made.save(tmp_path)
        again = type(made).load(tmp_path, made.task, None)  # type: ignore[arg-type]
        assert [said(again, "\ud800card"), said(again, "cash xcash")] == ["card", "cash"]


def test_class_weights_move_the_odds_towards_the_rare() -> None:
    taught = TrainSet([*make_examples(["card"]), *make_examples(["cash"])[:3]], [])
    plain, weighed = (
        Tfidf(class_weights=weights, c=0.1).fit(make_task(("card", "cash")), taught, None, make_context())
        for weights in (False, True)
    )
    assert isinstance(plain, Linear)
    odds = [m.predict([{"text": "cash"}], run_locally)[0].probabilities["/label"]["cash"] for m in (plain, weighed)]
    assert odds[1] > odds[0] + 0.1


# ---- prototype and zero-shot
def test_prototypes_are_mean_directions_and_the_scale_is_the_best_on_validation(backbone_of: BackboneOf) -> None:
    backbone, task, taught = backbone_of("bert"), make_task(), make_train_set()
    events: list[FitEvent] = []
    made = Prototype(label_names=0.0).fit(task, taught, backbone, make_context(report=events.append))
    scale = [event.facts["scale"] for event in events if isinstance(event, PredictorFitted)]

    def pool_text(text: str) -> torch.Tensor:
        states, mask = backbone.compute_states([backbone.tokenizer.encode(text)[0]], [None])
        return normalize(pool_states(states, mask, "mean"), dim=-1)[0].detach()

    means = torch.stack(
        [
            torch.stack([pool_text(e.input["text"]) for e in taught.train if task.label_of(e.answer) == k]).mean(0)
            for k in task.labels or ()
        ]
    )
    logits = {text: normalize(means, dim=-1) @ pool_text(text) for text in TEXTS}
    for prediction, text in zip(made.predict([{"text": t} for t in TEXTS], run_locally), TEXTS, strict=True):
        expected = (scale[0] * logits[text]).softmax(-1).tolist()
        assert list(prediction.probabilities["/label"].values()) == pytest.approx(expected, abs=1e-4)

    def loss(s: float) -> float:
        parts = [
            (s * normalize(means, dim=-1) @ pool_text(e.input["text"])).log_softmax(-1)[
                (task.labels or ()).index(task.label_of(e.answer))
            ]
            for e in taught.validation
        ]
        return -float(torch.stack(parts).mean())

    assert scale == [min(CANDIDATE_SCALES, key=loss)]


def test_zero_shot_by_similarity_is_the_cosine_to_the_labels_words(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    task = Classify(labels=("card", "log_in"), descriptions={"card": "my card was blocked"})
    made = ZeroShot(scale=5.0).fit(task, make_train_set(), backbone, make_context())

    def pool_text(text: str) -> torch.Tensor:
        states, mask = backbone.compute_states([backbone.tokenizer.encode(text)[0]], [None])
        return normalize(pool_states(states, mask, "mean"), dim=-1)[0].detach()

    expected = (5 * torch.stack([pool_text("my card was blocked"), pool_text("log in")]) @ pool_text("hello")).softmax(
        -1
    )
    odds = made.predict([{"text": "hello"}], run_locally)[0].probabilities["/label"]
    assert list(odds.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert made.count_parameters().trained == 0


@pytest.fixture(scope="module")
def nli_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folders of tiny NLI models with random weights."""

    def save_nli_model(family: str) -> Path:
        folder = tmp_path_factory.mktemp("nli") / family
        labels = ("contradiction", "neutral", "entailment")
        named: dict[str, Any] = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
        if family == "bert":
            return save_base(folder, "bert", kind="AutoModelForSequenceClassification", **named)
        tokenizer = make_word_piece_tokenizer(typed=False)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(  # as RoBERTa and BART join pairs
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        if family == "bart":
            config: Any = transformers.BartConfig(
                vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
                pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3,
                init_std=0.3, **named,
            )  # fmt: skip
        else:
            config = make_config(family, tokenizer, **named)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            stock: Any = transformers.AutoModelForSequenceClassification
            stock.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save_nli_model


@pytest.mark.parametrize("family", ["bert", "roberta", "bart"])
@pytest.mark.parametrize("hypothesis", ["This example is {}.", "my {} is late"])
def test_zero_shot_by_entailment_is_the_pipelines(nli_folder: Any, family: str, hypothesis: str) -> None:
    folder = nli_folder(family)
    backbone = load_backbone_from(folder)
    assert backbone.kind == "nli"
    labels = ("card", "cash machine", "login")
    made = ZeroShot(hypothesis=hypothesis).fit(make_task(labels), make_train_set(), backbone, make_context())
    texts = [*TEXTS, "my card " * 60]
    pipeline = transformers.pipeline("zero-shot-classification", str(folder))
    ours = made.predict([{"text": text} for text in texts], run_locally)
    spread = []
    for text, prediction in zip(texts, ours, strict=True):
        theirs = pipeline(text, list(labels), hypothesis_template=hypothesis)
        odds = dict(zip(theirs["labels"], theirs["scores"], strict=True))
        assert prediction.probabilities["/label"] == pytest.approx(odds, abs=1e-4)
        spread.append(odds["card"])
    assert max(spread) - min(spread) > 1e-3  # the text matters


def test_a_text_that_spells_special_tokens_is_still_answered(nli_folder: Any) -> None:
    for family in ("bert", "bart"):
        backbone = load_backbone_from(nli_folder(family))
        made = ZeroShot().fit(make_task(), make_train_set(), backbone, make_context())
        texts = ["my card", "[SEP] my [SEP] card", "[CLS]", "[PAD] [PAD]"]
        predictions = made.predict([{"text": text} for text in texts], run_locally)
        assert all(sum(p.probabilities["/label"].values()) == pytest.approx(1) for p in predictions)


@pytest.mark.parametrize("hypothesis", ["no gap", "{} and {}", "{label}", "{", "{{}}"])
def test_a_hypothesis_without_one_gap_is_refused(hypothesis: str) -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        ZeroShot(hypothesis=hypothesis)


# -- majority
def test_majority_gives_the_commonest_label_and_the_shares_of_all() -> None:
    task = Classify(labels=("a", "b", "c"))
    train = [Example({"text": str(i)}, {"label": label}) for i, label in enumerate("abbbba")]
    made = Majority().fit(task, TrainSet(train, ()), None, make_context())
    (prediction,) = made.predict([{"text": "anything"}], run_locally)
    assert prediction.answer == {"label": "b"}
    assert prediction.probabilities["/label"] == pytest.approx({"a": 2.5 / 7.5, "b": 4.5 / 7.5, "c": 0.5 / 7.5})


def test_majority_of_answers_that_are_no_labels_is_the_commonest_of_them() -> None:
    answers = [{"spans": []}, {"spans": [{"start": 0, "end": 1, "label": "X", "text": "h"}]}, {"spans": []}]
    train = [Example({"text": "hello"}, one) for one in answers]
    made = Majority().fit(Tag(labels=("X",)), TrainSet(train, ()), None, make_context())
    assert [one.answer for one in made.predict([{"text": "hello"}] * 2, run_locally)] == [{"spans": []}] * 2
    written = [Example({"messages": []}, text) for text in ("b", "a", "a", "b", "c")]
    assert Majority().fit(Generate(), TrainSet(written, ()), None, make_context()).answer == "a"  # of equals the first


@pytest.mark.parametrize("rows", [["tfidf"], ["tfidf", "majority"], ["tfidf", {"common": {"regime": "majority"}}]])
def test_every_ladder_begins_with_what_learns_nothing(rows: list[Any], tmp_path: Path) -> None:
    values = {"name": "x", "data": "x.csv", "ladder": rows}
    spec = parse_spec(values, make_parser(tmp_path / "spec.yaml", {}), tmp_path)
    assert [one.regime for one in spec.ladder] == ["majority", "tfidf"]
    again = parse_spec(spec.to_dict(), make_parser(tmp_path / "spec.yaml", {}), tmp_path)
    assert again.ladder == spec.ladder


def test_another_contender_cannot_take_its_name(tmp_path: Path) -> None:
    values = {"name": "x", "data": "x.csv", "ladder": [{"majority": {"regime": "tfidf"}}]}
    with pytest.raises(SpecError, match="every ladder begins with"):
        parse_spec(values, make_parser(tmp_path / "spec.yaml", {}), tmp_path)
