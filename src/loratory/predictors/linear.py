"""TF-IDF and softmax regression as arrays: no pickle, and no scikit-learn to serve it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.protocols import (
    BackbonePool,
    Input,
    Labelled,
    ParameterCount,
    Prediction,
    RequestRunner,
    Task,
    require_labelled,
)
from loratory.protocols.probabilities import build_probabilities

WORD = re.compile(r"(?u)\b\w+\b")
SPACES = re.compile(r"\s\s+")


def word_ngrams(text: str, min_n: int, max_n: int) -> Iterator[str]:
    r"""Word n-grams of lower-cased text, as scikit-learn's analyzer="word" with token pattern \b\w+\b."""
    tokens = WORD.findall(text.lower())
    for n in range(min_n, max_n + 1):
        for i in range(len(tokens) - n + 1):
            yield " ".join(tokens[i : i + n])


def char_ngrams(text: str, min_n: int, max_n: int) -> Iterator[str]:
    """Character n-grams inside words padded with a space, as scikit-learn's analyzer="char_wb"."""
    for word in SPACES.sub(" ", text.lower()).split():
        padded = f" {word} "
        for n in range(min_n, max_n + 1):
            yield padded[:n]
            for i in range(1, len(padded) - n + 1):
                yield padded[i : i + n]
            if n >= len(padded):  # a short word is counted once
                break


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One block of features: sublinear tf times idf, each text's block of unit length."""

    analyzer: str  # word | char_wb
    min_n: int
    max_n: int
    index: Mapping[str, int]
    idf: NDArray[np.float32]  # [V]

    def vectorize(self, text: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Feature indices and values of one text."""
        split = word_ngrams if self.analyzer == "word" else char_ngrams
        counted = Counter(self.index[gram] for gram in split(text, self.min_n, self.max_n) if gram in self.index)
        at = np.fromiter(counted.keys(), dtype=np.intp, count=len(counted))
        tf = np.fromiter(counted.values(), dtype=np.float32, count=len(counted))
        values = (1 + np.log(tf, out=tf)) * self.idf[at]
        norm = float(np.linalg.norm(values))
        return at, values / norm if norm else values


@dataclass(frozen=True, eq=False)
class Linear:
    """Softmax regression on blocks of TF-IDF features. weights float32[V of all blocks, L], bias float32[L]."""

    task: Labelled
    blocks: tuple[Vocabulary, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        labels = self.task.labels or ()
        made = []
        for input in inputs:
            (odds,) = build_probabilities(labels, self._compute_probabilities(self.task.text(input))[None])
            made.append(self.task.from_probabilities(input, odds))
        return made

    def _compute_probabilities(self, text: str) -> NDArray[np.float64]:
        """Float[L]."""
        logits, offset = self.bias.astype(np.float64), 0
        for block in self.blocks:
            at, values = block.vectorize(text)
            logits = logits + values @ self.weights[offset + at]
            offset += len(block.idf)
        p = np.exp(logits - logits.max())
        return np.asarray(p / p.sum())

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(trained=self.weights.size + self.bias.size, total=self.weights.size + self.bias.size)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {"weights": self.weights, "bias": self.bias}
        facts: list[dict[str, Any]] = []
        for n, block in enumerate(self.blocks):
            arrays[f"idf_{n}"] = block.idf
            facts.append(
                {
                    "analyzer": block.analyzer,
                    "shortest": block.min_n,
                    "longest": block.max_n,
                    "grams": sorted(block.index, key=block.index.__getitem__),
                }
            )
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / "linear.safetensors")
        (folder / "vocabulary.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        from safetensors.numpy import load

        files = open_files(source)
        arrays = load(files.read("linear.safetensors"))
        facts = files.read_json("vocabulary.json")
        blocks = tuple(
            Vocabulary(
                f["analyzer"], f["shortest"], f["longest"], {g: i for i, g in enumerate(f["grams"])}, arrays[f"idf_{n}"]
            )
            for n, f in enumerate(facts)
        )
        return cls(require_labelled(task), blocks, arrays["weights"], arrays["bias"])
