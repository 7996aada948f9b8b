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

from loratory.artifacts.manifests import MANIFEST, verified
from loratory.errors import ArtifactError, shown
from loratory.export.naming import JOBS, LABEL_KEYS, LABELS, LORA, WORDS, architecture_in, job_in
from loratory.predictors.bio import labels_of

WEIGHTS = "model.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
OUTPUTS = ("classifier.weight", "score.weight", "classifier.out_proj.weight")  # matrices with a row for each output
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Model:
    """A folder whose name stands for one of the router's tasks."""

    folder: Path
    task: str
    architecture: str  # as its name says
    holds: str  # "model", "adapter" or "no weights"
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Discovery:
    """What was found, in the order of the walk, and what the router takes of it."""

    models: tuple[Model, ...]
    architecture: str | None
    chosen: Mapping[str, Model]  # by task
    why: str

    @property
    def sound(self) -> bool:
        """Whether the router would get three models that are in order."""
        return bool(self.chosen) and not any(model.problems for model in self.chosen.values())


def discover(folder: Path) -> Discovery:
    """Walk a folder as the router does; raises ArtifactError where there is none."""
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a folder of models")
    models = tuple(_model(found, task) for found, task in _walk(folder))
    return _chosen(models)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders that stand for a task, in the order of their names, links left out."""
    for root, inner, _ in os.walk(folder.resolve(), onerror=_closed):
        inner.sort()
        task = job_in(Path(root).name)
        if task is not None:
            yield Path(root), task


def _closed(problem: OSError) -> None:
    raise ArtifactError("this folder cannot be read", where=str(problem.filename)) from problem


def _chosen(models: Sequence[Model]) -> Discovery:
    """The first architecture of the router's order that has every task, and of each task the first folder."""
    first: dict[str, dict[str, Model]] = {architecture: {} for architecture in WORDS}
    for model in models:
        first[model.architecture].setdefault(model.task, model)
    order = " > ".join(WORDS)
    for architecture, by_task in first.items():
        if len(by_task) == len(JOBS):
            return Discovery(tuple(models), architecture, by_task, f"the first of {order} with {', '.join(JOBS)}")
    lacks = [f"{name} lacks {', '.join(task for task in JOBS if task not in has)}" for name, has in first.items()]
    return Discovery(tuple(models), None, {}, f"none of {order} has all three tasks: {'; '.join(lacks)}")


# ---- what is broken
@dataclass(frozen=True)
class Contents:
    """What lies in a folder, read without any library of models."""

    folder: Path
    task: str
    texts: Mapping[str, Any]  # JSON files that could be read
    shapes: Shapes  # of the model's tensors
    adapter: Shapes
    faults: tuple[str, ...]  # files that could not be read

    @property
    def config(self) -> Mapping[str, Any]:
        return self.mapping("config.json")

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A JSON file's object; empty where there is none."""
        value = self.texts.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def names(self) -> list[str]:
        """The outputs as config.json has them; empty where it does not say."""
        try:
            ids = {int(key): str(name) for key, name in self.config["id2label"].items()}
            return [ids[i] for i in range(len(ids))]
        except (AttributeError, KeyError, TypeError, ValueError):
            return []


def _model(folder: Path, task: str) -> Model:
    contents = _read(folder, task)
    holds = "model" if contents.shapes else "adapter" if contents.adapter else "no weights"
    problems = [*contents.faults, *(said for check in CHECKS for said in check(contents))]
    return Model(folder, task, architecture_in(folder.name), holds, tuple(problems))


def _read(folder: Path, task: str) -> Contents:
    texts: dict[str, Any] = {}
    faults: list[str] = []
    for name in ("config.json", ADAPTER_CONFIG, LORA, LABELS, JOBS[task].mapping):
        if (folder / name).is_file():
            try:
                texts[name] = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                faults.append(f"{name} is no JSON")
    read: dict[str, Shapes] = {WEIGHTS: {}, ADAPTER: {}}
    for name in read:
        if (folder / name).is_file():
            try:
                read[name] = shapes_in(folder / name)
            except (OSError, ValueError) as problem:
                faults.append(f"{name} cannot be read: {problem}")
    return Contents(folder, task, texts, read[WEIGHTS], read[ADAPTER], tuple(faults))


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
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


def _missing(contents: Contents) -> Iterator[str]:
    folder = contents.folder
    wanted = ["config.json", "tokenizer.json", LABELS, JOBS[contents.task].mapping, LORA]
    for name in wanted:
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if (folder / WEIGHTS).is_file():
        return
    if not (folder / ADAPTER).is_file():
        pickled = sorted(folder.glob("*.bin"))
        yield f"the weights are pickled ({pickled[0].name})" if pickled else f"{WEIGHTS} is missing"
    else:
        yield f"it holds an adapter without its base ({WEIGHTS} is missing): the router needs the merged twin"
        if not (folder / ADAPTER_CONFIG).is_file():
            yield f"{ADAPTER_CONFIG} is missing"


def _labels(contents: Contents) -> Iterator[str]:
    """Maps that disagree with config.json, and tags that are none."""
    names = contents.names
    if "config.json" in contents.texts and not names:
        yield "config.json has no id2label that counts 0, 1, 2, ..."
    if not names:
        return
    job = JOBS[contents.task]
    files = (("config.json", ("label2id", "id2label")), (LABELS, LABEL_KEYS), (job.mapping, job.keys))
    for file, keys in files:
        if file in contents.texts:
            yield from _disagreement(file, contents.mapping(file), keys, names)
    if job.form == "spans":
        try:
            labels_of(names)
        except ValueError as problem:
            yield f"the labels are no BIO tags: {problem}"


def _disagreement(file: str, held: Mapping[str, Any], keys: tuple[str, str], names: Sequence[str]) -> Iterator[str]:
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
        yield f"{file}: {key} of {odd!r} is {shown(given.get(odd))}, and {shown(wanted.get(odd))} by id2label"


def _kind(contents: Contents) -> Iterator[str]:
    """An architecture or a class that is not what the folder's name says."""
    said = architecture_in(contents.folder.name)
    real = contents.config.get("model_type")
    if real is not None and real != said:
        yield f"the router takes it for {said} by its name, and config.json says {real}"
    classes = contents.config.get("architectures")
    if isinstance(classes, list) and not any(str(one).endswith(JOBS[contents.task].classes) for one in classes):
        yield f"{contents.task} needs a class that ends in {JOBS[contents.task].classes}, and it is {shown(classes)}"


def _shapes(contents: Contents) -> Iterator[str]:
    """Heads that do not fit the labels or the width of the states."""
    for file, shapes in ((WEIGHTS, contents.shapes), (ADAPTER, contents.adapter)):
        heads = {
            name: shape
            for name, shape in shapes.items()
            if name.removeprefix("base_model.model.") in OUTPUTS and len(shape) == 2
        }
        if shapes and not heads:
            yield f"{file} holds no head ({', '.join(OUTPUTS)})"
        for name, shape in heads.items():
            yield from _head(f"{file}: {name}", shape, contents)


def _head(name: str, shape: tuple[int, ...], contents: Contents) -> Iterator[str]:
    width, names = contents.config.get("hidden_size"), contents.names
    if names and shape[0] != len(names):
        yield f"{name} has {shape[0]} outputs, and config.json {len(names)} labels"
    if width is not None and shape[1] != width:
        yield f"{name} reads states of {shape[1]}, and config.json has hidden_size {width}"


def _embeddings(contents: Contents) -> Iterator[str]:
    """Embeddings that do not fit the vocabulary or the width."""
    wanted = [contents.config.get("vocab_size"), contents.config.get("hidden_size")]
    for name, shape in contents.shapes.items():
        if name.endswith(("word_embeddings.weight", "tok_embeddings.weight")) and None not in wanted:
            if list(shape) != wanted:
                yield f"{WEIGHTS}: {name} is {list(shape)}, and config.json says {wanted}"


def _ranks(contents: Contents) -> Iterator[str]:
    """Ranks that differ: of the adapter's matrices, its configuration, lora_config.json and the folder's name."""
    named = re.search(r"_r(\d+)_", contents.folder.name.lower())
    matrices = {str(shape[0]) for name, shape in contents.adapter.items() if ".lora_A." in name and shape}
    matrices |= {str(shape[-1]) for name, shape in contents.adapter.items() if ".lora_B." in name and shape}
    ranks = {
        ADAPTER: sorted(matrices),
        ADAPTER_CONFIG: _said(contents.mapping(ADAPTER_CONFIG), "r"),
        LORA: _said(contents.mapping(LORA), "rank"),
        "its name": [named[1]] if named else [],
    }
    if len({rank for some in ranks.values() for rank in some}) > 1:
        each = (f"{', '.join(some)} in {where}" for where, some in ranks.items() if some)
        yield f"the rank differs: {', '.join(each)}"


def _said(mapping: Mapping[str, Any], key: str) -> list[str]:
    return [str(mapping[key])] if key in mapping else []


def _digests(contents: Contents) -> Iterator[str]:
    if (contents.folder / MANIFEST).is_file():
        try:
            verified(contents.folder)
        except ArtifactError as problem:
            yield f"{problem.problem} ({Path(problem.where).name})"


CHECKS: tuple[Callable[[Contents], Iterator[str]], ...] = (
    _missing,
    _labels,
    _kind,
    _shapes,
    _embeddings,
    _ranks,
    _digests,
)
