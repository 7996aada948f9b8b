"""A base's files to a model of transformers in memory: its class, its configuration, its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from loratory.backbones.loading.bases import Base, find_weight_files
from loratory.backbones.loading.weights import read_tensors
from loratory.errors import BaseModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class AutoClass(Protocol):
    """A class of transformers that opens models of one kind, such as AutoModel."""

    def from_config(self, config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
        """A model of that configuration with random weights."""


def read_depth_and_width(config: PreTrainedConfig, base: Base) -> tuple[int, int]:
    """Depth and width of a transformer; raises BaseModelError for a model that is none."""
    text = config.get_text_config()
    try:
        return int(text.num_hidden_layers), int(text.hidden_size)
    except (AttributeError, TypeError):
        raise BaseModelError(
            f"the base {base.name!r} ({config.model_type}) has no number of layers, or no width",
            where=str(base.folder / "config.json"),
            allowed="a transformer of stacked layers that reads text",
            remedy="choose another base:",
        ) from None


def auto_class_of(base: Base) -> AutoClass:
    """The class of transformers that opens a base of this kind."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    return {"nli": AutoModelForSequenceClassification, "causal": AutoModelForCausalLM}.get(base.kind, AutoModel)


def read_config(base: Base) -> PreTrainedConfig:
    """The base's configuration as transformers reads it, from the bytes that were hashed."""
    from transformers import AutoConfig

    with base.files.copy_to_temporary(("config.json",)) as own:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(own), trust_remote_code=False)
    config.name_or_path = str(base.folder)
    return config


def open_model(
    base: Base,
    auto_class: AutoClass,
    inspect_shell: Callable[[PreTrainedModel], None] = lambda shell: None,
    /,
    **more: Any,
) -> tuple[PreTrainedModel, set[str]]:
    """A model of transformers in float32, its weights in memory, and the names of those that the base lacks.

    Weights are read once, into the memory where they stay, and are used only when all of them had their digests.
    Weights that are lacking are made up, the same ones every time. `inspect_shell` sees the model on the meta
    device, before memory is allocated for it. Raises ArtifactError, and what `inspect_shell` and transformers raise.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = read_config(base)
    for key in [key for key in more if key != "attn_implementation"]:
        setattr(config, key, more.pop(key))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # which class an Auto class would take: it opens
        shell = auto_class.from_config(config, dtype=torch.float32, **more)  # folders alone
    inspect_shell(shell)
    widen = not base.config.get("quantization_config")
    weights: dict[str, Tensor] = {}
    for name in find_weight_files(base):
        weights |= read_tensors(base.files, name, widen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        opener: Any = type(shell)
        model, info = opener.from_pretrained(
            None,
            config=shell.config,
            state_dict=weights,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    _copy_generation_config(model, base)
    return model, set(info["missing_keys"])


def _copy_generation_config(model: PreTrainedModel, base: Base) -> None:
    """What the base says of writing goes with the model where it is saved."""
    if getattr(model, "generation_config", None) is None or not base.files.has("generation_config.json"):
        return
    from transformers import GenerationConfig

    with base.files.copy_to_temporary(("generation_config.json",)) as own:
        model.generation_config = GenerationConfig.from_pretrained(str(own))


def attention_options_of(config: Mapping[str, Any]) -> dict[str, str]:
    """What has to be said of attention to open an architecture."""
    return {"attn_implementation": "eager"} if config.get("model_type") in ("deberta", "deberta-v2") else {}


def max_positions_of(model: nn.Module) -> int | None:
    """How many tokens the model can place; where positions have a padding row (RoBERTa, MPNet) they start behind it."""
    config: Any = model.config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    behind = [part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None]
    return most - max(behind, default=0) if most and most > 0 else None
