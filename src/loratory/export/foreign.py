"""Take in a foreign Hugging Face or PEFT folder: merged, then base + adapter, then plain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import digest_of, file_digest
from loratory.errors import ArtifactError
from loratory.models import adapters
from loratory.models.bases import Base, describe
from loratory.models.tokenizers import FastTokenizer
from loratory.models.trunks import TorchTrunk, positions_of
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.predictors.heads import StockHead, fill_head
from loratory.protocols import Network, Task
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

TASKS: Mapping[str, Callable[..., Any]] = {"labels": Classify, "spans": Tag}  # what a form's foreign models answer


@dataclass(frozen=True)
class Found:
    """Where the weights are: a whole classifier of texts or tokens, and an adapter on it or not."""

    model: Path
    adapter: Path | None
    order: str  # merged | base + adapter | plain


def locate(folder: Path) -> Found:
    """The first of merged/, base_<L>/ + adapter/, the folder itself; raises ArtifactError."""
    if not folder.is_dir():
        raise ArtifactError("this folder does not exist", where=str(folder))
    if _is_model(folder / "merged"):
        return Found(folder / "merged", None, "merged")
    bases = [base for base in sorted(folder.glob("base_*")) if _is_model(base)]
    if (folder / "adapter" / adapters.CONFIG).is_file():
        if not bases:
            raise ArtifactError(
                "there is an adapter/ but no base_<L>/ with its base",
                where=str(folder),
                remedy="add the base it was trained on, or export merged/ where it was made",
            )
        return Found(bases[0], folder / "adapter", "base + adapter")
    if _is_model(folder):
        return Found(folder, None, "plain")
    raise ArtifactError(
        "no model found",
        where=str(folder),
        allowed="merged/, base_<L>/ + adapter/, or a model folder (config.json and model.safetensors)",
    )


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def labels_in(*folders: Path) -> tuple[str, ...]:
    """Labels from labels.json (a list, {id: label}, id2label or label2id), else config.json's id2label."""
    for folder in folders:
        if (folder / "labels.json").is_file():
            return _ordered(_json(folder / "labels.json"), folder / "labels.json")
    for folder in folders:
        if (folder / "config.json").is_file():
            config = _json(folder / "config.json")
            if isinstance(config, dict) and config.get("id2label"):
                return _ordered({"id2label": config["id2label"]}, folder / "config.json")
    raise ArtifactError(
        "no labels.json and no id2label", where=str(folders[0]), remedy='add labels.json: ["first", "second", ...]'
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


def form_in(found: Found) -> str:
    """The form whose stock class config.json names; labels of texts where it names none."""
    config = _json(found.model / "config.json")
    named = (config.get("architectures") or ()) if isinstance(config, dict) else ()
    for name, form in FORMS.items():
        if any(str(one).endswith(form.stock.opener.removeprefix("AutoModel")) for one in named):
            return name
    return "labels"


def task_in(folder: Path, found: Found, names: Sequence[str]) -> Task:
    """What the outputs of these names answer; raises ArtifactError where token classes are no BIO tags."""
    form = form_in(found)
    try:
        task: Task = TASKS[form](labels=FORMS[form].labels(names))
    except ValueError as problem:
        raise ArtifactError(
            f"the labels {list(names)[:6]} are no BIO tags: {problem}",
            where=str(folder),
            allowed="O, and B-LABEL and I-LABEL for each label, in any order",
            remedy="name them so in labels.json, in the order of the outputs",
        ) from problem
    return task


def take_in(folder: Path, names: Sequence[str], found: Found) -> Encoder:
    """A predictor of our own from a foreign folder whose outputs have these names; the adapter, if any, is merged.

    Nothing in the folder is executed. Raises ArtifactError when weights are missing or do not fit the names.
    """
    task = task_in(folder, found, names)
    form = FORMS[form_in(found)]
    base = describe(str(folder), found.model)
    model, missing = _classifier(found.model, len(names), form.stock.opener)
    if found.adapter is not None:
        model, filled = _with_adapter(model, found.adapter)
        missing -= filled
    if missing:
        raise ArtifactError(
            f"weights are missing: {', '.join(sorted(missing)[:4])}",
            where=str(found.model),
            allowed="a whole classifier of texts or tokens",
            remedy="a trunk without its head cannot answer; export the head too",
        )
    trunk_model = getattr(model, model.base_model_prefix)
    tokenizer = FastTokenizer.load(found.model, positions_of(trunk_model))
    head = StockHead(model.config, form.outputs(task), tokenizer.pad, form.stock.tokens)
    own = model.state_dict()
    fill_head(head, {name: own[name] for name in head.named()})
    _put_in_order(head, [names.index(name) for name in form.outputs(task)], folder)
    digest = digest_of([base.digest, file_digest(found.adapter / adapters.WEIGHTS) if found.adapter else ""])[:16]
    described: Base = replace(base, digest=digest, kind="encoder")
    trunk = TorchTrunk(trunk_model, tokenizer, described)
    return Encoder(task, form_in(found), Network(trunk, None, head), tokenizer.limit, learned=0, owned=True)


def _put_in_order(head: StockHead, order: Sequence[int], folder: Path) -> None:
    """Change the order of the head's outputs: what was in place order[i] comes to be in place i."""
    import torch

    if list(order) == sorted(order):
        return
    states = torch.randn(1, 3, head.config.hidden_size, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 3, dtype=torch.long)
    with torch.no_grad():
        wanted = head(states, mask)[..., list(order)]
        layers = [part for part in head.model.modules() if isinstance(part, torch.nn.Linear)]
        last = next(part for part in reversed(layers) if part.out_features == len(order))
        for weight in last.parameters():
            weight.copy_(weight[list(order)].clone())
        if not torch.allclose(head(states, mask), wanted, atol=1e-5):
            raise ArtifactError(
                "the order of this head's outputs cannot be changed to O, B-, I- of each label",
                where=str(folder),
                remedy="export it with its labels in that order",
            )


def _classifier(folder: Path, labels: int, opener: str) -> tuple[Any, set[str]]:
    """The whole model and the names of its weights that the folder lacks."""
    import torch
    import transformers

    try:
        model, info = getattr(transformers, opener).from_pretrained(
            str(folder),
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            num_labels=labels,
        )
    except Exception as problem:
        raise ArtifactError(
            f"it does not open in {opener} with {labels} labels: {str(problem).splitlines()[0][:300]}",
            where=str(folder),
            remedy="check that labels.json and the weights are of the same model",
        ) from problem
    if model.config.problem_type not in (None, "single_label_classification"):
        raise ArtifactError(
            f"problem_type is {model.config.problem_type!r}",
            where=str(folder / "config.json"),
            allowed="single_label_classification (one label for a text)",
        )
    return model, set(info["missing_keys"])


def _with_adapter(model: Any, folder: Path) -> tuple[Any, set[str]]:
    """Merge the adapter through our own allowlisted reader, and put its saved modules (the head) in place."""
    from safetensors.torch import load_file

    prefix = model.base_model_prefix
    adapter = adapters.read(folder)
    tensors = {
        name.removeprefix(adapters.PREFIX): t
        for name, t in load_file(folder / adapters.WEIGHTS).items()
        if ".lora_" not in name
    }
    if any(name.startswith(f"{adapters.PREFIX}{prefix}.") for name in adapter.tensors):
        model = adapters.merged(model, adapter)  # it was trained on the whole model: its head may be adapted too
    else:
        setattr(model, prefix, adapters.merged(getattr(model, prefix), adapter))
    unknown = set(tensors) - set(model.state_dict())
    if unknown:
        raise ArtifactError(
            f"the adapter holds weights that its base lacks: {', '.join(sorted(unknown)[:3])}", where=str(folder)
        )
    model.load_state_dict(tensors, strict=False)
    return model, set(tensors)
