"""LoRA adapters as values, in PEFT's own format. The only importer of peft."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from loratory.errors import ArtifactError
from loratory.protocols import JSON, Adapter

if TYPE_CHECKING:
    from collections.abc import Iterable

# Fields of adapter_config.json that are read. Others can import code (auto_mapping, megatron_core) or change shared
# weights at load (init_lora_weights: pissa); `target_modules` as a string would be a regular expression.
ALLOWED = frozenset(
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
CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."


def digest_of_tensors(tensors: Mapping[str, Tensor], facts: JSON = None) -> str:
    """SHA-256 (16 hexadecimal digits) over names, shapes and bytes, and over the facts."""
    h = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        h.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return h.hexdigest()[:16]


def share(model: nn.Module) -> Any:
    """A second skeleton over the same weights: PEFT changes a model in place, so nobody gets the shared one."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def make(config: Mapping[str, JSON], tensors: Mapping[str, Tensor]) -> Adapter:
    """An adapter value from an allowlisted configuration and PEFT's tensors."""
    plain = {key: list(value) if isinstance(value, (tuple, set)) else value for key, value in config.items()}
    layers = plain.get("layers_to_transform")
    identity = {key: plain.get(key) for key in ("r", "lora_alpha", "use_rslora", "layers_to_transform")}
    identity["target_modules"] = sorted(plain["target_modules"])
    return Adapter(plain, dict(tensors), min(layers) if layers else 0, digest_of_tensors(tensors, identity))


def _lora_config(config: Mapping[str, JSON]) -> LoraConfig:
    return LoraConfig(**config)


def grow(model: nn.Module, config: Mapping[str, JSON]) -> Any:
    """A PeftModel over a second skeleton of `model`, its new adapter trainable; initialised from torch's generator."""
    return get_peft_model(share(model), _lora_config(config))


def taken(model: Any, config: Mapping[str, JSON]) -> Adapter:
    """The adapter that now lives in a PeftModel, as a value."""
    return make(config, {name: t.detach().cpu().clone() for name, t in get_peft_model_state_dict(model).items()})


class Host:
    """A skeleton of the trunk with guests: adapters attached by digest, applied row by row in one pass."""

    def __init__(self, model: nn.Module) -> None:
        self._bare = model
        self._model: Any = None
        self._present: set[str] = set()

    def welcome(self, adapters: Iterable[Adapter]) -> None:
        """Attach those that are not there yet."""
        for adapter in adapters:
            if adapter.digest in self._present:
                continue
            config = _lora_config(adapter.config)
            if self._model is None:
                self._model = PeftModel(share(self._bare), config, adapter_name=adapter.digest)
            else:
                self._model.add_adapter(adapter.digest, config)
            set_peft_model_state_dict(self._model, dict(adapter.tensors), adapter_name=adapter.digest)
            self._model.eval().requires_grad_(False)
            self._present.add(adapter.digest)

    def __call__(self, adapters: Sequence[Adapter | None], **inputs: Tensor) -> Any:
        """The trunk's output with each row under its own adapter (None: the bare trunk)."""
        named = {adapter.digest: adapter for adapter in adapters if adapter}
        if not named:
            return self._bare(**inputs)
        self.welcome(named.values())
        if len(named) == 1 and None not in adapters:
            self._model.set_adapter(next(iter(named)))
            self._model.requires_grad_(False)
            return self._model(**inputs)
        return self._model(**inputs, adapter_names=[a.digest if a else "__base__" for a in adapters])


def merged(model: nn.Module, adapter: Adapter | None) -> Any:
    """The model with the adapter's product added to its weights; works on a copy, never on shared weights."""
    own = copy.deepcopy(model)
    if adapter is None:
        return own
    peft = get_peft_model(own, _lora_config(adapter.config))
    set_peft_model_state_dict(peft, dict(adapter.tensors))
    return peft.merge_and_unload(safe_merge=True)


def write(
    folder: Path,
    adapter: Adapter,
    facts: Mapping[str, JSON],
    trunk_prefix: str = "",
    saved: Mapping[str, Tensor] | None = None,
) -> None:
    """PEFT's folder. With `trunk_prefix` the keys fit the task model that holds the trunk there; `saved` are its
    head's tensors, named by their modules in `facts["modules_to_save"]`.
    """
    folder.mkdir(parents=True)
    inner = f"{PREFIX}{trunk_prefix}." if trunk_prefix else PREFIX
    tensors = {inner + name.removeprefix(PREFIX): t.contiguous() for name, t in adapter.tensors.items()}
    tensors |= {PREFIX + name: t.detach().cpu().contiguous() for name, t in (saved or {}).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    extra = {
        key: facts[key]
        for key in ("modules_to_save", "task_type", "base_model_name_or_path", "revision")
        if key in facts
    }
    config = _lora_config({**adapter.config, **extra}).to_dict()  # type: ignore[no-untyped-call]
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    config["inference_mode"] = True
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def read(folder: Path, trunk_prefix: str = "") -> Adapter:
    """An adapter from PEFT's folder, through the allowlist; raises ArtifactError for anything that could run code."""
    try:
        raw = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ArtifactError("no readable adapter_config.json", where=str(folder)) from problem
    if not (folder / WEIGHTS).is_file():
        raise ArtifactError("no adapter_model.safetensors (pickled adapters are never loaded)", where=str(folder))
    check(raw, folder)
    tensors = load_file(folder / WEIGHTS)
    inner = f"{PREFIX}{trunk_prefix}." if trunk_prefix else PREFIX
    own = {
        PREFIX + name.removeprefix(inner): t
        for name, t in tensors.items()
        if name.startswith(inner) and ".lora_" in name
    }
    config = {key: raw[key] for key in sorted(ALLOWED) if raw.get(key) not in (None, [], "")}
    config["target_modules"] = sorted(config["target_modules"])
    return make(config, own)


def check(config: Mapping[str, JSON], folder: Path) -> None:
    """Refuse what is no plain LoRA: other methods, code-importing fields, patterns, weight-changing initialisation."""
    where = str(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ArtifactError(f"peft_type is {config.get('peft_type')!r}", where=where, allowed="LORA")
    for key in ("auto_mapping", "megatron_config", "use_dora", "alora_invocation_tokens", "corda_config", "eva_config"):
        if config.get(key):
            raise ArtifactError(f"{key} is set", where=where, allowed="a plain LoRA adapter without it")
    if not isinstance(config.get("target_modules"), list) or not config["target_modules"]:
        raise ArtifactError(
            "target_modules is no list of names", where=where, allowed="a list (a string would be a pattern)"
        )
    if config.get("init_lora_weights") not in (True, False, None, "gaussian"):
        raise ArtifactError(
            f"init_lora_weights is {config['init_lora_weights']!r}: it changes the base's weights",
            where=where,
            allowed="true, false, gaussian",
            remedy="convert it with peft: path_initial_model_for_weight_conversion",
        )
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            raise ArtifactError(f"{key} is set", where=where, allowed="one rank and alpha for all modules")
