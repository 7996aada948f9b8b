"""Attention for short rows: plain products instead of the fused kernel, whose backward is slow there on a CPU.

Registered through transformers' own AttentionInterface; long rows and GPUs go on to its sdpa.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

NAME = "loratory_short"
LONGEST = 128  # tokens; above it the fused kernel was the faster one (benchmarks/attention.py draws the crossing)


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """softmax(q k' * scaling + mask) v. query [B, H, T, D / H] -> [B, T, H, D / H]; attention_mask bool or additive."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = attention_mask is None and getattr(module, "is_causal", False)
    short = query.shape[2] <= LONGEST and query.device.type == "cpu" and query.shape[1] == key.shape[1]
    if not short or causal or dropout:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None


@cache
def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, short_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # without it the mask would silently be None


def use_short_attention(model: Any) -> bool:
    """Switch a model to it where the architecture calls registered attention (DeBERTa and MPNet do not)."""
    if not getattr(model, "_supports_attention_backend", False) or model.config._attn_implementation != "sdpa":
        return False
    _register()
    model.set_attn_implementation(NAME)
    return True
