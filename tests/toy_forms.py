"""A model of a few numbers in a JSON file, with every stage that a certificate compares, and ways to break it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError
from loratory.exporting.certificates.certification import Reference
from loratory.exporting.certificates.checksums import compute_checksum
from loratory.exporting.certificates.goldens import Golden, GoldenSet
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.predictors.calibrated import OperatingPoint, choose_labels
from loratory.protocols.exporters import ExportedModel, Exporter, ExportTarget, StageOutputs, ToleranceClass

LABELS = ("card", "cash", "login")
WIDTH, LAYERS = 8, 3
FILE = "toy.json"
TEXTS = tuple(f"{opening} {topic} {number}" for number in range(4) for opening in ("My", "the new") for topic in LABELS)
Floats = NDArray[np.float64]


def make_weights(seed: int) -> list[Floats]:
    generator = np.random.default_rng(seed)
    shapes = [(128, WIDTH), *[(WIDTH, WIDTH)] * LAYERS, (WIDTH, len(LABELS))]
    return [generator.normal(size=shape) for shape in shapes]


@dataclass(frozen=True)
class ToyModel:
    """Characters to probabilities. The fields after `thresholds` are what an export may do wrong."""

    labels: tuple[str, ...] = LABELS
    temperature: float = 1.5
    thresholds: Mapping[str, float] = field(default_factory=lambda: {"card": 0.6})
    max_tokens: int = 20
    lower_case: bool = True
    begins: bool = True
    swapped_rows: tuple[int, int] | None = None
    layer_factors: tuple[float, ...] = (1.0,) * LAYERS
    pooling: str = "mean"
    bias: float = 0.0
    noise: float = 0.0  # of another machine's sums
    sees_padding: bool = False
    by_chance: bool = False
    breaks_at: str = ""  # a text for which everything is NaN

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.labels

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        rows = [self._encode(text) for text in texts]
        longest = max(map(len, rows), default=0)
        return [self._run_one(text, row, longest) for text, row in zip(texts, rows, strict=True)]

    def _encode(self, text: str) -> tuple[int, ...]:
        given = text.lower() if self.lower_case else text
        return (*((1,) if self.begins else ()), *(ord(c) % 128 for c in given))[: self.max_tokens]

    def _run_one(self, text: str, tokens: tuple[int, ...], longest: int) -> StageOutputs:
        table, *layers, head = make_weights(5)
        if self.swapped_rows is not None:
            table[list(self.swapped_rows)] = table[list(self.swapped_rows[::-1])]
        states = [table[list(tokens)] * (np.nan if self.breaks_at and self.breaks_at in text else 1.0) + self.noise]
        for weights, factor in zip(layers, self.layer_factors, strict=True):
            states.append(np.tanh(states[-1] @ weights * factor) + self.noise)
        length = longest if self.sees_padding else len(tokens)
        pooled = states[-1].sum(0) / max(length, 1) if self.pooling == "mean" else states[-1][0]
        logits = pooled @ head + self.bias * np.arange(len(LABELS))
        if self.by_chance:
            logits = logits + 1e-3 * np.random.default_rng().normal(size=len(LABELS))
        shares = np.exp(logits / self.temperature)
        shares = shares / shares.sum()
        (place,) = choose_labels(OperatingPoint(thresholds=self.thresholds), self.labels, shares[None], np.zeros(1))
        answer = self.labels[place]
        return StageOutputs(tokens, states[-1], logits, shares, tuple(states), pooled, answer, has_answer=True)


class ToyOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def make_exporter(kind: ToleranceClass | None = "exact") -> Exporter[Any]:
    """The toy's exporter, of a class of one's choice."""
    made: Any = ToyExporter()
    made.tolerance_class = kind
    return made  # type: ignore[no-any-return]


class ToyExporter:
    """It is given directly, not found by its name."""

    summary: ClassVar[str] = "a toy"
    applies_temperature: ClassVar[bool] = True
    exact_form: ClassVar[str | None] = None
    Options: ClassVar[type[BaseModel]] = ToyOptions
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        return None

    def export(self, artifact: Artifact, target: ExportTarget, options: ToyOptions) -> list[str]:
        return []

    def open(self, folder: Path) -> ExportedModel:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return ToyModel(**{**values, **tuples})


def write_toy(folder: Path, model: ToyModel) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(asdict(model)), encoding="utf-8")
    return folder


def make_goldens(model: ToyModel, texts: Sequence[str] = TEXTS) -> GoldenSet:
    made = []
    for number, text in enumerate((*texts, "", "a", "UPPER card", "x" * 50)):
        (one,) = model.run_stages([text])
        assert one.tokens is not None
        assert one.layers is not None
        assert one.pooled is not None
        made.append(
            Golden(
                f"test-{number:04d}",
                "test",
                text,
                None,
                one.tokens,
                tuple(map(compute_checksum, one.layers)),
                compute_checksum(one.pooled),
                one.logits,
                one.probabilities,
                one.answer,
                abstained=False,
            )
        )
    return GoldenSet.of(made)


def make_reference(model: ToyModel | None = None, texts: Sequence[str] = TEXTS) -> Reference:
    one = model or ToyModel()
    facts = ModelFacts(
        task={"kind": "classify", "labels": list(LABELS)},
        labels=LABELS,
        family="toy",
        head="pooled",
        temperature=one.temperature,
        operating_point={"thresholds": dict(one.thresholds)},
        max_tokens=one.max_tokens,
        long="head",
        row_overlap=0,
        pad_id=0,
        pooling="mean",
    )
    fit: Mapping[str, Any] = {"contender": "toy", "regime": "toy", "seed": 1, "identity": "a", "base": None}
    return Reference(facts, fit, make_goldens(one, texts))


def break_layer(layer: int, factor: float) -> ToyModel:
    factors = [1.0] * LAYERS
    factors[layer - 1] = factor
    return replace(ToyModel(), layer_factors=tuple(factors))
