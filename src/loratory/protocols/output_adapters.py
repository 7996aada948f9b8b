"""An output adapter: how a task is put to an encoder. A new kind of head output is a new adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from loratory.protocols.requests import Backbone, Tokenizer
from loratory.protocols.tasks import TaskT
from loratory.protocols.values import Input, Offsets, Prediction, Scores, TokenIds

if TYPE_CHECKING:
    from torch import Tensor, nn

Row = tuple[TokenIds, Offsets]  # what an encoder reads at once: ids, and the characters of each token


@dataclass(frozen=True)
class StockNames:
    """What stock libraries call a kind of outputs."""

    auto_class: str  # the class of transformers
    task_type: str  # PEFT's
    pipeline: str  # the Hub's
    per_token: bool  # whether every token has outputs of its own


@runtime_checkable
class OutputAdapter(Protocol[TaskT]):
    """Tensors on one side, answers on the other. An input is one row, or as many as it takes to read it whole."""

    @property
    def capability(self) -> Any:
        """The capability that a task needs, a protocol of loratory.protocols.tasks or of your own."""

    @property
    def stock_names(self) -> StockNames:
        """What stock libraries call such outputs."""

    def list_output_names(self, task: TaskT) -> tuple[str, ...]:
        """The outputs' names in their order."""

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The task's labels from the names of outputs in any order; raises ValueError where they are no such names."""

    def build_head(self, kind: str, task: TaskT, backbone: Backbone) -> nn.Module:
        """A fresh head: (states float[B, T, D], mask int[B, T]) -> outputs."""

    def encode_rows(
        self, task: TaskT, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        """The rows of each input, of at most `max_length` tokens; `long_text_mode` (`training: long`) says how longer
        ones are read.
        """

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        """How many tokens a row shares with the next one of the same input; 0 where an input is one row."""

    def read_outputs(
        self,
        task: TaskT,
        inputs: Sequence[Input],
        rows: Sequence[Sequence[Row]],
        outputs: Sequence[Sequence[Tensor]],
    ) -> list[Prediction]:
        """Answers from the outputs of each input's rows."""

    def score_ood(self, head: nn.Module | None, outputs: Sequence[Tensor]) -> Scores:
        """What the outputs of one input say of it beside the answer."""
