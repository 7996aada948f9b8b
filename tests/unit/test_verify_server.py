"""Goldens asked of a server: what it serves is compared with an exact form, whatever dialect it speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from loratory.errors import ParityError, SpecError, UnsupportedTask
from loratory.experiment.inference import verify_server as server
from loratory.exporting.certificates.certificate import Certificate
from loratory.exporting.certificates.certification import certify_folder
from loratory.exporting.certificates.verification import open_certified
from loratory.protocols import Prediction
from toy_forms import LABELS, ToyModel, make_exporter, make_reference, write_toy


class ToyDialect:
    """Answers as the toy does; a batch of several texts may be one text off."""

    def __init__(self, model: ToyModel, mixes_up: bool = False) -> None:
        self.model, self.mixes_up, self.asked = model, mixes_up, list[str]()

    def ask(self, texts: Sequence[str]) -> list[Prediction]:
        self.asked += texts
        made = []
        for one in self.model.run_stages(texts):
            assert one.probabilities is not None
            odds = dict(zip(self.model.labels, one.probabilities.tolist(), strict=True))
            made.append(Prediction({"label": one.answer}, {"/label": odds}))
        return [*made[1:], made[0]] if self.mixes_up else made


@pytest.fixture
def certified(tmp_path: Path) -> Path:
    assert certify_folder(write_toy(tmp_path / "toy", ToyModel()), "toy", make_exporter(), make_reference()) is not None
    return tmp_path / "toy"


def ask(monkeypatch: pytest.MonkeyPatch, folder: Path, dialect: ToyDialect) -> dict[str, object]:
    @contextmanager
    def open_toy(url: str, task: str | None) -> Iterator[ToyDialect]:
        yield dialect

    monkeypatch.setattr(server, "DIALECTS", {"loratory": open_toy})
    return server.verify_server(server.ServerRequest("http://toy"), *open_certified(folder))


def test_a_server_of_the_same_fit_passes(monkeypatch: pytest.MonkeyPatch, certified: Path) -> None:
    dialect = ToyDialect(ToyModel())
    told = ask(monkeypatch, certified, dialect)
    assert told["passed"] is True
    assert told["left_out"] == 1
    assert "" not in dialect.asked


@pytest.mark.parametrize(
    ("model", "mixes_up", "stage"),
    [
        (replace(ToyModel(), temperature=1.0), False, "probabilities"),
        (replace(ToyModel(), thresholds={}), False, "answer"),
        (replace(ToyModel(), lower_case=False), False, "probabilities"),
        (replace(ToyModel(), sees_padding=True), False, "batch"),
        (ToyModel(), True, "batch"),
    ],
)
def test_another_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, certified: Path, model: ToyModel, mixes_up: bool, stage: str
) -> None:
    with pytest.raises(ParityError) as caught:
        ask(monkeypatch, certified, ToyDialect(model, mixes_up))
    assert caught.value.stage == stage


def test_labels_that_the_server_does_not_know_are_no_probabilities(
    monkeypatch: pytest.MonkeyPatch, certified: Path
) -> None:
    class Renamed(ToyDialect):
        def ask(self, texts: Sequence[str]) -> list[Prediction]:
            return [replace(one, answer={"label": "other"}) for one in super().ask(texts)]

    with pytest.raises(ParityError) as caught:
        ask(monkeypatch, certified, Renamed(ToyModel()))
    assert caught.value.stage == "answer"
    assert set(LABELS).isdisjoint({"other"})


def test_a_model_that_writes_is_not_asked(monkeypatch: pytest.MonkeyPatch, certified: Path) -> None:
    certificate, goldens = open_certified(certified)
    values = {**certificate.values, "model": {**certificate.model, "head": "writer"}}
    with pytest.raises(UnsupportedTask, match="writes"):
        server.verify_server(server.ServerRequest("http://toy"), Certificate(values), goldens)


def test_a_precision_without_a_tolerance(certified: Path) -> None:
    request = server.ServerRequest("http://toy", precision="int8")
    with pytest.raises(SpecError, match="no tolerance") as caught:
        server.verify_server(request, *open_certified(certified))
    assert caught.value.allowed == "fp32, bf16"
