"""Forms: how a task is put to an encoder. A new kind of head output is a new Form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from loratory.errors import UnsupportedTask
from loratory.predictors import bio_decoding
from loratory.predictors.heads import (
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    PooledHead,
    StockNames,
    make_head,
    make_token_head,
)
from loratory.predictors.tag_transitions import BIO, TAG_SCHEMES, TagScheme, parse_labels
from loratory.protocols import (
    Backbone,
    Input,
    Labelled,
    Offsets,
    Prediction,
    Scores,
    Spanned,
    Task,
    TokenIds,
    Tokenizer,
)

Row = tuple[TokenIds, Offsets]
OVERLAP_DIVISOR = 4  # a window shares the fourth part of its tokens with the next


class OutputAdapter(Protocol):
    """Tensors on one side, answers on the other. An input is one row, or as many as it takes to read it whole."""

    @property
    def capability(self) -> Any: ...
    @property
    def stock_names(self) -> StockNames:
        """What stock libraries call such outputs."""

    def list_output_names(self, task: Any) -> tuple[str, ...]:
        """The outputs' names in their order."""

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The task's labels from the names of outputs in any order; raises ValueError where they are no such names."""

    def build_head(self, kind: str, task: Any, backbone: Backbone) -> nn.Module:
        """A fresh head: (states float[B, T, D], mask int[B, T]) -> outputs."""

    def encode_rows(
        self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        """The rows of each input, of at most `limit` tokens; `long`, as in the spec, says how longer ones are read."""

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        """How many tokens a row shares with the next one of the same input; 0 where an input is one row."""

    def read_outputs(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        """Answers from the outputs of each input's rows."""

    def score_ood(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        """What the outputs of one input say of it beside the answer."""


def encode_in_windows(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[list[Row]]:
    """Every text whole, in rows that overlap."""
    most = min(max_length, tokenizer.max_length)
    return tokenizer.encode_windows(texts, most, most // OVERLAP_DIVISOR)


def average_outputs(parts: Sequence[Tensor]) -> Tensor:
    """The mean of an input's outputs; of one, that one."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)


class LabelOutputAdapter:
    """One class for a text: outputs are logits float[B, L], the mean of those of its rows."""

    capability: Any = Labelled
    stock_names: StockNames = SEQUENCE_CLASSIFICATION

    def list_output_names(self, task: Any) -> tuple[str, ...]:
        return tuple(task.labels)

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return tuple(outputs)

    def build_head(self, kind: str, task: Any, backbone: Backbone) -> nn.Module:
        return make_head(kind, backbone, task.labels)

    def encode_rows(
        self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        texts = [task.text(input) for input in inputs]
        if long_text_mode == "windows":
            return encode_in_windows(tokenizer, texts, max_length)
        return [
            [row]
            for row in (
                tokenizer.encode_head_and_tail(texts, max_length)
                if long_text_mode == "ends"
                else tokenizer.encode_batch(texts, max_length)
            )
        ]

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        return max_length // OVERLAP_DIVISOR if long_text_mode == "windows" else 0

    def read_outputs(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        if not inputs:
            return []
        odds = torch.stack([average_outputs(parts) for parts in outputs]).double().softmax(-1).tolist()
        return [
            task.from_probabilities(i, dict(zip(task.labels, o, strict=True)))
            for i, o in zip(inputs, odds, strict=True)
        ]

    def score_ood(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        """The energy (Liu et al. 2020, eq. 4, its sign turned), and the cosine to the nearest prototype."""
        logits = average_outputs(outputs)
        scores = {"energy": float(logits.detach().double().logsumexp(-1))}
        if isinstance(head, PooledHead):
            cosines = (logits - head.bias.detach().cpu()) / head.log_scale.detach().exp().cpu()
            scores["prototype"] = float(cosines.detach().max())
        return scores


@dataclass(frozen=True)
class SpanOutputAdapter:
    """Tags of tokens: outputs are logits float[B, T, K L + 1], K kinds of a scheme. Long texts are read whole."""

    scheme: TagScheme = BIO
    capability: ClassVar[Any] = Spanned
    stock_names: ClassVar[StockNames] = TOKEN_CLASSIFICATION

    def list_output_names(self, task: Any) -> tuple[str, ...]:
        return self.scheme.list_tags(task.span_labels)

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return parse_labels(outputs, self.scheme)

    def build_head(self, kind: str, task: Any, backbone: Backbone) -> nn.Module:
        return make_token_head(kind, backbone, self.list_output_names(task))

    def encode_rows(
        self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        return encode_in_windows(tokenizer, [task.text(input) for input in inputs], max_length)

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        return max_length // OVERLAP_DIVISOR

    def read_outputs(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        return [self._read_spans(task, *one) for one in zip(inputs, rows, outputs, strict=True)]

    def score_ood(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        return {}

    def _read_spans(self, task: Any, input: Input, rows: Sequence[Row], outputs: Sequence[Tensor]) -> Prediction:
        parts = [
            (offsets, one[: len(offsets)].double().log_softmax(-1).numpy())
            for (_, offsets), one in zip(rows, outputs, strict=True)
        ]
        places, odds = bio_decoding.merge_windows(parts)
        text = task.text(input)
        if task.word_aligned and self.scheme is BIO:  # foreign models of other schemes are read as they were trained
            places, odds = bio_decoding.merge_word_tokens(odds, places, text)
        found = bio_decoding.decode_spans(odds, places, task.span_labels, text, self.scheme)
        answer = task.from_spans(text, [(one.start, one.end, one.label) for one in found])
        return Prediction(answer, {f"/spans/{number}/label": one.probabilities for number, one in enumerate(found)})


OUTPUT_ADAPTERS: Mapping[str, OutputAdapter] = {
    "labels": LabelOutputAdapter(),
    "spans": SpanOutputAdapter(),
    **{
        f"spans-{name}": SpanOutputAdapter(scheme) for name, scheme in TAG_SCHEMES.items() if scheme is not BIO
    },  # taken in
}


def find_output_adapter_name(task: Task) -> str:
    """The name of the first form whose capability the task has; raises UnsupportedTask."""
    for name, form in OUTPUT_ADAPTERS.items():
        if isinstance(task, form.capability):
            return name
    raise UnsupportedTask(f"no form puts a {task.kind} task to an encoder", allowed=", ".join(OUTPUT_ADAPTERS))
