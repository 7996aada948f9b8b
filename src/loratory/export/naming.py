"""The names that vLLM's semantic router goes by: tasks, architectures, folders and mapping files (docs/router.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One of the router's tasks."""

    prefix: str  # of a folder's name
    ending: str  # of a folder's name
    merged: tuple[str, ...]  # one of these stands in a name that ends in -merged
    form: str  # of the predictors that do it
    classes: str  # how the name of its class in transformers ends
    mapping: str  # the file of its own with the labels
    keys: tuple[str, str]  # there: label to id, and id to label


JOBS: Mapping[str, Job] = {
    "intent": Job(
        "lora_intent_classifier",
        "model",
        ("intent-classifier", "intent_classifier"),
        "labels",
        "ForSequenceClassification",
        "category_mapping.json",
        ("category_to_idx", "idx_to_category"),
    ),
    "pii": Job(
        "lora_pii_detector",
        "token_model",
        ("pii-detector", "pii_detector", "pii-classifier", "pii_classifier"),
        "spans",
        "ForTokenClassification",
        "pii_type_mapping.json",
        ("label_to_idx", "idx_to_label"),
    ),
    "jailbreak": Job(
        "lora_jailbreak_classifier",
        "model",
        ("jailbreak-classifier", "jailbreak_classifier", "jailbreak-detector", "jailbreak_detector"),
        "labels",
        "ForSequenceClassification",
        "jailbreak_type_mapping.json",
        ("label_to_idx", "idx_to_label"),
    ),
}
LABELS, LABEL_KEYS = "label_mapping.json", ("label_to_id", "id_to_label")  # every task has this one
LORA = "lora_config.json"
TWIN = "_rust"  # behind the name of a folder: the adapter is merged in

# transformers' model_type -> what the router looks for in a folder's name; it prefers the first
WORDS: Mapping[str, str] = {"bert": "bert-base-uncased", "roberta": "roberta-base", "modernbert": "modernbert-base"}


def folder_name(job: Job, model_type: str, rank: int) -> str:
    """The folder of an adapter; the merged twin's has TWIN behind it."""
    return f"{job.prefix}_{WORDS.get(model_type, model_type)}_r{rank}_{job.ending}"


def architecture_in(name: str) -> str:
    """The architecture as the router reads it from a folder's name: bert where it finds none that it knows."""
    return next((kind for kind, word in WORDS.items() if word in name.lower()), "bert")


def job_in(name: str) -> str | None:
    """The task that a folder's name stands for, or None."""
    lower = name.lower()
    for task, job in JOBS.items():
        if lower.startswith(job.prefix):
            return task
        if lower.endswith("-merged") and any(words in lower for words in job.merged):
            return task
    return None


def mappings(job: Job, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mapping files of a task and what they hold for the outputs of these names."""
    return {file: _both(keys, names) for file, keys in ((LABELS, LABEL_KEYS), (job.mapping, job.keys))}


def _both(keys: tuple[str, str], names: Sequence[str]) -> dict[str, Any]:
    to_id, to_label = keys
    return {to_id: {name: i for i, name in enumerate(names)}, to_label: {str(i): name for i, name in enumerate(names)}}
