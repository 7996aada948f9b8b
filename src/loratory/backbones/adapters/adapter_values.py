"""An adapter as a value: tensors under PEFT's own keys, named by a digest of what they compute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from loratory.protocols import JSON, Adapter

KEY_PREFIX = "base_model.model."  # of PEFT's keys, before the name of a module of the backbone


def digest_of_tensors(tensors: Mapping[str, Tensor], facts: JSON = None) -> str:
    """SHA-256 (16 hexadecimal digits) over names, shapes and bytes, and over the facts."""
    h = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        h.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()[:16]


def create_adapter(config: Mapping[str, JSON], tensors: Mapping[str, Tensor]) -> Adapter:
    """An adapter value from an allowlisted configuration and PEFT's tensors."""
    plain = {key: list(value) if isinstance(value, (tuple, set)) else value for key, value in config.items()}
    layers = plain.get("layers_to_transform")
    if isinstance(layers, int):
        layers = plain["layers_to_transform"] = [layers]
    identity = {key: plain.get(key) for key in ("r", "lora_alpha", "use_rslora", "layers_to_transform")}
    identity["target_modules"] = sorted(plain["target_modules"])
    return Adapter(plain, dict(tensors), min(layers) if layers else 0, digest_of_tensors(tensors, identity))
