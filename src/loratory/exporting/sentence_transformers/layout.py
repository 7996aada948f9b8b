"""A classifier with a pooled head as modules of sentence-transformers: Transformer, Pooling, Normalize, Dense."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from loratory.backbones import adapters
from loratory.backbones.loading.bases import origin_of
from loratory.errors import UnsupportedTask
from loratory.exporting.encoder_fits import EncoderFit
from loratory.predictors.heads import PooledHead, save_backbone

MODULES = (  # folder, class; names that every release since 2.0 finds
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
    ("3_Dense", "sentence_transformers.models.Dense"),
)
POOLING_KEYS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}
LOADER = "classify.py"
CARD = """---
{data}
---

# {title}

A classifier of texts ({labels}) as modules of sentence-transformers: the encoder{merged}, {pooling} pooling,
normalisation, and a dense layer whose weights are the scale times the prototypes. What `encode` gives is no embedding:
it is the logit of each label.

```python
from sentence_transformers import SentenceTransformer

logits = SentenceTransformer("FOLDER").encode(["a text"])  # one number for each label of classifier.json
```

`python classify.py "a text"` prints the label and the probabilities, at the temperature that was calibrated
({temperature:g}). Thresholds and abstention, where the fit has them, stand in `classifier.json` (`operating_point`) and
are applied by the application.

A text is cut at {max_tokens} tokens.
"""


def check_modules(fit: EncoderFit) -> None:
    """Raise UnsupportedTask for a backbone that sentence-transformers does not run as Loratory does."""
    backbone = fit.encoder.network.backbone
    if backbone.config.is_encoder_decoder:
        raise UnsupportedTask(
            f"{backbone.name} ({backbone.config.model_type}) has an encoder and a decoder: sentence-transformers reads "
            "the states of the encoder, and this fit those of the decoder",
            where="base",
            allowed="bases with one stack of layers: BERT, RoBERTa, DeBERTa, ModernBERT, Llama, Qwen and others",
            remedy="choose another base:",
        )
    if not backbone.tokenizer.tokenizer("")["input_ids"]:
        raise UnsupportedTask(
            f"the tokenizer of {backbone.name} makes no token of an empty text, and sentence-transformers then fails",
            where="base",
            allowed="a tokenizer that adds special tokens",
            remedy="choose another base:, or another format",
        )


def write_modules(folder: Path, fit: EncoderFit, manifest: Mapping[str, Any]) -> None:
    """Fill a folder with the four modules, the loader and the card. `manifest`: of the fit, for the card."""
    encoder = fit.encoder
    backbone = encoder.network.backbone.unquantized
    head: Any = encoder.network.head
    save_backbone(adapters.merge_adapter(backbone.model, encoder.network.adapter).to("cpu"), folder)
    encoder.save_tokenizer(folder)
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": kind} for place, (path, kind) in enumerate(MODULES)
    ]
    _write_json(folder / "modules.json", modules)
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": encoder.max_row_tokens, "do_lower_case": False}
    )
    _write_json(
        folder / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", "similarity_fn_name": "dot"}
    )
    _write_pooling(folder / "1_Pooling", head.pooling, backbone.width)
    (folder / "2_Normalize").mkdir()
    _write_json(folder / "2_Normalize" / "config.json", {})
    _write_dense(folder / "3_Dense", head)
    fit.write_facts(folder)
    loader = resources.files("loratory.exporting") / "static" / LOADER
    (folder / LOADER).write_bytes(loader.read_bytes())
    (folder / "README.md").write_text(_render_card(fit, manifest), encoding="utf-8")


def compute_dense(head: PooledHead) -> tuple[Tensor, Tensor]:
    """Weight float[L, D] and bias float[L] of the layer that gives the head's logits of a normalised vector."""
    with torch.no_grad():
        weight = head.log_scale.double().exp() * normalize(head.prototypes.double(), dim=-1)
    return weight.float().cpu().contiguous(), head.bias.detach().float().cpu().contiguous()


def _write_pooling(folder: Path, pooling: str, width: int) -> None:
    folder.mkdir()
    modes = {f"pooling_mode_{key}": name == pooling for name, key in POOLING_KEYS.items()}
    _write_json(folder / "config.json", {"word_embedding_dimension": width, **modes, "include_prompt": True})


def _write_dense(folder: Path, head: PooledHead) -> None:
    folder.mkdir()
    weight, bias = compute_dense(head)
    labels, width = weight.shape
    facts = {
        "in_features": width,
        "out_features": labels,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    _write_json(folder / "config.json", facts)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _render_card(fit: EncoderFit, manifest: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    encoder = fit.encoder
    origin, licence = origin_of(encoder.network.backbone.name)
    data = ModelCardData(
        base_model=origin, license=licence, library_name="sentence-transformers", tags=["loratory", "text-classifier"]
    )
    head: Any = encoder.network.head
    return CARD.format(
        data=data.to_yaml(),
        title=f"{manifest.get('contender') or 'fit'} for sentence-transformers",
        labels=f"{len(fit.output_names)} labels",
        merged=" with its LoRA adapter merged in" if encoder.network.adapter else "",
        pooling=head.pooling,
        temperature=fit.temperature,
        max_tokens=encoder.max_row_tokens,
    )
