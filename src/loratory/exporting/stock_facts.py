"""What the files of a fit, and of the stock folder in it, say of reading its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from loratory.discovery import load_named
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.predictors.calibrated import OPERATING_POINT_FILE
from loratory.predictors.output_adapters import load_output_adapter
from loratory.predictors.span_rules import SPAN_RULES_FILE


def read_reader_facts(folder: Path, merged: str) -> ModelFacts | None:
    """Of an exported folder of a fit of an encoder; None of any other."""
    if not (folder / "encoder.json").is_file():
        return None
    encoder, head, config = (
        _read(folder / name) for name in ("encoder.json", f"{merged}/head.json", f"{merged}/config.json")
    )
    task = _read(folder / "task.json")
    adapter = load_output_adapter(encoder["form"])
    labels = adapter.list_output_names(load_named("tasks", task["kind"]).model_validate(task))
    point = _read(folder / OPERATING_POINT_FILE) if (folder / OPERATING_POINT_FILE).is_file() else None
    weights = folder / merged / "head.safetensors"
    return ModelFacts(
        task=task,
        labels=tuple(labels),
        family=config["model_type"],
        head=encoder["head"]["kind"],
        temperature=1.0 if point is None else point["temperature"],
        operating_point=point,
        max_tokens=head["max_tokens"],
        long=head["long"],
        row_overlap=adapter.compute_row_overlap(head["max_tokens"], head["long"]),
        pad_id=_read_pad_id(folder / merged),
        pooling=head.get("pooling"),
        output_adapter=encoder["form"],
        scope=_read_scope(weights) if "pooling" in head else None,
        has_span_rules=(folder / SPAN_RULES_FILE).is_file(),
        files={
            "model": f"{merged}/model.safetensors",
            "tokenizer": f"{merged}/tokenizer.json",
            "head": f"{merged}/head.safetensors" if weights.is_file() else None,
            "config": f"{merged}/config.json",
        },
    )


def _read_scope(weights: Path) -> dict[str, Any]:
    tensors = load_file(weights)
    return {"scale": float(tensors["log_scale"].exp()), "bias": tensors["bias"].tolist()}


def _read_pad_id(folder: Path) -> int:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return int(tokenizer.pad_token_id or 0)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
