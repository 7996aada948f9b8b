"""The folder of an export for vLLM: base, adapter, chat template, a request and the command in the card."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from loratory.backbones import adapters
from loratory.backbones.loading.bases import origin_of
from loratory.errors import UnsupportedTask
from loratory.exporting.decoder_fits import (
    MARKER,
    PROMPT_FILE,
    chat_template_of,
    find_prompt_frame,
    list_answers,
    list_framed_messages,
)
from loratory.exporting.vllm.limits import ARCHITECTURES, choose_max_rank
from loratory.predictors.decoder import Decoder
from loratory.protocols import JSON

TEMPLATE_FILE, REQUEST_FILE, COMMAND_FILE = "chat_template.jinja", "request.json", "serve.sh"
STORED_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTISED_NOTE = (
    "the adapter was trained and measured over a base in four bits; vLLM serves it over the full-precision base"
)
CARD = """---
{data}
---

# {title}

A causal base, its LoRA adapter (rank {rank}), and how vLLM serves them. In this folder, or `sh serve.sh` from anywhere:

```bash
{command}
```

`--dtype float32` is what the fit was measured in; `--dtype auto` is faster on a GPU and changes probabilities a little.
The adapter is the model `{name}`; the base answers under its own name.

```bash
curl -s localhost:8000/v1/chat/completions -H 'Content-Type: application/json' -d @{request}
```

`{request}` is the fit's own prompt: put the text in the place of `{marker}`.{constraint} `{prompt}` holds the prompt as
one text, for `/v1/completions`. vLLM reads a special token that a text spells as that token; Loratory takes it apart.
"""
CHOICES = (
    " `structured_outputs` holds the answer to the labels. vLLM writes a label token by token; Loratory compares the "
    "probabilities of whole labels, so close ones can differ."
)


def check_base(decoder: Decoder, include_base: bool) -> None:
    """Raise UnsupportedTask for a base that vLLM puts no adapter on, or that has no id while none is copied."""
    backbone = decoder.network.backbone.unquantized
    if backbone.config.model_type not in ARCHITECTURES:
        raise UnsupportedTask(
            f"{backbone.name} ({backbone.config.model_type}) is no base that vLLM puts adapters on",
            where="base",
            allowed=", ".join(ARCHITECTURES),
            remedy="--to peft writes the merged model",
        )
    if not include_base and "/" not in (origin_of(backbone.name)[0] or ""):
        raise UnsupportedTask(
            f"{backbone.name} has no id on the hub that a command could name",
            where="--set include_base=false",
            allowed="bases named by their hub id",
            remedy="leave include_base out: the base is copied",
        )


def write_vllm_folder(folder: Path, decoder: Decoder, manifest: Mapping[str, Any], include_base: bool) -> list[str]:
    """Fill a folder; returns what to know about it."""
    adapter, backbone = decoder.network.adapter, decoder.network.backbone
    assert adapter is not None
    origin, licence = origin_of(backbone.name)
    facts: dict[str, JSON] = {
        "base_model_name_or_path": "base" if include_base else origin,
        "base_model": origin,
        "license": licence,
        "task_type": "CAUSAL_LM",
        "opener": "AutoModelForCausalLM",
        "pipeline_tag": "text-generation",
    }
    adapters.write_adapter(folder / "adapter", adapter, facts, backbone.model_prefix)
    if include_base:
        _write_base(folder / "base", decoder)
    (folder / TEMPLATE_FILE).write_text(chat_template_of(decoder), encoding="utf-8")
    name = _make_name(str(manifest.get("contender") or "fit"))
    (folder / REQUEST_FILE).write_text(
        json.dumps(build_request(decoder, name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    command = build_command(decoder, name, include_base)
    (folder / COMMAND_FILE).write_text(f'#!/bin/sh\ncd "$(dirname "$0")" || exit\nexec {command}\n', encoding="utf-8")
    if frame := find_prompt_frame(decoder):
        frame.write(folder)
    (folder / "README.md").write_text(_render_card(decoder, name, command), encoding="utf-8")
    return [QUANTISED_NOTE] if backbone is not backbone.unquantized else []


def _write_base(folder: Path, decoder: Decoder) -> None:
    """The base as it was published: in the sixteen bits that its weights were read from, where they were."""
    backbone: Any = decoder.network.backbone.unquantized
    stated = backbone.base.config.get("dtype") or backbone.base.config.get("torch_dtype")
    whole = copy.deepcopy(backbone.full_model).to("cpu")
    if stated in STORED_DTYPES:
        whole = whole.to(STORED_DTYPES[stated])
    whole.save_pretrained(folder)
    backbone.tokenizer.save(folder)


def _make_name(contender: str) -> str:
    """A model's name that a shell and a URL take as it stands."""
    return re.sub(r"[^\w.-]+", "-", contender)


def build_command(decoder: Decoder, name: str, include_base: bool) -> str:
    """The line that serves the adapter over its base."""
    adapter, backbone = decoder.network.adapter, decoder.network.backbone.unquantized
    assert adapter is not None
    rank: Any = adapter.config["r"]
    origin = origin_of(backbone.name)[0]
    parts = [
        f"vllm serve {'./base' if include_base else origin} --served-model-name {name}-base",
        f"--enable-lora --lora-modules {name}=./adapter --max-lora-rank {choose_max_rank(int(rank))}",
        f"--chat-template ./{TEMPLATE_FILE} --max-model-len {decoder.context_length} --dtype float32",
    ]
    return " \\\n  ".join(parts)


def build_request(decoder: Decoder, name: str) -> dict[str, JSON]:
    """A request of /v1/chat/completions that asks as the fit does."""
    messages = list_framed_messages(decoder) or []
    chat = decoder.chat
    if messages and not chat.supports_system and messages[0]["role"] == "system":
        first, second, *rest = messages
        messages = [{**second, "content": f"{first['content']}\n\n{second['content']}"}, *rest]
    writing = decoder.writing
    made: dict[str, JSON] = {
        "model": name,
        "messages": [dict(one) for one in messages] or [{"role": "user", "content": MARKER}],
        "temperature": writing.temperature,
        "top_p": writing.top_p,
        "repetition_penalty": writing.repetition_penalty,
        "seed": writing.seed,
        "stop_token_ids": [chat.end_token_id],
        "add_special_tokens": not chat.has_template,
    }
    if most := decoder.decoding_plan.max_new_tokens:
        made["max_tokens"] = most
    if writing.stop:
        made["stop"] = list(writing.stop)
    if chat.has_template and chat.supports_thinking:
        made["chat_template_kwargs"] = {"enable_thinking": False}
    if answers := list_answers(decoder):
        made["structured_outputs"] = {"choice": list(answers)}
    elif schema := decoder.template.build_schema(decoder.task):
        made["structured_outputs"] = {"json": dict(schema)}
    return made


def _render_card(decoder: Decoder, name: str, command: str) -> str:
    from huggingface_hub import ModelCardData

    assert decoder.network.adapter is not None
    origin, licence = origin_of(decoder.network.backbone.name)
    data = ModelCardData(
        base_model=origin,
        license=licence,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["loratory", "vllm"],
    )
    return CARD.format(
        data=data.to_yaml(),
        title=f"{name} for vLLM",
        rank=decoder.network.adapter.config["r"],
        command=command,
        name=name,
        request=REQUEST_FILE,
        marker=MARKER,
        constraint=CHOICES if decoder.choices else "",
        prompt=PROMPT_FILE,
    )
