"""Examples to a checked, leak-free split with its quality report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import (
    Artifact,
    digest_of,
    hash_file_cached,
    open_artifact,
    read_manifest,
    stage_artifact,
    verify_artifact,
)
from loratory.data import split_files
from loratory.data.dataset import Dataset, Parts
from loratory.data.preparation import PreparedData, prepare_data
from loratory.data.quality import label_errors, quality_report
from loratory.data.quality.languages import inspect_languages
from loratory.errors import ArtifactError, BaseModelError, DataError, MissingExtra
from loratory.experiment.spec_loading import check_gate, resolve_data_paths
from loratory.protocols import Conversational, Labelled
from loratory.protocols.events import EventListener, Message, StageStarted
from loratory.specs.spec import Spec

LABEL_ERROR_FOLDS = 5
MAX_SUSPECT_TEXTS = 250_000  # texts of such a model: its five fits take minutes for 100,000
MAX_SUSPECT_LABELS = 1000  # labels of a model that looks for wrong ones: it takes labels times texts


@dataclass(frozen=True)
class PreparedSplit:
    """A settled task, its parts, and what was found on the way."""

    task: Any
    parts: Parts
    quality: Mapping[str, Any]
    facts: Mapping[str, Any]  # split.json
    notes: tuple[str, ...]


def prepare_split(spec: Spec, on_event: EventListener) -> PreparedSplit:
    """Read, group, split and inspect; raises DataError. Nothing is written."""
    on_event(StageStarted("reading and splitting the examples"))
    prepared = prepare_data(spec.task, spec.data, spec.folder)
    for line in prepared.messages:
        on_event(Message(line))
    check_gate(spec, prepared.task)
    lengths, limit = _token_lengths(spec, prepared)
    found = None
    too_many = _describe_too_many(prepared) if spec.data.suspects and isinstance(prepared.task, Labelled) else None
    if too_many:
        on_event(Message(f"suspected wrong labels are not looked for, as there are more than {too_many}"))
    elif spec.data.suspects and isinstance(prepared.task, Labelled):
        on_event(StageStarted(f"looking for wrong labels ({LABEL_ERROR_FOLDS}-fold cross-validation on train)"))
        found = find_label_errors(prepared.parts.train, spec.data.split.seed)
    report = quality_report.inspect_data(prepared.parts, prepared.pairs, lengths, limit, found)
    report = quality_report.add_languages(report, _inspect_languages(spec, prepared))
    report["base"] = _find_better_base(spec, prepared, report["languages"])
    facts, parts = prepared.describe_split(spec.data), prepared.parts
    if spec.data.clean and found is not None:
        parts, left = drop_label_errors(parts, found.suspects if found.is_useful else ())
        facts["left_out"] = [asdict(suspect) for suspect in left]
        on_event(Message(_describe_left_out(found, len(left))))
    if unused := _describe_unused_calibration(spec, prepared.parts):
        on_event(Message(unused))
    return PreparedSplit(prepared.task, parts, report, facts, prepared.messages)


def _describe_too_many(prepared: PreparedData) -> str | None:
    """What there is too much of for five fits of a model of words, in words."""
    if len(getattr(prepared.task, "labels", None) or ()) > MAX_SUSPECT_LABELS:
        return f"{MAX_SUSPECT_LABELS:,} labels"
    return f"{MAX_SUSPECT_TEXTS:,} texts in train" if len(prepared.parts.train) > MAX_SUSPECT_TEXTS else None


def _describe_left_out(found: label_errors.LabelErrors, count: int) -> str:
    if found.is_useful:
        return f"{count} suspected wrong labels are left out of train (split.json lists them)"
    return (
        f"data: clean leaves nothing out: the model that disputes labels is right on {found.accuracy:.1%} of train "
        f"texts it has not seen (the commonest label: {found.majority:.1%}), so most of what it disputes may be right"
    )


def _describe_unused_calibration(spec: Spec, parts: Parts) -> str | None:
    """Of examples that were set apart for nothing."""
    if spec.operating or not parts.calibration:
        return None
    return (
        f"nothing uses the {len(parts.calibration):,} examples of the calibration part, since the spec has no "
        "operating: leave data: split: calibration out, and train learns from them"
    )


def drop_label_errors(
    parts: Parts, suspects: Sequence[label_errors.SuspectedLabel]
) -> tuple[Parts, list[label_errors.SuspectedLabel]]:
    """The parts with suspects left out of train, and those suspects; a label keeps what is its last example."""
    disputed = {(s.origin, s.text, s.label): s for s in suspects}
    train = parts.train
    keys = [(e.origin, text, label) for e, text, label in zip(train, train.texts, train.labels, strict=True)]
    safe = {label for _, _, label in (key for key in keys if key not in disputed)}
    out = {key for key in keys if key in disputed and key[2] in safe}
    kept = train.select([place for place, key in enumerate(keys) if key not in out])
    return replace(parts, train=kept), [disputed[key] for key in dict.fromkeys(keys) if key in out]


def _token_lengths(spec: Spec, prepared: PreparedData) -> tuple[dict[str, list[int]] | None, int | None]:
    """Token counts under the first base of the ladder, and where texts are cut."""
    bases = [c.base for c in spec.ladder if c.base]
    if not bases:
        return None, None
    from loratory.backbones.loading.bases import resolve_base
    from loratory.backbones.loading.tokenizers import FastTokenizer

    base = resolve_base(bases[0])
    tokenizer = FastTokenizer.load(base.files, base.config.get("max_position_embeddings"))
    counts = {name: tokenizer.count_tokens(examples.texts) for name, examples in prepared.parts.items()}
    return counts, min(tokenizer.max_length, spec.training.max_tokens)


def _inspect_languages(spec: Spec, prepared: PreparedData) -> dict[str, Any] | None:
    """The languages of the train texts, and whether each base of the ladder was written for them."""
    tokenizers = {}
    for name in dict.fromkeys(c.base for c in spec.ladder if c.base):
        from loratory.backbones.loading.bases import locate_base
        from loratory.backbones.loading.tokenizers import FastTokenizer

        try:
            tokenizers[name] = FastTokenizer.load(locate_base(name), None)
        except (BaseModelError, MissingExtra):  # said by its contender
            continue
    if not tokenizers:
        return None
    texts, origins = prepared.parts.train.texts, [one.origin for one in prepared.parts.train]
    return inspect_languages(texts, origins, tokenizers, generates=isinstance(prepared.task, Conversational))


def _find_better_base(spec: Spec, prepared: PreparedData, languages: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The base that the train texts ask for, where it is not that of the ladder."""
    if languages is None:
        return None
    from loratory.experiment.base_suggestions import find_better_base

    return find_better_base(spec, prepared.parts.train, languages)


def find_label_errors(examples: Dataset, seed: int) -> label_errors.LabelErrors:
    """Train examples whose label a TF-IDF model that never saw them disagrees with (out of fold), and its accuracy."""
    import numpy as np

    from loratory.backbones.forward.execution import run_locally
    from loratory.regimes.tfidf import Tfidf, fit_linear

    task, labels, texts = examples.task, examples.labels, examples.texts
    places = {label: place for place, label in enumerate(task.labels)}
    y = np.array([places[label] for label in labels])
    odds: list[Mapping[str, float]] = [{}] * len(examples)
    for held in label_errors.make_folds(examples, labels, LABEL_ERROR_FOLDS, seed):
        out = set(held)
        kept = [i for i in range(len(examples)) if i not in out]
        if len(set(y[kept].tolist())) < 2:
            return label_errors.find_label_errors(task.labels, examples, labels, texts, odds)
        made = fit_linear(Tfidf(words=1, characters=4), task, [texts[i] for i in kept], y[kept])
        for i, prediction in zip(held, made.predict([examples[i].input for i in held], run_locally), strict=True):
            odds[i] = prediction.probabilities["/label"]
    return label_errors.find_label_errors(task.labels, examples, labels, texts, odds)


def load_or_prepare(spec: Spec, folder: Path, on_event: EventListener) -> PreparedSplit:
    """The run's split: the one on disk when it was made from the same data options, else a new one."""
    identity = _digest_data_options(spec)
    manifest = read_manifest(folder)
    if manifest and manifest.get("identity") == identity:
        try:
            verify_artifact(folder)
            return load_prepared(spec, open_artifact(folder))
        except ArtifactError as problem:
            on_event(Message(f"the split on disk is damaged and is written again ({problem.problem})"))
    split = prepare_split(spec, on_event)
    if _digest_data_options(spec) != identity:
        raise DataError(
            "a data file was changed while it was being read",
            where=spec.data.path,
            remedy="run it again when nobody writes to the data",
        )
    with stage_artifact(folder, {"kind": "split", "identity": identity}) as part:
        split_files.write_split(part, split.task, split.parts, {**split.facts, "quality": split.quality})
    return load_prepared(spec, open_artifact(folder))


def load_prepared(spec: Spec, files: Artifact) -> PreparedSplit:
    """The split that a run wrote; raises ArtifactError."""
    facts, report = files.read_json("split.json"), files.read_json("quality.json")
    task = split_files.read_task(files, spec.task)
    return PreparedSplit(task, split_files.read_split(files, task), report, facts, tuple(facts["messages"]))


def _digest_data_options(spec: Spec) -> str:
    """Of all that decides a split: the options of data and task, and what the data files hold."""
    asked = {
        "data": resolve_data_paths(spec).data.model_dump(),
        "task": spec.task.model_dump(),
        "files": _digest_data_files(spec),
    }
    return digest_of(asked)


def _digest_data_files(spec: Spec) -> list[list[str]]:
    """Path and SHA-256 of every data file: a change is noticed whatever its size and time say."""
    found: list[list[str]] = []
    for name in (spec.data.path, spec.data.validation, spec.data.test):
        path = (spec.folder / Path(name).expanduser()) if name else None
        if path is not None and path.exists():
            files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
            found += [[str(f.resolve()), hash_file_cached(f)] for f in files]
    return found
