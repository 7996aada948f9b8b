"""Attention for short rows: plain products instead of the fused kernel, whose backward is slow there on a CPU.

Registered through transformers' own AttentionInterface; long rows and GPUs go on to its sdpa. From which length on is
a property of the machine: hardware_benchmark.py measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_NAME = "loratory_short"
VECTOR_LANES = 32  # bf16 numbers in one vector register: torch's softmax goes through shorter rows of bf16 one by one


@dataclass
class ShortRowLimits:
    """Tokens of a row up to which plain products are used; `set_short_row_limits` sets what was measured."""

    training: int = 128
    inference: int = 128


SHORT_ROW_LIMITS = ShortRowLimits()


def set_short_row_limits(training: int, inference: int) -> None:
    """Use short attention up to these lengths from now on, in this process."""
    SHORT_ROW_LIMITS.training, SHORT_ROW_LIMITS.inference = training, inference


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

    longest = SHORT_ROW_LIMITS.training if query.requires_grad else SHORT_ROW_LIMITS.inference
    tokens, heads = key.shape[2], query.shape[1] // key.shape[1]
    asked = options.get("is_causal")
    causal = attention_mask is None and (getattr(module, "is_causal", False) if asked is None else asked)
    short = tokens <= longest and query.device.type == "cpu" and not dropout
    if not short or (causal and query.shape[2] != tokens):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if causal:
        attention_mask = torch.ones(tokens, tokens, dtype=torch.bool).tril_()
    if heads > 1:  # several heads ask one key
        key, value = (part.repeat_interleave(heads, 1) for part in (key, value))
    return eager_attention(query, key, value, attention_mask, scale).transpose(1, 2).contiguous(), None


def eager_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attention as it is written down; [B, H, T, D / H] in and out."""
    scores = (query * scale) @ key.transpose(-1, -2)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    exact = torch.float32 if scores.shape[-1] < VECTOR_LANES else None
    return scores.softmax(-1, dtype=exact).to(value.dtype) @ value


def sdpa_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The library's kernel, for comparison."""
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


@cache
def _register_attention() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION_NAME, short_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)  # without it the mask would silently be None


def use_short_attention(model: PreTrainedModel) -> bool:
    """Switch a model to it where the architecture calls registered attention (DeBERTa and MPNet do not)."""
    if not getattr(model, "_supports_attention_backend", False) or model.config._attn_implementation != "sdpa":
        return False
    _register_attention()
    model.set_attn_implementation(ATTENTION_NAME)
    return True
