"""What an extension of somebody else does wrong is told with its name, and is no error of ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from loratory import discovery
from loratory.errors import ExtensionError, SpecError, blame_extension
from loratory.experiment.run_context import digest_extension
from loratory.protocols import Example, Input, Prediction, predict_and_score
from loratory.protocols.routes import ApiError
from loratory.regimes.tfidf import Tfidf
from loratory.tasks.generate import Generate, run_check
from serving_fixtures import INTENTS

EXAMPLE = Example({"prompt": "hi"}, "hello")


class Short:
    """A predictor that answers the first input alone."""

    task = INTENTS

    def predict(self, inputs: Sequence[Input], run: object) -> list[Prediction]:
        return [Prediction({"label": "cash"})][: len(inputs)]


def break_check(input: Input, answer: Any, expected: Any) -> float:
    raise KeyError("nothing")


def give(value: float, *_: object) -> float:
    return value


def test_an_error_of_python_names_the_extension() -> None:
    with (
        pytest.raises(ExtensionError, match="the thing raised KeyError: 'x'") as caught,
        blame_extension("the thing", Short),
    ):
        raise KeyError("x")
    assert caught.value.where == f"module {__name__}"
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(SpecError, match="as it is"), blame_extension("the thing", Short()):
        raise SpecError("as it is")
    with pytest.raises(KeyError), blame_extension("ours", Tfidf):
        raise KeyError("x")


def test_a_check_that_breaks_or_gives_no_share_is_named() -> None:
    with pytest.raises(ExtensionError, match="the check mine raised KeyError"):
        run_check("mine", break_check, EXAMPLE, "hello")
    for value in (3.0, -0.1, float("nan")):
        with pytest.raises(ExtensionError, match="the check mine gave"):
            run_check("mine", partial(give, value), EXAMPLE, "hello")
    assert run_check("mine", lambda *_: None, EXAMPLE, "hello") is None
    assert Generate().score_example(EXAMPLE, Prediction("hello"))["reward"] == 1.0


def test_too_few_predictions_are_told() -> None:
    predictor: Any = Short()
    with pytest.raises(ExtensionError, match="Short gave 1 predictions for 2 inputs"):
        predict_and_score(predictor, [Example({"text": "a"}, {"label": "cash"})] * 2, lambda *_: [])


def test_an_entry_point_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "no_such_package.mine:Mine", "loratory.checks")
    monkeypatch.setattr(discovery, "_find_entry_points", lambda group: {"mine": point})
    with pytest.raises(ExtensionError, match=r"mine = no_such_package.mine:Mine cannot be loaded: ModuleNotFoundError"):
        discovery.load_named("checks", "mine")
    with pytest.raises(SpecError) as caught:
        discovery.load_named("checks", "other")
    assert "pip install its package again" in caught.value.remedy


def test_another_code_of_an_extension_is_another_fit() -> None:
    assert digest_extension(Tfidf) is None
    assert len(digest_extension(Short) or "") == 64


def test_an_error_code_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"there is no error code 'teapot'.*invalid_request"):
        ApiError("teapot", "no coffee")
    assert ApiError("teapot", "no coffee", status=418).status == 418
