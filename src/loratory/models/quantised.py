"""A trunk's matrices in four bits: NF4, its scales quantised too (Dettmers et al. 2023). bitsandbytes holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from loratory.errors import missing_extra
from loratory.models import adapters, architectures

KIND = "nf4"


def quantised(model: Any, depth: int) -> Any:
    """A second skeleton whose stacked layers hold NF4 matrices; embeddings, norms and heads are the model's own.

    Products are computed in float32 on a CPU and in bfloat16 on a GPU.
    """
    try:
        from bitsandbytes.nn.modules import Linear4bit
    except ImportError:
        raise missing_extra("bitsandbytes", "qlora") from None
    own = adapters.share(model)
    _, layers = architectures.layers_of(own, depth)
    for name, part in list(layers.named_modules()):
        if type(part) is not nn.Linear:
            continue
        device = part.weight.device
        exact = torch.float32 if device.type == "cpu" else torch.bfloat16
        made: Any = Linear4bit(  # type: ignore[no-untyped-call]
            part.in_features,
            part.out_features,
            bias=part.bias is not None,
            compute_dtype=exact,
            compress_statistics=True,
            quant_type=KIND,
        )
        made.load_state_dict(part.state_dict())
        made.support_avx512bf16_for_cpu = False  # it would repack what others train over, and that form has no gradient
        owner, _, leaf = name.rpartition(".")
        setattr(layers.get_submodule(owner), leaf, made.to(device).requires_grad_(False))
    return own
