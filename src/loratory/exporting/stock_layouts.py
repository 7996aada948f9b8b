"""`adapter/`, `base_<L>/`, `merged/` and a model card beside the fit that ships."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from loratory.backbones import adapters
from loratory.exporting.model_cards import render_fit_card, render_stock_card
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import (
    StockHead,
    build_labelled_config,
    build_task_model,
    collect_head_tensors,
    save_backbone,
)
from loratory.predictors.predictor_files import build_label_maps
from loratory.protocols import Predictor

ModelT = TypeVar("ModelT", bound=nn.Module)


def write_stock_layouts(folder: Path, predictor: Predictor, facts: Mapping[str, Any]) -> list[str]:
    """Fill a staging folder with what belongs beside a shipped fit; returns the names written. facts go on the card."""
    card_text = render_fit_card(predictor, facts)
    (folder / "README.md").write_text(card_text, encoding="utf-8")
    if isinstance(predictor, Decoder) and predictor.network.adapter is not None:
        write_merged_causal(folder / "merged", predictor)
        return ["README.md", "merged"]
    if not isinstance(predictor, Encoder) or predictor.network.adapter is None:
        return ["README.md"]
    base = f"base_{len(predictor.output_adapter.list_output_names(predictor.task))}"
    write_stock_encoder(folder / base, predictor, merge=False)
    write_stock_encoder(folder / "merged", predictor, merge=True)
    return ["README.md", base, "merged"]


def write_merged_causal(folder: Path, predictor: Decoder) -> None:
    """A causal model with its adapter merged in, in 16 bits as such bases are published; opens in AutoModelForCausalLM.

    The merge is done in float32, from the full-precision base, and rounded once.
    """
    backbone = predictor.network.backbone.unquantized
    whole = copy.deepcopy(backbone.full_model).to("cpu")
    merged = adapters.merge_adapter(backbone.model, predictor.network.adapter).to("cpu")
    whole.base_model.load_state_dict(merged.state_dict())
    whole.to(torch.bfloat16).save_pretrained(folder)
    backbone.tokenizer.save(folder)


def write_stock_encoder(folder: Path, predictor: Encoder, merge: bool) -> None:
    """A folder of stock transformers: backbone (adapter merged in or not), tokenizer, names of the outputs, and head.

    With a head that a stock class has it opens wholly in that class. With another (pooled, or a layer on every token of
    an architecture whose own is another) it is a backbone for AutoModel whose config.json speaks of no outputs, and the
    head lies beside it as head.safetensors. head.json says how texts are read, README.md how the folder is opened.
    """
    backbone = predictor.network.backbone.unquantized
    form, head = predictor.output_adapter, predictor.stock_head
    names = form.list_output_names(predictor.task)
    model = adapters.merge_adapter(backbone.model, predictor.network.adapter if merge else None).to("cpu")
    config = build_labelled_config(backbone.config, names, backbone.tokenizer.pad_token_id, form.stock_names.per_token)
    if head is not None:
        with torch.random.fork_rng(devices=[]):
            _load_stock_weights(build_task_model(config, form.stock_names.per_token), head, model).save_pretrained(
                folder
            )
    else:
        save_backbone(model, folder)
    predictor.save_tokenizer(folder)
    (folder / "README.md").write_text(render_stock_card(predictor, folder.name, merge), encoding="utf-8")
    (folder / "labels.json").write_text(
        json.dumps(build_label_maps(names), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if merge:
        predictor.save_head(folder)


def _load_stock_weights(whole: ModelT, head: StockHead, backbone: nn.Module) -> ModelT:
    """The stock classifier with the backbone's and the head's weights; the backbone may have a pooler that it lacks."""
    tensors = collect_head_tensors(head)
    given = {f"{head.prefix}.{name}": t for name, t in backbone.state_dict().items()} | dict(tensors)
    missing = whole.load_state_dict(given, strict=False).missing_keys
    assert not missing, f"no weights for {missing}"
    return whole
