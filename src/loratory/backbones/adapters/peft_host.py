"""Many adapters over one backbone in PEFT: attached when they are asked for, gone when nobody has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from loratory.backbones.adapters.peft_models import copy_with_shared_weights, create_lora_config, load_adapter_tensors
from loratory.errors import ArtifactError
from loratory.protocols import Adapter


class PeftHost:
    """A skeleton of the backbone in PEFT: adapters attached by digest, applied row by row in one pass.

    Adapters are held weakly: one that nobody has any more leaves before the next pass. Used by one thread at a time.
    """

    def __init__(self, model: nn.Module) -> None:
        self._base_model = model
        self._model: Any = None
        self._owners: dict[str, WeakSet[Adapter]] = {}  # by digest, the values that are the same adapter

    @torch.inference_mode(False)  # what is made here outlives the pass that asks for it
    def attach(self, adapters: Iterable[Adapter]) -> None:
        """Attach those that are not there yet."""
        from peft import PeftModel

        self.detach_unused()
        for adapter in adapters:
            if adapter.digest in self._owners:
                self._owners[adapter.digest].add(adapter)
                continue
            config = create_lora_config(adapter.config)
            first = self._model is None
            if first:
                self._model = PeftModel(copy_with_shared_weights(self._base_model), config, adapter_name=adapter.digest)
            else:
                self._model.add_adapter(adapter.digest, config)
            try:
                load_adapter_tensors(self._model, adapter, adapter.digest)
            except ArtifactError:  # its neighbours go on
                if first:
                    self._model = None
                else:
                    self._model.delete_adapter(adapter.digest)
                raise
            self._model.eval().requires_grad_(False)
            self._owners[adapter.digest] = WeakSet((adapter,))

    @torch.inference_mode(False)
    def detach_unused(self) -> None:
        """Take out those whose last owner has gone; with the last of them the skeleton goes."""
        for digest in [digest for digest, owners in self._owners.items() if not owners]:
            del self._owners[digest]
            if not self._owners:
                self._model = None
                return
            with warnings.catch_warnings():  # that another one becomes the active one, which every pass sets anyway
                warnings.simplefilter("ignore")
                self._model.delete_adapter(digest)
            self._model.requires_grad_(False)

    def __call__(self, adapters: Sequence[Adapter | None], **inputs: Any) -> Any:
        """The backbone's output with each row under its own adapter (None: the bare backbone)."""
        named = {adapter.digest: adapter for adapter in adapters if adapter}
        if not named:
            return self._base_model(**inputs)
        self.attach(named.values())
        if len(named) == 1 and None not in adapters:
            self._model.set_adapter(next(iter(named)))
            self._model.requires_grad_(False)
            return self._model(**inputs)
        return self._model(**inputs, adapter_names=[a.digest if a else "__base__" for a in adapters])
