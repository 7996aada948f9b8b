"""An adapter's folder, as stock PEFT writes and opens it: two files and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.adapters.adapter_fields import ALLOWED_FIELDS, CONFIG_FILE, check_adapter_config
from loratory.backbones.adapters.adapter_values import KEY_PREFIX, create_adapter
from loratory.backbones.adapters.peft_models import create_lora_config
from loratory.backbones.loading.bases import name_foreign_weights, suggest_conversion
from loratory.backbones.loading.weights import read_tensors
from loratory.errors import ArtifactError
from loratory.protocols import JSON, Adapter

WEIGHTS_FILE = "adapter_model.safetensors"
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
    config = create_lora_config({**adapter.config, **extra}).to_dict()  # type: ignore[no-untyped-call]
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
