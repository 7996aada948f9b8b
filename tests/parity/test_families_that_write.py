"""Each family from a tiny base to an adapter, a merged model and text, beside stock transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.exporting import stock_layouts
from loratory.predictors import predictor_files
from loratory.predictors.decoder import UNCONSTRAINED_EXTRA_TOKENS, Decoder
from loratory.protocols import TrainSet
from loratory.regimes.lora import Lora
from tiny_models import (
    GENERATING_FAMILIES,
    load_backbone_from,
    make_context,
    make_examples,
    make_task,
    make_train_set,
    save_causal_model,
)

ABOUT = {"run": "toy", "contender": "lora", "regime": "lora", "base": "tiny", "data": "toy", "scores": {}}
ASKED = [example.input for example in make_examples(openings=slice(4, 5))][:4]


@torch.no_grad()
def generate_stock(model: Any, made: Decoder, input: Any) -> str:
    """What stock generate() writes behind the prompt, greedily."""
    ids = torch.tensor([made.encode_prompt(input)])
    most = made.decoding_plan.max_new_tokens + UNCONSTRAINED_EXTRA_TOKENS
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=made.chat.end_token_id,
    )
    said = out[0, ids.shape[1] :].tolist()
    written: str = made.chat.tokenizer.decode(said, skip_special_tokens=True)
    return written


@pytest.mark.parametrize("family", GENERATING_FAMILIES)
def test_train_save_merge_reload_and_generate(tmp_path: Path, family: str) -> None:
    base = save_causal_model(tmp_path / "base", family)
    few = TrainSet(make_train_set().train[::4], make_train_set().validation[::8])
    made = Lora(rank=4).fit(make_task(), few, load_backbone_from(base), make_context(epochs=1))
    with stage_artifact(tmp_path / "fit", {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, made)
        stock_layouts.write_stock_layouts(part, made, ABOUT)
    again: Any = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert again.predict(ASKED, run_locally) == made.predict(ASKED, run_locally)

    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted: Any = PeftModel.from_pretrained(stock, str(tmp_path / "fit" / "adapter"))
    adapted.eval()
    assert again.generate_unconstrained(ASKED, run_locally) == [
        generate_stock(adapted, again, input) for input in ASKED
    ]

    merged: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "fit" / "merged")
    assert merged.dtype == torch.bfloat16
    ids = torch.tensor([again.encode_prompt(ASKED[0])])
    with torch.no_grad():
        near = (merged.float().eval()(ids).logits - adapted(ids).logits).abs().max()
    assert float(near) < 0.1  # rounded once
    assert generate_stock(merged, again, ASKED[0])
