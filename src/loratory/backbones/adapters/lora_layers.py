"""Adapters without PEFT's own layers: as weights by layer, and as layers that compute in one function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from loratory.backbones.adapters.adapter_values import KEY_PREFIX
from loratory.backbones.adapters.peft_models import check_shapes, copy_with_shared_weights, create_lora_config
from loratory.backbones.lowrank import LowRankLinear
from loratory.protocols import Adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import Linear as LoraLinear


def replace_lora_layers(model: PeftModel, dtype: torch.dtype) -> PeftModel:
    """A skeleton to train in: it learns a grown model's own adapters, over frozen matrices in `dtype`.

    LoRA's layers become `LowRankLinear`s; one that PEFT computes in another way (dropout, a transposed weight) stays.
    """
    from peft.tuners.lora import Linear as LoraLinear

    light = copy_with_shared_weights(model)
    for name, part in list(light.named_modules()):
        if isinstance(part, LoraLinear) and _is_plain_lora(part):
            owner, _, leaf = name.rpartition(".")
            setattr(light.get_submodule(owner), leaf, _to_low_rank_linear(part, dtype))
    for part in light.modules():
        if type(part) is nn.Linear and not any(p.requires_grad for p in part.parameters()):
            part.weight = nn.Parameter(part.weight.detach().to(dtype), requires_grad=False)
            if part.bias is not None:
                part.bias = nn.Parameter(part.bias.detach().to(dtype), requires_grad=False)
    return light


def _to_low_rank_linear(part: LoraLinear, dtype: torch.dtype) -> LowRankLinear:
    base: Any = part.base_layer
    bias = None if base.bias is None else base.bias.detach().to(dtype)
    a, b = (cast("nn.Parameter", half["default"].weight) for half in (part.lora_A, part.lora_B))
    return LowRankLinear(base.weight.detach().to(dtype), bias, a, b, part.scaling["default"])


def _is_plain_lora(part: LoraLinear) -> bool:
    dropout = part.lora_dropout["default"]
    undropped = isinstance(dropout, nn.Identity) or getattr(dropout, "p", 1.0) == 0
    return type(part.base_layer) is nn.Linear and undropped and not part.lora_bias["default"]


def collect_lora_weights(model: nn.Module, adapter: Adapter) -> dict[str, tuple[Tensor, Tensor, float]] | None:
    """By linear layer of `model` the A [R, I], B [O, R] and scale of an adapter; None where it needs PEFT's own layers.

    Raises ArtifactError where the adapter does not fit.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    config = create_lora_config(adapter.config)
    if config.fan_in_fan_out:
        return None
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if name and check_target_module_exists(config, name) and next(layer.children(), None) is None
    }
    if any(type(layer) is not nn.Linear for layer in layers.values()):
        return None
    wanted = {}
    for name, layer in layers.items():
        wanted[f"{KEY_PREFIX}{name}.lora_A.weight"] = torch.Size((config.r, layer.in_features))
        wanted[f"{KEY_PREFIX}{name}.lora_B.weight"] = torch.Size((layer.out_features, config.r))
    check_shapes(adapter, wanted)
    scale = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    given = adapter.tensors
    return {
        name: (given[f"{KEY_PREFIX}{name}.lora_A.weight"], given[f"{KEY_PREFIX}{name}.lora_B.weight"], scale)
        for name in layers
    }
