"""Faults of the head and of what is done to its outputs: pooling, logits, temperature, labels, operating point."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from planted_faults.faults import GRAPH, UNREADABLE, WEIGHTS, PlantedFault
from planted_faults.folders import ExportedFolder
from planted_faults.weight_faults import Tensors

OPERATING_POINT = "operating.json"


def is_pooled(folder: ExportedFolder) -> bool:
    """Whether the head is that of prototypes."""
    return bool(folder.certificate["model"]["head"] == "pooled")


def change_head(change: Callable[[Tensors], None]) -> Callable[[ExportedFolder], None]:
    """Other weights of the head, wherever the folder has them."""

    def plant(folder: ExportedFolder) -> None:
        name = folder.files["head"]
        for copy in {name, Path(name).name}:
            if folder.has(copy):
                with folder.edit_tensors(copy) as tensors:
                    change(tensors)

    return plant


def lose_bias(tensors: Tensors) -> None:
    """No bias."""
    tensors["bias"] = torch.zeros_like(tensors["bias"])


def swap_prototypes(tensors: Tensors) -> None:
    """The first two labels' prototypes change places."""
    tensors["prototypes"] = tensors["prototypes"][[1, 0, *range(2, len(tensors["prototypes"]))]]


def randomise(tensors: Tensors) -> None:
    """A head that was never trained."""
    shape = tensors["prototypes"].shape
    tensors["prototypes"] = torch.randn(shape, generator=torch.Generator().manual_seed(0))


def lose_scale(tensors: Tensors) -> None:
    """The scale is not exponentiated."""
    tensors["log_scale"] = tensors["log_scale"].abs().clamp_min(1e-3).log()


def drop_head(folder: ExportedFolder) -> None:
    """The head's file is gone, and the folder does not name one."""
    (folder.path / folder.files["head"]).unlink()
    with folder.edit_facts() as facts:
        facts["files"]["head"] = None


def change_pooling(pooling: str) -> Callable[[ExportedFolder], None]:
    """Another pooling, wherever the folder says it."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(folder.beside("model", "head.json")) as head:
            head["pooling"] = pooling
        with folder.edit_json("encoder.json") as encoder:
            if encoder:
                encoder["head"]["pooling"] = pooling
        with folder.edit_facts() as facts:
            facts["pooling"] = pooling

    return plant


def change_point(change: Callable[[dict[str, Any]], None]) -> Callable[[ExportedFolder], None]:
    """Another operating point, wherever the folder says it."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(OPERATING_POINT) as point:
            if point:
                change(point)
        with folder.edit_facts() as facts:
            if facts["operating_point"]:
                change(facts["operating_point"])
            facts["temperature"] = (facts["operating_point"] or {"temperature": 1.0})["temperature"]

    return plant


def set_temperature(power: float) -> Callable[[dict[str, Any]], None]:
    """The temperature to a power: 0 loses it, 2 uses it twice."""

    def change(point: dict[str, Any]) -> None:
        point["temperature"] **= power

    return change


def lose_thresholds(point: dict[str, Any]) -> None:
    """No label has a threshold."""
    point["thresholds"] = {}


def raise_thresholds(point: dict[str, Any]) -> None:
    """Every threshold is half way nearer to certainty."""
    point["thresholds"] = {label: (1 + limit) / 2 for label, limit in point["thresholds"].items()}


def lose_abstention(point: dict[str, Any]) -> None:
    """Every text is answered."""
    point["score"], point["least"] = None, None


def abstain_more(point: dict[str, Any]) -> None:
    """Fewer texts are answered."""
    point["least"] = point["least"] + 0.1 * max(1.0, abs(point["least"]))


def has_temperature(folder: ExportedFolder) -> bool:
    """Whether probabilities are tempered enough to tell."""
    temperature = folder.certificate["model"]["temperature"]
    return bool(folder.certificate["model"]["operating_point"]) and abs(math.log(temperature or 1.0)) > 0.02


def has_thresholds(folder: ExportedFolder) -> bool:
    """Whether a label has a threshold."""
    return bool((folder.certificate["model"]["operating_point"] or {}).get("thresholds"))


def can_abstain(folder: ExportedFolder) -> bool:
    """Whether some texts get no answer."""
    return (folder.certificate["model"]["operating_point"] or {}).get("least") is not None


def permute_labels(folder: ExportedFolder) -> None:
    """Names of labels change places in every file that holds them."""
    with folder.edit_facts() as facts:
        before, after = facts["labels"], [*facts["labels"][1:], facts["labels"][0]]
        facts["labels"] = after
        if facts["task"].get("labels"):
            facts["task"]["labels"] = after
    for name in (
        "labels.json",
        "task.json",
        folder.beside("model", "labels.json"),
        folder.beside("model", "config.json"),
    ):
        with folder.edit_json(name) as file:
            if file.get("id2label"):
                file["id2label"] = {str(place): label for place, label in enumerate(after)}
                file["label2id"] = {label: place for place, label in enumerate(after)}
            if file.get("labels") == before:
                file["labels"] = after


def permute_label_file(folder: ExportedFolder) -> None:
    """labels.json alone has another order."""
    with folder.edit_json(folder.beside("model", "labels.json")) as file:
        labels = [file["id2label"][str(place)] for place in range(len(file["id2label"]))][::-1]
        file["id2label"] = {str(place): label for place, label in enumerate(labels)}
        file["label2id"] = {label: place for place, label in enumerate(labels)}


def has_label_file(folder: ExportedFolder) -> bool:
    """Whether labels.json lies beside the model."""
    return folder.has(folder.beside("model", "labels.json"))


def classifies(folder: ExportedFolder) -> bool:
    """Whether an answer is one label of the text."""
    return bool(folder.certificate["model"]["task"].get("kind") == "classify")


STATES, BOTH, LOGITS, ANSWER = (WEIGHTS,), (WEIGHTS, GRAPH), ("logits",), ("answer",)
HEAD_FAULTS = (
    PlantedFault(
        "the head's bias is lost", STATES, (*LOGITS, "probabilities"), change_head(lose_bias), suits=is_pooled
    ),
    PlantedFault("two prototypes are swapped", STATES, LOGITS, change_head(swap_prototypes), suits=is_pooled),
    PlantedFault("the head is random", STATES, LOGITS, change_head(randomise), suits=is_pooled),
    PlantedFault("the scale is not exponentiated", STATES, LOGITS, change_head(lose_scale), suits=is_pooled),
    PlantedFault("the head is dropped", STATES, (*LOGITS, "probabilities", UNREADABLE), drop_head, suits=is_pooled),
    PlantedFault("pooling by the first token", STATES, ("pooled",), change_pooling("cls"), suits=is_pooled),
    PlantedFault("pooling by the maximum", STATES, ("pooled",), change_pooling("max"), suits=is_pooled),
    PlantedFault("pooling by the last token", STATES, ("pooled",), change_pooling("last"), suits=is_pooled),
    PlantedFault(
        "the temperature is lost", STATES, ("probabilities",), change_point(set_temperature(0)), suits=has_temperature
    ),
    PlantedFault(
        "the temperature is used twice",
        STATES,
        ("probabilities",),
        change_point(set_temperature(2)),
        suits=has_temperature,
    ),
    PlantedFault("the thresholds are lost", BOTH, ANSWER, change_point(lose_thresholds), suits=has_thresholds),
    PlantedFault("the thresholds are raised", BOTH, ANSWER, change_point(raise_thresholds), suits=has_thresholds),
    PlantedFault("abstention is lost", BOTH, ANSWER, change_point(lose_abstention), suits=can_abstain),
    PlantedFault("too many abstentions", BOTH, ANSWER, change_point(abstain_more), suits=can_abstain),
    PlantedFault("labels change places", BOTH, ("labels", *ANSWER), permute_labels, suits=classifies),
    PlantedFault("labels.json has another order", BOTH, ("labels", *ANSWER), permute_label_file, suits=has_label_file),
)
