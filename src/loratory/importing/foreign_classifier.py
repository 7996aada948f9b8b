"""Take in a foreign Hugging Face or PEFT folder: merged, then base + adapter, then a PEFT checkpoint, then plain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.artifacts.manifests import digest_of
from loratory.artifacts.verified_files import VerifiedFiles
from loratory.backbones import adapters
from loratory.backbones.forward.causal_backbone import create_backbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.bases import Base, describe_base
from loratory.backbones.loading.model_inspection import check_parameter_count, inspect_model_folder, read_json_object
from loratory.backbones.loading.model_loader import max_positions_of, open_model
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.backbones.loading.weights import read_tensors
from loratory.discovery import list_names, load_named
from loratory.errors import ArtifactError, UnsupportedTask, first_line, suggest_nearest
from loratory.importing.weight_sources import ModelSources
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import StockHead, collect_head_tensors, load_head_tensors
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Network, OutputAdapter
from loratory.tasks.tag_schemes import OUTSIDE, TAG_SCHEMES, detect_scheme_name

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

ABSENT_LOGIT = -1e4  # the logit of a tag that a model never gives: its probability is 0
USE_AS_BASE_REMEDY = "name the folder as base: in a spec with examples of your own, and fit head or full on it"


def detect_form(sources: ModelSources, names: Sequence[str] = (), scheme: str | None = None) -> str:
    """The form of the classifier: of texts, or of tokens in the scheme that is said or that its tags' names tell.

    PEFT's task_type counts, else the stock class that config.json names; labels of texts where neither says it.
    Raises ArtifactError for what is no classifier, and for tags of no scheme.
    """
    kind = (_form_of_adapter(sources.files(sources.adapter)) if sources.adapter else None) or _form_of_model(
        sources.files(sources.model)
    )
    if not load_output_adapter(kind).stock_names.per_token:
        if scheme:
            raise ArtifactError("--scheme is for classifiers of tokens", remedy="leave --scheme out")
        return kind
    if scheme and scheme not in TAG_SCHEMES:
        raise ArtifactError(
            f"there is no tag scheme {scheme!r}{suggest_nearest(scheme, TAG_SCHEMES)}",
            where="--scheme",
            allowed=", ".join(TAG_SCHEMES),
            remedy="leave it out",
        )
    try:
        name = scheme or detect_scheme_name(names)
        load_output_adapter(_form_of_scheme(name)).parse_labels(names)
    except ValueError as problem:
        raise ArtifactError(
            f"the labels {list(names)[:9]} are no tags of one scheme: {problem}",
            where=str(sources.model),
            allowed="O with B-/I- (BIO, IOB1), I- (IO), B-/I-/E-/S- (BIOES), B-/I-/L-/U- (BILOU), or labels alone",
            remedy="name the outputs so, in their order: --labels O,B-CITY,I-CITY, or in labels.json",
        ) from problem
    return _form_of_scheme(name)


def _form_of_scheme(scheme: str) -> str:
    return "spans" if scheme == "bio" else f"spans-{scheme}"


def _map_task_types() -> dict[str, str]:
    """PEFT's task_type -> the first output adapter of that type, among all that are discovered."""
    known: dict[str, str] = {}
    for name in list_names("output_adapters"):
        known.setdefault(load_output_adapter(name).stock_names.task_type, name)
    return known


def make_imported_task(adapter: OutputAdapter[Any], names: Sequence[str]) -> Any:
    """A task whose answers this output adapter reads, with the labels that the names of the outputs tell.

    It is the first of the discovered tasks that has labels as an option and the adapter's capability. Raises ValueError
    for names that tell no labels, and UnsupportedTask.
    """
    labels = adapter.parse_labels(names)
    for name in list_names("tasks"):
        cls = load_named("tasks", name)
        if "labels" in cls.model_fields and isinstance(cls.model_construct(labels=labels), adapter.capability):
            return cls(labels=labels)
    raise UnsupportedTask("no task that is installed has such outputs", allowed=", ".join(list_names("tasks")))


def _form_of_adapter(adapter: VerifiedFiles) -> str | None:
    """The form that an adapter's task_type says, None where it says none; raises ArtifactError for another task."""
    raw = read_json_object(adapter, adapters.CONFIG_FILE) if adapter.has(adapters.CONFIG_FILE) else {}
    said = raw.get("task_type") if isinstance(raw, dict) else None
    known = _map_task_types()
    if said in (None, "", "FEATURE_EXTRACTION") or said in known:
        return known.get(str(said))
    raise ArtifactError(
        f"the adapter's task_type is {said}: it is no classifier",
        where=str(adapter.folder),
        allowed=", ".join(known),
        remedy="merge it into its base with PEFT (merge_and_unload, save_pretrained) and use that folder as base: of "
        "prompted or lora in a spec",
    )


def _form_of_model(model: VerifiedFiles) -> str:
    config = read_json_object(model, "config.json")
    named = [str(one) for one in (config.get("architectures") or ())]
    for name in list_names("output_adapters"):
        stock = load_output_adapter(name).stock_names
        if any(one.endswith(stock.auto_class.removeprefix("AutoModel")) for one in named):
            return name
    return "labels"


def import_classifier(names: Sequence[str], sources: ModelSources, scheme: str | None = None) -> Encoder:
    """A predictor of our own from a foreign folder whose outputs have these names; the adapter, if any, is merged.

    Nothing in the folder is executed. Raises ArtifactError when weights are missing or do not fit the names.
    """
    name = detect_form(sources, names, scheme)
    form = load_output_adapter(name)
    task = make_imported_task(form, names)
    base = describe_base(str(sources.model), sources.files(sources.model))
    model, missing = _open_classifier(base, len(names), form.stock_names.auto_class)
    adapter = sources.files(sources.adapter) if sources.adapter else None
    if adapter is not None:
        model, filled = _merge_adapter(model, adapter)
        missing -= filled
    if missing:
        raise ArtifactError(
            f"weights are missing: {', '.join(sorted(missing)[:4])}",
            where=str(sources.model),
            allowed="a whole classifier of texts or tokens",
            remedy=f"a backbone without its head cannot answer: export the head too, or {USE_AS_BASE_REMEDY}",
        )
    check_finite(model, sources.adapter or sources.model)
    backbone_model = getattr(model, model.base_model_prefix)
    tokenizer = FastTokenizer.load(sources.files(sources.tokenizer), max_positions_of(backbone_model))
    head = _reorder_head(model, names, form.list_output_names(task), tokenizer.pad_token_id, form.stock_names.per_token)
    digest = digest_of([base.digest, adapter.digest(adapters.WEIGHTS_FILE) if adapter else ""])[:16]
    described: Base = replace(base, digest=digest, kind="encoder")
    backbone = create_backbone(backbone_model, tokenizer, described)
    predictor = Encoder(
        task, name, Network(backbone, None, head), tokenizer.max_length, trained_parameters=0, owns_backbone=True
    )
    check_answers(predictor, sources.model)
    return predictor


def _reorder_head(
    model: PreTrainedModel, names: Sequence[str], outputs: Sequence[str], pad: int, tokens: bool
) -> StockHead:
    """The model's head with its outputs in the order of `outputs`; one that it lacks is never given.

    Raises ArtifactError where the architecture has a head that does not work on its backbone's states.
    """
    try:
        given = StockHead(model.config, names, pad, tokens)
        head = StockHead(model.config, outputs, pad, tokens)
    except UnsupportedTask as problem:
        raise ArtifactError(
            f"{problem.problem}, so it cannot be taken in",
            where=str(model.config.model_type),
            allowed="a classifier whose head reads the backbone's final states (BERT, DeBERTa, ALBERT, BART, "
            "Llama, ...)",
            remedy=USE_AS_BASE_REMEDY,
        ) from problem
    own = model.state_dict()
    load_head_tensors(given, {name: own[name] for name in given.named_weights()})
    if list(names) == list(outputs):
        return given
    order = [names.index(name) if name in names else None for name in outputs]
    tensors = collect_head_tensors(given)
    for name in _find_last_layer_parameters(given, len(names)):
        tensors[name] = _reorder_rows(tensors[name], order)
    load_head_tensors(head, tensors)
    _check_reordered(given, head, order)
    return head


def _find_last_layer_parameters(head: StockHead, outputs: int) -> list[str]:
    """The names of the parameters of a head's last layer."""
    import torch

    layers = [part for part in head.model.modules() if isinstance(part, torch.nn.Linear)]
    last = next(part for part in reversed(layers) if part.out_features == outputs)
    own = {id(p) for p in last.parameters()}
    return [name for name, p in head.named_weights().items() if id(p) in own]


def _reorder_rows(tensor: Tensor, order: Sequence[int | None]) -> Tensor:
    """The rows of a weight [C, D] or a bias [C] in another order; a row that is not there gives the logit ABSENT."""
    import torch

    blank = torch.zeros_like(tensor[0]) if tensor.ndim > 1 else torch.full_like(tensor[0], ABSENT_LOGIT)
    return torch.stack([blank if place is None else tensor[place] for place in order])


def _check_reordered(given: StockHead, head: StockHead, order: Sequence[int | None]) -> None:
    """Raise ArtifactError where the logits are not the ones of before in another order."""
    import torch

    states = torch.randn(1, 3, given.config.hidden_size, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 3, dtype=torch.long)
    there = [place for place, source in enumerate(order) if source is not None]
    with torch.no_grad():
        before, after = given(states, mask), head(states, mask)
    same = torch.allclose(after[..., there], before[..., [order[place] for place in there]], atol=1e-5)
    dead = [place for place, source in enumerate(order) if source is None]
    if not same or (dead and float(after[..., dead].max()) > ABSENT_LOGIT / 2):
        raise ArtifactError(
            "the order of this head's outputs cannot be changed",
            where=str(given.config.model_type),
            allowed=f"{OUTSIDE} first, then the tags of each label",
            remedy="export it with its labels in that order, and all tags of each",
        )


def _open_classifier(base: Base, labels: int, opener: str) -> tuple[PreTrainedModel, set[str]]:
    """The whole model and the names of its weights that the folder lacks."""
    import transformers

    folder = base.folder
    elements = inspect_model_folder(base.files).elements

    def look(shell: nn.Module) -> None:
        check_parameter_count(shell, elements, str(folder / "config.json"))

    try:
        model, missing = open_model(base, getattr(transformers, opener), look, num_labels=labels)
    except ArtifactError:
        raise
    except Exception as problem:
        raise ArtifactError(
            f"it does not open in {opener} with {labels} labels: {first_line(problem)}",
            where=str(folder),
            remedy="check that the labels (--labels or labels.json) and the weights are of the same model",
        ) from problem
    if model.config.problem_type not in (None, "single_label_classification"):
        raise ArtifactError(
            f"problem_type is {model.config.problem_type!r}",
            where=str(folder / "config.json"),
            allowed="single_label_classification (one label for a text)",
            remedy=USE_AS_BASE_REMEDY,
        )
    return model, missing


def check_finite(model: PreTrainedModel, where: Path) -> None:
    """Raise ArtifactError for weights that are NaN or infinite: every answer would be."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ArtifactError(
                f"{name} holds numbers that are NaN or infinite",
                where=str(where),
                allowed="finite weights",
                remedy="the training that made it diverged: take an earlier checkpoint",
            )


def check_answers(predictor: Encoder, where: Path) -> None:
    """Raise ArtifactError where the model gives no finite answer to a short text."""
    text = "a text"
    inputs = {"text": text}
    try:
        answers = predictor.predict([inputs], run_locally)
        numbers = [p for one in answers for odds in one.probabilities.values() for p in odds.values()]
    except Exception as problem:
        raise ArtifactError(
            f"it does not answer a short text: {first_line(problem)}",
            where=str(where),
            allowed="a classifier whose tokenizer, configuration and weights are of one model",
        ) from problem
    if not all(map(math.isfinite, numbers)):
        raise ArtifactError("its answer to a short text is not finite", where=str(where), allowed="finite weights")


def _merge_adapter(model: PreTrainedModel, files: VerifiedFiles) -> tuple[PreTrainedModel, set[str]]:
    """Merge the adapter through our own allowlisted reader, and put its saved modules (the head) in place."""
    prefix, folder = model.base_model_prefix, files.folder
    adapter = adapters.read_adapter(files)
    tensors = {
        name.removeprefix(adapters.KEY_PREFIX): t
        for name, t in read_tensors(files, adapters.WEIGHTS_FILE).items()
        if ".lora_" not in name
    }
    if any(name.startswith(f"{adapters.KEY_PREFIX}{prefix}.") for name in adapter.tensors):
        model = adapters.merge_adapter(model, adapter)  # it was trained on the whole model: its head may be adapted too
    else:
        setattr(model, prefix, adapters.merge_adapter(getattr(model, prefix), adapter))
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
