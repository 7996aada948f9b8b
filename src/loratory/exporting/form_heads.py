"""The heads that no stock class has, from head.safetensors and head.json: the loader of docs/loading.md.

It is written apart from predictors/heads.py, so that a certificate compares two readings of the same files.
Shapes: B texts, T tokens, D width, L outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear, normalize

from loratory.errors import ArtifactError

WEIGHTS_FILE, FACTS_FILE = "head.safetensors", "head.json"
POOLED_KEYS, TOKEN_KEYS = {"prototypes", "log_scale", "bias"}, {"classifier.weight", "classifier.bias"}


@dataclass(frozen=True, eq=False)
class FormHead:
    """Tensors of a head, and how the states of a text become one vector (None: each token has outputs)."""

    tensors: Mapping[str, Tensor]
    pooling: str | None

    def apply(self, states: Tensor, mask: Tensor) -> tuple[Tensor | None, Tensor]:
        """States float[B, T, D], mask int[B, T] -> pooled float[B, D] or None, logits float[B, L] or float[B, T, L]."""
        if self.pooling is None:
            return None, linear(states, self.tensors["classifier.weight"], self.tensors["classifier.bias"])
        pooled = self._pool(states, mask)
        cosine = normalize(pooled, dim=-1) @ normalize(self.tensors["prototypes"], dim=-1).T
        return pooled, self.tensors["log_scale"].exp() * cosine + self.tensors["bias"]

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        keep = mask.bool()[..., None]
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            return states[torch.arange(len(states)), mask.sum(1) - 1]
        if self.pooling == "max":
            return states.masked_fill(~keep, float("-inf")).max(1).values
        return states.masked_fill(~keep, 0.0).sum(1) / keep.sum(1)


def read_head(folder: Path) -> FormHead | None:
    """The head beside a backbone; None where there is none. Raises ArtifactError for one of another kind."""
    if not (folder / WEIGHTS_FILE).is_file():
        return None
    tensors = load_file(folder / WEIGHTS_FILE)
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    if tensors.keys() == TOKEN_KEYS:
        return FormHead(tensors, None)
    if tensors.keys() == POOLED_KEYS and facts.get("pooling") in ("mean", "cls", "max", "last"):
        return FormHead(tensors, str(facts["pooling"]))
    raise ArtifactError(
        f"{WEIGHTS_FILE} holds {', '.join(sorted(tensors))} with the pooling {facts.get('pooling')!r}",
        where=str(folder),
        allowed="prototypes, log_scale and bias with mean, cls, max or last; or classifier.weight and classifier.bias",
    )
