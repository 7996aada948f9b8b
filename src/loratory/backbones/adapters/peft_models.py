"""Adapters in models of PEFT: attached to learn, loaded, taken out again, merged into the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from loratory.backbones.adapters.adapter_values import create_adapter
from loratory.errors import ArtifactError, BaseModelError, first_line
from loratory.protocols import JSON, Adapter

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copy_with_shared_weights(model: ModuleT) -> ModuleT:
    """A second skeleton over the same weights: PEFT changes a model in place, so nobody gets the shared one."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def create_lora_config(config: Mapping[str, JSON]) -> LoraConfig:
    """PEFT's own configuration of these fields."""
    from peft import LoraConfig  # peft takes seconds to import: it is, where there is an adapter

    return LoraConfig(**config)


def attach_trainable_adapter(model: nn.Module, config: Mapping[str, JSON], start: Adapter | None = None) -> PeftModel:
    """A PeftModel over a second skeleton of `model`, its new adapter trainable: it begins with the weights of `start`,
    else as torch's generator draws them.

    Raises BaseModelError for what PEFT does not adapt, ArtifactError where `start` does not fit.
    """
    from peft import get_peft_model

    try:
        made = get_peft_model(copy_with_shared_weights(model), create_lora_config(config))
        if start is not None:
            load_adapter_tensors(made, start)
        return made
    except ValueError as problem:
        raise BaseModelError(
            f"LoRA cannot be put on {type(model).__name__}: {first_line(problem)}",
            allowed="linear layers whose weights nobody else reads",
            remedy="name others in lora: targets, or choose another base:, or another regime (head, full)",
        ) from problem


def extract_adapter(model: PeftModel, config: Mapping[str, JSON]) -> Adapter:
    """The adapter that now lives in a PeftModel, as a value."""
    return create_adapter(config, {name: t.detach().cpu().clone() for name, t in _read_adapter_tensors(model).items()})


def merge_adapter(model: nn.Module, adapter: Adapter | None) -> Any:
    """The model with the adapter's product added to its weights; works on a copy, never on shared weights."""
    own = copy.deepcopy(model)
    if adapter is None:
        return own
    from peft import get_peft_model

    peft = get_peft_model(own, create_lora_config(adapter.config))
    load_adapter_tensors(peft, adapter)
    return peft.merge_and_unload(safe_merge=True)


def _read_adapter_tensors(model: PeftModel, name: str = "default") -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return found


def load_adapter_tensors(model: PeftModel, adapter: Adapter, name: str = "default") -> None:
    """Put an adapter's weights in their places; raises ArtifactError when one has no place, or a place no weight."""
    from peft import set_peft_model_state_dict

    check_shapes(adapter, {key: t.shape for key, t in _read_adapter_tensors(model, name).items()})
    set_peft_model_state_dict(model, dict(adapter.tensors), adapter_name=name)


def check_shapes(adapter: Adapter, expected: Mapping[str, torch.Size]) -> None:
    """Raise ArtifactError where an adapter's tensors are not those of these names and shapes."""
    given = {key: t.shape for key, t in adapter.tensors.items()}
    if wrong := sorted(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key)):
        raise ArtifactError(
            f"the adapter does not fit its base: {wrong[0]} is {_format_shape(given.get(wrong[0]))} "
            f"where the base has {_format_shape(expected.get(wrong[0]))}",
            where=f"adapter {adapter.digest}",
            remedy="use the base that it was trained on",
        )


def _format_shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))
