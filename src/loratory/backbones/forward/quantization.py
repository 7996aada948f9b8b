"""A backbone's matrices in four bits: NF4, its scales quantised too (Dettmers et al. 2023). bitsandbytes holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from loratory.backbones import adapters
from loratory.backbones.forward import architectures
from loratory.errors import UnsupportedTask, make_missing_extra

QUANTIZATION = "nf4"


def find_quantizable_layers(model: nn.Module, depth: int) -> tuple[nn.ModuleList, list[tuple[str, nn.Linear]]]:
    """The stacked layers and the matrices in them that four bits can hold, by name; they may be on the meta device.

    Raises MissingExtra without bitsandbytes, UnsupportedTask where there is no such matrix (GPT-2: transposed).
    """
    try:
        import bitsandbytes.nn.modules  # noqa: F401
    except ImportError:
        raise make_missing_extra("bitsandbytes", "qlora") from None
    _, layers = architectures.find_layers(model, depth)
    found = [(name, part) for name, part in layers.named_modules() if type(part) is nn.Linear]
    if not found:
        raise UnsupportedTask(
            f"the layers of {type(model).__name__} hold no linear layers that four bits could hold",
            remedy="choose another base:, or regime: lora",
        )
    return layers, found


def quantize_model(model: nn.Module, depth: int) -> Any:
    """A second skeleton whose stacked layers hold NF4 matrices; embeddings, norms and heads are the model's own.

    Products are computed in float32 on a CPU and in bfloat16 on a GPU.
    """
    own = adapters.copy_with_shared_weights(model)
    layers, matrices = find_quantizable_layers(own, depth)
    from bitsandbytes.nn.modules import Linear4bit

    for name, part in matrices:
        device = part.weight.device
        exact = torch.float32 if device.type == "cpu" else torch.bfloat16
        made: Any = Linear4bit(  # type: ignore[no-untyped-call]
            part.in_features,
            part.out_features,
            bias=part.bias is not None,
            compute_dtype=exact,
            compress_statistics=True,
            quant_type=QUANTIZATION,
        )
        made.load_state_dict(part.state_dict())
        made.support_avx512bf16_for_cpu = False  # it would repack what others train over, and that form has no gradient
        owner, _, leaf = name.rpartition(".")
        setattr(layers.get_submodule(owner), leaf, made.to(device).requires_grad_(False))
    return own
