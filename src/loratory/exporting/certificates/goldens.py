"""Golden inputs with what the fit makes of them, as goldens.jsonl of an exported folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loratory.errors import ArtifactError
from loratory.protocols import JSON, TokenIds

GOLDENS_FILE = "goldens.jsonl"
BATCHES, BATCH_TEXTS = 6, 10
Checksum = tuple[float, ...]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NextTokens:
    """Of a model that writes: the likeliest tokens behind a prompt, by falling log-probability, K of them."""

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Golden:
    """One text, and each stage of the fit's way to its answer; None where the fit has no such stage.

    `logits` and `probabilities`: float[L], of tokens float[T, L]. Texts of several rows have the first row's stages.
    """

    id: str
    kind: str
    text: str
    label: str | None
    tokens: TokenIds
    layers: tuple[Checksum, ...]
    pooled: Checksum | None
    logits: Floats | None
    probabilities: Floats | None
    answer: JSON
    abstained: bool
    rows: int = 1
    prompt: str | None = None  # of a model that writes: the whole of it
    next: NextTokens | None = None

    @property
    def model_text(self) -> str:
        """What an exported model is given."""
        return self.text if self.prompt is None else self.prompt

    def to_dict(self) -> dict[str, Any]:
        """A line of goldens.jsonl."""
        row = {
            "id": self.id,
            "kind": self.kind,
            "text": self.text,
            "label": self.label,
            "tokens": list(self.tokens),
            "layers": [_round(one) for one in self.layers] or None,
            "pooled": None if self.pooled is None else _round(self.pooled),
            "logits": None if self.logits is None else _round(self.logits.tolist()),
            "probabilities": None if self.probabilities is None else _round(self.probabilities.tolist()),
            "answer": self.answer,
            "abstained": self.abstained,
        }
        if self.rows != 1:
            row["rows"] = self.rows
        if self.next is not None:
            row["prompt"] = self.prompt
            row["next"] = {"ids": list(self.next.ids), "log_probabilities": _round(self.next.log_probabilities)}
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Golden:
        """What `to_dict` made; raises KeyError, TypeError, ValueError for another row."""
        following = row.get("next")
        return cls(
            row["id"],
            row["kind"],
            row["text"],
            row["label"],
            tuple(row["tokens"]),
            tuple(tuple(one) for one in row["layers"] or ()),
            None if row["pooled"] is None else tuple(row["pooled"]),
            None if row["logits"] is None else np.asarray(row["logits"], dtype=np.float64),
            None if row["probabilities"] is None else np.asarray(row["probabilities"], dtype=np.float64),
            row["answer"],
            bool(row["abstained"]),
            int(row.get("rows", 1)),
            row.get("prompt"),
            None if following is None else NextTokens(tuple(following["ids"]), tuple(following["log_probabilities"])),
        )


def _round(values: Sequence[Any]) -> list[Any]:
    """Nine digits of every number, which float32 does not have: half of a file's bytes would be digits of noise."""
    return [_round(one) if isinstance(one, list) else float(f"{one:.9g}") for one in values]


@dataclass(frozen=True)
class GoldenSet:
    """All goldens of a fit, and which of them are also run together."""

    goldens: tuple[Golden, ...]
    batches: Mapping[str, tuple[str, ...]]  # batch-3 -> ids of its members

    @classmethod
    def of(cls, goldens: Iterable[Golden]) -> GoldenSet:
        """With batches that each hold short and long texts."""
        made = tuple(goldens)
        by_length = sorted(made, key=lambda one: (len(one.tokens), one.id))
        batches = {}
        for number in range(min(BATCHES, len(by_length))):
            members = by_length[number::BATCHES]
            steps = np.linspace(0, len(members) - 1, min(BATCH_TEXTS, len(members)))
            batches[f"batch-{number + 1}"] = tuple(dict.fromkeys(members[round(step)].id for step in steps))
        return cls(made, batches)

    def get_members(self, batch: str) -> list[Golden]:
        """The goldens of a batch, in its order."""
        known = {one.id: one for one in self.goldens}
        return [known[name] for name in self.batches[batch]]

    def to_text(self) -> str:
        """The whole of goldens.jsonl."""
        rows: list[Mapping[str, Any]] = [one.to_dict() for one in self.goldens]
        rows += [{"kind": "batch", "id": name, "members": list(ids)} for name, ids in self.batches.items()]
        return "".join(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows)


def read_goldens(data: bytes, where: Path) -> GoldenSet:
    """The goldens of a file's bytes; raises ArtifactError where they are none."""
    goldens, batches = list[Golden](), dict[str, tuple[str, ...]]()
    try:
        for line in filter(None, data.decode("utf-8").split("\n")):
            row = json.loads(line)
            if row["kind"] == "batch":
                batches[row["id"]] = tuple(row["members"])
            else:
                goldens.append(Golden.from_dict(row))
        made = GoldenSet(tuple(goldens), batches)
        _check_goldens(made)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ArtifactError(
            f"these are no golden inputs ({type(problem).__name__}: {problem})",
            where=str(where),
            remedy="export the fit again",
        ) from problem
    return made


def _check_goldens(found: GoldenSet) -> None:
    ids = [one.id for one in found.goldens]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError("there are none, or two have one id")
    for name in found.batches:
        found.get_members(name)


def are_same_goldens(one: GoldenSet, other: GoldenSet, tolerance: float = 1e-4) -> bool:
    """Whether two sets hold the same texts, and the same fit's logits of them."""
    if [golden.id for golden in one.goldens] != [golden.id for golden in other.goldens]:
        return False
    for mine, theirs in zip(one.goldens, other.goldens, strict=True):
        if (mine.text, mine.tokens) != (theirs.text, theirs.tokens):
            return False
        if mine.logits is None or theirs.logits is None:
            return False  # of a model that writes: it has none to tell one fit from another by
        if mine.logits.shape != theirs.logits.shape or not np.allclose(
            mine.logits, theirs.logits, rtol=tolerance, atol=tolerance
        ):
            return False
    return True
