"""What an architecture can do, known from its configuration alone: backbones without weights, and backbones of
few layers.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from loratory.backbones.forward.causal_backbone import create_backbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.generation.lm_head import find_lm_head
from loratory.backbones.loading.bases import Base
from loratory.backbones.loading.model_loader import (
    attention_options_of,
    auto_class_of,
    max_positions_of,
    read_config,
)
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.errors import BaseModelError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PROBE_VOCABULARY_SIZE = 64  # of a vocabulary that is only tried
SHALLOW_LAYERS = 2  # layers of a model that is really computed
MAX_SHALLOW_WEIGHTS = 300_000_000  # of one that is computed: 1.2 GB


def load_meta_backbone(base: Base) -> EncoderBackbone:
    """A backbone of the base's shape on the meta device; no weight is read. Raises BaseModelError.

    Target modules, layers, adapters and the tokenizer are those of the backbone; what needs a number fails.
    """
    model = _build_model(base, load_config(base), "meta")
    backbone = create_backbone(model, FastTokenizer.load(base.files, max_positions_of(model)), base, "meta")
    _check_readable(backbone)
    return backbone


def create_shallow_backbone(backbone: EncoderBackbone) -> EncoderBackbone | None:
    """A backbone of the same architecture, two layers deep, with random weights; None where that is still too large."""
    config = shorten_config(backbone.config)
    try:
        with torch.device("meta"):
            weights = sum(p.numel() for p in auto_class_of(backbone.base).from_config(config).parameters())
        if weights > MAX_SHALLOW_WEIGHTS:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_backbone(_build_model(backbone.base, config, "cpu"), backbone.tokenizer, backbone.base)
    except Exception:  # an architecture that cannot be built two layers deep is tried as it is, by the fit
        return None


def has_known_lm_head(backbone: EncoderBackbone) -> bool:
    """Whether the architecture's output layer is one that we know, tried on two layers and a few words of it."""
    config = shorten_config(backbone.config)
    text = config.get_text_config()
    text.vocab_size = min(int(text.vocab_size), PROBE_VOCABULARY_SIZE)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return find_lm_head(_build_model(backbone.base, config, "cpu")) is not None
    except Exception:  # it cannot be built so: the fit will see
        return True


def load_config(base: Base) -> PreTrainedConfig:
    """The base's configuration as transformers reads it; raises BaseModelError."""
    try:
        return read_config(base)
    except Exception as problem:
        raise _cannot_build_error(base, problem) from problem


def shorten_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of a configuration with two layers at most; lists that name every layer are cut with them."""
    own = deepcopy(config)
    text = own.get_text_config()
    depth = int(text.num_hidden_layers)
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth > SHALLOW_LAYERS:
            setattr(text, name, value[:SHALLOW_LAYERS])
    text.num_hidden_layers = min(depth, SHALLOW_LAYERS)
    return own


def _build_model(base: Base, config: PreTrainedConfig, device: str) -> PreTrainedModel:
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.device(device):
            options = attention_options_of(base.config)
            model = auto_class_of(base).from_config(config, dtype=torch.float32, **options)
            return model.eval()  # type: ignore[no-untyped-call,no-any-return]
    except Exception as problem:
        raise _cannot_build_error(base, problem) from problem


def _cannot_build_error(base: Base, problem: Exception) -> BaseModelError:
    return BaseModelError(
        f"the base {base.name!r} cannot be opened: {first_line(problem)}",
        where=str(base.folder / "config.json"),
        allowed="a model of texts that transformers opens without code of its own",
        remedy="choose another base:",
    )


def _check_readable(backbone: EncoderBackbone) -> None:
    """Raise BaseModelError where the model does not give a state of its width for every token of a text alone.

    Some architectures look into their numbers, which are not there; what they do is then seen by the fit.
    """
    ids = torch.zeros(1, 3, dtype=torch.long, device="meta")
    try:
        output = backbone.model(input_ids=ids)
    except (NotImplementedError, RuntimeError):
        return
    except Exception as problem:
        raise _unreadable_error(backbone, first_line(problem)) from problem
    states = getattr(output, "last_hidden_state", None)
    if backbone.kind != "nli" and (states is None or tuple(states.shape) != (1, 3, backbone.width)):
        raise _unreadable_error(
            backbone, f"it gives {tuple(states.shape)[1:] if states is not None else 'no states'} for 3 tokens"
        )


def _unreadable_error(backbone: EncoderBackbone, problem: str) -> BaseModelError:
    kind = "an encoder-decoder" if backbone.config.is_encoder_decoder else backbone.config.model_type
    return BaseModelError(
        f"the base {backbone.name!r} is {kind} that does not read a text by itself ({problem})",
        where=str(backbone.base.folder / "config.json"),
        allowed="an encoder (BERT, MiniLM, DeBERTa, ...) or a decoder (Llama, Qwen, ...)",
        remedy="choose another base:, such as minilm",
    )
