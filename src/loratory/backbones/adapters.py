"""LoRA adapters as values, in PEFT's own format. The only importer of peft."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.loading.bases import name_foreign_weights, suggest_conversion
from loratory.backbones.loading.weights import read_tensors
from loratory.backbones.lowrank import LowRankLinear
from loratory.errors import ArtifactError, BaseModelError, first_line
from loratory.protocols import JSON, Adapter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peft import LoraConfig, PeftModel
    from peft.tuners.lora import Linear as LoraLinear

ModuleT = TypeVar("ModuleT", bound=nn.Module)
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
MODEL_CARD = """---
{data}
---

# LoRA adapter

It opens in stock PEFT over its base, here from the folder above:

```python
from peft import PeftModel
from transformers import {opener}

model = PeftModel.from_pretrained({opener}.from_pretrained("{base}"), "adapter")
```
{lacks}
Scores, labels and digests are in the folder above, which `loratory predict FOLDER "some text"` opens whole.
"""
HEAD_NOTE = """
It gives the states of a backbone. No stock class has the head that answers from them (`head.safetensors`), so stock
classifiers cannot answer with it.
"""
CONFIG_FILE, WEIGHTS_FILE, KEY_PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."


def digest_of_tensors(tensors: Mapping[str, Tensor], facts: JSON = None) -> str:
    """SHA-256 (16 hexadecimal digits) over names, shapes and bytes, and over the facts."""
    h = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        h.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()[:16]


def copy_with_shared_weights(model: ModuleT) -> ModuleT:
    """A second skeleton over the same weights: PEFT changes a model in place, so nobody gets the shared one."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def create_adapter(config: Mapping[str, JSON], tensors: Mapping[str, Tensor]) -> Adapter:
    """An adapter value from an allowlisted configuration and PEFT's tensors."""
    plain = {key: list(value) if isinstance(value, (tuple, set)) else value for key, value in config.items()}
    layers = plain.get("layers_to_transform")
    if isinstance(layers, int):
        layers = plain["layers_to_transform"] = [layers]
    identity = {key: plain.get(key) for key in ("r", "lora_alpha", "use_rslora", "layers_to_transform")}
    identity["target_modules"] = sorted(plain["target_modules"])
    return Adapter(plain, dict(tensors), min(layers) if layers else 0, digest_of_tensors(tensors, identity))


def _lora_config(config: Mapping[str, JSON]) -> LoraConfig:
    from peft import LoraConfig  # peft takes seconds to import: it is, where there is an adapter

    return LoraConfig(**config)


def attach_trainable_adapter(model: nn.Module, config: Mapping[str, JSON], start: Adapter | None = None) -> PeftModel:
    """A PeftModel over a second skeleton of `model`, its new adapter trainable: it begins with the weights of `start`,
    else as torch's generator draws them.

    Raises BaseModelError for what PEFT does not adapt, ArtifactError where `start` does not fit.
    """
    from peft import get_peft_model

    try:
        made = get_peft_model(copy_with_shared_weights(model), _lora_config(config))
        if start is not None:
            _load_adapter_tensors(made, start)
        return made
    except ValueError as problem:
        raise BaseModelError(
            f"LoRA cannot be put on {type(model).__name__}: {first_line(problem)}",
            allowed="linear layers whose weights nobody else reads",
            remedy="name others in lora: targets, or choose another base:, or another regime (head, full)",
        ) from problem


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


def extract_adapter(model: PeftModel, config: Mapping[str, JSON]) -> Adapter:
    """The adapter that now lives in a PeftModel, as a value."""
    return create_adapter(config, {name: t.detach().cpu().clone() for name, t in _read_adapter_tensors(model).items()})


def _read_adapter_tensors(model: PeftModel, name: str = "default") -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return found


def _load_adapter_tensors(model: PeftModel, adapter: Adapter, name: str = "default") -> None:
    """Put an adapter's weights in their places; raises ArtifactError when one has no place, or a place no weight."""
    from peft import set_peft_model_state_dict

    _check_shapes(adapter, {key: t.shape for key, t in _read_adapter_tensors(model, name).items()})
    set_peft_model_state_dict(model, dict(adapter.tensors), adapter_name=name)


def _check_shapes(adapter: Adapter, expected: Mapping[str, torch.Size]) -> None:
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


def collect_lora_weights(model: nn.Module, adapter: Adapter) -> dict[str, tuple[Tensor, Tensor, float]] | None:
    """By linear layer of `model` the A [R, I], B [O, R] and scale of an adapter; None where it needs PEFT's own layers.

    Raises ArtifactError where the adapter does not fit.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    config = _lora_config(adapter.config)
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
    _check_shapes(adapter, wanted)
    scale = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    given = adapter.tensors
    return {
        name: (given[f"{KEY_PREFIX}{name}.lora_A.weight"], given[f"{KEY_PREFIX}{name}.lora_B.weight"], scale)
        for name in layers
    }


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
            config = _lora_config(adapter.config)
            first = self._model is None
            if first:
                self._model = PeftModel(copy_with_shared_weights(self._base_model), config, adapter_name=adapter.digest)
            else:
                self._model.add_adapter(adapter.digest, config)
            try:
                _load_adapter_tensors(self._model, adapter, adapter.digest)
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


def merge_adapter(model: nn.Module, adapter: Adapter | None) -> Any:
    """The model with the adapter's product added to its weights; works on a copy, never on shared weights."""
    own = copy.deepcopy(model)
    if adapter is None:
        return own
    from peft import get_peft_model

    peft = get_peft_model(own, _lora_config(adapter.config))
    _load_adapter_tensors(peft, adapter)
    return peft.merge_and_unload(safe_merge=True)


def write_adapter(
    folder: Path,
    adapter: Adapter,
    facts: Mapping[str, JSON],
    backbone_prefix: str = "",
    saved_modules: Mapping[str, Tensor] | None = None,
) -> None:
    """PEFT's folder. With `backbone_prefix` the keys fit the task model that holds the backbone there; `saved_modules`
    are its head's tensors, named by their modules in `facts["modules_to_save"]`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inner = f"{KEY_PREFIX}{backbone_prefix}." if backbone_prefix else KEY_PREFIX
    tensors = {inner + name.removeprefix(KEY_PREFIX): t.contiguous() for name, t in adapter.tensors.items()}
    tensors |= {KEY_PREFIX + name: t.detach().cpu().contiguous() for name, t in (saved_modules or {}).items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    extra = {
        key: facts[key]
        for key in ("modules_to_save", "task_type", "base_model_name_or_path", "revision")
        if key in facts
    }
    config = _lora_config({**adapter.config, **extra}).to_dict()  # type: ignore[no-untyped-call]
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    config["inference_mode"] = True
    (folder / CONFIG_FILE).write_text(
        json.dumps(config, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(_render_card(facts), encoding="utf-8")


def _render_card(facts: Mapping[str, JSON]) -> str:
    """The model card that PEFT folders carry; the evidence is on the card of the folder above."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=facts.get("base_model"),
        license=facts.get("license"),
        library_name="peft",
        pipeline_tag=facts.get("pipeline_tag"),
        tags=["lora", "loratory"],
    )
    opener = facts.get("opener", "AutoModel")
    base = facts.get("base_model_name_or_path") or "base"
    return MODEL_CARD.format(
        data=data.to_yaml(), opener=opener, base=base, lacks=HEAD_NOTE if opener == "AutoModel" else ""
    )


def read_adapter(source: Path | VerifiedFiles, backbone_prefix: str = "") -> Adapter:
    """An adapter from PEFT's folder, through the allowlist; raises ArtifactError for anything that could run code."""
    files = open_files(source)
    folder = files.folder
    if not files.has(CONFIG_FILE):
        raise ArtifactError("no readable adapter_config.json", where=str(folder))
    raw = files.read_json(CONFIG_FILE)
    if not isinstance(raw, dict):
        raise ArtifactError("no readable adapter_config.json", where=str(folder))
    if not files.has(WEIGHTS_FILE):
        raise ArtifactError(
            f"no adapter_model.safetensors{name_foreign_weights(folder)} (pickled adapters are never loaded)",
            where=str(folder),
            remedy=suggest_conversion(folder, {}),
        )
    check_adapter_config(raw, folder)
    tensors = read_tensors(files, WEIGHTS_FILE)
    inner = f"{KEY_PREFIX}{backbone_prefix}." if backbone_prefix else KEY_PREFIX
    own = {
        KEY_PREFIX + name.removeprefix(inner): t
        for name, t in tensors.items()
        if name.startswith(inner) and ".lora_" in name
    }
    if not own:
        raise ArtifactError(
            "it holds no LoRA weights", where=str(folder / WEIGHTS_FILE), allowed=f"names like {inner}..."
        )
    config = {key: raw[key] for key in sorted(ALLOWED_FIELDS) if raw.get(key) not in (None, [], "")}
    config["target_modules"] = sorted(config["target_modules"])
    return create_adapter(config, own)


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
