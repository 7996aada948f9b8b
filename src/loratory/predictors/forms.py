"""Forms: how a task is put to an encoder. A new kind of head output is a new Form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from loratory.errors import Unfit
from loratory.predictors import bio
from loratory.predictors.heads import OF_TEXTS, OF_TOKENS, PooledHead, Stock, make_head, make_token_head
from loratory.predictors.schemes import BIO, SCHEMES, Scheme, labels_of
from loratory.protocols import Input, Labelled, Offsets, Prediction, Scores, Spanned, Task, Tokenizer, Tokens

Row = tuple[Tokens, Offsets]
SHARED = 4  # a window shares the fourth part of its tokens with the next


class Form(Protocol):
    """Tensors on one side, answers on the other. An input is one row, or as many as it takes to read it whole."""

    @property
    def capability(self) -> Any: ...
    @property
    def stock(self) -> Stock:
        """What stock libraries call such outputs."""

    def outputs(self, task: Any) -> tuple[str, ...]:
        """The outputs' names in their order."""

    def labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The task's labels from the names of outputs in any order; raises ValueError where they are no such names."""

    def head(self, kind: str, task: Any, trunk: Any) -> nn.Module:
        """A fresh head: (states float[B, T, D], mask int[B, T]) -> outputs."""

    def rows(self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], limit: int, long: str) -> list[list[Row]]:
        """The rows of each input, of at most `limit` tokens; `long`, as in the spec, says how longer ones are read."""

    def shared(self, limit: int, long: str) -> int:
        """How many tokens a row shares with the next one of the same input; 0 where an input is one row."""

    def read(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        """Answers from the outputs of each input's rows."""

    def beside(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        """What the outputs of one input say of it beside the answer."""


def windows(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> list[list[Row]]:
    """Every text whole, in rows that overlap."""
    most = min(limit, tokenizer.limit)
    return tokenizer.windows(texts, most, most // SHARED)


def mean(parts: Sequence[Tensor]) -> Tensor:
    """The mean of an input's outputs; of one, that one."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)


class LabelForm:
    """One class for a text: outputs are logits float[B, L], the mean of those of its rows."""

    capability: Any = Labelled
    stock: Stock = OF_TEXTS

    def outputs(self, task: Any) -> tuple[str, ...]:
        return tuple(task.labels)

    def labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return tuple(outputs)

    def head(self, kind: str, task: Any, trunk: Any) -> nn.Module:
        return make_head(kind, trunk, task.labels)

    def rows(self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], limit: int, long: str) -> list[list[Row]]:
        texts = [task.text(input) for input in inputs]
        if long == "windows":
            return windows(tokenizer, texts, limit)
        return [[row] for row in (tokenizer.ends(texts, limit) if long == "ends" else tokenizer.many(texts, limit))]

    def shared(self, limit: int, long: str) -> int:
        return limit // SHARED if long == "windows" else 0

    def read(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        if not inputs:
            return []
        odds = torch.stack([mean(parts) for parts in outputs]).double().softmax(-1).tolist()
        return [task.from_odds(i, dict(zip(task.labels, o, strict=True))) for i, o in zip(inputs, odds, strict=True)]

    def beside(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        """The energy (Liu et al. 2020, eq. 4, its sign turned), and the cosine to the nearest prototype."""
        logits = mean(outputs)
        scores = {"energy": float(logits.detach().double().logsumexp(-1))}
        if isinstance(head, PooledHead):
            cosines = (logits - head.bias.detach().cpu()) / head.log_scale.detach().exp().cpu()
            scores["prototype"] = float(cosines.detach().max())
        return scores


@dataclass(frozen=True)
class SpanForm:
    """Tags of tokens: outputs are logits float[B, T, K L + 1], K kinds of a scheme. Long texts are read whole."""

    scheme: Scheme = BIO
    capability: ClassVar[Any] = Spanned
    stock: ClassVar[Stock] = OF_TOKENS

    def outputs(self, task: Any) -> tuple[str, ...]:
        return self.scheme.tags_of(task.span_labels)

    def labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return labels_of(outputs, self.scheme)

    def head(self, kind: str, task: Any, trunk: Any) -> nn.Module:
        return make_token_head(kind, trunk, self.outputs(task))

    def rows(self, task: Any, tokenizer: Tokenizer, inputs: Sequence[Input], limit: int, long: str) -> list[list[Row]]:
        return windows(tokenizer, [task.text(input) for input in inputs], limit)

    def shared(self, limit: int, long: str) -> int:
        return limit // SHARED

    def read(
        self,
        task: Any,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        return [self._read(task, *one) for one in zip(inputs, rows, outputs, strict=True)]

    def beside(self, head: Any, outputs: Sequence[Tensor]) -> Scores:
        return {}

    def _read(self, task: Any, input: Input, rows: Sequence[Row], outputs: Sequence[Tensor]) -> Prediction:
        parts = [
            (offsets, one[: len(offsets)].double().log_softmax(-1).numpy())
            for (_, offsets), one in zip(rows, outputs, strict=True)
        ]
        places, odds = bio.merged(parts)
        text = task.text(input)
        if task.in_words and self.scheme is BIO:  # foreign models of other schemes are read as they were trained
            places, odds = bio.in_words(odds, places, text)
        found = bio.decoded(odds, places, task.span_labels, text, self.scheme)
        answer = task.from_spans(text, [(one.start, one.end, one.label) for one in found])
        return Prediction(answer, {f"/spans/{number}/label": one.odds for number, one in enumerate(found)})


FORMS: Mapping[str, Form] = {
    "labels": LabelForm(),
    "spans": SpanForm(),
    **{f"spans-{name}": SpanForm(scheme) for name, scheme in SCHEMES.items() if scheme is not BIO},  # taken in
}


def form_of(task: Task) -> str:
    """The name of the first form whose capability the task has; raises Unfit."""
    for name, form in FORMS.items():
        if isinstance(task, form.capability):
            return name
    raise Unfit(f"no form puts a {task.kind} task to an encoder", allowed=", ".join(FORMS))
