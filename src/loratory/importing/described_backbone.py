"""Take in a backbone that lies beside its head (`head.json`, `head.safetensors`): what an export of our own may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loratory.artifacts.manifests import digest_of
from loratory.artifacts.verified_files import VerifiedFiles
from loratory.backbones import adapters
from loratory.backbones.forward.causal_backbone import create_backbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.loading.bases import describe_base
from loratory.backbones.loading.weights import read_tensors
from loratory.backbones.pool import load_backbone
from loratory.errors import ArtifactError
from loratory.importing.foreign_classifier import check_answers, check_finite, import_classifier
from loratory.importing.weight_sources import ModelSources
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import HEAD_FACTS_FILE, HEAD_WEIGHTS_FILE, load_head_tensors
from loratory.predictors.output_adapters import OUTPUT_ADAPTERS
from loratory.protocols import Network
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

HEAD_KINDS: Mapping[str, tuple[str, ...]] = {"labels": ("pooled", "stock"), "spans": ("token", "stock")}  # by form
POOLINGS = ("mean", "cls", "max", "last")
LONG_TEXT_MODES = ("head", "ends", "windows")


@dataclass(frozen=True)
class HeadDescription:
    """What `head.json` says of a head, and of how texts were read."""

    files: VerifiedFiles
    kind: str
    form: str
    max_tokens: int
    long: str
    pooling: str | None = None
    whole_words: bool | None = None  # of spans


def read_head_description(sources: ModelSources) -> HeadDescription | None:
    """The head beside an adapter, else beside a model; None where there is none. Raises ArtifactError."""
    for folder in (sources.adapter, sources.model):
        if folder is not None and (files := sources.files(folder)).has(HEAD_FACTS_FILE):
            return _parse_head_description(files)
    return None


def _parse_head_description(files: VerifiedFiles) -> HeadDescription:
    raw: Any = files.read_json(HEAD_FACTS_FILE)
    raw = raw if isinstance(raw, dict) else {}
    kind, most = raw.get("kind"), raw.get("max_tokens")
    form = raw.get("form", "spans" if kind == "token" else "labels")  # older files do not say it
    sound = (
        kind in HEAD_KINDS.get(str(form), ())
        and isinstance(most, int)
        and most > 0
        and raw.get("long", "head") in LONG_TEXT_MODES
        and (kind != "pooled" or raw.get("pooling") in POOLINGS)
        and raw.get("whole_words") in (None, True, False)
    )
    if not sound:
        raise ArtifactError(
            "it does not say what its head is",
            where=str(files.folder / HEAD_FACTS_FILE),
            allowed="kind (pooled, token, stock) of form labels or spans, max_tokens from 1, "
            f"long ({', '.join(LONG_TEXT_MODES)}), and of a pooled head pooling ({', '.join(POOLINGS)})",
            remedy="export the fit again",
        )
    return HeadDescription(files, kind, form, most, raw.get("long", "head"), raw.get("pooling"), raw.get("whole_words"))


def import_with_head_description(
    names: Sequence[str], sources: ModelSources, head: HeadDescription, scheme: str | None = None
) -> Encoder:
    """A predictor of a folder that says in `head.json` how texts are read; a stock head lies in the model itself."""
    made = import_classifier(names, sources, scheme) if head.kind == "stock" else _build_encoder(names, sources, head)
    task = made.task
    if head.form == "spans" and head.whole_words is not None:
        task = task.model_copy(update={"whole_words": head.whole_words})
    return replace(made, task=task, max_tokens=min(head.max_tokens, made.max_tokens), long_text_mode=head.long)


def _build_encoder(names: Sequence[str], sources: ModelSources, head: HeadDescription) -> Encoder:
    """Nothing in the folder is executed. Raises ArtifactError where the head does not fit the names or the backbone."""
    form = OUTPUT_ADAPTERS[head.form]
    task: Any = (Classify if head.form == "labels" else Tag)(labels=form.parse_labels(names))
    backbone = _load_backbone(sources, head)
    own: Any = form.build_head(head.kind, task, backbone)
    tensors = read_tensors(head.files, HEAD_WEIGHTS_FILE)
    try:
        load_head_tensors(own, tensors)
    except Exception as problem:
        raise ArtifactError(
            f"the head does not fit {len(names)} outputs of states of {backbone.width}: "
            f"{str(problem).splitlines()[-1]}",
            where=str(head.files.folder / HEAD_WEIGHTS_FILE),
            remedy="check that labels.json, the head and the weights are of one export",
        ) from problem
    check_finite(own, head.files.folder / HEAD_WEIGHTS_FILE)
    check_finite(backbone.model, sources.model)
    made = Encoder(
        task,
        head.form,
        Network(backbone, None, own),
        backbone.tokenizer.max_length,
        trained_parameters=0,
        owns_backbone=True,
    )
    check_answers(made, sources.model)
    return made


def _load_backbone(sources: ModelSources, head: HeadDescription) -> EncoderBackbone:
    """The backbone with its adapter, if any, merged in."""
    base = replace(describe_base(str(sources.model), sources.files(sources.model)), kind="encoder")
    base = replace(base, pooling=head.pooling or base.pooling)
    backbone = load_backbone(base)
    if sources.adapter is None:
        return backbone
    files = sources.files(sources.adapter)
    digest = digest_of([base.digest, files.digest(adapters.WEIGHTS_FILE)])[:16]
    model = adapters.merge_adapter(backbone.model, adapters.read_adapter(files))
    return create_backbone(model, backbone.tokenizer, replace(base, digest=digest))
