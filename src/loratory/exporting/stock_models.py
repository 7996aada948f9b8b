"""A folder of stock transformers, opened with stock transformers alone: stage by stage, to compare with a fit.

Shapes: B texts, T tokens, D width, L outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loratory.errors import ArtifactError
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.exporting.form_answers import AnswerReader
from loratory.exporting.form_heads import FormHead, read_head
from loratory.protocols import JSON, Offsets
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
UNBOUNDED = 1_000_000  # tokens; tokenizers without a limit report more


@dataclass(frozen=True, eq=False)
class StockModel:
    """A model of transformers with its tokenizer; a head of ours that lies beside a backbone is applied as documented.

    `reader_facts` are what the folder says of reading its outputs; without them there are stages and no answers.
    """

    model: Any
    tokenizer: Any
    output_names: tuple[str, ...]  # empty: it writes, or gives states alone
    head: FormHead | None = None
    reader_facts: ModelFacts | None = None
    writes: bool = False

    @property
    def runtime(self) -> tuple[str, str]:
        """What opened it."""
        import transformers

        return "transformers", transformers.__version__

    @property
    def facts(self) -> Mapping[str, JSON]:
        """What its files say."""
        return {} if self.reader_facts is None else self.reader_facts.to_dict()

    @torch.no_grad()
    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The texts in one batch, cut where the tokenizer says; a backbone without a head has no logits."""
        if not texts:
            return []
        rows = [self._encode(text) for text in texts]
        ids, mask = self._pad([row[0] for row in rows])
        outputs = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        layers = self._collect_layers(outputs)
        pooled, logits = None, outputs.logits if "logits" in outputs else None
        if self.head is not None:
            pooled, logits = self.head.apply(layers[-1], mask)
        made = []
        for at, (text, (row, offsets)) in enumerate(zip(texts, rows, strict=True)):
            own = tuple(_to_numbers(layer[at, : len(row)]) for layer in layers)
            vector = None if pooled is None else _to_numbers(pooled[at])
            made.append(
                self._make_outputs(text, (tuple(row), offsets), own, vector, self._select(logits, at, len(row)))
            )
        return made

    def _encode(self, text: str) -> tuple[list[int], Offsets]:
        cut = self.tokenizer.model_max_length < UNBOUNDED
        templated = self.writes and bool(self.tokenizer.chat_template)  # which writes special tokens itself
        encoded = self.tokenizer(text, truncation=cut, add_special_tokens=not templated, return_offsets_mapping=True)
        ids = list(encoded["input_ids"])
        if self.writes and not templated and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close whatever they are given
        if not ids:
            return [self.tokenizer.pad_token_id or 0], ((0, 0),)
        return ids, tuple((start, end) for start, end in encoded["offset_mapping"])

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask int64[B, T], padded on the right."""
        longest, fill = max(map(len, rows)), self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
        return ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])

    def _collect_layers(self, outputs: Any) -> tuple[Tensor, ...]:
        final = outputs.get("last_hidden_state")
        layers: tuple[Tensor, ...] = tuple(outputs.hidden_states)
        return layers if final is None else (*layers[:-1], final)

    def _select(self, logits: Tensor | None, at: int, length: int) -> Any:
        if logits is None:
            return None
        own = logits[at]
        if own.ndim == 1:
            return _to_numbers(own)
        return _to_numbers(own[:length] if self.output_names else own[length - 1])  # of the token that comes next

    def _make_outputs(
        self, text: str, row: tuple[tuple[int, ...], Offsets], layers: Any, pooled: Any, logits: Any
    ) -> StageOutputs:
        if logits is None:
            return StageOutputs(row[0], layers[-1], layers=layers)
        facts = self.reader_facts
        shares = torch.from_numpy(logits / (1.0 if facts is None else facts.temperature)).softmax(-1).numpy()
        reader = None if facts is None else AnswerReader(facts)
        answers = reader is not None and reader.can_answer
        return StageOutputs(
            row[0],
            layers[-1],
            logits,
            shares,
            layers,
            pooled,
            answer=reader.read(text, row, logits, shares) if reader is not None and answers else None,
            has_answer=answers,
        )


def open_stock_model(folder: Path, reader_facts: ModelFacts | None = None) -> StockModel:
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
    names = tuple(labels[place] for place in sorted(labels))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    head = read_head(folder)
    if head is not None:
        names = tuple(_read_label_names(folder))
    return StockModel(model.eval(), tokenizer, names, head, reader_facts, opener == "AutoModelForCausalLM")


def _read_label_names(folder: Path) -> list[str]:
    """Of labels.json, which lies beside a head that no stock class has."""
    try:
        labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["id2label"]
        return [str(labels[str(place)]) for place in range(len(labels))]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ArtifactError(
            f"labels.json beside the head cannot be read ({type(problem).__name__}: {problem})", where=str(folder)
        ) from problem


def _to_numbers(values: Tensor) -> Any:
    """As float64, so that every form is compared in one precision."""
    return values.double().numpy()
