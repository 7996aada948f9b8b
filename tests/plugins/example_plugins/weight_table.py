"""An exporter: the words of a `tfidf` fit and their weights, as a table that any program can read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.protocols.exporters import ExportedModel, ExportTarget, StageOutputs, ToleranceClass

TABLE_FILE, BIAS_FILE = "weights.csv", "bias.json"


class TableOptions(BaseModel):
    """Precision of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digits: int = Field(9, ge=1, le=17, description="significant digits of a weight")


@dataclass(frozen=True)
class WeightTable:
    """A model that answers from the table: logit = bias + sum of the weights of the words that occur."""

    output_names: tuple[str, ...]
    weights: dict[str, list[float]]
    bias: list[float]

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        return [self._run_one(text) for text in texts]

    def _run_one(self, text: str) -> StageOutputs:
        rows = [self.weights[word] for word in set(text.lower().split()) if word in self.weights]
        logits = [bias + sum(row[label] for row in rows) for label, bias in enumerate(self.bias)]
        shares = [math.exp(logit - max(logits)) for logit in logits]
        return StageOutputs(logits=np.array(logits), probabilities=np.array(shares) / sum(shares))


class TableExporter:
    """Writes weights.csv (word, then one column for each label) and bias.json."""

    summary: ClassVar[str] = "the words of a tfidf fit with their weights, as CSV"
    tolerance_class: ClassVar[ToleranceClass | None] = None  # a table of words, which is not certified
    applies_temperature: ClassVar[bool] = False
    exact_form: ClassVar[str | None] = None
    Options: ClassVar[type[BaseModel]] = TableOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        if artifact.read_json("predictor.json")["predictor"] == "linear":
            return None
        return UnsupportedTask("only a tfidf fit is a table of words", remedy="--contender tfidf")

    def export(self, artifact: Artifact, target: ExportTarget, options: TableOptions) -> list[str]:
        labels = list(artifact.read_json("labels.json")["label2id"])
        arrays = load(artifact.read("linear.safetensors"))
        grams = [gram for block in artifact.read_json("vocabulary.json") for gram in block["grams"]]
        with target.stage() as folder:
            with (folder / TABLE_FILE).open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["word", *labels])
                for gram, row in zip(grams, arrays["weights"].tolist(), strict=True):
                    table.writerow([gram, *(f"{weight:.{options.digits}g}" for weight in row)])
            bias = dict(zip(labels, arrays["bias"].tolist(), strict=True))
            (folder / BIAS_FILE).write_text(json.dumps(bias), encoding="utf-8")
        return ["the table leaves TF-IDF's scales out: it shows which words matter, and ranks only roughly"]

    def open(self, folder: Path) -> ExportedModel:
        bias = json.loads((folder / BIAS_FILE).read_text(encoding="utf-8"))
        with (folder / TABLE_FILE).open(newline="", encoding="utf-8") as file:
            _, *rows = csv.reader(file)
        weights = {word: [float(weight) for weight in row] for word, *row in rows}
        return WeightTable(tuple(bias), weights, list(bias.values()))
