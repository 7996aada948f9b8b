"""README.md of an exported folder that has none of its own, and LICENSE-BASE.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loratory.backbones.loading.bases import origin_of
from loratory.exporting.certificates.model_facts import ModelFacts

CARD_FILE, LICENCE_FILE = "README.md", "LICENSE-BASE.txt"
CARD = """# {contender} as {format}

{summary}. It was exported from a fit that was measured, and `certificate.json` says how near it is to that fit.

- Task: `{task}`, with {outputs}
- Window: {max_tokens} tokens, special ones among them{long}
- Temperature {temperature:g}, already inside the probabilities{point}

`loratory verify FOLDER` makes the certificate again. `goldens.jsonl` holds the texts and numbers that it compares.
{use}"""
LICENCE = """The weights in this folder are made from the base model {origin}, whose licence is {licence}.
Its terms hold for these weights too: https://spdx.org/licenses/ has the text of every licence by this name.
"""
MAX_NAMED_LABELS = 20
GRAPH_USE = """
## Use

```python
import json
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("model.onnx")
facts = json.loads(session.get_modelmeta().custom_metadata_map["loratory"])
tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts texts as the fit did

row = tokenizer.encode("some text")
ids, mask = np.array([row.ids]), np.array([row.attention_mask])  # a batch is padded on the right with facts["pad_id"]
(probabilities,) = session.run(["probabilities"], {"input_ids": ids, "attention_mask": mask})
print(dict(zip(facts["labels"], probabilities[0]%s)))
```
"""


def write_card(folder: Path, format: str, summary: str, model: ModelFacts, fit: Mapping[str, Any]) -> None:
    """Fill a staged folder with what it has not: a card, and a word on the base's licence where that is known."""
    if not (folder / CARD_FILE).exists():
        (folder / CARD_FILE).write_text(render_card(folder, format, summary, model, fit), encoding="utf-8")
    origin, licence = origin_of(str(fit["base"])) if fit.get("base") else (None, None)
    if licence is not None and not (folder / LICENCE_FILE).exists():
        text = LICENCE.format(origin=origin, licence=licence)
        (folder / LICENCE_FILE).write_text(text, encoding="utf-8")


def render_card(folder: Path, format: str, summary: str, model: ModelFacts, fit: Mapping[str, Any]) -> str:
    """The text of README.md."""
    has_point = model.operating_point is not None
    return CARD.format(
        contender=fit.get("contender") or "A model",
        format=format,
        summary=summary[:1].upper() + summary[1:],
        task=model.task.get("kind"),
        outputs=_list_outputs(model),
        max_tokens=model.max_tokens,
        long=_describe_long(model),
        temperature=model.temperature,
        point="; thresholds and abstention are in `certificate.json` under `operating_point`" if has_point else "",
        use=GRAPH_USE % (".tolist()" if not model.is_per_token else "[0].tolist()")
        if (folder / "model.onnx").is_file()
        else "",
    )


def _list_outputs(model: ModelFacts) -> str:
    if not model.labels:
        return "text for an answer"
    named = ", ".join(f"`{label}`" for label in model.labels[:MAX_NAMED_LABELS])
    return f"{len(model.labels)} outputs: {named}{', ...' if len(model.labels) > MAX_NAMED_LABELS else ''}"


def _describe_long(model: ModelFacts) -> str:
    if model.long == "ends" and not model.row_overlap:
        return "; the fit reads the beginning and the end of a longer text, this tokenizer its beginning alone"
    if model.row_overlap:
        return f"; the fit reads a longer text in windows that share {model.row_overlap} tokens"
    return "; a longer text is cut there"
