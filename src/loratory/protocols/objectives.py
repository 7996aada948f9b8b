"""An objective: the loss that a trained regime lessens. A frozen pydantic model whose fields are its options.

Shapes: B examples of a pass, P predictions of one class each, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from loratory.protocols.values import Example

if TYPE_CHECKING:
    from torch import Tensor

OutputKind = Literal["labels", "tags", "answers"]
"""What is predicted: one label for a row, a tag for each token of it, or the tokens of an answer in turn."""
OUTPUT_KINDS: tuple[OutputKind, ...] = ("labels", "tags", "answers")


@dataclass(frozen=True)
class LossBatch:
    """What a loss sees of one pass: predictions, what they should have been, and the examples that they are of."""

    outputs: OutputKind
    logits: Tensor  # float32[P, C], with gradients; C: labels, tags, or the vocabulary
    targets: Tensor  # int64[P]: the right class of each
    owners: Tensor  # int64[P], rising: the example of each, by its place in the pass; of labels 0 to B - 1
    weights: Tensor  # float32[B]: what the loop makes each example count; a loss need not apply them
    examples: Sequence[Example]  # B; one that is read in windows stands there for each of its rows

    @property
    def size(self) -> int:
        """B."""
        return len(self.weights)

    def average(self, values: Tensor) -> Tensor:
        """The mean over each example's predictions, float[B], of values float[P]; 0 where an example has none."""
        if self.outputs == "labels":
            return values
        counts = self.logits.new_zeros(self.size).index_add(0, self.owners, values.new_ones(len(values)))
        return self.sum(values) / counts.clamp_min(1)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over each example's predictions, float[B], of values float[P]."""
        return values.new_zeros(self.size).index_add(0, self.owners, values)


class Objective(Protocol):
    """A loss, named in `loss:` of a regime: a frozen pydantic model, closed to unknown keys, with a default for each
    field. It imports no torch where its options are read.
    """

    outputs: ClassVar[tuple[OutputKind, ...]]  # what it is a loss of; a regime that predicts something else is refused

    def compute_losses(self, batch: LossBatch) -> Tensor:
        """The loss of each example, float32[B], differentiable; the loop weighs them and takes their mean.

        An example's loss may depend on that example alone: a pass may be split where memory is short.
        """
