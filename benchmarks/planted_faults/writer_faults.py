"""Faults of a causal model: rotary base, window, ties, template, stops."""

from __future__ import annotations

from typing import Any

import torch

from planted_faults.faults import WRITER, PlantedFault
from planted_faults.folders import ExportedFolder
from planted_faults.weight_faults import Tensors, change_config, change_weights, find_name, set_config


def change_theta(config: dict[str, Any]) -> None:
    """Another base of rotary positions, wherever this version of the configuration holds it."""
    for place in (config, config.get("rope_parameters") or {}):
        if place.get("rope_theta") is not None:
            place["rope_theta"] *= 10


def scale_positions(config: dict[str, Any]) -> None:
    """Positions are half of what they were, as where a longer context is claimed."""
    parameters = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0)}
    config["rope_parameters"] = {**parameters, "rope_type": "linear", "factor": 2.0}


def narrow_window(config: dict[str, Any]) -> None:
    """Tokens see the last few alone."""
    config.update(sliding_window=4, use_sliding_window=True, max_window_layers=0)
    if config.get("layer_types"):
        config["layer_types"] = ["sliding_attention"] * len(config["layer_types"])


def has_window(folder: ExportedFolder) -> bool:
    """Whether the architecture has windows of attention."""
    return bool({"sliding_window", "use_sliding_window"} & set(folder.read_json(folder.files["config"])))


def has_tied_output(folder: ExportedFolder) -> bool:
    """Whether the last layer is the embedding."""
    return bool(folder.read_json(folder.files["config"]).get("tie_word_embeddings"))


def untie(folder: ExportedFolder) -> None:
    """The last layer is one of its own, and was never trained."""
    with folder.edit_json(folder.files["config"]) as config:
        config["tie_word_embeddings"] = False
    with folder.edit_tensors(folder.model) as tensors:
        words = tensors[find_name(tensors, "embed_tokens.weight")]
        noise = torch.randn(words.shape, generator=torch.Generator().manual_seed(0))
        tensors["lm_head.weight"] = (words.float() + 0.02 * noise).to(words.dtype)


def swap_halves(tensors: Tensors) -> None:
    """Queries of every layer have their halves swapped: the other convention of rotary positions."""
    for name in [n for n in tensors if n.endswith("self_attn.q_proj.weight")]:
        first, second = tensors[name].chunk(2)
        tensors[name] = torch.cat([second, first])


def lose_layer_norm(tensors: Tensors) -> None:
    """The last normalisation is all ones."""
    name = "model.norm.weight"
    tensors[name] = torch.ones_like(tensors[name])


def drift_template(folder: ExportedFolder) -> None:
    """The chat template says another word for the assistant; digests are those of before."""
    name = folder.beside("tokenizer", "chat_template.jinja")
    text = (folder.path / name).read_text(encoding="utf-8")
    folder.replace(name, text.replace("assistant", "helper").encode("utf-8"))


def has_template(folder: ExportedFolder) -> bool:
    """Whether a chat template lies beside the tokenizer."""
    name = folder.beside("tokenizer", "chat_template.jinja")
    return folder.has(name) and "assistant" in (folder.path / name).read_text(encoding="utf-8")


def lose_stop(folder: ExportedFolder) -> None:
    """Writing does not stop at the end of an answer; digests are those of before."""
    with folder.edit_json(folder.beside("model", "generation_config.json")) as config:
        config["eos_token_id"] = 0


def has_generation_config(folder: ExportedFolder) -> bool:
    """Whether a file says where writing stops."""
    return folder.has(folder.beside("model", "generation_config.json"))


WRITERS, NUMBERS = (WRITER,), ("embedding", "layer", "logits", "probabilities")
WRITER_FAULTS = (
    PlantedFault("the rotary base is ten times larger", WRITERS, NUMBERS, change_config(change_theta)),
    PlantedFault("rotary positions are scaled", WRITERS, NUMBERS, change_config(scale_positions)),
    PlantedFault("a sliding window of 4", WRITERS, NUMBERS, change_config(narrow_window), suits=has_window),
    PlantedFault("the output is not tied", WRITERS, NUMBERS, untie, suits=has_tied_output),
    PlantedFault("halves of queries are swapped", WRITERS, NUMBERS, change_weights(swap_halves)),
    PlantedFault("the last norm is lost", WRITERS, NUMBERS, change_weights(lose_layer_norm)),
    PlantedFault("RMSNorm's epsilon is 1e-2", WRITERS, NUMBERS, set_config(rms_norm_eps=1e-2)),
    PlantedFault("the chat template drifted", WRITERS, ("digest",), drift_template, signed=False, suits=has_template),
    PlantedFault("the stop token is lost", WRITERS, ("digest",), lose_stop, signed=False, suits=has_generation_config),
)
