"""A folder of stock transformers, opened with stock transformers alone: stage by stage, to compare with a fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loratory.errors import ArtifactError
from loratory.protocols.exporters import StageOutputs

if TYPE_CHECKING:
    from torch import Tensor

OPENERS = (  # the end of the class that config.json names -> the class that opens it
    ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "AutoModelForTokenClassification"),
    ("ForCausalLM", "AutoModelForCausalLM"),
    ("LMHeadModel", "AutoModelForCausalLM"),
    ("", "AutoModel"),
)


@dataclass(frozen=True, eq=False)
class StockModel:
    """A model of transformers with its tokenizer."""

    model: Any
    tokenizer: Any
    output_names: tuple[str, ...]  # empty: it writes, or gives states alone

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """Each text alone, cut where the tokenizer says; a backbone without a head has no logits."""
        return [self._run_one(text) for text in texts]

    @torch.no_grad()
    def _run_one(self, text: str) -> StageOutputs:
        encoded = self.tokenizer(text, return_tensors="pt", truncation=self.tokenizer.model_max_length < 1_000_000)
        ids = encoded["input_ids"]
        outputs = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        states = outputs.hidden_states[-1][0]
        logits = outputs.logits[0] if "logits" in outputs else None
        if logits is not None and logits.ndim > 1 and not self.output_names:
            logits = logits[-1]  # of the token that comes next
        return StageOutputs(
            tuple(ids[0].tolist()),
            _to_numbers(states),
            None if logits is None else _to_numbers(logits),
            None if logits is None else _to_numbers(logits.double().softmax(-1)),
        )


def open_stock_model(folder: Path) -> StockModel:
    """The model of a folder with config.json, weights and tokenizer; nothing of the folder is executed.

    Raises ArtifactError where it holds no whole model.
    """
    import transformers

    file = folder / "config.json"
    if not file.is_file() or not any(folder.glob("model*.safetensors")):
        raise ArtifactError(
            "this folder holds no model that transformers opens by itself",
            where=str(folder),
            allowed="config.json with model.safetensors: a merged model",
        )
    architecture = str((json.loads(file.read_text(encoding="utf-8")).get("architectures") or [""])[0])
    opener = next(name for ending, name in OPENERS if architecture.endswith(ending))
    model = getattr(transformers, opener).from_pretrained(
        str(folder), trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    classifies = opener.endswith("Classification")
    labels = model.config.id2label if classifies else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return StockModel(model.eval(), tokenizer, tuple(labels[place] for place in sorted(labels)))


def _to_numbers(values: Tensor) -> Any:
    """As float64, so that every form is compared in one precision."""
    return values.double().numpy()
