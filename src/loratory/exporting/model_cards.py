"""The model card, by huggingface_hub's own writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from loratory import __version__
from loratory.backbones.loading.bases import origin_of
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.output_adapters import OUTPUT_ADAPTERS
from loratory.protocols import Labelled, Predictor, Spanned, Task

FEATURE_EXTRACTION = "feature-extraction"
FIT_CARD = """# {title}

{contender} ({regime}) for the task `{kind}`, made by Loratory {version} in the run `{run}`.

| score on the validation split | value |
|---|---|
{scores}

These are the figures by which this fit was chosen. The evidence on the locked test set, with intervals and comparisons,
is in the run's `ladder.json` and `report.html`.

## Contract

{contract}

## Use

`loratory predict {run_folder} --contender {contender} "some text"`{stock}

## Limits

It knows its training examples and nothing else; what was measured holds for texts like those of the test set.
The digests in `manifest.json` prove that the files are unchanged, not where they come from.
"""


def render_fit_card(predictor: Predictor, facts: Mapping[str, Any]) -> str:
    """README.md of a fit. facts: run, contender, regime, base, scores {name: value}, data."""
    from huggingface_hub import EvalResult, ModelCardData

    task: Any = predictor.task
    title = f"{facts['run']}-{facts['contender']}"
    origin, licence = origin_of(str(facts["base"])) if facts["base"] else (None, None)
    forms = (form.stock_names.pipeline for form in OUTPUT_ADAPTERS.values() if isinstance(task, form.capability))
    measured = next(forms, "text-generation")  # the task, which is not what a stock class of the folder does
    results = [
        EvalResult(
            task_type=measured,
            dataset_type=str(facts["data"]),
            dataset_name=str(facts["data"]),
            dataset_split="validation",
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in facts["scores"].items()
    ]
    data = ModelCardData(
        model_name=title,
        base_model=origin,
        license=licence,
        library_name=_library_name(predictor),
        pipeline_tag=_pipeline_tag(predictor),
        datasets=None,
        metrics=list(facts["scores"]),
        eval_results=results,
        tags=["loratory", str(facts["regime"])],
    )
    body = FIT_CARD.format(
        title=title,
        kind=task.kind,
        contract=_describe_contract(task),
        version=__version__,
        run=facts["run"],
        run_folder=f"runs/{facts['run']}",
        contender=facts["contender"],
        regime=facts["regime"],
        scores="\n".join(f"| {name} | {value:.4f} |" for name, value in facts["scores"].items()),
        stock=_describe_stock_use(predictor),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _describe_labels(task: Any) -> str:
    return (
        f'The answer is `{{"label": one of {len(task.labels or ())} labels}}` with a probability for every label; '
        "`labels.json` holds their order."
    )


def _describe_spans(task: Any) -> str:
    return (
        'The answer is `{"spans": [{"start", "end", "label", "text"}]}`: characters counted from 0, `end` left out, in '
        f"order, without overlap. The labels are {', '.join(f'`{label}`' for label in task.span_labels)}. A span that "
        "is not in the list was not found, which is no proof that there is none."
    )


CONTRACT_DESCRIPTIONS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (Labelled, _describe_labels),
    (Spanned, _describe_spans),
)  # by capability


def _describe_contract(task: Task) -> str:
    for capability, said in CONTRACT_DESCRIPTIONS:
        if isinstance(task, capability):
            return said(task)
    schema = json.dumps(task.contract(), ensure_ascii=False, indent=1)
    return f"The answer is held to this JSON Schema while it is written:\n\n```json\n{schema}\n```"


def _library_name(predictor: Predictor) -> str:
    stock = isinstance(predictor, (Encoder, Decoder)) and predictor.network.adapter is not None
    return "peft" if stock else "loratory"


def _pipeline_tag(predictor: Predictor) -> str | None:
    """The Hub's word for what a stock class of the folder does; None where no stock class opens it."""
    if not isinstance(predictor, (Encoder, Decoder)) or predictor.network.adapter is None:
        return None
    if isinstance(predictor, Decoder):
        return "text-generation"
    return (
        OUTPUT_ADAPTERS[predictor.output_adapter_name].stock_names.pipeline
        if predictor.stock_head is not None
        else FEATURE_EXTRACTION
    )


def _describe_stock_use(predictor: Predictor) -> str:
    if isinstance(predictor, Decoder) and predictor.network.adapter is not None:
        return (
            "\n\n`adapter/` opens in stock PEFT over its base, `merged/` (bfloat16) in `AutoModelForCausalLM`; "
            "`prompt.yaml` is what the model is asked."
        )
    if not isinstance(predictor, Encoder) or predictor.network.adapter is None:
        return ""
    form = OUTPUT_ADAPTERS[predictor.output_adapter_name]
    base = f"base_{len(form.list_output_names(predictor.task))}/"
    found = " What validators find stands in no stock class." if predictor.span_rules else ""
    if predictor.stock_head is not None:
        return (
            f"\n\n`merged/` opens in `{form.stock_names.auto_class}`, and `adapter/` in stock PEFT over `{base}` "
            "in the same "
            f"class; the head is in both.{found}{_describe_truncation(predictor)}"
        )
    return (
        f"\n\n`adapter/` opens in stock PEFT over `{base}`, `merged/` in `AutoModel`; no stock class has this head, so "
        f"stock classifiers cannot answer with it. It lies in `merged/` as `head.safetensors` (its loader is in "
        f"docs/loading.md).{found}{_describe_truncation(predictor)}"
    )


def _describe_truncation(predictor: Encoder) -> str:
    """How long texts are read, and what stock tools must be told so that they do the same."""
    most = predictor.max_row_tokens
    if predictor.long_text_mode == "ends" and not predictor.row_overlap:
        return (
            f" Of a text of more than {most} tokens it reads the first quarter and the end; stock tools read its "
            "beginning alone, and so answer otherwise."
        )
    if predictor.row_overlap:
        return (
            f" A text of more than {most} tokens is read in windows of {most} that share {predictor.row_overlap} "
            "with the "
            "next; stock tools cut it there unless they are asked for windows."
        )
    return f" A text is cut at {most} tokens: stock tools do so when they are asked to cut (`truncation=True`)."


# ---- the card of a folder that stock transformers opens
STOCK_MODEL_CARD = """---
{data}
---

# {title}

{what}

```python
{block}
```

{cut}{beside}
"""
LORATORY_USE = (
    'With Loratory: `loratory predict FOLDER "some text"`, where FOLDER is the one above; or `loratory import` of '
    "this one."
)
BACKBONE_DESCRIPTION = (
    "A backbone ({kind}): it gives the states of tokens, and no labels. The head that answers from them lies in "
    "`head.safetensors` and is in no stock class, so stock classifiers and pipelines cannot answer with this folder: "
    "they would put a layer of random weights on it. Its loader is in docs/loading.md."
)
BASE_DESCRIPTION = (
    "The base of `adapter/` for {count} outputs, without the adapter: alone it does not answer as the fit does."
)


def render_stock_card(predictor: Encoder, folder: str, merged: bool) -> str:
    """README.md of `merged/` or `base_<L>/`: what it is, and how it is opened."""
    from huggingface_hub import ModelCardData

    origin, licence = origin_of(predictor.network.backbone.name)
    data = ModelCardData(
        base_model=origin,
        license=licence,
        library_name="transformers",
        pipeline_tag=_pipeline_tag(predictor) if merged else None,
        tags=["loratory"],
    )
    what, block = _describe_opening(predictor, folder, merged)
    title = "The base with the LoRA adapter merged in" if merged else "The base of the LoRA adapter"
    return STOCK_MODEL_CARD.format(
        data=data.to_yaml(),
        title=title,
        what=what,
        block=block,
        cut=_describe_truncation(predictor).strip(),
        beside=f"\n\n{LORATORY_USE}",
    )


def _describe_opening(predictor: Encoder, folder: str, merged: bool) -> tuple[str, str]:
    """What a folder is, and the lines that open it from the folder above."""
    stock = OUTPUT_ADAPTERS[predictor.output_adapter_name].stock_names
    kind = type(predictor.network.backbone.model).__name__
    if predictor.stock_head is None or not merged:
        opener = "AutoModel" if predictor.stock_head is None else stock.auto_class
        what = BACKBONE_DESCRIPTION.format(kind=kind) if predictor.stock_head is None else ""
        if not merged:
            alone = BASE_DESCRIPTION.format(
                count=len(OUTPUT_ADAPTERS[predictor.output_adapter_name].list_output_names(predictor.task))
            )
            what = f"{alone} {what}".strip()
        return what, f'from transformers import {opener}\n\nmodel = {opener}.from_pretrained("{folder}")'
    options, asked = (
        ("top_k=None", ", truncation=True") if not stock.per_token else ('aggregation_strategy="simple"', "")
    )
    if stock.per_token:
        options += f", stride={predictor.row_overlap}"
    return (
        f"It opens in `{stock.auto_class}`, with its head and the names of its outputs.",
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{stock.pipeline}", "{folder}", {options})\n'
        f'answer = classify("some text"{asked})',
    )
