"""What vLLM's semantic router would find in a folder, what it would take, and what is broken there."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import MANIFEST, verify_artifact
from loratory.errors import ArtifactError, format_value
from loratory.integrations.semantic_router.router_names import (
    ARCHITECTURE_NAMES,
    LABEL_MAPPING_FILE,
    LABEL_MAPPING_KEYS,
    LORA_CONFIG_FILE,
    ROUTER_TASKS,
    detect_architecture,
    detect_router_task,
)
from loratory.predictors.bio_decoding import parse_labels

MODEL_WEIGHTS = "model.safetensors"
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
HEAD_WEIGHTS = (
    "classifier.weight",
    "score.weight",
    "classifier.out_proj.weight",
)  # matrices with a row for each output
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class DiscoveredModel:
    """A folder whose name stands for one of the router's tasks."""

    folder: Path
    task: str
    architecture: str  # as its name says
    holds: str  # "model", "adapter" or "no weights"
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Discovery:
    """What was found, in the order of the walk, and what the router takes of it."""

    models: tuple[DiscoveredModel, ...]
    architecture: str | None
    chosen: Mapping[str, DiscoveredModel]  # by task
    reason: str

    @property
    def is_usable(self) -> bool:
        """Whether the router would get three models that are in order."""
        return bool(self.chosen) and not any(model.problems for model in self.chosen.values())


def discover_models(folder: Path) -> Discovery:
    """Walk a folder as the router does; raises ArtifactError where there is none."""
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a folder of models")
    models = tuple(_inspect_model(found, task) for found, task in _walk_task_folders(folder))
    return _choose_models(models)


def _walk_task_folders(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders that stand for a task, in the order of their names, links left out."""
    for root, inner, _ in os.walk(folder.resolve(), onerror=_raise_unreadable):
        inner.sort()
        task = detect_router_task(Path(root).name)
        if task is not None:
            yield Path(root), task


def _raise_unreadable(problem: OSError) -> None:
    raise ArtifactError("this folder cannot be read", where=str(problem.filename)) from problem


def _choose_models(models: Sequence[DiscoveredModel]) -> Discovery:
    """The first architecture of the router's order that has every task, and of each task the first folder."""
    first: dict[str, dict[str, DiscoveredModel]] = {architecture: {} for architecture in ARCHITECTURE_NAMES}
    for model in models:
        first[model.architecture].setdefault(model.task, model)
    order = " > ".join(ARCHITECTURE_NAMES)
    for architecture, by_task in first.items():
        if len(by_task) == len(ROUTER_TASKS):
            return Discovery(
                tuple(models), architecture, by_task, f"the first of {order} with {', '.join(ROUTER_TASKS)}"
            )
    lacks = [
        f"{name} lacks {', '.join(task for task in ROUTER_TASKS if task not in has)}" for name, has in first.items()
    ]
    return Discovery(tuple(models), None, {}, f"none of {order} has all three tasks: {'; '.join(lacks)}")


# ---- what is broken
@dataclass(frozen=True)
class FolderContents:
    """What lies in a folder, read without any library of models."""

    folder: Path
    task: str
    json_files: Mapping[str, Any]  # JSON files that could be read
    shapes: Shapes  # of the model's tensors
    adapter: Shapes
    unreadable: tuple[str, ...]  # files that could not be read

    @property
    def config(self) -> Mapping[str, Any]:
        return self.json_object("config.json")

    def json_object(self, name: str) -> Mapping[str, Any]:
        """A JSON file's object; empty where there is none."""
        value = self.json_files.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def label_names(self) -> list[str]:
        """The outputs as config.json has them; empty where it does not say."""
        try:
            ids = {int(key): str(name) for key, name in self.config["id2label"].items()}
            return [ids[i] for i in range(len(ids))]
        except (AttributeError, KeyError, TypeError, ValueError):
            return []


def _inspect_model(folder: Path, task: str) -> DiscoveredModel:
    contents = _read_contents(folder, task)
    holds = "model" if contents.shapes else "adapter" if contents.adapter else "no weights"
    problems = [*contents.unreadable, *(said for check in MODEL_CHECKS for said in check(contents))]
    return DiscoveredModel(folder, task, detect_architecture(folder.name), holds, tuple(problems))


def _read_contents(folder: Path, task: str) -> FolderContents:
    texts: dict[str, Any] = {}
    faults: list[str] = []
    for name in ("config.json", ADAPTER_CONFIG, LORA_CONFIG_FILE, LABEL_MAPPING_FILE, ROUTER_TASKS[task].mapping_file):
        if (folder / name).is_file():
            try:
                texts[name] = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                faults.append(f"{name} is no JSON")
    read: dict[str, Shapes] = {MODEL_WEIGHTS: {}, ADAPTER_WEIGHTS: {}}
    for name in read:
        if (folder / name).is_file():
            try:
                read[name] = read_tensor_shapes(folder / name)
            except (OSError, ValueError) as problem:
                faults.append(f"{name} cannot be read: {problem}")
    return FolderContents(folder, task, texts, read[MODEL_WEIGHTS], read[ADAPTER_WEIGHTS], tuple(faults))


def read_tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes, from the header of a safetensors file; raises ValueError where it is damaged."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ValueError("the header is cut off")
        header = json.loads(handle.read(length))
    try:
        tensors = {name: one for name, one in header.items() if name != "__metadata__"}
        end = max((int(one["data_offsets"][1]) for one in tensors.values()), default=0)
        made = {name: tuple(map(int, one["shape"])) for name, one in tensors.items()}
    except (AttributeError, KeyError, IndexError, TypeError) as problem:
        raise ValueError("it has no header of safetensors") from problem
    if size != 8 + length + end:
        raise ValueError(f"it has {size} bytes and its header speaks of {8 + length + end}")
    return made


def _check_files(contents: FolderContents) -> Iterator[str]:
    folder = contents.folder
    wanted = [
        "config.json",
        "tokenizer.json",
        LABEL_MAPPING_FILE,
        ROUTER_TASKS[contents.task].mapping_file,
        LORA_CONFIG_FILE,
    ]
    for name in wanted:
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if (folder / MODEL_WEIGHTS).is_file():
        return
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickled = sorted(folder.glob("*.bin"))
        yield f"the weights are pickled ({pickled[0].name})" if pickled else f"{MODEL_WEIGHTS} is missing"
    else:
        yield f"it holds an adapter without its base ({MODEL_WEIGHTS} is missing): the router needs the merged twin"
        if not (folder / ADAPTER_CONFIG).is_file():
            yield f"{ADAPTER_CONFIG} is missing"


def _check_labels(contents: FolderContents) -> Iterator[str]:
    """Maps that disagree with config.json, and tags that are none."""
    names = contents.label_names
    if "config.json" in contents.json_files and not names:
        yield "config.json has no id2label that counts 0, 1, 2, ..."
    if not names:
        return
    job = ROUTER_TASKS[contents.task]
    files = (
        ("config.json", ("label2id", "id2label")),
        (LABEL_MAPPING_FILE, LABEL_MAPPING_KEYS),
        (job.mapping_file, job.mapping_keys),
    )
    for file, keys in files:
        if file in contents.json_files:
            yield from _compare_label_maps(file, contents.json_object(file), keys, names)
    if job.form == "spans":
        try:
            parse_labels(names)
        except ValueError as problem:
            yield f"the labels are no BIO tags: {problem}"


def _compare_label_maps(
    file: str, held: Mapping[str, Any], keys: tuple[str, str], names: Sequence[str]
) -> Iterator[str]:
    to_id, to_label = keys
    expected: Mapping[str, Mapping[str, Any]] = {
        to_id: {name: i for i, name in enumerate(names)},
        to_label: {str(i): name for i, name in enumerate(names)},
    }
    for key, wanted in expected.items():
        given = held.get(key)
        if given == wanted:
            continue
        if not isinstance(given, dict):
            yield f"{file} has no {key}"
            continue
        odd = next(k for k in (*wanted, *given) if k not in given or k not in wanted or given[k] != wanted[k])
        yield (
            f"{file}: {key} of {odd!r} is {format_value(given.get(odd))}, and {format_value(wanted.get(odd))} "
            "by id2label"
        )


def _check_architecture(contents: FolderContents) -> Iterator[str]:
    """An architecture or a class that is not what the folder's name says."""
    said = detect_architecture(contents.folder.name)
    real = contents.config.get("model_type")
    if real is not None and real != said:
        yield f"the router takes it for {said} by its name, and config.json says {real}"
    classes = contents.config.get("architectures")
    if isinstance(classes, list) and not any(
        str(one).endswith(ROUTER_TASKS[contents.task].class_suffix) for one in classes
    ):
        yield (
            f"{contents.task} needs a class that ends in {ROUTER_TASKS[contents.task].class_suffix}, and it is "
            f"{format_value(classes)}"
        )


def _check_head_shapes(contents: FolderContents) -> Iterator[str]:
    """Heads that do not fit the labels or the width of the states."""
    for file, shapes in ((MODEL_WEIGHTS, contents.shapes), (ADAPTER_WEIGHTS, contents.adapter)):
        heads = {
            name: shape
            for name, shape in shapes.items()
            if name.removeprefix("base_model.model.") in HEAD_WEIGHTS and len(shape) == 2
        }
        if shapes and not heads:
            yield f"{file} holds no head ({', '.join(HEAD_WEIGHTS)})"
        for name, shape in heads.items():
            yield from _check_head_shape(f"{file}: {name}", shape, contents)


def _check_head_shape(name: str, shape: tuple[int, ...], contents: FolderContents) -> Iterator[str]:
    width, names = contents.config.get("hidden_size"), contents.label_names
    if names and shape[0] != len(names):
        yield f"{name} has {shape[0]} outputs, and config.json {len(names)} labels"
    if width is not None and shape[1] != width:
        yield f"{name} reads states of {shape[1]}, and config.json has hidden_size {width}"


def _check_embeddings(contents: FolderContents) -> Iterator[str]:
    """Embeddings that do not fit the vocabulary or the width."""
    wanted = [contents.config.get("vocab_size"), contents.config.get("hidden_size")]
    for name, shape in contents.shapes.items():
        if name.endswith(("word_embeddings.weight", "tok_embeddings.weight")) and None not in wanted:
            if list(shape) != wanted:
                yield f"{MODEL_WEIGHTS}: {name} is {list(shape)}, and config.json says {wanted}"


def _check_ranks(contents: FolderContents) -> Iterator[str]:
    """Ranks that differ: of the adapter's matrices, its configuration, lora_config.json and the folder's name."""
    named = re.search(r"_r(\d+)_", contents.folder.name.lower())
    matrices = {str(shape[0]) for name, shape in contents.adapter.items() if ".lora_A." in name and shape}
    matrices |= {str(shape[-1]) for name, shape in contents.adapter.items() if ".lora_B." in name and shape}
    ranks = {
        ADAPTER_WEIGHTS: sorted(matrices),
        ADAPTER_CONFIG: _value_as_list(contents.json_object(ADAPTER_CONFIG), "r"),
        LORA_CONFIG_FILE: _value_as_list(contents.json_object(LORA_CONFIG_FILE), "rank"),
        "its name": [named[1]] if named else [],
    }
    if len({rank for some in ranks.values() for rank in some}) > 1:
        each = (f"{', '.join(some)} in {where}" for where, some in ranks.items() if some)
        yield f"the rank differs: {', '.join(each)}"


def _value_as_list(mapping: Mapping[str, Any], key: str) -> list[str]:
    return [str(mapping[key])] if key in mapping else []


def _check_digests(contents: FolderContents) -> Iterator[str]:
    if (contents.folder / MANIFEST).is_file():
        try:
            verify_artifact(contents.folder)
        except ArtifactError as problem:
            yield f"{problem.problem} ({Path(problem.where).name})"


MODEL_CHECKS: tuple[Callable[[FolderContents], Iterator[str]], ...] = (
    _check_files,
    _check_labels,
    _check_architecture,
    _check_head_shapes,
    _check_embeddings,
    _check_ranks,
    _check_digests,
)
