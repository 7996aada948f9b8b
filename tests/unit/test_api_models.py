"""`loratory.load` and the models it gives."""

from __future__ import annotations

import asyncio
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import loratory
from ticket_rows import make_tickets, run_tickets

FAST = {"resamples": 200, "latency_texts": 5}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loratory.Run:
    return run_tickets(tmp_path_factory.mktemp("home") / "run", 180)


@pytest.fixture(scope="module")
def model(run: loratory.Run) -> loratory.Model:
    return loratory.load(run.folder, contender="tfidf")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> loratory.Model:
    rows = []
    for number in range(60):
        text = f"Please write to person{number}@example.com about order {number}"
        rows.append({"text": text, "spans": [{"start": 16, "end": text.index(" about"), "label": "EMAIL"}]})
    home = tmp_path_factory.mktemp("tags")
    return loratory.run(rows, name="mails", output=home / "run", ladder=["rules"], evidence=FAST).model("rules")


def test_one_text_has_one_answer_and_several_a_list(model: loratory.Model) -> None:
    texts = ["my invoice is wrong", "my password does not work"]
    assert model.predict(texts[0]) == "billing"
    assert model.predict(texts) == ["billing", "login"]
    for given in (tuple(texts), np.array(texts), pd.Series(texts, index=[7, 9]), (text for text in texts)):
        assert model.predict(given) == ["billing", "login"]
    assert model.predict({"text": texts[0]}) == "billing"
    assert model.predict([]) == []


def test_probabilities_are_an_array_of_texts_and_labels(model: loratory.Model) -> None:
    texts = ["my invoice is wrong", "my password does not work"]
    odds = model.predict_proba(texts)
    assert odds.shape == (2, 3)
    assert odds.dtype == np.float64
    np.testing.assert_allclose(odds.sum(axis=1), 1, atol=1e-6)
    assert [model.labels[place] for place in odds.argmax(axis=1)] == model.predict(texts)
    assert model.predict_proba(texts[0]).shape == (3,)
    assert model.predict_proba([]).shape == (0, 3)


def test_the_full_prediction_holds_the_contracts_answer(model: loratory.Model) -> None:
    made = model.predict_full("my invoice is wrong")
    assert isinstance(made, loratory.Prediction)
    assert made.answer == {"label": "billing"}
    assert made.confidence == max(made.probabilities["/label"].values())
    assert [one.answer for one in model.predict_full(["my invoice is wrong"])] == [made.answer]


@pytest.mark.parametrize("bad", [3, None, [None], ["a", 3], [float("nan")], {"body": "x"}])
def test_what_is_no_input_is_a_data_error(model: loratory.Model, bad: object) -> None:
    with pytest.raises((loratory.DataError, TypeError)):
        model.predict(bad)  # type: ignore[call-overload]


def test_the_weights_are_loaded_with_the_first_answer(run: loratory.Run) -> None:
    fresh = loratory.load(run.folder, "tfidf")
    assert "predictor" not in vars(fresh)
    fresh.predict("x")
    assert "predictor" in vars(fresh)
    assert repr(fresh) == f"<Model 'tfidf' of {run.folder}>"


def test_a_fit_is_loaded_under_its_contenders_name(run: loratory.Run) -> None:
    assert loratory.load(run.folder / "contenders/tfidf/seed-1").contender == "tfidf"
    with pytest.raises(loratory.ArtifactError, match="did you mean 'tfidf'"):
        loratory.load(run.folder, "tfidff")
    with pytest.raises(loratory.ArtifactError, match="no such folder"):
        loratory.load(run.folder / "nowhere")


def test_a_coroutine_is_told_that_it_blocks(model: loratory.Model) -> None:
    async def block() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.predict("my invoice is wrong")
        return [str(one.message) for one in caught if one.category is loratory.BlockingCallWarning]

    (told,) = asyncio.run(block())
    assert "await model.apredict" in told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict("my invoice is wrong")


def test_the_event_loop_goes_on_meanwhile(model: loratory.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    held, gone_on = threading.Event(), []
    original = model._parse
    monkeypatch.setattr(model, "_parse", lambda value, where: (held.wait(10), original(value, where))[1])

    async def work() -> object:
        asked = asyncio.ensure_future(model.apredict("my invoice is wrong"))
        await asyncio.sleep(0.05)
        gone_on.append(asked.done())
        held.set()
        return await asked

    assert asyncio.run(work()) == "billing"
    assert gone_on == [False]


def test_threads_share_a_model(run: loratory.Run) -> None:
    fresh, answers = loratory.load(run.folder, "tfidf"), []
    work = [threading.Thread(target=lambda: answers.append(fresh.predict(["my parcel"] * 20))) for _ in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert answers == [["shipping"] * 20] * 8


def test_a_model_is_evaluated_on_a_table_and_on_a_file(model: loratory.Model, tmp_path: Path) -> None:
    rows = make_tickets(60, seed=3)
    found = model.evaluate(rows, text="message", label="team")
    assert found.n == 60
    accuracy = found.scores["accuracy"]
    assert accuracy.low is not None
    assert accuracy.low <= accuracy.value
    assert "recall/login" in found.scores
    file = tmp_path / "new.csv"
    pd.DataFrame(rows).rename(columns={"message": "text", "team": "label"}).to_csv(file, index=False)
    again = loratory.evaluate(model, file)
    assert again.scores == found.scores
    assert again.test_reads == found.test_reads + 1
    assert found.to_pandas().loc["accuracy", "value"] == accuracy.value
    with pytest.raises(loratory.DataError, match="is no label"):
        model.evaluate([{"text": "x", "label": "nobody"}])


def test_a_model_is_put_under_stress(run: loratory.Run) -> None:
    found = loratory.stress(run.folder, contender="tfidf", texts=20, of=["typos", "case"])
    assert {row.name for row in found.rows} == {"typos", "case"}
    assert set(found.to_pandas().index) == {"typos", "case"}
    assert "flips" in found.rows[0].scores
    with pytest.raises(loratory.SpecError, match="did you mean 'texts'"):
        run.best.stress(text=20)


def test_spans_come_with_their_text(tagger: loratory.Model) -> None:
    text = "Mail me: kim@example.org, please"
    assert tagger.predict(text) == [{"start": 9, "end": 24, "label": "EMAIL", "text": "kim@example.org"}]
    assert tagger.labels == ("EMAIL",)
    with pytest.raises(loratory.UnsupportedTask):
        tagger.predict_proba(text)


def test_texts_are_redacted(tagger: loratory.Model, model: loratory.Model) -> None:
    assert tagger.redact("Mail me: kim@example.org") == "Mail me: [EMAIL]"
    assert tagger.redact(["kim@example.org", "none"], how="mask") == ["█" * 15, "none"]
    with pytest.raises(loratory.DataError, match="is not a redaction method"):
        tagger.redact("x", how="blur")
    with pytest.raises(loratory.UnsupportedTask, match="finds no spans"):
        model.redact("x")


def test_a_model_that_does_not_write_does_not_stream(model: loratory.Model) -> None:
    with pytest.raises(loratory.UnsupportedTask):
        model.stream("x", print)


def test_an_unknown_layout_is_told(run: loratory.Run, tmp_path: Path) -> None:
    with pytest.raises(loratory.SpecError, match="did you mean 'peft'"):
        loratory.export(run.folder, tmp_path / "out", to="peftt")
