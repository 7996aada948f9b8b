"""Faults of an encoder's weights and of its config.json: other states for the same ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from planted_faults.faults import WEIGHTS, PlantedFault
from planted_faults.folders import ExportedFolder

LAYER = re.compile(r"(?:encoder\.layer|transformer\.layer)\.(\d+)\.")
Tensors = dict[str, Tensor]


def find_base(folder: ExportedFolder) -> str | None:
    """The base's weights, which lie beside the merged ones."""
    found = sorted(folder.path.glob("base_*/model.safetensors"))
    return found[0].relative_to(folder.path).as_posix() if found else None


def has_base(folder: ExportedFolder) -> bool:
    """Whether what the adapter did can be told from the files."""
    return find_base(folder) is not None


def mix_merge(
    weight: float, keep: Callable[[str, int], bool] = lambda name, layers: True
) -> Callable[[ExportedFolder], None]:
    """Another share of the adapter's update in the merged weights: 0 is none, 1 is right, 2 is twice."""

    def plant(folder: ExportedFolder) -> None:
        base_name = find_base(folder)
        assert base_name is not None
        base = folder.read_tensors(base_name)
        with folder.edit_tensors(folder.model) as merged:
            layers = count_layers(merged)
            for name, tensor in merged.items():
                if LAYER.search(name) and name in base and keep(name, layers) and not torch.equal(tensor, base[name]):
                    merged[name] = base[name] + weight * (tensor - base[name])

    return plant


def count_layers(tensors: Tensors) -> int:
    """Encoder layers among the weights."""
    return 1 + max(int(found[1]) for name in tensors if (found := LAYER.search(name)))


def is_last_layer(name: str, layers: int) -> bool:
    """Whether a weight is one of the last layer's."""
    found = LAYER.search(name)
    return found is not None and int(found[1]) == layers - 1


def is_last_value(name: str, layers: int) -> bool:
    """Whether a weight is the last layer's value projection."""
    return is_last_layer(name, layers) and (".value." in name or ".v_lin." in name)


def change_config(change: Callable[[dict[str, Any]], None]) -> Callable[[ExportedFolder], None]:
    """Another config.json."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(folder.files["config"]) as config:
            change(config)

    return plant


def set_config(**values: Any) -> Callable[[ExportedFolder], None]:
    """Other values in config.json."""
    return change_config(lambda config: config.update(values))


def halve_heads(config: dict[str, Any]) -> None:
    """Half as many attention heads, each twice as wide."""
    name = "n_heads" if "n_heads" in config else "num_attention_heads"
    config[name] //= 2


def change_weights(change: Callable[[Tensors], None]) -> Callable[[ExportedFolder], None]:
    """Other weights of the model."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_tensors(folder.model) as tensors:
            change(tensors)

    return plant


def find_name(tensors: Tensors, ending: str) -> str:
    """The name of the tensor that ends so."""
    return next(name for name in sorted(tensors) if name.endswith(ending))


def roll_positions(tensors: Tensors) -> None:
    """Positions begin two later."""
    name = find_name(tensors, "position_embeddings.weight")
    tensors[name] = tensors[name].roll(-2, 0)


def swap_types(tensors: Tensors) -> None:
    """Texts are read as the second of a pair."""
    name = find_name(tensors, "token_type_embeddings.weight")
    tensors[name] = tensors[name].flip(0)


def swap_words(tensors: Tensors) -> None:
    """Two rows of the embedding change places: those of a frequent word and of its neighbour."""
    name = find_name(tensors, "word_embeddings.weight")
    rows = tensors[name].clone()
    rows[[1996, 1997]] = rows[[1997, 1996]]  # "the" and "of" of BERT's vocabulary
    tensors[name] = rows


def swap_first_layers(tensors: Tensors) -> None:
    """The first two layers change places."""
    before = dict(tensors)
    for name in before:
        found = LAYER.search(name)
        if found and found[1] in "01":
            other = name[: found.start(1)] + str(1 - int(found[1])) + name[found.end(1) :]
            tensors[name] = before[other]


def flip_bit(tensors: Tensors) -> None:
    """The lowest exponent bit of one weight of the second layer's up projection is flipped: it doubles or halves."""
    name = next(n for n in sorted(tensors) if re.search(r"layer\.1\.(intermediate\.dense|ffn\.lin1)\.weight", n))
    flat = tensors[name].contiguous().view(torch.int32).flatten()
    largest = int(tensors[name].abs().flatten().argmax())
    flat[largest] ^= 1 << 23
    tensors[name] = flat.view(torch.float32).view(tensors[name].shape)


def lose_matrix(tensors: Tensors) -> None:
    """One output projection is all zeros."""
    name = next(n for n in sorted(tensors) if re.search(r"layer\.1\.(output\.dense|ffn\.lin2)\.weight", n))
    tensors[name] = torch.zeros_like(tensors[name])


def round_to(dtype: torch.dtype) -> Callable[[Tensors], None]:
    """Weights rounded to 16 bits, in a form that says it is exact."""

    def change(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(dtype).to(tensor.dtype)

    return change


def quantise_with_outlier(tensors: Tensors) -> None:
    """Eight bits for a whole matrix of which one column is large: all others fall on few steps."""
    for name, tensor in tensors.items():
        if LAYER.search(name) and tensor.ndim == 2:
            spread = tensor.clone()
            spread[:, 0] *= 20
            step = spread.abs().max() / 127
            rounded = (spread / step).round().clamp(-127, 127) * step
            rounded[:, 0] /= 20
            tensors[name] = rounded


def clip_weights(tensors: Tensors) -> None:
    """Weights beyond three standard deviations are clipped."""
    for name, tensor in tensors.items():
        if LAYER.search(name) and tensor.ndim == 2:
            limit = 3 * float(tensor.std())
            tensors[name] = tensor.clamp(-limit, limit)


def has_types(folder: ExportedFolder) -> bool:
    """Whether the model tells the first text of a pair from the second."""
    found = [name for name in folder.read_tensors(folder.model) if name.endswith("token_type_embeddings.weight")]
    return bool(found) and int(folder.read_json(folder.files["config"])["type_vocab_size"]) > 1


def has_option(name: str, value: Any) -> Callable[[ExportedFolder], bool]:
    """Whether config.json has that option, and another value of it."""
    return lambda folder: folder.read_json(folder.files["config"]).get(name, value) != value


STATES, FIRST, ANY_LAYER = (WEIGHTS,), ("embedding",), ("layer",)
WEIGHT_FAULTS = (
    PlantedFault("the adapter is not merged", STATES, ANY_LAYER, mix_merge(0), suits=has_base),
    PlantedFault("the adapter is merged twice", STATES, ANY_LAYER, mix_merge(2), suits=has_base),
    PlantedFault("the scale is halved", STATES, ANY_LAYER, mix_merge(0.5), suits=has_base),
    PlantedFault("the scale is 0.9 of it", STATES, ANY_LAYER, mix_merge(0.9), suits=has_base),
    PlantedFault("one matrix lost its update", STATES, ANY_LAYER, mix_merge(0, is_last_value), suits=has_base),
    PlantedFault("the last layer lost its update", STATES, ANY_LAYER, mix_merge(0, is_last_layer), suits=has_base),
    PlantedFault(
        "LayerNorm's epsilon is 1e-5",
        STATES,
        FIRST,
        set_config(layer_norm_eps=1e-5),
        suits=has_option("layer_norm_eps", 1e-5),
    ),
    PlantedFault(
        "LayerNorm's epsilon is 1e-3",
        STATES,
        FIRST,
        set_config(layer_norm_eps=1e-3),
        suits=has_option("layer_norm_eps", 1e-3),
    ),
    PlantedFault(
        "GELU by tanh", STATES, ANY_LAYER, set_config(hidden_act="gelu_new"), suits=has_option("hidden_act", "gelu_new")
    ),
    PlantedFault("half as many heads", STATES, ANY_LAYER, change_config(halve_heads)),
    PlantedFault("positions begin two later", STATES, FIRST, change_weights(roll_positions)),
    PlantedFault("the token type is 1", STATES, FIRST, change_weights(swap_types), suits=has_types),
    PlantedFault("two rows of the embedding are swapped", STATES, FIRST, change_weights(swap_words)),
    PlantedFault("two layers are swapped", STATES, ANY_LAYER, change_weights(swap_first_layers)),
    PlantedFault("one exponent bit is flipped", STATES, ANY_LAYER, change_weights(flip_bit)),
    PlantedFault("one matrix is lost", STATES, ANY_LAYER, change_weights(lose_matrix)),
    PlantedFault("weights are rounded to bf16", STATES, FIRST, change_weights(round_to(torch.bfloat16))),
    PlantedFault("weights are rounded to fp16", STATES, FIRST, change_weights(round_to(torch.float16))),
    PlantedFault("eight bits with an outlier column", STATES, ANY_LAYER, change_weights(quantise_with_outlier)),
    PlantedFault("weights are clipped", STATES, ANY_LAYER, change_weights(clip_weights)),
)
