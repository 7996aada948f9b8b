"""The folder that pipelines of @huggingface/transformers read, and a static page that runs it in a browser."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from loratory.backbones.loading.bases import origin_of
from loratory.errors import SpecError, UnsupportedTask, make_missing_extra
from loratory.exporting.encoder_fits import FACTS_FILE, OTHER_FORMATS, EncoderFit
from loratory.exporting.stock_layouts import write_stock_encoder
from loratory.exporting.transformers_js.classifier_graph import export_graph
from loratory.exporting.transformers_js.weight_rounding import round_weights
from loratory.predictors.heads import PooledHead, build_labelled_config
from loratory.protocols import JSON

# model_type -> the beginning of its classes' names, of those that transformers.js 4.3 has a classifier for
ARCHITECTURES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "modernbert": "ModernBert",
    "deberta": "Deberta",
    "deberta-v2": "DebertaV2",
    "electra": "Electra",
    "mpnet": "MPNet",
    "albert": "Albert",
    "roformer": "RoFormer",
    "convbert": "ConvBert",
    "esm": "Esm",
    "mobilebert": "MobileBert",
    "squeezebert": "SqueezeBert",
}
ONLY_OF_TEXTS = ("albert", "mobilebert", "squeezebert")  # no class for tokens there
MODEL_FILE, ROUNDED_FILE = "onnx/model.onnx", "onnx/model_quantized.onnx"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
PAGE = "index.html"
RUNTIME_FILES = (  # in node_modules, with what they are called beside the page
    ("@huggingface/transformers/dist/transformers.web.min.js", "transformers.web.min.js"),
    ("@huggingface/transformers/LICENSE", "LICENSE-transformers.js.txt"),
    ("onnxruntime-web/dist/ort.wasm.bundle.min.mjs", "ort.wasm.bundle.min.mjs"),
    ("onnxruntime-web/dist/ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.wasm"),
)
CARD = """---
{data}
---

# {title}

For [transformers.js](https://github.com/huggingface/transformers.js) 4, in Node and in the browser. The graph goes from
token ids and mask to logits, the head inside; they are divided by the calibrated temperature, so their softmax is the
probabilities that were measured.

```js
import {{ pipeline, env }} from '@huggingface/transformers';
env.allowRemoteModels = false;
env.localModelPath = '/path/to/the/folder/above/';
const model = await pipeline('{task}', 'NAME-OF-THIS-FOLDER', {{ dtype: 'fp32' }});
console.log(await model('a text'{options}));
```

`dtype: 'fp32'` reads `onnx/model.onnx`, `dtype: 'q8'` `onnx/model_quantized.onnx`: its weights have eight bits, and its
sums are those of float32. {cut}

`index.html` classifies in the browser. Serve this folder as static files (`python -m http.server`); it loads nothing
from another server. Its programs lie in `runtime/`.
"""


def check_architecture(fit: EncoderFit) -> None:
    """Raise UnsupportedTask for an architecture that transformers.js has no classifier for."""
    backbone = fit.encoder.network.backbone
    kind = backbone.config.model_type
    if kind not in ARCHITECTURES or (fit.per_token and kind in ONLY_OF_TEXTS):
        raise UnsupportedTask(
            f"transformers.js has no {'token' if fit.per_token else 'text'} classifier for {backbone.name} ({kind})",
            where="base",
            allowed=", ".join(name for name in ARCHITECTURES if not (fit.per_token and name in ONLY_OF_TEXTS)),
            remedy=OTHER_FORMATS,
        )
    if backbone.tokenizer.tokenizer.truncation_side != "right":
        raise UnsupportedTask(
            f"the tokenizer of {backbone.name} cuts a text at its beginning, and transformers.js at its end",
            where="base",
            allowed="a tokenizer with truncation_side: right",
            remedy=OTHER_FORMATS,
        )
    if not backbone.tokenizer.tokenizer("")["input_ids"]:
        raise UnsupportedTask(
            f"the tokenizer of {backbone.name} makes no token of an empty text, and transformers.js then fails",
            where="base",
            allowed="a tokenizer that adds special tokens",
            remedy=OTHER_FORMATS,
        )


def find_runtime(node_modules: Path) -> dict[str, Path]:
    """The files that the page needs, by the names that it loads them by. Raises SpecError where one is missing."""
    found = {name: node_modules / path for path, name in RUNTIME_FILES}
    if missing := [str(file) for file in found.values() if not file.is_file()]:
        raise SpecError(
            f"{missing[0]} is not there",
            where="--set runtime",
            allowed="a folder node_modules with @huggingface/transformers 4 and its onnxruntime-web",
            remedy="npm install --ignore-scripts --prefix js @huggingface/transformers, then --set "
            "runtime=js/node_modules",
        )
    return found


def write_pipeline_folder(
    folder: Path, fit: EncoderFit, manifest: Mapping[str, Any], quantized: bool, runtime: Mapping[str, Path]
) -> list[str]:
    """Fill a folder; returns notes. Raises BaseModelError where there is no graph, MissingExtra without onnx."""
    _check_libraries()
    (folder / "onnx").mkdir()
    with tempfile.TemporaryDirectory() as work:
        stock = Path(work) / "stock"
        write_stock_encoder(stock, fit.encoder, merge=True)
        export_graph(stock, fit, folder / MODEL_FILE)
        for name in TOKENIZER_FILES:
            shutil.copyfile(stock / name, folder / name)
    if quantized:
        round_weights(folder / MODEL_FILE, folder / ROUNDED_FILE)
    _write_config(folder / "config.json", fit)
    files = {"fp32": MODEL_FILE, **({"q8": ROUNDED_FILE} if quantized else {})}
    kind = "Find spans in a text" if fit.per_token else "Classify a text"
    title = ": ".join([kind, *([str(manifest["contender"])] if manifest.get("contender") else [])])
    fit.write_facts(folder, **_describe_page(fit, title, files))
    page = resources.files("loratory.exporting") / "static" / PAGE
    (folder / PAGE).write_bytes(page.read_bytes())
    if runtime:
        (folder / "runtime").mkdir()
    for name, source in runtime.items():
        shutil.copyfile(source, folder / "runtime" / name)
    (folder / "README.md").write_text(_render_card(fit, manifest), encoding="utf-8")
    return _list_notes(fit)


def _check_libraries() -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 -- the exporter of transformers needs it
        import transformers.exporters  # noqa: F401
    except ImportError as problem:
        raise make_missing_extra(problem.name or "onnx", "int8") from problem
    assert onnx


def _write_config(file: Path, fit: EncoderFit) -> None:
    """config.json of a stock classifier: which pipeline it is for, the labels, and how probabilities are made."""
    backbone = fit.encoder.network.backbone
    config = build_labelled_config(
        backbone.config, fit.output_names, backbone.tokenizer.pad_token_id, per_token=fit.per_token
    )
    task = "TokenClassification" if fit.per_token else "SequenceClassification"
    facts = {**json.loads(config.to_json_string(use_diff=False)), "_name_or_path": ""}
    facts |= {"architectures": [f"{ARCHITECTURES[config.model_type]}For{task}"]}
    file.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _describe_page(fit: EncoderFit, title: str, files: Mapping[str, str]) -> dict[str, JSON]:
    head = fit.encoder.network.head
    pooled: dict[str, JSON] | None = None
    if isinstance(head, PooledHead):  # the score `prototype` is computed from logits with these
        pooled = {"scale": float(head.log_scale.detach().exp()), "bias": head.bias.detach().cpu().tolist()}
    return {"title": title, "per_token": fit.per_token, "files": dict(files), "pooled_head": pooled}


def _list_notes(fit: EncoderFit) -> list[str]:
    if not fit.per_token:
        return []
    return [
        f"a text of more than {fit.encoder.max_row_tokens} tokens is cut there by pipelines of transformers.js; "
        "Loratory reads it in windows",
        "pipelines take the likeliest tag of each token; Loratory takes the likeliest sequence of tags that is allowed",
    ]


def _render_card(fit: EncoderFit, manifest: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    origin, licence = origin_of(fit.encoder.network.backbone.name)
    task = "token-classification" if fit.per_token else "text-classification"
    data = ModelCardData(
        base_model=origin, license=licence, library_name="transformers.js", pipeline_tag=task, tags=["loratory"]
    )
    return CARD.format(
        data=data.to_yaml(),
        title=f"{manifest.get('contender') or 'fit'} for transformers.js",
        task=task,
        options="" if fit.per_token else ", { top_k: null }",
        cut=f"A text is cut at {fit.encoder.max_row_tokens} tokens. Labels, temperature and operating point stand in "
        f"`{FACTS_FILE}`; pipelines apply no threshold, the page does.",
    )
