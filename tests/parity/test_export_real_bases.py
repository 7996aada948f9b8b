"""The embedded bases in other programs' formats: MiniLM and the seedling, with adapters of random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export_fits import (
    POINT,
    PROBES,
    export_to,
    list_prompts,
    list_token_ids,
    make_decoder_of,
    make_label_encoder,
    predict_next_tokens,
    predict_probabilities,
    save_fit,
)
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.pool import TorchBackbonePool
from loratory.experiment.export_fit import load_exporter
from loratory.predictors.encoder import Encoder
from loratory.protocols import Adapter
from node_programs import find_node_modules, run_node

MAX_DIFFERENCE = 2e-5  # of a probability


def soften(encoder: Encoder) -> Encoder:
    """An adapter of the size that training gives: a wild one makes float32 itself imprecise."""
    adapter = encoder.network.adapter
    assert adapter is not None
    tensors = {name: t * 0.05 if "lora_B" in name else t for name, t in adapter.tensors.items()}
    own = Adapter(adapter.config, tensors, adapter.first_layer, adapter.digest)
    return replace(encoder, network=replace(encoder.network, adapter=own))


@pytest.mark.parametrize("layout", ["sentence-transformers", pytest.param("transformers-js", marks=pytest.mark.slow)])
def test_minilm_answers_the_same(layout: str, tmp_path: Path) -> None:
    libraries = {"sentence-transformers": "sentence_transformers", "transformers-js": "onnxscript"}
    pytest.importorskip(libraries[layout])
    encoder = soften(make_label_encoder(TorchBackbonePool().get_base("minilm")))
    export_to(save_fit(tmp_path / "fit", encoder, POINT), layout, tmp_path / "out")
    stages = load_exporter(layout).open(tmp_path / "out").run_stages(PROBES)
    assert [one.tokens for one in stages] == list_token_ids(encoder)
    expected = predict_probabilities(encoder, POINT)
    assert np.abs(np.array([one.probabilities for one in stages]) - expected).max() < MAX_DIFFERENCE
    assert np.ptp(expected, axis=0).max() > 0.1
    if layout == "transformers-js":
        modules = find_node_modules("@huggingface/transformers")
        (tmp_path / "texts.json").write_text(json.dumps(PROBES), encoding="utf-8")
        made = run_node(
            "pipelines.mjs", tmp_path / "out", "text-classification", "fp32", tmp_path / "texts.json", modules=modules
        )
        for answers, row in zip(made["together"], expected, strict=True):
            found = {one["label"]: one["score"] for one in answers}
            assert np.abs(np.array([found[label] for label in encoder.task.labels]) - row).max() < MAX_DIFFERENCE


@pytest.mark.parametrize("layout", ["gguf", "vllm"])
def test_the_seedling_answers_the_same(layout: str, tmp_path: Path) -> None:
    backbone = TorchBackbonePool().get_base("seedling")
    assert isinstance(backbone, CausalBackbone)
    decoder = make_decoder_of(backbone)
    options = {}
    if layout == "gguf":
        pytest.importorskip("gguf")
        options = {"types": ["f32"]}
    export_to(save_fit(tmp_path / "fit", decoder), layout, tmp_path / "out", **options)
    frame = json.loads((tmp_path / "out" / "prompt.json").read_text(encoding="utf-8"))
    prompts = [f"{frame['before']}{text}{frame['after']}" for text in PROBES[:-1]]
    stages = load_exporter(layout).open(tmp_path / "out").run_stages(prompts)
    assert [one.tokens for one in stages] == list_prompts(decoder)
    found = np.array([one.probabilities for one in stages])
    assert np.abs(found - predict_next_tokens(decoder)).max() < MAX_DIFFERENCE
