"""The losses that a regime may name in `loss:`. Their options are read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols.objectives import OUTPUT_KINDS, LossBatch, OutputKind

if TYPE_CHECKING:
    from torch import Tensor

MIN_MISTAKE = 1e-6  # probability of a mistake: the gradient of 0 to a power below 1 is infinite


class CrossEntropy(BaseModel):
    """Negative log-probability of the right class, averaged over the predictions of an example."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    outputs: ClassVar[tuple[OutputKind, ...]] = OUTPUT_KINDS

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all classes")

    def compute_losses(self, batch: LossBatch) -> Tensor:
        return batch.average(_compute_cross_entropy(batch, self.label_smoothing))


class Focal(BaseModel):
    """Cross-entropy with less weight on examples that are already right (Lin et al., 2017, eq. 4).

    For labels and tags the factor of each prediction is (1 - p)^gamma. For answers the mean is multiplied by (1 -
    p)^gamma, where p is the probability of the whole answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    outputs: ClassVar[tuple[OutputKind, ...]] = OUTPUT_KINDS

    gamma: float = Field(2.0, gt=0, le=10, description="how strongly easy examples lose weight")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all classes")

    def compute_losses(self, batch: LossBatch) -> Tensor:
        each = _compute_cross_entropy(batch, self.label_smoothing)
        if batch.outputs == "answers":
            exact = _compute_cross_entropy(batch, 0.0) if self.label_smoothing else each
            return self._weigh((-batch.sum(exact)).exp()) * batch.average(each)
        right = batch.logits.softmax(-1).gather(-1, batch.targets[:, None]).squeeze(-1)
        return batch.average(self._weigh(right) * each)

    def _weigh(self, right: Tensor) -> Tensor:
        return (1 - right).clamp_min(MIN_MISTAKE).pow(self.gamma)


def _compute_cross_entropy(batch: LossBatch, label_smoothing: float) -> Tensor:
    """Of each prediction, float[P]."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(batch.logits, batch.targets, reduction="none", label_smoothing=label_smoothing)
