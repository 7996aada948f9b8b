"""What differs from one architecture to the next: LoRA's target modules and where the layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from loratory.errors import BaseModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

BERT_MODULES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
LLAMA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
DEBERTA_MODULES = (
    "query_proj",
    "key_proj",
    "value_proj",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
GPT_MODULES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
TARGET_MODULES: Mapping[str, tuple[str, ...]] = {
    "bert": BERT_MODULES,
    "roberta": BERT_MODULES,
    "xlm-roberta": BERT_MODULES,
    "camembert": BERT_MODULES,
    "electra": BERT_MODULES,
    "deberta": ("in_proj", "attention.output.dense", "intermediate.dense", "output.dense"),
    "deberta-v2": DEBERTA_MODULES,
    "modernbert": ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
    "distilbert": (
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
    ),
    "llama": LLAMA_MODULES,
    "qwen2": LLAMA_MODULES,
    "qwen3": LLAMA_MODULES,
    "mistral": LLAMA_MODULES,
    "gemma": LLAMA_MODULES,
    "gemma2": LLAMA_MODULES,
    "gemma3_text": LLAMA_MODULES,
    "granite": LLAMA_MODULES,
    "smollm3": LLAMA_MODULES,
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "gpt2": GPT_MODULES,
    "openai-gpt": GPT_MODULES,
}

REMEDY = "choose another base:, or another regime (head, full)"
UNMIXED_ARCHITECTURES = frozenset(
    {"deberta", "deberta-v2"}
)  # their projections also run on one row of positions for all texts


def sliding_window_of(config: PreTrainedConfig) -> int | None:
    """How many tokens a layer looks at, where there is one that does not look back to the beginning."""
    text = config.get_text_config()
    sizes = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size"))
    return min((size for size in sizes if size), default=None)


def find_layers(model: nn.Module, depth: int) -> tuple[str, nn.ModuleList]:
    """The dotted name and the list of the transformer layers; raises BaseModelError where there is no such list."""
    from torch import nn

    found = [
        (name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth
    ]
    if not found:
        raise BaseModelError(
            f"no list of {depth} layers in {type(model).__name__}: it has none, or its layers share their weights",
            allowed="an architecture of stacked layers",
            remedy=REMEDY,
        )
    return min(found, key=lambda pair: pair[0].count("."))


def has_layer_list(model: nn.Module, depth: int) -> bool:
    """Whether there is a list of the layers: ALBERT runs one layer many times."""
    try:
        find_layers(model, depth)
    except BaseModelError:
        return False
    return True


def find_target_modules(model: nn.Module, model_type: str, depth: int) -> tuple[tuple[str, ...], bool]:
    """LoRA's target modules, and whether the architecture is a known one.

    Where it is not, every linear layer inside the stacked layers is a target, and the caller says so aloud.
    """
    _, layers = find_layers(model, depth)
    if model_type in TARGET_MODULES:
        return TARGET_MODULES[model_type], True
    found = tuple(sorted({inner for layer in layers for inner in _find_linear_layers(layer)}))
    if not found:
        raise BaseModelError(
            f"the layers of {type(model).__name__} hold no linear layers that LoRA could adapt",
            allowed=", ".join(TARGET_MODULES),
            remedy=REMEDY,
        )
    return found, False


def find_unknown_targets(model: nn.Module, targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the wanted target modules that no linear layer answers to, and the names that there are."""
    linears = _find_linear_layers(model)
    known = sorted({name.rpartition(".")[2] for name in linears})
    return [w for w in targets if not any(name == w or name.endswith(f".{w}") for name in linears)], known


def has_transposed_weights(model: nn.Module, targets: Sequence[str]) -> bool:
    """Whether these target modules hold their weights as [I, O]: GPT-2's Conv1D, PEFT's `fan_in_fan_out`."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(part, Conv1D) and any(name == t or name.endswith(f".{t}") for t in targets)
        for name, part in model.named_modules()
    )


def _find_linear_layers(layer: nn.Module) -> list[str]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return [name for name, part in layer.named_modules() if isinstance(part, (nn.Linear, Conv1D))]
