"""Take in a foreign Hugging Face or PEFT folder: merged, then base + adapter, then a PEFT checkpoint, then plain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loratory.artifacts.contents import Files, files_of
from loratory.artifacts.manifests import digest_of
from loratory.errors import ArtifactError, BaseModelError, Unfit, nearest
from loratory.models import adapters
from loratory.models.bases import EMBEDDED, ORIGIN, Base, conversion, describe, found_instead, resolve
from loratory.models.tokenizers import VOCABULARIES, FastTokenizer
from loratory.models.trunks import TorchTrunk, open_model, positions_of
from loratory.models.weights import read_shapes, read_tensors
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.predictors.heads import StockHead, fill_head, head_tensors
from loratory.predictors.schemes import OUTSIDE, SCHEMES, scheme_of
from loratory.protocols import Network
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

ABSENT = -1e4  # the logit of a tag that a model never gives: its probability is 0
KINDS = {"SEQ_CLS": "labels", "TOKEN_CLS": "spans"}  # PEFT's task_type -> form
AS_BASE = "name the folder as base: in a spec with examples of your own, and fit head or full on it"


@dataclass(frozen=True)
class Found:
    """Where the weights are: a whole classifier of texts or tokens, and an adapter on it or not."""

    model: Path
    adapter: Path | None
    order: str  # merged | base + adapter | plain
    tokenizer: Path
    source: Files | None = None  # those of the folder that was named: only they are read below it

    def files(self, folder: Path) -> Files:
        """The files of one of these folders: of an artifact those alone that its manifest lists."""
        if self.source is None or not folder.is_relative_to(self.source.folder):
            return files_of(folder)
        inner = folder.relative_to(self.source.folder).as_posix()
        return self.source if inner == "." else self.source.within(inner)


def locate(source: Path | Files, base: str | None = None) -> Found:
    """The first of merged/, an adapter (adapter/ or the folder itself) on its base, the folder itself.

    `base` says which base an adapter is for, where the folder does not hold it. Raises ArtifactError.
    """
    files = files_of(source)
    folder = files.folder
    if not folder.is_dir():
        raise ArtifactError("this folder does not exist", where=str(folder))
    if _is_model(files.within("merged")):
        return Found(folder / "merged", None, "merged", folder / "merged", files)
    for adapter in (files.within("adapter"), files):
        if adapter.has(adapters.CONFIG):
            found = _base_of(files, adapter, base)
            own = adapter.folder if any(adapter.has(name) for name in VOCABULARIES) else found
            return Found(found, adapter.folder, "base + adapter", own, files)
    if base is not None:
        raise ArtifactError("--base is for an adapter, and there is none", where=str(folder), remedy="leave --base out")
    if _is_model(files):
        return Found(folder, None, "plain", folder, files)
    places = (folder, folder / "merged", *(folder / top for top in files.tops() if top.startswith("base_")))
    place = next((one for one in places if found_instead(one)), folder)
    config = _json(place / "config.json") if (place / "config.json").is_file() else {}
    raise ArtifactError(
        f"no model found{found_instead(place)}",
        where=str(place),
        allowed="merged/, base_<L>/ + adapter/, a PEFT checkpoint (adapter_config.json and adapter_model.safetensors), "
        "or a model folder (config.json and model.safetensors)",
        remedy=conversion(place, config if isinstance(config, dict) else {}),
    )


def _is_model(files: Files) -> bool:
    weights = [name for name in files.tops() if name.endswith(".safetensors") and name != adapters.WEIGHTS]
    return files.has("config.json") and bool(weights)


def _base_of(files: Files, own: Files, asked: str | None) -> Path:
    """The folder of an adapter's base: the one asked for, base_<L>/ beside it, or what adapter_config.json names."""
    folder, adapter = files.folder, own.folder
    if asked is not None:
        return _resolved(asked, folder)
    inside = [top for top in files.tops() if top.startswith("base_") and _is_model(files.within(top))]
    if inside:
        return folder / inside[0]
    raw = own.json(adapters.CONFIG)
    named = raw.get("base_model_name_or_path") if isinstance(raw, dict) else None
    if not isinstance(named, str) or not named:
        raise ArtifactError(
            "adapter_config.json does not name the adapter's base",
            where=str(adapter),
            remedy="say it: --base NAME",
        )
    for place in (Path(named).expanduser(), adapter / named, adapter.parent / named):
        if place.is_dir():
            return place
    return _resolved(next((name for name, (hub, _) in ORIGIN.items() if hub == named), named), folder, named)


def _resolved(name: str, folder: Path, named: str | None = None) -> Path:
    """The folder of a base that is asked for, or that adapter_config.json names; raises ArtifactError."""
    try:
        return resolve(name).folder
    except BaseModelError as problem:
        what = f"the base {named!r}, which adapter_config.json names, cannot be had" if named else problem.problem
        raise ArtifactError(
            f"{what}{f' ({problem.problem})' if named else ''}",
            where=str(folder),
            allowed=f"--base with a folder, a hub id owner/model, or one of {', '.join(EMBEDDED)}",
            remedy="say where the base is: --base NAME" if named else problem.remedy.replace("base:", "--base"),
        ) from problem


def labels_in(*sources: Path | Files, named: Sequence[str] = (), count: int | None = None) -> tuple[str, ...]:
    """Labels given by name, or from labels.json (a list, {id: label}, id2label or label2id), or config.json's id2label.

    A config.json with another number of labels than `count` is passed over: it is that of a base, not of what an
    adapter learnt.
    """
    if named:
        return _ordered(list(named), Path("--labels"))
    folders = [files_of(source) for source in sources]
    for files in folders:
        if files.has("labels.json"):
            return _ordered(files.json("labels.json"), files.folder / "labels.json")
    for files in folders:
        if files.has("config.json"):
            config = files.json("config.json")
            numbered = config.get("id2label") if isinstance(config, dict) else None
            if numbered and (count is None or len(numbered) == count):
                return _ordered({"id2label": numbered}, files.folder / "config.json")
    there = f" for the {count} outputs of its head" if count else ""
    raise ArtifactError(
        f"no labels.json and no id2label{there}",
        where=str(folders[0].folder),
        remedy='say them in the order of the outputs: --labels first,second; or add labels.json: ["first", "second"]',
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ArtifactError(f"not JSON: {problem}", where=str(file)) from problem


def _ordered(raw: Any, file: Path) -> tuple[str, ...]:
    try:
        ids = _numbered(raw)
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


def _numbered(raw: Any) -> dict[int, str]:
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


def outputs_of(adapter: Path | Files | None) -> int | None:
    """How many outputs the head has that an adapter brings; None where it brings none."""
    files = files_of(adapter) if adapter is not None else None
    if files is None or not files.has(adapters.WEIGHTS):
        return None
    shapes = read_shapes(files, adapters.WEIGHTS)
    heads = [shape[0] for name, shape in shapes.items() if ".lora_" not in name and len(shape) == 2]
    return min(heads, default=None)  # a head may have layers below its last one


def form_in(found: Found, names: Sequence[str] = (), scheme: str | None = None) -> str:
    """The form of the classifier: of texts, or of tokens in the scheme that is said or that its tags' names tell.

    PEFT's task_type counts, else the stock class that config.json names; labels of texts where neither says it.
    Raises ArtifactError for what is no classifier, and for tags of no scheme.
    """
    kind = (_task_type(found.files(found.adapter)) if found.adapter else None) or _stock(found.files(found.model))
    if kind == "labels":
        if scheme:
            raise ArtifactError("--scheme is for classifiers of tokens", remedy="leave --scheme out")
        return kind
    if scheme and scheme not in SCHEMES:
        raise ArtifactError(
            f"there is no tag scheme {scheme!r}{nearest(scheme, SCHEMES)}",
            where="--scheme",
            allowed=", ".join(SCHEMES),
            remedy="leave it out",
        )
    try:
        name = scheme or scheme_of(names)
        FORMS[_form(name)].labels(names)
    except ValueError as problem:
        raise ArtifactError(
            f"the labels {list(names)[:9]} are no tags of one scheme: {problem}",
            where=str(found.model),
            allowed="O with B-/I- (BIO, IOB1), I- (IO), B-/I-/E-/S- (BIOES), B-/I-/L-/U- (BILOU), or labels alone",
            remedy="name the outputs so, in their order: --labels O,B-CITY,I-CITY, or in labels.json",
        ) from problem
    return _form(name)


def _form(scheme: str) -> str:
    return "spans" if scheme == "bio" else f"spans-{scheme}"


def _task_type(adapter: Files) -> str | None:
    """The form that an adapter's task_type says, None where it says none; raises ArtifactError for another task."""
    raw = adapter.json(adapters.CONFIG)
    said = raw.get("task_type") if isinstance(raw, dict) else None
    if said in (None, "", "FEATURE_EXTRACTION") or said in KINDS:
        return KINDS.get(str(said))
    raise ArtifactError(
        f"the adapter's task_type is {said}: it is no classifier",
        where=str(adapter.folder),
        allowed=", ".join(KINDS),
        remedy="merge it into its base with PEFT (merge_and_unload, save_pretrained) and use that folder as base: of "
        "prompted or lora in a spec",
    )


def _stock(model: Files) -> str:
    config = model.json("config.json")
    named = [str(one) for one in (config.get("architectures") or ())] if isinstance(config, dict) else []
    for name, form in FORMS.items():
        if any(one.endswith(form.stock.opener.removeprefix("AutoModel")) for one in named):
            return name
    return "labels"


def take_in(names: Sequence[str], found: Found, scheme: str | None = None) -> Encoder:
    """A predictor of our own from a foreign folder whose outputs have these names; the adapter, if any, is merged.

    Nothing in the folder is executed. Raises ArtifactError when weights are missing or do not fit the names.
    """
    name = form_in(found, names, scheme)
    form = FORMS[name]
    task: Any = (Classify if name == "labels" else Tag)(labels=form.labels(names))
    base = describe(str(found.model), found.files(found.model))
    model, missing = _classifier(base, len(names), form.stock.opener)
    adapter = found.files(found.adapter) if found.adapter else None
    if adapter is not None:
        model, filled = _with_adapter(model, adapter)
        missing -= filled
    if missing:
        raise ArtifactError(
            f"weights are missing: {', '.join(sorted(missing)[:4])}",
            where=str(found.model),
            allowed="a whole classifier of texts or tokens",
            remedy=f"a trunk without its head cannot answer: export the head too, or {AS_BASE}",
        )
    trunk_model = getattr(model, model.base_model_prefix)
    tokenizer = FastTokenizer.load(found.files(found.tokenizer), positions_of(trunk_model))
    head = _arranged(model, names, form.outputs(task), tokenizer.pad, form.stock.tokens)
    digest = digest_of([base.digest, adapter.digest(adapters.WEIGHTS) if adapter else ""])[:16]
    described: Base = replace(base, digest=digest, kind="encoder")
    trunk = TorchTrunk(trunk_model, tokenizer, described)
    return Encoder(task, name, Network(trunk, None, head), tokenizer.limit, learned=0, owned=True)


def _arranged(model: Any, names: Sequence[str], outputs: Sequence[str], pad: int, tokens: bool) -> StockHead:
    """The model's head with its outputs in the order of `outputs`; one that it lacks is never given.

    Raises ArtifactError where the architecture has a head that does not work on its trunk's states.
    """
    try:
        given = StockHead(model.config, names, pad, tokens)
        head = StockHead(model.config, outputs, pad, tokens)
    except Unfit as problem:
        raise ArtifactError(
            f"{problem.problem}, so it cannot be taken in",
            where=str(model.config.model_type),
            allowed="a classifier whose head reads the trunk's final states (BERT, DeBERTa, ALBERT, BART, Llama, ...)",
            remedy=AS_BASE,
        ) from problem
    own = model.state_dict()
    fill_head(given, {name: own[name] for name in given.named()})
    if list(names) == list(outputs):
        return given
    order = [names.index(name) if name in names else None for name in outputs]
    tensors = head_tensors(given)
    for name in _last(given, len(names)):
        tensors[name] = _rows(tensors[name], order)
    fill_head(head, tensors)
    _check_order(given, head, order)
    return head


def _last(head: StockHead, outputs: int) -> list[str]:
    """The names of the parameters of a head's last layer."""
    import torch

    layers = [part for part in head.model.modules() if isinstance(part, torch.nn.Linear)]
    last = next(part for part in reversed(layers) if part.out_features == outputs)
    own = {id(p) for p in last.parameters()}
    return [name for name, p in head.named().items() if id(p) in own]


def _rows(tensor: Any, order: Sequence[int | None]) -> Any:
    """The rows of a weight [C, D] or a bias [C] in another order; a row that is not there gives the logit ABSENT."""
    import torch

    blank = torch.zeros_like(tensor[0]) if tensor.ndim > 1 else torch.full_like(tensor[0], ABSENT)
    return torch.stack([blank if place is None else tensor[place] for place in order])


def _check_order(given: StockHead, head: StockHead, order: Sequence[int | None]) -> None:
    """Raise ArtifactError where the logits are not the ones of before in another order."""
    import torch

    states = torch.randn(1, 3, given.config.hidden_size, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 3, dtype=torch.long)
    there = [place for place, source in enumerate(order) if source is not None]
    with torch.no_grad():
        before, after = given(states, mask), head(states, mask)
    same = torch.allclose(after[..., there], before[..., [order[place] for place in there]], atol=1e-5)
    dead = [place for place, source in enumerate(order) if source is None]
    if not same or (dead and float(after[..., dead].max()) > ABSENT / 2):
        raise ArtifactError(
            "the order of this head's outputs cannot be changed",
            where=str(given.config.model_type),
            allowed=f"{OUTSIDE} first, then the tags of each label",
            remedy="export it with its labels in that order, and all tags of each",
        )


def _classifier(base: Base, labels: int, opener: str) -> tuple[Any, set[str]]:
    """The whole model and the names of its weights that the folder lacks."""
    import transformers

    folder = base.folder
    try:
        model, missing = open_model(base, getattr(transformers, opener), num_labels=labels)
    except ArtifactError:
        raise
    except Exception as problem:
        raise ArtifactError(
            f"it does not open in {opener} with {labels} labels: {str(problem).splitlines()[0][:300]}",
            where=str(folder),
            remedy="check that the labels (--labels or labels.json) and the weights are of the same model",
        ) from problem
    if model.config.problem_type not in (None, "single_label_classification"):
        raise ArtifactError(
            f"problem_type is {model.config.problem_type!r}",
            where=str(folder / "config.json"),
            allowed="single_label_classification (one label for a text)",
            remedy=AS_BASE,
        )
    return model, missing


def _with_adapter(model: Any, files: Files) -> tuple[Any, set[str]]:
    """Merge the adapter through our own allowlisted reader, and put its saved modules (the head) in place."""
    prefix, folder = model.base_model_prefix, files.folder
    adapter = adapters.read(files)
    tensors = {
        name.removeprefix(adapters.PREFIX): t
        for name, t in read_tensors(files, adapters.WEIGHTS).items()
        if ".lora_" not in name
    }
    if any(name.startswith(f"{adapters.PREFIX}{prefix}.") for name in adapter.tensors):
        model = adapters.merged(model, adapter)  # it was trained on the whole model: its head may be adapted too
    else:
        setattr(model, prefix, adapters.merged(getattr(model, prefix), adapter))
    unknown = set(tensors) - set(model.state_dict())
    if unknown:
        raise ArtifactError(
            f"the adapter holds weights that its base lacks: {', '.join(sorted(unknown)[:3])}",
            where=str(folder),
            remedy="say which base it was trained on: --base NAME",
        )
    try:
        model.load_state_dict(tensors, strict=False)
    except RuntimeError as problem:
        raise ArtifactError(
            f"the adapter does not open with {model.config.num_labels} labels: {str(problem).splitlines()[-1].strip()}",
            where=str(folder),
            remedy="check that the labels (--labels or labels.json) are those of its head, and --base its base",
        ) from problem
    return model, set(tensors)
