"""A folder of sentence-transformers' modules, opened with that library: stage by stage, to compare with a fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loratory.errors import ArtifactError, make_missing_extra
from loratory.exporting.encoder_fits import FACTS_FILE
from loratory.protocols.exporters import StageOutputs


@dataclass(frozen=True, eq=False)
class ModulesModel:
    """A SentenceTransformer whose sentence embedding is the logits."""

    model: Any  # the library has no types
    output_names: tuple[str, ...]
    temperature: float

    @torch.no_grad()
    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The texts in one batch, cut where the folder says."""
        if not texts:
            return []
        features = self.model.preprocess(list(texts))
        ids, mask = features["input_ids"], features["attention_mask"].bool()
        made = self.model(dict(features))
        logits, states = made["sentence_embedding"].double(), made["token_embeddings"].double()
        shares = (logits / self.temperature).softmax(-1).numpy()
        return [
            StageOutputs(tuple(ids[at][own].tolist()), states[at][own].numpy(), logits[at].numpy(), shares[at])
            for at, own in enumerate(mask)
        ]


def open_modules(folder: Path) -> ModulesModel:
    """The model of a folder; the loader in it is not run.

    Raises ArtifactError where the folder holds none, MissingExtra without sentence-transformers.
    """
    if not ((folder / "modules.json").is_file() and (folder / FACTS_FILE).is_file()):
        raise ArtifactError(
            "this folder holds no classifier of sentence-transformers",
            where=str(folder),
            allowed=f"modules.json with {FACTS_FILE}",
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as problem:
        raise make_missing_extra("sentence-transformers", "models") from problem
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False, local_files_only=True)
    return ModulesModel(model.eval(), tuple(facts["labels"]), float(facts["temperature"]))
