"""The goldens of a certificate asked of a running server: what is served is what was certified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from loratory.data.task_inputs import InputFormat
from loratory.errors import SpecError, UnsupportedTask
from loratory.experiment.inference.remote import RemoteAnswerer, open_remote
from loratory.exporting.certificates.certificate import Certificate, make_parity_error
from loratory.exporting.certificates.goldens import Golden, GoldenSet
from loratory.exporting.certificates.measurement import find_divergence, measure_form
from loratory.exporting.certificates.tolerances import SERVED_IN_BF16, TOLERANCES, Tolerances
from loratory.protocols import Input, Prediction
from loratory.protocols.exporters import WRITER, StageOutputs


class ServerDialect(Protocol):
    """A way of asking a server for answers to texts."""

    def ask(self, texts: Sequence[str]) -> list[Prediction]:
        """A prediction for each text, in one request; raises ServerError."""


@contextmanager
def open_loratory_dialect(url: str, task: str | None) -> Iterator[ServerDialect]:
    """POST /v1/tasks/{task}/predict of our own server."""
    with open_remote(url, task) as remote:
        yield _LoratoryDialect(remote)


Opener = Callable[[str, "str | None"], AbstractContextManager[ServerDialect]]
DIALECTS: Mapping[str, Opener] = {"loratory": open_loratory_dialect}


class _LoratoryDialect:
    def __init__(self, remote: RemoteAnswerer) -> None:
        self._remote = remote
        self._format = InputFormat.from_task(remote.task)

    def ask(self, texts: Sequence[str]) -> list[Prediction]:
        inputs: list[Input] = [self._format.parse_input(text, "a golden") for text in texts]
        return [prediction for _, prediction, _ in self._remote.answer_all(inputs)]


class ServedModel:
    """A server as a form: probabilities and answers of texts, and no stage before them."""

    def __init__(self, dialect: ServerDialect, labels: Sequence[str]) -> None:
        self._dialect, self._labels = dialect, tuple(labels)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the L outputs."""
        return tuple(self._labels)

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The texts in one request."""
        return [self._read(one) for one in self._dialect.ask(texts)] if texts else []

    def _read(self, prediction: Prediction) -> StageOutputs:
        odds = prediction.probabilities.get("/label")
        shares = None
        if odds is not None and set(odds) == set(self._labels):
            shares = np.array([odds[label] for label in self._labels], dtype=np.float64)
        answer = prediction.answer
        if odds is not None and answer is not None:
            answer = answer["label"]
        return StageOutputs(probabilities=shares, answer=answer, has_answer=True)


SERVER_TOLERANCES: Mapping[str, Tolerances] = {"fp32": TOLERANCES["exact"], "bf16": SERVED_IN_BF16}
DIFFERENT_SERVER = (
    "serve the fit that was exported, without a fallback that answers in its place; where the server computes in bf16 "
    "(precision: auto may choose it) add --precision bf16"
)


@dataclass(frozen=True)
class ServerRequest:
    """Which server is asked, and how it computes."""

    url: str
    task: str | None = None  # the task's name on the server, where it has several
    precision: str = "fp32"
    dialect: str = "loratory"


def verify_server(request: ServerRequest, certificate: Certificate, goldens: GoldenSet) -> dict[str, Any]:
    """What was measured of a server; raises ParityError where it does not answer as the fit, ServerError."""
    if certificate.model.get("head") == WRITER:
        raise UnsupportedTask(
            "goldens of a model that writes hold prompts and tokens, which a task's route does not take",
            where="--url",
            allowed="a folder whose fit labels texts or spans",
        )
    asked = _keep_askable(goldens)
    if request.precision not in SERVER_TOLERANCES:
        raise SpecError(
            f"there is no tolerance for a server in {request.precision!r}",
            where="--precision",
            allowed=", ".join(SERVER_TOLERANCES),
        )
    limits = SERVER_TOLERANCES[request.precision]
    with DIALECTS[request.dialect](request.url, request.task) as opened:
        measured = measure_form(ServedModel(opened, certificate.model["labels"]), asked)
    if (found := find_divergence(measured, limits)) is not None:
        raise make_parity_error(found.stage, found.problem, request.url, remedy=DIFFERENT_SERVER)
    return {
        "passed": True,
        "url": request.url,
        "tolerances": limits.to_dict(),
        "format": certificate.format,
        "certificate": certificate.digest,
        "asked": len(asked.goldens),
        "left_out": len(goldens.goldens) - len(asked.goldens),
        "measured": measured.to_dict(),
    }


def _keep_askable(goldens: GoldenSet) -> GoldenSet:
    """Goldens with a text: a server refuses an empty one by its schema. Spans have no probabilities of a text."""
    kept = [_drop_token_probabilities(one) for one in goldens.goldens if one.text]
    ids = {one.id for one in kept}
    batches = {name: tuple(one for one in members if one in ids) for name, members in goldens.batches.items()}
    return GoldenSet(tuple(kept), {name: members for name, members in batches.items() if members})


def _drop_token_probabilities(golden: Golden) -> Golden:
    """A server tells the spans of a text, joined over its rows, and no probabilities of tokens."""
    if golden.probabilities is None or golden.probabilities.ndim == 1:
        return golden
    return replace(golden, probabilities=None, rows=1)
