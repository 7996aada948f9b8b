"""The names that vLLM's semantic router goes by: tasks, architectures, folders and mapping files (docs/router.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import UnsupportedTask


@dataclass(frozen=True)
class RouterTask:
    """One of the router's tasks."""

    prefix: str  # of a folder's name
    suffix: str  # of a folder's name
    merged_names: tuple[str, ...]  # one of these stands in a name that ends in -merged
    form: str  # of the predictors that do it
    class_suffix: str  # how the name of its class in transformers ends
    mapping_file: str  # the file of its own with the labels
    mapping_keys: tuple[str, str]  # there: label to id, and id to label


ROUTER_TASKS: Mapping[str, RouterTask] = {
    "intent": RouterTask(
        "lora_intent_classifier",
        "model",
        ("intent-classifier", "intent_classifier"),
        "labels",
        "ForSequenceClassification",
        "category_mapping.json",
        ("category_to_idx", "idx_to_category"),
    ),
    "pii": RouterTask(
        "lora_pii_detector",
        "token_model",
        ("pii-detector", "pii_detector", "pii-classifier", "pii_classifier"),
        "spans",
        "ForTokenClassification",
        "pii_type_mapping.json",
        ("label_to_idx", "idx_to_label"),
    ),
    "jailbreak": RouterTask(
        "lora_jailbreak_classifier",
        "model",
        ("jailbreak-classifier", "jailbreak_classifier", "jailbreak-detector", "jailbreak_detector"),
        "labels",
        "ForSequenceClassification",
        "jailbreak_type_mapping.json",
        ("label_to_idx", "idx_to_label"),
    ),
}
LABEL_MAPPING_FILE, LABEL_MAPPING_KEYS = "label_mapping.json", ("label_to_id", "id_to_label")  # every task has this one
LORA_CONFIG_FILE = "lora_config.json"
MERGED_SUFFIX = "_rust"  # behind the name of a folder: the adapter is merged in

# transformers' model_type -> what the router looks for in a folder's name; it prefers the first
ARCHITECTURE_NAMES: Mapping[str, str] = {
    "bert": "bert-base-uncased",
    "roberta": "roberta-base",
    "modernbert": "modernbert-base",
}


def make_missing_adapter_error() -> UnsupportedTask:
    """Of a fit that has no adapter, or no head."""
    return UnsupportedTask(
        "the router's layout holds a LoRA adapter with its head, and this contender has none",
        where="--to router",
        remedy="--contender NAME of a lora contender with head: stock",
    )


def make_missing_head_error() -> UnsupportedTask:
    """Of an adapter with a head of our own."""
    return UnsupportedTask(
        "no stock class has this contender's head, and the router opens nothing else",
        where="--to router",
        allowed="a lora contender with head: stock",
        remedy="add `- lora-stock: {regime: lora, head: stock}` to the ladder, run it again, and export that one",
    )


def adapter_folder_name(job: RouterTask, model_type: str, rank: int) -> str:
    """The folder of an adapter; the merged twin's has TWIN behind it."""
    return f"{job.prefix}_{ARCHITECTURE_NAMES.get(model_type, model_type)}_r{rank}_{job.suffix}"


def detect_architecture(name: str) -> str:
    """The architecture as the router reads it from a folder's name: bert where it finds none that it knows."""
    return next((kind for kind, word in ARCHITECTURE_NAMES.items() if word in name.lower()), "bert")


def detect_router_task(name: str) -> str | None:
    """The task that a folder's name stands for, or None."""
    lower = name.lower()
    for task, job in ROUTER_TASKS.items():
        if lower.startswith(job.prefix):
            return task
        if lower.endswith("-merged") and any(words in lower for words in job.merged_names):
            return task
    return None


def make_label_mappings(job: RouterTask, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mapping files of a task and what they hold for the outputs of these names."""
    return {
        file: _map_both_ways(keys, names)
        for file, keys in ((LABEL_MAPPING_FILE, LABEL_MAPPING_KEYS), (job.mapping_file, job.mapping_keys))
    }


def _map_both_ways(keys: tuple[str, str], names: Sequence[str]) -> dict[str, Any]:
    to_id, to_label = keys
    return {to_id: {name: i for i, name in enumerate(names)}, to_label: {str(i): name for i, name in enumerate(names)}}
