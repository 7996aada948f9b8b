"""The model card, by huggingface_hub's own writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from loratory import __version__
from loratory.models.bases import ORIGIN
from loratory.models.places import portable
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.protocols import Labelled, Predictor, Spanned, Task

BODY = """# {title}

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


def card(predictor: Predictor, facts: Mapping[str, Any]) -> str:
    """README.md of a fit. facts: run, contender, regime, base, scores {name: value}, data."""
    from huggingface_hub import EvalResult, ModelCardData

    task: Any = predictor.task
    title = f"{facts['run']}-{facts['contender']}"
    base = ORIGIN.get(str(facts["base"]), (portable(str(facts["base"])), None))
    forms = (form.stock.pipeline for form in FORMS.values() if isinstance(task, form.capability))
    pipeline = next(forms, "text-generation")
    results = [
        EvalResult(
            task_type=pipeline,
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
        base_model=base[0] if facts["base"] else None,
        license=base[1] if facts["base"] else None,
        library_name=_library(predictor),
        pipeline_tag=pipeline,
        datasets=None,
        metrics=list(facts["scores"]),
        eval_results=results,
        tags=["loratory", str(facts["regime"])],
    )
    body = BODY.format(
        title=title,
        kind=task.kind,
        contract=_contract(task),
        version=__version__,
        run=facts["run"],
        run_folder=f"runs/{facts['run']}",
        contender=facts["contender"],
        regime=facts["regime"],
        scores="\n".join(f"| {name} | {value:.4f} |" for name, value in facts["scores"].items()),
        stock=_stock(predictor),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _labels(task: Any) -> str:
    return (
        f'The answer is `{{"label": one of {len(task.labels or ())} labels}}` with a probability for every label; '
        "`labels.json` holds their order."
    )


def _spans(task: Any) -> str:
    return (
        'The answer is `{"spans": [{"start", "end", "label", "text"}]}`: characters counted from 0, `end` left out, in '
        f"order, without overlap. The labels are {', '.join(f'`{label}`' for label in task.span_labels)}. A span that "
        "is not in the list was not found, which is no proof that there is none."
    )


SAID: tuple[tuple[Any, Callable[[Any], str]], ...] = ((Labelled, _labels), (Spanned, _spans))  # by capability


def _contract(task: Task) -> str:
    for capability, said in SAID:
        if isinstance(task, capability):
            return said(task)
    schema = json.dumps(task.contract(), ensure_ascii=False, indent=1)
    return f"The answer is held to this JSON Schema while it is written:\n\n```json\n{schema}\n```"


def _library(predictor: Predictor) -> str:
    if not isinstance(predictor, (Encoder, Decoder)):
        return "loratory"
    return "peft" if predictor.network.adapter else "transformers"


def _stock(predictor: Predictor) -> str:
    if isinstance(predictor, Decoder) and predictor.network.adapter is not None:
        return (
            "\n\n`adapter/` opens in stock PEFT over its base, `merged/` (bfloat16) in `AutoModelForCausalLM`; "
            "`prompt.yaml` is what the model is asked."
        )
    if not isinstance(predictor, Encoder) or predictor.network.adapter is None:
        return ""
    form = FORMS[predictor.form]
    base = f"base_{len(form.outputs(predictor.task))}/"
    found = " What recognisers find stands in no stock class." if predictor.finders else ""
    if predictor.stock is not None:
        return (
            f"\n\n`merged/` opens in `{form.stock.opener}`, and `adapter/` in stock PEFT over `{base}` in the same "
            f"class; the head is in both.{found}"
        )
    return (
        f"\n\n`adapter/` opens in stock PEFT over `{base}`, `merged/` in `AutoModel`; no stock class has this head, so "
        f"it lies in `merged/` as `head.safetensors` (its loader is in docs/loading.md).{found}"
    )
