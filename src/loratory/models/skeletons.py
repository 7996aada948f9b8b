"""What an architecture can do, known from its configuration alone: trunks without weights, and trunks of few layers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from loratory.errors import BaseModelError
from loratory.models.bases import Base
from loratory.models.tokenizers import FastTokenizer
from loratory.models.trunks import TorchTrunk, attention_of, opener_of, positions_of, read_configuration
from loratory.models.writing import voice_of

WORDS = 64  # of a vocabulary that is only tried
SHALLOW = 2  # layers of a model that is really computed
MOST_WEIGHTS = 300_000_000  # of one that is computed: 1.2 GB


def skeleton(base: Base) -> TorchTrunk:
    """A trunk of the base's shape on the meta device; no weight is read. Raises BaseModelError where it cannot be one.

    Target modules, layers, adapters and the tokenizer are those of the trunk; what needs a number fails.
    """
    model = _built(base, configuration(base), "meta")
    trunk = TorchTrunk(model, FastTokenizer.load(base.files, positions_of(model)), base, "meta")
    _read(trunk)
    return trunk


def shallow(trunk: TorchTrunk) -> TorchTrunk | None:
    """A trunk of the same architecture, two layers deep, with random weights; None where that is still too large."""
    config = shorten(trunk.config)
    try:
        with torch.device("meta"):
            weights = sum(p.numel() for p in opener_of(trunk.base).from_config(config).parameters())
        if weights > MOST_WEIGHTS:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return TorchTrunk(_built(trunk.base, config, "cpu"), trunk.tokenizer, trunk.base)
    except Exception:  # an architecture that cannot be built two layers deep is tried as it is, by the fit
        return None


def speaks(trunk: TorchTrunk) -> bool:
    """Whether the architecture's output layer is one that we know, tried on two layers and a few words of it."""
    config = shorten(trunk.config)
    text = config.get_text_config()
    text.vocab_size = min(int(text.vocab_size), WORDS)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return voice_of(_built(trunk.base, config, "cpu")) is not None
    except Exception:  # it cannot be built so: the fit will see
        return True


def configuration(base: Base) -> Any:
    """The base's configuration as transformers reads it; raises BaseModelError."""
    try:
        return read_configuration(base)
    except Exception as problem:
        raise _unbuilt(base, problem) from problem


def shorten(config: Any) -> Any:
    """A copy of a configuration with two layers at most; lists that name every layer are cut with them."""
    own = deepcopy(config)
    text = own.get_text_config()
    depth = int(text.num_hidden_layers)
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth > SHALLOW:
            setattr(text, name, value[:SHALLOW])
    text.num_hidden_layers = min(depth, SHALLOW)
    return own


def _built(base: Base, config: Any, device: str) -> Any:
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.device(device):
            return opener_of(base).from_config(config, dtype=torch.float32, **attention_of(base.config)).eval()
    except Exception as problem:
        raise _unbuilt(base, problem) from problem


def _unbuilt(base: Base, problem: Exception) -> BaseModelError:
    return BaseModelError(
        f"the base {base.name!r} cannot be opened: {str(problem).splitlines()[0][:200] if str(problem) else problem!r}",
        where=str(base.folder / "config.json"),
        allowed="a model of texts that transformers opens without code of its own",
        remedy="choose another base:",
    )


def _read(trunk: TorchTrunk) -> None:
    """Raise BaseModelError where the model does not give a state of its width for every token of a text alone.

    Some architectures look into their numbers, which are not there; what they do is then seen by the fit.
    """
    ids = torch.zeros(1, 3, dtype=torch.long, device="meta")
    try:
        output = trunk.model(input_ids=ids)
    except (NotImplementedError, RuntimeError):
        return
    except Exception as problem:
        raise _unread(trunk, str(problem).splitlines()[0][:200] if str(problem) else repr(problem)) from problem
    states = getattr(output, "last_hidden_state", None)
    if trunk.kind != "nli" and (states is None or tuple(states.shape) != (1, 3, trunk.width)):
        raise _unread(trunk, f"it gives {tuple(states.shape)[1:] if states is not None else 'no states'} for 3 tokens")


def _unread(trunk: TorchTrunk, problem: str) -> BaseModelError:
    kind = "an encoder-decoder" if trunk.config.is_encoder_decoder else trunk.config.model_type
    return BaseModelError(
        f"the base {trunk.name!r} is {kind} that does not read a text by itself ({problem})",
        where=str(trunk.base.folder / "config.json"),
        allowed="an encoder (BERT, MiniLM, DeBERTa, ...) or a decoder (Llama, Qwen, ...)",
        remedy="choose another base:, such as minilm",
    )
