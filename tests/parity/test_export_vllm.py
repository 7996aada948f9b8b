"""The folder for vLLM: stock PEFT over the copied base gives the fit's probabilities, and the request its prompt."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from export_fits import (
    LABELS,
    PROBES,
    export_to,
    list_prompts,
    make_decoder,
    make_label_encoder,
    predict_next_tokens,
    save_fit,
)
from loratory.artifacts.manifests import verify_artifact
from loratory.errors import ArtifactError, UnsupportedTask
from loratory.experiment.export_fit import load_exporter
from loratory.exporting.decoder_fits import MARKER
from loratory.exporting.vllm.limits import choose_max_rank
from loratory.predictors.decoder import Decoder
from loratory.predictors.prompt_files import Prompt
from loratory.protocols import Adapter, Network
from loratory.specs.generation import GenerationSpec
from loratory.tasks.generate import Generate
from tiny_models import BackboneOf

MAX_DIFFERENCE = 1e-6  # of a probability of the next token
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{{ m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_stock_peft_over_the_copied_base_gives_the_fit_s_probabilities(family: str, tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base", family)
    export_to(save_fit(tmp_path / "fit", decoder), "vllm", tmp_path / "out")
    verify_artifact(tmp_path / "out")
    frame = read_json(tmp_path / "out" / "prompt.json")
    prompts = [f"{frame['before']}{text}{frame['after']}" for text in PROBES[:-1]]
    stages = load_exporter("vllm").open(tmp_path / "out").run_stages(prompts)
    assert [one.tokens for one in stages] == list_prompts(decoder)
    found = np.array([one.probabilities for one in stages])
    assert np.abs(found - predict_next_tokens(decoder)).max() < MAX_DIFFERENCE
    bare = replace(decoder, network=Network(decoder.network.backbone))
    assert np.abs(found - predict_next_tokens(bare)).max() > 1e-3, "the adapter changes nothing: nothing was compared"


@pytest.mark.parametrize("template", ["chatml", "none", "no system"])
def test_the_request_is_the_fit_s_prompt(template: str, tmp_path: Path) -> None:
    """As vLLM does it: the messages under the chat template of the command, tokens as the request says."""
    given = {"none": None, "no system": NO_SYSTEM}
    decoder = make_decoder(tmp_path / "base", "llama", *([given[template]] if template in given else []))
    export_to(save_fit(tmp_path / "fit", decoder), "vllm", tmp_path / "out")
    request = read_json(tmp_path / "out" / "request.json")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "base")
    text = PROBES[1]
    messages = json.loads(json.dumps(request["messages"]).replace(MARKER, text))
    rendered = tokenizer.apply_chat_template(
        messages,
        chat_template=(tmp_path / "out" / "chat_template.jinja").read_text(encoding="utf-8"),
        tokenize=False,
        add_generation_prompt=True,
        **request.get("chat_template_kwargs", {}),
    )
    ids = tokenizer(rendered, add_special_tokens=request["add_special_tokens"])["input_ids"]
    assert tuple(ids) == decoder.encode_prompt({"text": text})
    assert request["stop_token_ids"] == [decoder.chat.end_token_id]
    assert request["structured_outputs"]["choice"] == [
        f'{decoder.chat.answer_prefix}{{"label":"{label}"}}' for label in LABELS
    ]


def test_the_command_names_folders_that_are_there(tmp_path: Path) -> None:
    export_to(save_fit(tmp_path / "fit", make_decoder(tmp_path / "base")), "vllm", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    words = shlex.split(card.partition("```bash\n")[2].partition("```")[0].replace("\\\n", " "))
    assert words[:3] == ["vllm", "serve", "./base"]
    script = (tmp_path / "out" / "serve.sh").read_text(encoding="utf-8").partition("exec ")[2]
    assert shlex.split(script.replace("\\\n", " ")) == words
    values = dict(itertools.pairwise(words))
    assert "--enable-lora" in words
    assert (values["--lora-modules"], values["--max-lora-rank"]) == ("lora=./adapter", "8")
    assert (tmp_path / "out" / values["--chat-template"]).is_file()
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()
    assert read_json(tmp_path / "out" / "request.json")["model"] == "lora"


def test_a_base_is_copied_in_the_bits_that_it_was_read_from(tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base", dtype="bfloat16")
    export_to(save_fit(tmp_path / "fit", decoder), "vllm", tmp_path / "out")
    sizes = {f: (f / "base" / "model.safetensors").stat().st_size for f in (tmp_path / "out",)}
    again = (tmp_path / "base" / "model.safetensors").stat().st_size
    assert abs(sizes[tmp_path / "out"] - again) < 2_000


@pytest.mark.parametrize(("rank", "most"), [(1, 1), (2, 8), (8, 8), (9, 16), (300, 320), (512, 512)])
def test_the_least_rank_that_the_option_takes(rank: int, most: int) -> None:
    assert choose_max_rank(rank) == most


def test_what_vllm_does_not_serve_is_refused(tmp_path: Path, backbone_of: BackboneOf) -> None:
    decoder = make_decoder(tmp_path / "base")
    adapter = decoder.network.adapter
    assert adapter is not None

    def change(**fields: Any) -> Any:
        own = Adapter({**adapter.config, **fields}, adapter.tensors, adapter.first_layer, adapter.digest)
        return replace(decoder, network=Network(decoder.network.backbone, own))

    refused = {
        "rank is 600": change(r=600),
        "bias is 'all'": change(bias="all"),
        "no LoRA adapter": replace(decoder, network=Network(decoder.network.backbone)),
        "does not write": make_label_encoder(backbone_of("bert")),
        "no base that vLLM puts adapters on": make_decoder(tmp_path / "smollm3", "smollm3"),
    }
    for told, predictor in refused.items():
        fit = save_fit(tmp_path / f"fit {told}", predictor)
        with pytest.raises(UnsupportedTask, match=told):
            export_to(fit, "vllm", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_conversation_is_asked_with_its_system_message_and_schema(tmp_path: Path) -> None:
    labels = make_decoder(tmp_path / "base")
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 4}}}
    how, prompt = (
        GenerationSpec(max_new_tokens=9, temperature=0.5, stop=("END",)),
        Prompt("1", "Be brief.", "Q: {text}"),
    )
    decoder = Decoder(Generate(answer_schema=schema), "fields", labels.network, prompt, 100, writing=how)
    export_to(save_fit(tmp_path / "fit", decoder), "vllm", tmp_path / "out")
    request = read_json(tmp_path / "out" / "request.json")
    assert [one["content"] for one in request["messages"]] == ["Be brief.", f"Q: {MARKER}"]
    assert request["structured_outputs"] == {"json": schema}
    assert (request["max_tokens"], request["temperature"], request["stop"]) == (9, 0.5, ["END"])


def test_a_base_without_a_hub_id_has_to_be_copied(tmp_path: Path) -> None:
    fit = save_fit(tmp_path / "fit", make_decoder(tmp_path / "base"))
    with pytest.raises(UnsupportedTask, match="no id on the hub"):
        export_to(fit, "vllm", tmp_path / "out", include_base=False)
    export_to(fit, "vllm", tmp_path / "out")
    (tmp_path / "out" / "base" / "config.json").unlink()
    with pytest.raises(ArtifactError, match="not copied"):
        load_exporter("vllm").open(tmp_path / "out")
