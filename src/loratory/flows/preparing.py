"""Examples to a checked, leak-free split with its quality report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import (
    Artifact,
    digest_of,
    known_digest,
    open_artifact,
    read_manifest,
    staging,
    verified,
)
from loratory.data import quality, store, suspects
from loratory.data.examples import labels_of, texts_of
from loratory.data.languages import inspect_languages
from loratory.data.prepared import Prepared, prepare
from loratory.data.splits import Parts
from loratory.errors import ArtifactError, BaseModelError, DataError, MissingExtra
from loratory.flows.listening import Listener
from loratory.flows.specs import check_gate, located
from loratory.protocols import Conversational, Example, Labelled
from loratory.specs.frame import Spec

FOLDS = 5
MOST = 1000  # labels of a model that looks for wrong ones: it takes labels times texts


@dataclass(frozen=True)
class Split:
    """A settled task, its parts, and what was found on the way."""

    task: Any
    parts: Parts
    quality: Mapping[str, Any]
    facts: Mapping[str, Any]  # split.json
    said: tuple[str, ...]


def check(spec: Spec, listen: Listener) -> Split:
    """Read, group, split and inspect; raises DataError. Nothing is written."""
    listen("stage", {"text": "reading and splitting the examples"})
    prepared = prepare(spec.task, spec.data, spec.folder)
    for line in prepared.said:
        listen("said", {"text": line})
    check_gate(spec, prepared.task)
    lengths, limit = _token_lengths(spec, prepared)
    found = None
    if spec.data.suspects and isinstance(prepared.task, Labelled) and len(prepared.task.labels or ()) > MOST:
        listen("said", {"text": f"suspected wrong labels are not looked for, as there are more than {MOST:,} labels"})
    elif spec.data.suspects and isinstance(prepared.task, Labelled):
        listen("stage", {"text": f"looking for suspected wrong labels ({FOLDS} folds of train)"})
        found = suspected(prepared.task, prepared.parts.train, spec.data.split.seed)
    report = quality.inspect(prepared.task, prepared.parts, prepared.pairs, lengths, limit, found)
    report = quality.add_languages(report, _languages(spec, prepared))
    facts, parts = prepared.facts(spec.data), prepared.parts
    if spec.data.clean and found is not None:
        parts, left = cleaned(prepared.task, parts, found.suspects if found.useful else ())
        facts["left_out"] = [asdict(suspect) for suspect in left]
        listen("said", {"text": _left_out(found, len(left))})
    if unused := _unused(spec, prepared.parts):
        listen("said", {"text": unused})
    return Split(prepared.task, parts, report, facts, prepared.said)


def _left_out(found: suspects.Found, count: int) -> str:
    if found.useful:
        return f"{count} suspected wrong labels are left out of train (split.json lists them)"
    return (
        f"data: clean leaves nothing out: the model that disputes labels is right on {found.accuracy:.1%} of train "
        f"texts it has not seen (the commonest label: {found.majority:.1%}), so most of what it disputes may be right"
    )


def _unused(spec: Spec, parts: Parts) -> str | None:
    """Of examples that were set apart for nothing."""
    if spec.operating or not parts.calibration:
        return None
    return (
        f"nothing uses the {len(parts.calibration):,} examples of the calibration part, since the spec has no "
        "operating: leave data: split: calibration out, and train learns from them"
    )


def cleaned(task: Any, parts: Parts, found: Sequence[suspects.Suspect]) -> tuple[Parts, list[suspects.Suspect]]:
    """The parts with suspects left out of train, and those suspects; a label keeps what is its last example."""
    disputed = {(s.origin, s.text, s.label): s for s in found}
    labels, texts = labels_of(task, parts.train), texts_of(task, parts.train)
    keys = [(e.origin, text, label) for e, text, label in zip(parts.train, texts, labels, strict=True)]
    safe = {label for _, _, label in (key for key in keys if key not in disputed)}
    out = {key for key in keys if key in disputed and key[2] in safe}
    kept = tuple(e for e, key in zip(parts.train, keys, strict=True) if key not in out)
    return replace(parts, train=kept), [disputed[key] for key in dict.fromkeys(keys) if key in out]


def _token_lengths(spec: Spec, prepared: Prepared) -> tuple[dict[str, list[int]] | None, int | None]:
    """Token counts under the first base of the ladder, and where texts are cut."""
    bases = [c.base for c in spec.ladder if c.base]
    if not bases:
        return None, None
    from loratory.models.bases import resolve
    from loratory.models.tokenizers import FastTokenizer

    base = resolve(bases[0])
    tokenizer = FastTokenizer.load(base.files, base.config.get("max_position_embeddings"))
    counts = {name: tokenizer.count(texts_of(prepared.task, examples)) for name, examples in prepared.parts.items()}
    return counts, min(tokenizer.limit, spec.training.max_tokens)


def _languages(spec: Spec, prepared: Prepared) -> dict[str, Any] | None:
    """The languages of the train texts, and whether each base of the ladder was written for them."""
    tokenizers = {}
    for name in dict.fromkeys(c.base for c in spec.ladder if c.base):
        from loratory.models.bases import locate
        from loratory.models.tokenizers import FastTokenizer

        try:
            tokenizers[name] = FastTokenizer.load(locate(name), None)
        except (BaseModelError, MissingExtra):  # said by its contender
            continue
    if not tokenizers:
        return None
    texts, origins = texts_of(prepared.task, prepared.parts.train), [one.origin for one in prepared.parts.train]
    return inspect_languages(texts, origins, tokenizers, writes=isinstance(prepared.task, Conversational))


def suspected(task: Any, examples: Sequence[Example], seed: int) -> suspects.Found:
    """Train examples whose label a TF-IDF model that never saw them disagrees with (out of fold), and its accuracy."""
    import numpy as np

    from loratory.models.execution import run_here
    from loratory.regimes.tfidf import Tfidf, fit_linear

    labels, texts = labels_of(task, examples), texts_of(task, examples)
    y = np.array([task.labels.index(label) for label in labels])
    odds: list[Mapping[str, float]] = [{}] * len(examples)
    for held in suspects.folds(examples, labels, FOLDS, seed):
        out = set(held)
        kept = [i for i in range(len(examples)) if i not in out]
        if len(set(y[kept].tolist())) < 2:
            return suspects.found(task.labels, examples, labels, texts, odds)
        made = fit_linear(Tfidf(words=1, characters=4), task, [texts[i] for i in kept], y[kept])
        for i, prediction in zip(held, made.predict([examples[i].input for i in held], run_here), strict=True):
            odds[i] = prediction.probabilities["/label"]
    return suspects.found(task.labels, examples, labels, texts, odds)


def kept_or_made(spec: Spec, folder: Path, listen: Listener) -> Split:
    """The run's split: the one on disk when it was made from the same data options, else a new one."""
    identity = _identity(spec)
    manifest = read_manifest(folder)
    if manifest and manifest.get("identity") == identity:
        try:
            verified(folder)
            return reread(spec, open_artifact(folder))
        except ArtifactError as problem:
            listen("said", {"text": f"the split on disk is damaged and is made again ({problem.problem})"})
    split = check(spec, listen)
    if _identity(spec) != identity:
        raise DataError(
            "a data file was changed while it was being read",
            where=spec.data.path,
            remedy="run it again when nobody writes to the data",
        )
    with staging(folder, {"kind": "split", "identity": identity}) as part:
        store.write(part, split.task, split.parts, {**split.facts, "quality": split.quality})
    return reread(spec, open_artifact(folder))


def reread(spec: Spec, files: Artifact) -> Split:
    """The split that a run wrote; raises ArtifactError."""
    facts, report = files.json("split.json"), files.json("quality.json")
    return Split(store.task_of(files, spec.task), store.read(files), report, facts, tuple(facts["said"]))


def _identity(spec: Spec) -> str:
    """Of all that decides a split: the options of data and task, and what the data files hold."""
    asked = {"data": located(spec).data.model_dump(), "task": spec.task.model_dump(), "files": _files(spec)}
    return digest_of(asked)


def _files(spec: Spec) -> list[list[str]]:
    """Path and SHA-256 of every data file: a change is noticed whatever its size and time say."""
    found: list[list[str]] = []
    for name in (spec.data.path, spec.data.validation, spec.data.test):
        path = (spec.folder / Path(name).expanduser()) if name else None
        if path is not None and path.exists():
            files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
            found += [[str(f.resolve()), known_digest(f)] for f in files]
    return found
