"""Servers that answer without a model: fakes of each kind of task, for the tests of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.protocols import Input, Prediction, RequestRunner
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.serving.http.server import Server
from loratory.specs.serve import LimitsSpec, ServedTaskSpec, ServerSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

LABELS = ("card_lost", "cash", "fee", "limit", "login", "refund", "top_up", "transfer")
ORDER = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
EXAMPLES = ("I want a refund for <this> & that", 'it\'s my "top_up"')
RELEASE = "1413b761bf6bfcf155a624302800ec005047d39dbe1eeffc22277ac5831f0709"


@dataclass(frozen=True)
class FakePredictor:
    """Says what a function says."""

    task: Any
    predict_one: Callable[[Input], Prediction]

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [self.predict_one(one) for one in inputs]


def predict_label(input: Input) -> Prediction:
    """The label that the text names, `cash` without; a text with `unsure` is left unanswered."""
    text = str(input["text"])
    best: str = next((label for label in LABELS if label in text), "cash")
    rest: dict[str, float] = {label: 0.3 / (len(LABELS) - 1) for label in LABELS if label != best}
    made: dict[str, dict[str, float]] = {"/label": {best: 0.7, **rest}}
    return Prediction(None if "unsure" in text else {"label": best}, made, "abstained" if "unsure" in text else None)


def predict_spans(input: Input) -> Prediction:
    """Every number is a NUMBER, every capitalised word a NAME."""
    text = str(input["text"])
    found = [(*one.span(), "NUMBER" if one[0].isdigit() else "NAME") for one in re.finditer(r"\d+|[A-Z]\w+", text)]
    spans = [{"start": start, "end": end, "label": label, "text": text[start:end]} for start, end, label in found]
    sure: dict[str, dict[str, float]] = {
        f"/spans/{place}/label": {str(one["label"]): 0.9} for place, one in enumerate(spans)
    }
    return Prediction({"spans": spans}, sure)


def raise_error(input: Input) -> Prediction:
    raise RuntimeError("a secret of the inside")


def make_service(name: str, task: Any, *says: Callable[[Input], Prediction], **rest: Any) -> Service:
    names = ("lora", "rules", "third")
    stages = [FallbackStage(stage, FakePredictor(task, one), RELEASE) for stage, one in zip(names, says, strict=False)]  # type: ignore[arg-type]
    return Service(name, tuple(stages), **rest)


def predict_echo(input: Input) -> Prediction:
    """What was asked, behind what the system says."""
    return Prediction(f"{input.get('system', '')}{input['prompt']}", {"": {"echo": 0.5}})


def make_services() -> dict[str, Service]:
    """One of each kind."""
    classify, tag = Classify(labels=LABELS), Tag(labels=("NUMBER", "NAME"))
    order = lambda _: Prediction({"count": 3}, {"/count": {"3": 0.8}})  # noqa: E731
    made = (
        make_service("intents", classify, predict_label, task_spec=ServedTaskSpec(path=Path("x"), examples=EXAMPLES)),
        make_service("spans", tag, predict_spans),
        make_service("orders", Generate(answer_schema=ORDER), order),
        make_service("words", Generate(), predict_echo),
        make_service("fragile", classify, raise_error, predict_label),
        make_service("down", classify, raise_error),
    )
    return {one.name: one for one in made}


def make_server(
    folder: Path, made: Mapping[str, Service] | None = None, keys: ApiKeys | None = None, **limits: Any
) -> Server:
    """A server in a folder of its own."""
    spec = ServerSpec(audit=folder / "audit.jsonl", limits=LimitsSpec(**limits))

    def load(name: str, path: str) -> Service:
        raise AssertionError

    return Server(
        spec, ServiceRegistry(make_services() if made is None else made, {}), Engine(), load, keys or ApiKeys({})
    )
