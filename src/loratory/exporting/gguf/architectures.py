"""Causal architectures that GGUF files hold: their numbers, and the order of rotary weights.

Shapes: H heads, K halves of a head, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from loratory.errors import UnsupportedTask
from loratory.exporting.encoder_fits import OTHER_FORMATS

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GgufArchitecture:
    """What llama.cpp calls an architecture, and how its weights lie there."""

    name: str
    config_class: str  # of transformers
    pairs_neighbours: bool  # rotary positions turn neighbouring numbers, where transformers turns the two halves


ARCHITECTURES = {
    "llama": GgufArchitecture("llama", "LlamaConfig", pairs_neighbours=True),
    "qwen2": GgufArchitecture("qwen2", "Qwen2Config", pairs_neighbours=False),
    "qwen3": GgufArchitecture("qwen3", "Qwen3Config", pairs_neighbours=False),
    "smollm3": GgufArchitecture("smollm3", "SmolLM3Config", pairs_neighbours=True),
}
NO_ROPE_INTERVAL = 4  # llama.cpp gives every fourth layer of SmolLM3 no rotary positions, whatever a file says


@dataclass(frozen=True)
class GgufNumbers:
    """The numbers of a model that its weights do not show."""

    context: int
    width: int
    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_width: int
    epsilon: float
    rope_theta: float
    vocabulary: int
    tied: bool
    attention_bias: bool


def check_architecture(config: PreTrainedConfig, name: str) -> GgufArchitecture:
    """The architecture of a configuration; raises UnsupportedTask where llama.cpp would compute something else."""
    problem = _find_problem(config)
    if problem is not None:
        raise UnsupportedTask(
            f"{name} cannot be written as GGUF: {problem}",
            where="base",
            allowed=f"{', '.join(ARCHITECTURES)} with plain rotary positions and SiLU",
            remedy=f"convert merged/ with llama.cpp's own converter; or {OTHER_FORMATS}",
        )
    return ARCHITECTURES[config.model_type]


def _find_problem(config: Any) -> str | None:
    if config.model_type not in ARCHITECTURES:
        return f"its architecture, {config.model_type}, is not written by this version"
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        return f"its rotary positions are scaled ({rope['rope_type']})"
    if float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        return "only a part of each head has rotary positions"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if getattr(config, "use_sliding_window", False):
        return "its layers look back over a window"
    layers = getattr(config, "no_rope_layers", None)  # of SmolLM3: 1 where a layer has rotary positions
    if layers and list(layers) != [int((k + 1) % NO_ROPE_INTERVAL != 0) for k in range(config.num_hidden_layers)]:
        return "other layers than every fourth have no rotary positions"
    if getattr(config, "attention_bias", False) and config.model_type != "llama":
        return "its attention has biases"
    if getattr(config, "mlp_bias", False):
        return "its feed-forward layers have biases"
    return None


def read_numbers(config: Any) -> GgufNumbers:
    """From a configuration of transformers."""
    heads = int(config.num_attention_heads)
    return GgufNumbers(
        int(config.max_position_embeddings),
        int(config.hidden_size),
        int(config.num_hidden_layers),
        int(config.intermediate_size),
        heads,
        int(config.num_key_value_heads),
        int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        float(config.rms_norm_eps),
        float(config.rope_parameters["rope_theta"]),
        int(config.vocab_size),
        bool(config.tie_word_embeddings),
        bool(getattr(config, "attention_bias", False)),
    )


def pair_neighbours(weight: Floats, heads: int) -> Floats:
    """Rows (or a bias) of a query or key projection from halves [H, 2, K] to neighbours [H, K, 2]."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)


def split_halves(weight: Floats, heads: int) -> Floats:
    """What `pair_neighbours` was given."""
    neighbours = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(neighbours.swapaxes(1, 2)).reshape(weight.shape)


def is_rotary(name: str) -> bool:
    """Whether a tensor of transformers is a weight or bias of queries or keys."""
    return name.rpartition(".")[0].endswith(("q_proj", "k_proj"))
