"""Output adapters: how tasks of labels and of spans are put to an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from loratory.discovery import list_names, load_named
from loratory.errors import UnsupportedTask
from loratory.predictors import bio_decoding
from loratory.predictors.heads import (
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    PooledHead,
    make_head,
    make_token_head,
)
from loratory.protocols import (
    Backbone,
    Input,
    Labelled,
    OutputAdapter,
    Prediction,
    Row,
    Scores,
    Spanned,
    StockNames,
    Task,
    Tokenizer,
)
from loratory.protocols.probabilities import MAX_DICT_LABELS, build_probabilities
from loratory.tasks.tag_schemes import BIO, TAG_SCHEMES, TagScheme, parse_labels

SOFTMAX_ROWS = 1_024  # texts whose probabilities are computed at a time
OVERLAP_DIVISOR = 4  # a window shares the fourth part of its tokens with the next


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

    def list_output_names(self, task: Labelled) -> tuple[str, ...]:
        return task.labels or ()

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return tuple(outputs)

    def build_head(self, kind: str, task: Labelled, backbone: Backbone) -> nn.Module:
        return make_head(kind, backbone, task.labels or ())

    def encode_rows(
        self, task: Labelled, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
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
        task: Labelled,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        if not inputs:
            return []
        labels, made = task.labels or (), []
        precision = torch.float64 if len(labels) <= MAX_DICT_LABELS else torch.float32  # packed are float32 anyway
        for start in range(0, len(inputs), SOFTMAX_ROWS):  # by parts: there may be 10,000 labels
            some = slice(start, start + SOFTMAX_ROWS)
            logits = torch.stack([average_outputs(parts) for parts in outputs[some]])
            odds = build_probabilities(labels, logits.to(precision).softmax(-1).numpy())
            made += [task.from_probabilities(*one) for one in zip(inputs[some], odds, strict=True)]
        return made

    def score_ood(self, head: nn.Module | None, outputs: Sequence[Tensor]) -> Scores:
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

    def list_output_names(self, task: Spanned) -> tuple[str, ...]:
        return self.scheme.list_tags(task.span_labels)

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return parse_labels(outputs, self.scheme)

    def build_head(self, kind: str, task: Spanned, backbone: Backbone) -> nn.Module:
        return make_token_head(kind, backbone, self.list_output_names(task))

    def encode_rows(
        self, task: Spanned, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        return encode_in_windows(tokenizer, [task.text(input) for input in inputs], max_length)

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        return max_length // OVERLAP_DIVISOR

    def read_outputs(
        self,
        task: Spanned,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        return [self._read_spans(task, *one) for one in zip(inputs, rows, outputs, strict=True)]

    def score_ood(self, head: nn.Module | None, outputs: Sequence[Tensor]) -> Scores:
        return {}

    def _read_spans(self, task: Spanned, input: Input, rows: Sequence[Row], outputs: Sequence[Tensor]) -> Prediction:
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


LABELS, SPANS = LabelOutputAdapter(), SpanOutputAdapter()
SPANS_IOB1, SPANS_IO, SPANS_BIOES, SPANS_BILOU, SPANS_BMES, SPANS_BMEWO, SPANS_PLAIN = (  # of imported classifiers
    SpanOutputAdapter(scheme) for name, scheme in TAG_SCHEMES.items() if name != "bio"
)


def load_output_adapter(name: str) -> OutputAdapter[Any]:
    """The output adapter of that name; raises SpecError."""
    found: OutputAdapter[Any] = load_named("output_adapters", name)
    return found


def find_output_adapter_name(task: Task) -> str:
    """The name of the first output adapter whose capability the task has; raises UnsupportedTask."""
    names = list_names("output_adapters")
    for name in names:
        if isinstance(task, load_output_adapter(name).capability):
            return name
    raise UnsupportedTask(f"no output adapter puts a {task.kind} task to an encoder", allowed=", ".join(names))
