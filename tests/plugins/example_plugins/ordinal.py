"""An output adapter for ordered labels, such as the stars of a review: one number instead of L logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from loratory.protocols import Backbone, Input, Prediction, Row, Scores, StockNames, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Ordered(Protocol):
    """The capability that it needs: labels in ascending order."""

    @property
    def ordered_labels(self) -> tuple[str, ...]: ...
    def text(self, input: Input) -> str: ...
    def from_probabilities(self, input: Input, probabilities: dict[str, float]) -> Prediction: ...


class OrdinalOutputAdapter:
    """Outputs are float[B, 1]: the position on the scale. Probabilities fall with the distance from it."""

    capability: Any = Ordered
    stock_names = StockNames("AutoModelForSequenceClassification", "SEQ_CLS", "text-classification", per_token=False)

    def list_output_names(self, task: Ordered) -> tuple[str, ...]:
        return ("|".join(task.ordered_labels),)

    def parse_labels(self, outputs: Sequence[str]) -> tuple[str, ...]:
        if len(outputs) != 1:
            raise ValueError(f"there are {len(outputs)} outputs where one is expected")
        return tuple(outputs[0].split("|"))

    def build_head(self, kind: str, task: Ordered, backbone: Backbone) -> nn.Module:
        from loratory.predictors.heads import make_head  # torch is imported where it is needed

        return make_head(kind, backbone, self.list_output_names(task))

    def encode_rows(
        self, task: Ordered, tokenizer: Tokenizer, inputs: Sequence[Input], max_length: int, long_text_mode: str
    ) -> list[list[Row]]:
        return [[row] for row in tokenizer.encode_batch([task.text(input) for input in inputs], max_length)]

    def compute_row_overlap(self, max_length: int, long_text_mode: str) -> int:
        return 0

    def read_outputs(
        self, task: Ordered, inputs: Sequence[Input], rows: Sequence[Sequence[Row]], outputs: Sequence[Sequence[Tensor]]
    ) -> list[Prediction]:
        labels, made = task.ordered_labels, []
        for input, (place,) in zip(inputs, outputs, strict=True):
            nearness = [2.0 ** -abs(float(place[0]) - number) for number in range(len(labels))]
            chances = {label: near / sum(nearness) for label, near in zip(labels, nearness, strict=True)}
            made.append(task.from_probabilities(input, chances))
        return made

    def score_ood(self, head: nn.Module | None, outputs: Sequence[Tensor]) -> Scores:
        return {}


ORDINAL = OrdinalOutputAdapter()  # what the entry point names
