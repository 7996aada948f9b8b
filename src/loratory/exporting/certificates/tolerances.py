"""How far a form may be from the fit, by its class. They are the verifier's own, and never read from a folder.

Measured on honest forms (MiniLM with LoRA, 147 goldens; tiny BERT, RoBERTa, DistilBERT, DeBERTa-v2 and ModernBERT):
probabilities of fp32 forms are at most 5e-6 apart, a LayerNorm of another eps is 1.5e-3 apart, one flipped bit 3.4e-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loratory.protocols.exporters import WRITER, ToleranceClass


@dataclass(frozen=True)
class Tolerances:
    """Limits of one class. Checksums and logits count as a share of the expected value where that is above 1."""

    max_dp: float  # largest difference of any probability
    q99_dp: float  # 99 % quantile, over goldens, of a golden's largest difference
    batch_dp: float  # of a text alone and the same text in a batch
    states: float  # of checksums of layers and of the pooled vector, and of logits
    locating: float  # of these, once a form is refused: the first stage that is farther off is where it went astray
    label_margin: float  # a label may differ only where the fit's two likeliest labels are nearer than this
    needs_evidence: bool  # whether the accuracy on the test split decides

    def to_dict(self) -> dict[str, Any]:
        """For a reader's information: no verifier goes by it."""
        return {name: value if value != math.inf else None for name, value in asdict(self).items()}


TOLERANCES: Mapping[ToleranceClass, Tolerances] = {
    "exact": Tolerances(1e-4, 2e-5, 1e-4, 1e-3, 1e-4, 2e-4, needs_evidence=False),
    "reduced": Tolerances(2e-2, 1e-2, 2e-3, 5e-2, 2e-2, 2e-2, needs_evidence=False),
    "quantised": Tolerances(1.0, 0.35, 1e-2, float("inf"), 0.3, 1.0, needs_evidence=True),
}
# Of a server whose products are in bf16. Measured (MiniLM): 0.011 from the fit, 0.0077 between alone and in a batch.
SERVED_IN_BF16 = Tolerances(2e-2, 1.5e-2, 2e-2, 5e-2, 2e-2, 2e-2, needs_evidence=False)
# Of a model that writes nobody pairs answers: a form keeps the next token wherever the fit is not in doubt. Measured:
# q8_0 of the seedling is at most 0.037 apart.
QUANTISED_WRITER = Tolerances(0.15, 0.1, 1e-2, float("inf"), 0.3, 0.1, needs_evidence=False)


def get_tolerances(kind: ToleranceClass, head: str) -> Tolerances:
    """The limits of a class for fits of this head."""
    return QUANTISED_WRITER if kind == "quantised" and head == WRITER else TOLERANCES[kind]


MAX_MARGIN = 0.05  # of the headline score: a form that may lose more than this is certified by nobody
