"""A fit in the layout of vLLM's semantic router: the adapter as stock PEFT, and its merged twin."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loratory.artifacts.files import to_json
from loratory.errors import ArtifactError, Unfit, nearest
from loratory.export.layouts import write_model
from loratory.export.naming import JOBS, LORA, TWIN, WORDS, Job, folder_name, mappings
from loratory.models.bases import origin_of
from loratory.models.execution import run_here
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.predictors.heads import StockHead
from loratory.protocols import JSON, Adapter, Encode, Predictor

CLOSE = 1e-4  # how far probabilities of the twin may lie from the fit's
CARD = """---
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
class Routed:
    """A fit that the router's layout can hold."""

    encoder: Encoder
    head: StockHead
    adapter: Adapter
    task: str

    @property
    def job(self) -> Job:
        return JOBS[self.task]

    @property
    def names(self) -> tuple[str, ...]:
        return FORMS[self.encoder.form].outputs(self.encoder.task)

    @property
    def model_type(self) -> str:
        return str(self.head.config.model_type)

    @property
    def base(self) -> str:
        """Where the base comes from: its id on the hub, or what its folder is called (no path of this machine)."""
        name = self.encoder.network.trunk.name
        return origin_of(name)[0] or Path(name).name

    @property
    def folder(self) -> str:
        """The name of the adapter's folder."""
        return folder_name(self.job, self.model_type, int(self.adapter.config["r"]))


def routed(predictor: Predictor, task: str | None) -> Routed:
    """The fit as the router's task; raises Unfit with what would mend it."""
    if not isinstance(predictor, Encoder) or predictor.network.adapter is None:
        raise Unfit(
            "the router's layout holds a LoRA adapter with its head, and this contender has none",
            where="--layout router",
            remedy="--contender NAME of a lora contender with head: stock",
        )
    if predictor.stock is None:
        raise Unfit(
            "no stock class has this contender's head, and the router opens nothing else",
            where="--layout router",
            allowed="a lora contender with head: stock",
            remedy="add `- lora-stock: {regime: lora, head: stock}` to the ladder, run it again, and export that one",
        )
    return Routed(predictor, predictor.stock, predictor.network.adapter, _task(predictor.form, task))


def _task(form: str, task: str | None) -> str:
    fitting = [name for name, job in JOBS.items() if job.form == form]
    if task is None and len(fitting) == 1:
        return fitting[0]
    if task not in fitting:
        said = "it is not told which of the router's tasks this is" if task is None else f"{task!r} does not fit"
        raise Unfit(
            f"{said}{nearest(str(task), fitting)}",
            where="--task-name",
            allowed=f"{', '.join(fitting)} for this contender's outputs ({FORMS[form].stock.pipeline})",
        )
    return task


def notes(fit: Routed) -> list[str]:
    """What whoever exports should know."""
    trunk: Any = fit.encoder.network.trunk
    said = []
    if fit.model_type not in WORDS:
        said.append(f"the router opens {', '.join(WORDS)}: it would take a folder of {fit.model_type} for a BERT")
    if trunk.full is not trunk:
        said.append("the fit was measured over a quantised base, and is merged from the base in full precision")
    return said


def write_adapter(folder: Path, fit: Routed, about: Mapping[str, JSON]) -> None:
    """The adapter as stock PEFT opens it over its base, with tokenizer and labels. about: contender, seed."""
    fit.encoder.save_adapter(folder, fit.base)
    fit.encoder.save_tokenizer(folder)
    config = copy.deepcopy(fit.head.config)
    config.architectures = [type(fit.head.model).__name__]
    config.save_pretrained(folder)
    opener = FORMS[fit.encoder.form].stock.opener
    how = (
        f"from peft import PeftModel\nfrom transformers import AutoConfig, {opener}\n\n"
        f'config = AutoConfig.from_pretrained("{fit.folder}")\n'
        f'base = {opener}.from_pretrained("{fit.base}", config=config)\n'
        f'model = PeftModel.from_pretrained(base, "{fit.folder}")'
    )
    _write_beside(folder, fit, {**about, "title": fit.folder, "what": "The LoRA adapter", "how": how, "opener": "PEFT"})


def write_twin(folder: Path, fit: Routed, about: Mapping[str, JSON]) -> float:
    """The base with the adapter merged in, for one stock class; returns how far its probabilities lie from the fit's.

    Raises ArtifactError when what was written answers otherwise than the fit does.
    """
    write_model(folder, fit.encoder, merge=True)
    opener = FORMS[fit.encoder.form].stock.opener
    said = {"title": fit.folder + TWIN, "what": "The base with the LoRA adapter merged in", "opener": opener}
    how = f'from transformers import {opener}\n\nmodel = {opener}.from_pretrained("{fit.folder}{TWIN}")'
    _write_beside(folder, fit, {**about, **said, "how": how})
    apart = difference(folder, fit)
    if not apart <= CLOSE:
        raise ArtifactError(
            f"the merged model's probabilities lie {apart:.2g} from the fit's",
            where=str(folder),
            allowed=f"at most {CLOSE}",
            remedy="this should not happen: please report it, with the base and the options of the fit",
        )
    return apart


def _write_beside(folder: Path, fit: Routed, said: Mapping[str, JSON]) -> None:
    for name, mapping in mappings(fit.job, fit.names).items():
        (folder / name).write_text(to_json(mapping), encoding="utf-8")
    (folder / LORA).write_text(to_json(lora_facts(fit)), encoding="utf-8")
    (folder / "README.md").write_text(_card(fit, said), encoding="utf-8")


def lora_facts(fit: Routed) -> dict[str, JSON]:
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
        "task_type": FORMS[fit.encoder.form].stock.task_type,
        "base_model": fit.base,
    }


def _card(fit: Routed, said: Mapping[str, JSON]) -> str:
    from huggingface_hub import ModelCardData

    origin, licence = origin_of(fit.encoder.network.trunk.name)
    where = "" if origin or said["opener"] != "PEFT" else f" over its base, the folder that was called `{fit.base}`"
    data = ModelCardData(
        base_model=origin,
        license=licence,
        library_name="peft" if said["opener"] == "PEFT" else "transformers",
        pipeline_tag=FORMS[fit.encoder.form].stock.pipeline,
        tags=["lora", "loratory"],
    )
    return CARD.format(data=data.to_yaml(), lora=LORA, where=where, **said)


@torch.no_grad()
def difference(folder: Path, fit: Routed) -> float:
    """The largest difference between a probability of the stock model in a folder and the fit's own."""
    import transformers

    opener = getattr(transformers, FORMS[fit.encoder.form].stock.opener)
    model = opener.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True).eval()
    trunk: Any = fit.encoder.network.trunk
    rows = [ids for ids, _ in trunk.tokenizer.many(_texts(fit.names), fit.encoder.max_tokens)]
    network = replace(fit.encoder.network, trunk=trunk.full)
    ours: Sequence[Tensor] = run_here([Encode(network, ids) for ids in rows])
    apart = 0.0
    for ids, one in zip(rows, ours, strict=True):
        given = torch.tensor([ids])
        theirs = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0]
        wanted = one[: len(theirs)] if one.ndim > 1 else one
        apart = max(apart, float((theirs.softmax(-1) - wanted.softmax(-1)).abs().max()))
    return apart


def _texts(names: Sequence[str]) -> list[str]:
    """Short and long, so that no part of the model stays out."""
    return [*names[:16], "What is this about, and who is meant?", " ".join(names) * 4]
