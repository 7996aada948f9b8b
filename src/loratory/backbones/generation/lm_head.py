"""What a causal model says of its final states: its output layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class LMHead(nn.Module):
    """Final states float[..., D] to logits float[..., V], with what some architectures do to them afterwards."""

    def __init__(self, layer: nn.Module, config: PreTrainedConfig) -> None:
        super().__init__()
        self.layer = layer
        self.vocab_size = len(layer.weight)  # type: ignore[arg-type]
        self.logit_softcap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        self.logit_scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
        self.logit_scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite

    def forward(self, states: Tensor) -> Tensor:
        """Logits, scaled and capped as the architecture does it."""
        logits: Tensor = self.layer(states) * self.logit_scale
        return torch.tanh(logits / self.logit_softcap) * self.logit_softcap if self.logit_softcap else logits


@torch.no_grad()
def find_lm_head(model: PreTrainedModel) -> LMHead | None:
    """The output layer of a whole causal model; None where it has none, or does more than we know of.

    Of a model without weights the latter is not seen (`meta_backbones.has_known_lm_head` tries it).
    """
    layer = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if layer is None:
        return None
    lm_head = LMHead(layer, model.config.get_text_config())
    if layer.weight.is_meta:
        return lm_head
    ids = torch.tensor([[1, 2, 3, 4]], device=layer.weight.device)
    states = model.base_model(input_ids=ids).last_hidden_state
    return lm_head if torch.allclose(lm_head(states), model(input_ids=ids).logits, atol=1e-4, rtol=1e-4) else None
