"""LoRA adapters as values, in PEFT's own format. The only folder that imports peft."""

from __future__ import annotations

from loratory.backbones.adapters.adapter_fields import CONFIG_FILE
from loratory.backbones.adapters.adapter_files import WEIGHTS_FILE, read_adapter, write_adapter
from loratory.backbones.adapters.adapter_values import KEY_PREFIX, create_adapter, digest_of_tensors
from loratory.backbones.adapters.lora_layers import collect_lora_weights, replace_lora_layers
from loratory.backbones.adapters.peft_host import PeftHost
from loratory.backbones.adapters.peft_models import (
    attach_trainable_adapter,
    copy_with_shared_weights,
    extract_adapter,
    merge_adapter,
)

__all__ = [
    "CONFIG_FILE",
    "KEY_PREFIX",
    "WEIGHTS_FILE",
    "PeftHost",
    "attach_trainable_adapter",
    "collect_lora_weights",
    "copy_with_shared_weights",
    "create_adapter",
    "digest_of_tensors",
    "extract_adapter",
    "merge_adapter",
    "read_adapter",
    "replace_lora_layers",
    "write_adapter",
]
