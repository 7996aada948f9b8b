"""The fields of adapter_config.json: which are read, which only describe, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from loratory.errors import ArtifactError
from loratory.protocols import JSON

CONFIG_FILE = "adapter_config.json"
# Fields of adapter_config.json that are read. Any other that is set is refused: it may import code (auto_mapping),
# change shared weights (loftq_config) or need tensors that we would drop (trainable_token_indices, lora_bias).
ALLOWED_FIELDS = frozenset(
    {
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "use_rslora",
        "layers_to_transform",
        "layers_pattern",
        "bias",
        "fan_in_fan_out",
        "exclude_modules",
    }
)
# Fields that say where an adapter comes from and never change what it computes.
DESCRIPTIVE_FIELDS = frozenset(
    {
        "peft_type",
        "peft_version",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "modules_to_save",
        "init_lora_weights",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
    }
)
NAME_PATTERN = re.compile(r"\w+(\.\w+)*")  # PEFT puts layers_pattern into a regular expression


def check_adapter_config(config: Mapping[str, JSON], folder: Path) -> None:
    """Refuse what is no plain LoRA: other methods, code-importing fields, patterns, weight-changing initialisation."""
    where = str(folder / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise ArtifactError(f"peft_type is {config.get('peft_type')!r}", where=where, allowed="LORA")
    for key, value in config.items():
        if key not in ALLOWED_FIELDS | DESCRIPTIVE_FIELDS and value:
            raise ArtifactError(
                f"{key} is set",
                where=where,
                allowed="a plain LoRA adapter (one rank and alpha) without it",
                remedy="remove it where it only describes (auto_mapping), else export a merged model where it was made",
            )
    if config.get("init_lora_weights") not in (True, False, None, "gaussian"):
        raise ArtifactError(
            f"init_lora_weights is {config['init_lora_weights']!r}: it changes the base's weights",
            where=where,
            allowed="true, false, gaussian",
            remedy="convert it with peft: path_initial_model_for_weight_conversion",
        )
    for key, allowed, plain in FIELD_RULES:
        if not plain(config.get(key)):
            raise ArtifactError(f"{key} is {config.get(key)!r}", where=where, allowed=allowed)


def _is_whole_number(value: JSON, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _are_names(value: JSON) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and NAME_PATTERN.fullmatch(name) for name in value)


# What the fields may be: a string of target modules, or of layers, would be a regular expression.
FIELD_RULES: tuple[tuple[str, str, Callable[[JSON], bool]], ...] = (
    ("r", "a whole number from 1", lambda v: _is_whole_number(v, 1)),
    ("lora_alpha", "a number above 0", lambda v: isinstance(v, (int, float)) and v > 0),
    ("bias", "none", lambda v: v in (None, "none")),
    ("target_modules", "a list of names (a string would be a pattern)", lambda v: bool(v) and _are_names(v)),
    ("exclude_modules", "a list of names (a string would be a pattern)", lambda v: not v or _are_names(v)),
    ("layers_pattern", "a name, or a list of names", lambda v: not v or _are_names([v] if isinstance(v, str) else v)),
    (
        "layers_to_transform",
        "a layer's number, or a list of them",
        lambda v: v is None or all(_is_whole_number(n, 0) for n in (v if isinstance(v, list) else [v])),
    ),
)
