"""A fit in the layout of vLLM's semantic router: the adapter as stock PEFT, and its merged twin."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from loratory.artifacts.durable_files import to_json
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.bases import origin_of
from loratory.errors import ArtifactError, UnsupportedTask, suggest_nearest
from loratory.exporting.stock_layouts import write_stock_encoder
from loratory.integrations.semantic_router.router_names import (
    ARCHITECTURE_NAMES,
    LORA_CONFIG_FILE,
    MERGED_SUFFIX,
    ROUTER_TASKS,
    RouterTask,
    adapter_folder_name,
    make_label_mappings,
)
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import StockHead
from loratory.predictors.output_adapters import OUTPUT_ADAPTERS
from loratory.protocols import JSON, Adapter, EncodeRequest, Predictor

MAX_PROBABILITY_DIFFERENCE = 1e-4  # how far probabilities of the twin may lie from the fit's
ROUTER_CARD = """---
{data}
---

# {title}

{what} of a fit of `{contender}` (seed {seed}), made by Loratory.

`{opener}` opens it{where}:

```python
{how}
```

`{lora}` holds the LoRA configuration that was trained. The digests in `manifest.json` prove that the files are
unchanged, not where they come from.
"""


@dataclass(frozen=True)
class RouterFit:
    """A fit that the router's layout can hold."""

    encoder: Encoder
    head: StockHead
    adapter: Adapter
    task: str

    @property
    def router_task(self) -> RouterTask:
        return ROUTER_TASKS[self.task]

    @property
    def output_names(self) -> tuple[str, ...]:
        return OUTPUT_ADAPTERS[self.encoder.output_adapter_name].list_output_names(self.encoder.task)

    @property
    def model_type(self) -> str:
        return str(self.head.config.model_type)

    @property
    def base_name(self) -> str:
        """Where the base comes from: its id on the hub, or what its folder is called (no path of this machine)."""
        name = self.encoder.network.backbone.name
        return origin_of(name)[0] or Path(name).name

    @property
    def folder_name(self) -> str:
        """The name of the adapter's folder."""
        return adapter_folder_name(self.router_task, self.model_type, int(self.adapter.config["r"]))


def check_router_fit(predictor: Predictor, task: str | None) -> RouterFit:
    """The fit as the router's task; raises UnsupportedTask with what would mend it."""
    if not isinstance(predictor, Encoder) or predictor.network.adapter is None:
        raise UnsupportedTask(
            "the router's layout holds a LoRA adapter with its head, and this contender has none",
            where="--layout router",
            remedy="--contender NAME of a lora contender with head: stock",
        )
    if predictor.stock_head is None:
        raise UnsupportedTask(
            "no stock class has this contender's head, and the router opens nothing else",
            where="--layout router",
            allowed="a lora contender with head: stock",
            remedy="add `- lora-stock: {regime: lora, head: stock}` to the ladder, run it again, and export that one",
        )
    return RouterFit(
        predictor,
        predictor.stock_head,
        predictor.network.adapter,
        _choose_router_task(predictor.output_adapter_name, task),
    )


def _choose_router_task(form: str, task: str | None) -> str:
    fitting = [name for name, job in ROUTER_TASKS.items() if job.form == form]
    if task is None and len(fitting) == 1:
        return fitting[0]
    if task not in fitting:
        said = "it is not told which of the router's tasks this is" if task is None else f"{task!r} does not fit"
        raise UnsupportedTask(
            f"{said}{suggest_nearest(str(task), fitting)}",
            where="--task-name",
            allowed=f"{', '.join(fitting)} for this contender's outputs ({OUTPUT_ADAPTERS[form].stock_names.pipeline})",
        )
    return task


def list_export_notes(fit: RouterFit) -> list[str]:
    """What whoever exports should know."""
    backbone = fit.encoder.network.backbone
    said = []
    if fit.model_type not in ARCHITECTURE_NAMES:
        said.append(
            f"the router opens {', '.join(ARCHITECTURE_NAMES)}: it would take a folder of {fit.model_type} for a BERT"
        )
    if backbone.unquantized is not backbone:
        said.append("the fit was measured over a quantised base, and is merged from the base in full precision")
    return said


def write_router_adapter(folder: Path, fit: RouterFit, about: Mapping[str, JSON]) -> None:
    """The adapter as stock PEFT opens it over its base, with tokenizer and labels. about: contender, seed."""
    fit.encoder.save_adapter(folder, fit.base_name)
    fit.encoder.save_tokenizer(folder)
    config = copy.deepcopy(fit.head.config)
    config.architectures = [type(fit.head.model).__name__]
    config.save_pretrained(folder)
    opener = OUTPUT_ADAPTERS[fit.encoder.output_adapter_name].stock_names.auto_class
    how = (
        f"from peft import PeftModel\nfrom transformers import AutoConfig, {opener}\n\n"
        f'config = AutoConfig.from_pretrained("{fit.folder_name}")\n'
        f'base = {opener}.from_pretrained("{fit.base_name}", config=config)\n'
        f'model = PeftModel.from_pretrained(base, "{fit.folder_name}")'
    )
    _write_router_files(
        folder, fit, {**about, "title": fit.folder_name, "what": "The LoRA adapter", "how": how, "opener": "PEFT"}
    )


def write_merged_model(folder: Path, fit: RouterFit, about: Mapping[str, JSON]) -> float:
    """The base with the adapter merged in, for one stock class; returns how far its probabilities lie from the fit's.

    Raises ArtifactError when what was written answers otherwise than the fit does.
    """
    write_stock_encoder(folder, fit.encoder, merge=True)
    opener = OUTPUT_ADAPTERS[fit.encoder.output_adapter_name].stock_names.auto_class
    said = {
        "title": fit.folder_name + MERGED_SUFFIX,
        "what": "The base with the LoRA adapter merged in",
        "opener": opener,
    }
    how = f'from transformers import {opener}\n\nmodel = {opener}.from_pretrained("{fit.folder_name}{MERGED_SUFFIX}")'
    _write_router_files(folder, fit, {**about, **said, "how": how})
    apart = max_probability_difference(folder, fit)
    if not apart <= MAX_PROBABILITY_DIFFERENCE:
        raise ArtifactError(
            f"the merged model's probabilities lie {apart:.2g} from the fit's",
            where=str(folder),
            allowed=f"at most {MAX_PROBABILITY_DIFFERENCE}",
            remedy="this should not happen: please report it, with the base and the options of the fit",
        )
    return apart


def _write_router_files(folder: Path, fit: RouterFit, said: Mapping[str, JSON]) -> None:
    for name, mapping in make_label_mappings(fit.router_task, fit.output_names).items():
        (folder / name).write_text(to_json(mapping), encoding="utf-8")
    (folder / LORA_CONFIG_FILE).write_text(to_json(describe_lora_config(fit)), encoding="utf-8")
    (folder / "README.md").write_text(_render_router_card(fit, said), encoding="utf-8")


def describe_lora_config(fit: RouterFit) -> dict[str, JSON]:
    """The LoRA configuration that was trained."""
    config = fit.adapter.config
    return {
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "dropout": config.get("lora_dropout", 0.0),
        "target_modules": list(config["target_modules"]),
        "use_rslora": bool(config.get("use_rslora", False)),
        "layers_to_transform": config.get("layers_to_transform"),
        "modules_to_save": fit.head.modules_to_save(),
        "task_type": OUTPUT_ADAPTERS[fit.encoder.output_adapter_name].stock_names.task_type,
        "base_model": fit.base_name,
    }


def _render_router_card(fit: RouterFit, said: Mapping[str, JSON]) -> str:
    from huggingface_hub import ModelCardData

    origin, licence = origin_of(fit.encoder.network.backbone.name)
    where = (
        "" if origin or said["opener"] != "PEFT" else f" over its base, the folder that was called `{fit.base_name}`"
    )
    data = ModelCardData(
        base_model=origin,
        license=licence,
        library_name="peft" if said["opener"] == "PEFT" else "transformers",
        pipeline_tag=OUTPUT_ADAPTERS[fit.encoder.output_adapter_name].stock_names.pipeline,
        tags=["lora", "loratory"],
    )
    return ROUTER_CARD.format(data=data.to_yaml(), lora=LORA_CONFIG_FILE, where=where, **said)


@torch.no_grad()
def max_probability_difference(folder: Path, fit: RouterFit) -> float:
    """The largest difference between a probability of the stock model in a folder and the fit's own."""
    import transformers

    opener = getattr(transformers, OUTPUT_ADAPTERS[fit.encoder.output_adapter_name].stock_names.auto_class)
    model = opener.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True).eval()
    backbone = fit.encoder.network.backbone
    rows = [
        ids for ids, _ in backbone.tokenizer.encode_batch(_make_probe_texts(fit.output_names), fit.encoder.max_tokens)
    ]
    network = replace(fit.encoder.network, backbone=backbone.unquantized)
    ours: Sequence[Tensor] = run_locally([EncodeRequest(network, ids) for ids in rows])
    apart = 0.0
    for ids, one in zip(rows, ours, strict=True):
        given = torch.tensor([ids])
        theirs = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0]
        wanted = one[: len(theirs)] if one.ndim > 1 else one
        apart = max(apart, float((theirs.softmax(-1) - wanted.softmax(-1)).abs().max()))
    return apart


def _make_probe_texts(names: Sequence[str]) -> list[str]:
    """Short and long, so that no part of the model stays out."""
    return [*names[:16], "What is this about, and who is meant?", " ".join(names) * 4]
