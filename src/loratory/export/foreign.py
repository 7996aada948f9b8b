"""Take in a foreign Hugging Face or PEFT folder: merged, then base + adapter, then plain."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import digest_of, file_digest
from loratory.errors import ArtifactError
from loratory.models import adapters
from loratory.models.bases import Base, describe
from loratory.models.tokenizers import FastTokenizer
from loratory.models.trunks import TorchTrunk, positions_of
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import form_of
from loratory.predictors.heads import StockHead, fill_head
from loratory.protocols import Network


@dataclass(frozen=True)
class Found:
    """Where the weights are: a whole sequence classifier, and an adapter on it or not."""

    model: Path
    adapter: Path | None
    order: str  # merged | base + adapter | plain


def locate(folder: Path) -> Found:
    """The first of merged/, base_<L>/ + adapter/, the folder itself; raises ArtifactError."""
    if not folder.is_dir():
        raise ArtifactError("this folder does not exist", where=str(folder))
    if _is_model(folder / "merged"):
        return Found(folder / "merged", None, "merged")
    bases = [base for base in sorted(folder.glob("base_*")) if _is_model(base)]
    if (folder / "adapter" / adapters.CONFIG).is_file():
        if not bases:
            raise ArtifactError(
                "there is an adapter/ but no base_<L>/ with its base",
                where=str(folder),
                remedy="add the base it was trained on, or export merged/ where it was made",
            )
        return Found(bases[0], folder / "adapter", "base + adapter")
    if _is_model(folder):
        return Found(folder, None, "plain")
    raise ArtifactError(
        "no model found",
        where=str(folder),
        allowed="merged/, base_<L>/ + adapter/, or a model folder (config.json and model.safetensors)",
    )


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def labels_in(*folders: Path) -> tuple[str, ...]:
    """Labels from labels.json (a list, {id: label}, id2label or label2id), else config.json's id2label."""
    for folder in folders:
        if (folder / "labels.json").is_file():
            return _ordered(json.loads((folder / "labels.json").read_text(encoding="utf-8")), folder / "labels.json")
    for folder in folders:
        if (folder / "config.json").is_file():
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if config.get("id2label"):
                return _ordered(config["id2label"], folder / "config.json")
    raise ArtifactError(
        "no labels.json and no id2label", where=str(folders[0]), remedy='add labels.json: ["first", "second", ...]'
    )


def _ordered(raw: Any, file: Path) -> tuple[str, ...]:
    if isinstance(raw, dict):
        raw = raw.get("id2label", raw.get("label2id", raw))
    try:
        if isinstance(raw, list):
            return tuple(map(str, raw))
        if all(str(key).isdigit() for key in raw):
            ids = {int(key): str(label) for key, label in raw.items()}
        else:
            ids = {int(number): str(label) for label, number in raw.items()}
        return tuple(ids[i] for i in range(len(ids)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtifactError(
            "the label ids are not 0, 1, 2, ...", where=str(file), allowed='["first", "second"] or {"0": "first", ...}'
        ) from None


def take_in(folder: Path, task: Any, found: Found) -> Encoder:
    """A predictor of our own from a foreign folder; the adapter, if any, is merged. Nothing in it is executed.

    Raises ArtifactError when weights are missing or do not fit the labels.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    base = describe(str(folder), found.model)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        str(found.model),
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        num_labels=len(task.labels),
        ignore_mismatched_sizes=False,
    )
    missing = set(info["missing_keys"])
    if found.adapter is not None:
        model, filled = _with_adapter(model, found.adapter)
        missing -= filled
    if missing:
        raise ArtifactError(
            f"weights are missing: {', '.join(sorted(missing)[:4])}",
            where=str(found.model),
            allowed="a whole sequence classifier",
            remedy="a trunk without its head cannot answer; export the head too",
        )
    trunk_model = getattr(model, model.base_model_prefix)
    head = StockHead(model.config, task.labels)
    own = model.state_dict()
    fill_head(head, {name: own[name] for name in head.named()})
    digest = digest_of([base.digest, file_digest(found.adapter / adapters.WEIGHTS) if found.adapter else ""])[:16]
    described: Base = replace(base, digest=digest, kind="encoder")
    trunk = TorchTrunk(trunk_model, FastTokenizer.load(found.model, positions_of(model.config)), described)
    return Encoder(task, form_of(task), Network(trunk, None, head), trunk.tokenizer.limit, learned=0, owned=True)


def _with_adapter(model: Any, folder: Path) -> tuple[Any, set[str]]:
    """Merge the adapter through our own allowlisted reader, and put its saved modules (the head) in place."""
    from safetensors.torch import load_file

    prefix = model.base_model_prefix
    adapter = adapters.read(folder, prefix)
    if not adapter.tensors:
        adapter = adapters.read(folder)
    tensors = {
        name.removeprefix(adapters.PREFIX): t
        for name, t in load_file(folder / adapters.WEIGHTS).items()
        if ".lora_" not in name
    }
    setattr(model, prefix, adapters.merged(getattr(model, prefix), adapter))
    unknown = set(tensors) - set(model.state_dict())
    if unknown:
        raise ArtifactError(
            f"the adapter holds weights that its base lacks: {', '.join(sorted(unknown)[:3])}", where=str(folder)
        )
    model.load_state_dict(tensors, strict=False)
    return model, set(tensors)
