"""Take in a backbone that lies beside its head (`head.json`, `head.safetensors`): what an export of our own may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loratory.artifacts.contents import Files
from loratory.artifacts.manifests import digest_of
from loratory.errors import ArtifactError
from loratory.export.foreign import check_answers, check_finite, take_in
from loratory.export.sources import Found
from loratory.models import adapters
from loratory.models.bases import describe
from loratory.models.trunks import TorchTrunk, load_trunk
from loratory.models.weights import read_tensors
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.predictors.heads import FACTS, WEIGHTS, fill_head
from loratory.protocols import Network
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

KINDS: Mapping[str, tuple[str, ...]] = {"labels": ("pooled", "stock"), "spans": ("token", "stock")}  # by form
POOLINGS = ("mean", "cls", "max", "last")
LONG = ("head", "ends", "windows")


@dataclass(frozen=True)
class Head:
    """What `head.json` says of a head, and of how texts were read."""

    files: Files
    kind: str
    form: str
    max_tokens: int
    long: str
    pooling: str | None = None
    whole_words: bool | None = None  # of spans


def read_head(found: Found) -> Head | None:
    """The head beside an adapter, else beside a model; None where there is none. Raises ArtifactError."""
    for folder in (found.adapter, found.model):
        if folder is not None and (files := found.files(folder)).has(FACTS):
            return _head(files)
    return None


def _head(files: Files) -> Head:
    raw: Any = files.json(FACTS)
    raw = raw if isinstance(raw, dict) else {}
    kind, most = raw.get("kind"), raw.get("max_tokens")
    form = raw.get("form", "spans" if kind == "token" else "labels")  # older files do not say it
    sound = (
        kind in KINDS.get(str(form), ())
        and isinstance(most, int)
        and most > 0
        and raw.get("long", "head") in LONG
        and (kind != "pooled" or raw.get("pooling") in POOLINGS)
        and raw.get("whole_words") in (None, True, False)
    )
    if not sound:
        raise ArtifactError(
            "it does not say what its head is",
            where=str(files.folder / FACTS),
            allowed="kind (pooled, token, stock) of form labels or spans, max_tokens from 1, "
            f"long ({', '.join(LONG)}), and of a pooled head pooling ({', '.join(POOLINGS)})",
            remedy="export the fit again",
        )
    return Head(files, kind, form, most, raw.get("long", "head"), raw.get("pooling"), raw.get("whole_words"))


def take_in_own(names: Sequence[str], found: Found, head: Head, scheme: str | None = None) -> Encoder:
    """A predictor of a folder that says in `head.json` how texts are read; a stock head lies in the model itself."""
    made = take_in(names, found, scheme) if head.kind == "stock" else _with_head(names, found, head)
    task = made.task
    if head.form == "spans" and head.whole_words is not None:
        task = task.model_copy(update={"whole_words": head.whole_words})
    return replace(made, task=task, max_tokens=min(head.max_tokens, made.max_tokens), long=head.long)


def _with_head(names: Sequence[str], found: Found, head: Head) -> Encoder:
    """Nothing in the folder is executed. Raises ArtifactError where the head does not fit the names or the backbone."""
    form = FORMS[head.form]
    task: Any = (Classify if head.form == "labels" else Tag)(labels=form.labels(names))
    trunk = _trunk(found, head)
    own: Any = form.head(head.kind, task, trunk)
    tensors = read_tensors(head.files, WEIGHTS)
    try:
        fill_head(own, tensors)
    except Exception as problem:
        raise ArtifactError(
            f"the head does not fit {len(names)} outputs of states of {trunk.width}: {str(problem).splitlines()[-1]}",
            where=str(head.files.folder / WEIGHTS),
            remedy="check that labels.json, the head and the weights are of one export",
        ) from problem
    check_finite(own, head.files.folder / WEIGHTS)
    check_finite(trunk.model, found.model)
    made = Encoder(task, head.form, Network(trunk, None, own), trunk.tokenizer.limit, learned=0, owned=True)
    check_answers(made, found.model)
    return made


def _trunk(found: Found, head: Head) -> TorchTrunk:
    """The backbone with its adapter, if any, merged in."""
    base = replace(describe(str(found.model), found.files(found.model)), kind="encoder")
    base = replace(base, pooling=head.pooling or base.pooling)
    trunk = load_trunk(base)
    if found.adapter is None:
        return trunk
    files = found.files(found.adapter)
    digest = digest_of([base.digest, files.digest(adapters.WEIGHTS)])[:16]
    model = adapters.merged(trunk.model, adapters.read(files))
    return TorchTrunk(model, trunk.tokenizer, replace(base, digest=digest))
