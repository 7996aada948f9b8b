"""Where the weights of a foreign folder are, and what its outputs are called; no library of models is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loratory.artifacts.safetensors_headers import count_elements, read_header
from loratory.artifacts.untrusted_files import read_json
from loratory.artifacts.verified_files import UnlistedFiles, VerifiedFiles, open_files
from loratory.backbones.loading.bases import (
    EMBEDDED_BASES,
    ORIGINS,
    name_foreign_weights,
    resolve_base,
    suggest_conversion,
)
from loratory.backbones.loading.model_inspection import (
    check_entries,
    inspect_adapter_folder,
    inspect_model_folder,
    read_json_object,
    read_json_value,
)
from loratory.backbones.loading.tokenizers import VOCABULARY_FILES
from loratory.errors import ArtifactError, BaseModelError
from loratory.protocols import JSON

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class ModelSources:
    """Where the weights are: a whole classifier of texts or tokens, and an adapter on it or not."""

    model: Path
    adapter: Path | None
    order: str  # merged | base + adapter | plain
    tokenizer: Path
    source: VerifiedFiles | None = None  # those of the folder that was named: only they are read below it

    def files(self, folder: Path) -> VerifiedFiles:
        """The files of one of these folders: of an artifact those alone that its manifest lists."""
        if self.source is None or not folder.is_relative_to(self.source.folder):
            return open_files(folder)
        inner = folder.relative_to(self.source.folder).as_posix()
        return self.source if inner == "." else self.source.open_subfolder(inner)


def locate_weights(source: Path | VerifiedFiles, base: str | None = None) -> ModelSources:
    """The first of merged/, an adapter (adapter/ or the folder itself) on its base, the folder itself.

    `base` says which base an adapter is for, where the folder does not hold it. Raises ArtifactError.
    """
    files = open_files(source)
    folder = files.folder
    if not folder.is_dir():
        raise ArtifactError("this folder does not exist", where=str(folder))
    if isinstance(files, UnlistedFiles):
        check_entries(folder)
    if _is_model_folder(files.open_subfolder("merged")):
        return ModelSources(folder / "merged", None, "merged", folder / "merged", files)
    for adapter in (files.open_subfolder("adapter"), files):
        if adapter.has(ADAPTER_CONFIG):
            found = _find_adapter_base(files, adapter, base)
            own = adapter.folder if any(adapter.has(name) for name in VOCABULARY_FILES) else found
            return ModelSources(found, adapter.folder, "base + adapter", own, files)
    if base is not None:
        raise ArtifactError("--base is for an adapter, and there is none", where=str(folder), remedy="leave --base out")
    if _is_model_folder(files):
        return ModelSources(folder, None, "plain", folder, files)
    places = (folder, folder / "merged", *(folder / top for top in files.list_top_level() if top.startswith("base_")))
    place = next((one for one in places if name_foreign_weights(one)), folder)
    config = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    raise ArtifactError(
        f"no model found{name_foreign_weights(place)}",
        where=str(place),
        allowed="merged/, base_<L>/ + adapter/, a PEFT checkpoint (adapter_config.json and adapter_model.safetensors), "
        "or a model folder (config.json and model.safetensors)",
        remedy=suggest_conversion(place, config if isinstance(config, dict) else {}),
    )


def _is_model_folder(files: VerifiedFiles) -> bool:
    weights = [name for name in files.list_top_level() if name.endswith(".safetensors") and name != ADAPTER_WEIGHTS]
    return files.has("config.json") and bool(weights)


def _find_adapter_base(files: VerifiedFiles, own: VerifiedFiles, asked: str | None) -> Path:
    """The folder of an adapter's base: the one asked for, base_<L>/ beside it, or what adapter_config.json names."""
    folder, adapter = files.folder, own.folder
    if asked is not None:
        return _resolve_base(asked, folder)
    inside = [
        top for top in files.list_top_level() if top.startswith("base_") and _is_model_folder(files.open_subfolder(top))
    ]
    if inside:
        return folder / inside[0]
    raw = read_json_object(own, ADAPTER_CONFIG)
    named = raw.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise ArtifactError(
            "adapter_config.json does not name the adapter's base",
            where=str(adapter),
            remedy="say it: --base NAME",
        )
    for place in (Path(named).expanduser(), adapter / named, adapter.parent / named):
        if place.is_dir():
            return place
    return _resolve_base(next((name for name, (hub, _) in ORIGINS.items() if hub == named), named), folder, named)


def _resolve_base(name: str, folder: Path, named: str | None = None) -> Path:
    """The folder of a base that is asked for, or that adapter_config.json names; raises ArtifactError."""
    try:
        return resolve_base(name).folder
    except BaseModelError as problem:
        what = f"the base {named!r}, which adapter_config.json names, cannot be had" if named else problem.problem
        raise ArtifactError(
            f"{what}{f' ({problem.problem})' if named else ''}",
            where=str(folder),
            allowed=f"--base with a folder, a hub id owner/model, or one of {', '.join(EMBEDDED_BASES)}",
            remedy="say where the base is: --base NAME" if named else problem.remedy.replace("base:", "--base"),
        ) from problem


def read_labels(*sources: Path | VerifiedFiles, named: Sequence[str] = (), count: int | None = None) -> tuple[str, ...]:
    """Labels given by name, or from labels.json (a list, {id: label}, id2label or label2id), or config.json's id2label.

    A config.json with another number of labels than `count` is passed over: it is that of a base, not of what an
    adapter learnt.
    """
    if named:
        return _order_labels(list(named), Path("--labels"))
    folders = [open_files(source) for source in sources]
    for files in folders:
        if files.has("labels.json"):
            return _order_labels(read_json_value(files, "labels.json"), files.folder / "labels.json")
    for files in folders:
        if files.has("config.json"):
            numbered = read_json_object(files, "config.json").get("id2label")
            if numbered and (count is None or len(numbered) == count):
                return _order_labels({"id2label": numbered}, files.folder / "config.json")
    there = f" for the {count} outputs of its head" if count else ""
    raise ArtifactError(
        f"no labels.json and no id2label{there}",
        where=str(folders[0].folder),
        remedy='say them in the order of the outputs: --labels first,second; or add labels.json: ["first", "second"]',
    )


def _order_labels(raw: JSON, file: Path) -> tuple[str, ...]:
    try:
        ids = _number_labels(raw)
        labels = tuple(ids[i] for i in range(len(ids)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtifactError(
            "the label ids are not 0, 1, 2, ...", where=str(file), allowed='["first", "second"] or {"0": "first", ...}'
        ) from None
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
        raise ArtifactError(
            f"these labels tell nothing apart: {list(labels)[:6]}",
            where=str(file),
            allowed="at least two distinct, non-empty labels",
        )
    return labels


def _number_labels(raw: JSON) -> dict[int, str]:
    """Id to label from a list, {id: label}, {label: id}, or one of the two maps under its name."""
    if isinstance(raw, list):
        return dict(enumerate(map(str, raw)))
    numbered = raw.get("id2label")
    if numbered is None and all(str(key).isdigit() for key in raw):
        numbered = raw
    if numbered is not None:
        return {int(key): str(label) for key, label in numbered.items()}
    named = raw.get("label2id", raw)
    if len(set(map(int, named.values()))) < len(named):
        raise ValueError("two labels share an id")
    return {int(number): str(label) for label, number in named.items()}


def count_head_outputs(adapter: Path | VerifiedFiles | None) -> int | None:
    """How many outputs the head has that an adapter brings; None where it brings none."""
    files = open_files(adapter) if adapter is not None else None
    if files is None or not files.has(ADAPTER_WEIGHTS):
        return None
    facts = read_header(files.folder / ADAPTER_WEIGHTS)
    heads = [one.shape[0] for name, one in facts.items() if ".lora_" not in name and len(one.shape) == 2]
    return min(heads, default=None)  # a head may have layers below its last one


def inspect_headers(sources: ModelSources) -> int:
    """Check the headers of everything that is to be loaded; how many numbers it holds. Raises ArtifactError.

    Nothing is allocated for what the files say, and no library of models is loaded.
    """
    contents = inspect_model_folder(sources.files(sources.model))
    own = inspect_adapter_folder(sources.files(sources.adapter)) if sources.adapter is not None else {}
    if sources.tokenizer not in (sources.model, sources.adapter):
        inspect_model_folder(sources.files(sources.tokenizer))
    return contents.elements + count_elements([own])
