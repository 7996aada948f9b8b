"""An objective: Poly-1 (Leng et al. 2022, eq. 6), cross-entropy with epsilon (1 - p) added to each loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols import OUTPUT_KINDS, LossBatch, OutputKind

if TYPE_CHECKING:
    from torch import Tensor


class Poly1(BaseModel):
    """Cross-entropy with a free first coefficient."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    outputs: ClassVar[tuple[OutputKind, ...]] = OUTPUT_KINDS

    epsilon: float = Field(1.0, ge=-1, le=10, description="weight of the missing probability 1 - p")

    def compute_losses(self, batch: LossBatch) -> Tensor:
        from torch.nn.functional import cross_entropy

        each = cross_entropy(batch.logits, batch.targets, reduction="none")
        return batch.average(each + self.epsilon * (1 - (-each).exp()))
