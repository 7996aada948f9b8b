"""`loratory.Classifier` by scikit-learn's conventions."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import loratory
from ticket_rows import make_tickets

ROWS = make_tickets(150)
TEXTS = [str(row["message"]) for row in ROWS]
TEAMS = np.array([str(row["team"]) for row in ROWS])
SEEN = ["my invoice is wrong", "my password does not work", "my parcel is missing"]


@pytest.fixture(scope="module")
def fitted() -> loratory.Classifier:
    return loratory.Classifier("tfidf").fit(TEXTS, TEAMS)


def test_it_answers_as_a_classifier_does(fitted: loratory.Classifier) -> None:
    assert is_classifier(fitted)
    assert list(fitted.classes_) == ["billing", "login", "shipping"]
    assert list(fitted.predict(SEEN)) == ["billing", "login", "shipping"]
    odds = fitted.predict_proba(SEEN)
    assert odds.shape == (3, 3)
    assert list(odds.argmax(axis=1)) == [0, 1, 2]
    assert fitted.score(TEXTS, TEAMS) > 0.9
    assert isinstance(fitted.model_, loratory.Model)


def test_it_is_cross_validated() -> None:
    scores = cross_val_score(loratory.Classifier(regime="tfidf"), TEXTS, TEAMS, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.8


@pytest.mark.parametrize("labels", [[10, 20, 30], [True, False, True], [0.0, 1.0, 2.0]])
def test_labels_keep_their_type(labels: list[object]) -> None:
    y = np.array([labels[place % 3] for place in range(len(TEXTS))])
    made = loratory.Classifier("rules" if isinstance(labels[0], bool) else "tfidf").fit(TEXTS, y)
    assert made.classes_.dtype == y.dtype
    assert made.predict(SEEN).dtype == y.dtype


def test_it_works_in_pipelines_and_searches() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipe = make_pipeline(lower, loratory.Classifier("tfidf")).fit(TEXTS, TEAMS)
    assert list(pipe.predict([text.upper() for text in SEEN])) == ["billing", "login", "shipping"]
    search = GridSearchCV(
        Pipeline([("model", loratory.Classifier("tfidf"))]), {"model__options": [{"words": 1}, {"words": 2}]}, cv=2
    ).fit(TEXTS, TEAMS)
    assert search.best_params_["model__options"] in ({"words": 1}, {"words": 2})
    frame = pd.DataFrame(ROWS)
    column = ColumnTransformer([("text", "passthrough", ["message"])])
    assert make_pipeline(column, loratory.Classifier("tfidf")).fit(frame, TEAMS).score(frame, TEAMS) > 0.9


def test_parameters_are_kept_as_they_were_given() -> None:
    options = {"words": 1}
    made = loratory.Classifier("tfidf", options=options, training={"seeds": 2})
    assert made.get_params()["options"] is options
    copied = clone(made).set_params(random_state=9)
    assert copied.get_params()["training"] == {"seeds": 2}
    assert copied.random_state == 9
    with pytest.raises(NotFittedError):
        copied.predict(SEEN)


def test_it_pickles_with_its_artifact(fitted: loratory.Classifier) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(SEEN), fitted.predict_proba(SEEN))
    assert pickle.loads(pickle.dumps(loratory.Classifier("tfidf"))).regime == "tfidf"


def test_an_output_folder_keeps_the_fit(tmp_path: Path) -> None:
    made = loratory.Classifier("tfidf", output=tmp_path).fit(TEXTS, TEAMS)
    file = made.model_.folder / "manifest.json"
    before = file.stat().st_mtime_ns
    assert loratory.load(made.model_.folder).predict(SEEN) == list(made.predict(SEEN))
    loratory.Classifier("tfidf", output=tmp_path).fit(TEXTS, TEAMS)
    assert file.stat().st_mtime_ns == before


def test_the_seed_decides_the_fit() -> None:
    one, other = (loratory.Classifier("tfidf").fit(TEXTS, TEAMS).predict_proba(SEEN) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "texts", "labels", "said"),
    [
        ({"regime": "tfidff"}, TEXTS, TEAMS, "did you mean 'tfidf'"),
        ({"regime": "tfidf", "options": {"wrds": 1}}, TEXTS, TEAMS, "did you mean 'words'"),
        ({"regime": "tfidf", "training": {"epoks": 1}}, TEXTS, TEAMS, "did you mean 'epochs'"),
        ({"regime": "tfidf", "validation": 2.0}, TEXTS, TEAMS, "validation"),
        ({"regime": "tfidf"}, TEXTS, TEAMS[:3], "one label for each text"),
        ({"regime": "tfidf"}, [1, 2], ["a", "b"], "is no text"),
        ({"regime": "tfidf"}, ["x", "y"], ["a", "a"], "one label"),
        ({"regime": "tfidf"}, np.zeros((2, 2)), ["a", "b"], "shape"),
    ],
)
def test_bad_input_is_an_error_of_ours(arguments: dict[str, object], texts: object, labels: object, said: str) -> None:
    with pytest.raises(loratory.LoratoryError, match=said):
        loratory.Classifier(**arguments).fit(texts, labels)  # type: ignore[arg-type]
