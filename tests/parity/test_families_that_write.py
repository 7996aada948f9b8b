"""Each family from a tiny base to an adapter, a merged model and text, beside stock transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel

from loratory.artifacts.manifests import staging
from loratory.export import layouts
from loratory.models.execution import run_here
from loratory.models.trunks import Pool
from loratory.predictors import store
from loratory.predictors.decoder import SPARE, Decoder
from loratory.protocols import Lessons
from loratory.regimes.lora import Lora
from tiny import WRITERS, context, examples, lessons, save_writer, toy_task, trunk_in

ABOUT = {"run": "toy", "contender": "lora", "regime": "lora", "base": "tiny", "data": "toy", "scores": {}}
ASKED = [example.input for example in examples(openings=slice(4, 5))][:4]


@torch.no_grad()
def told(model: Any, made: Decoder, input: Any) -> str:
    """What stock generate() writes behind the prompt, greedily."""
    ids = torch.tensor([made.ids(input)])
    most = made.asking.most + SPARE
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, eos_token_id=made.chat.end
    )
    said = out[0, ids.shape[1] :].tolist()
    written: str = made.chat.tokenizer.decode(said, skip_special_tokens=True)
    return written


@pytest.mark.parametrize("family", WRITERS)
def test_train_save_merge_reload_and_generate(tmp_path: Path, family: str) -> None:
    base = save_writer(tmp_path / "base", family)
    few = Lessons(lessons().train[::4], lessons().validation[::8])
    made = Lora(rank=4).fit(toy_task(), few, trunk_in(base), context(epochs=1))
    with staging(tmp_path / "fit", {"kind": "fit"}) as part:
        store.write(part, made)
        layouts.write(part, made, ABOUT)
    again: Any = store.read(tmp_path / "fit", Pool())
    assert again.predict(ASKED, run_here) == made.predict(ASKED, run_here)

    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted: Any = PeftModel.from_pretrained(stock, str(tmp_path / "fit" / "adapter"))
    adapted.eval()
    assert again.freely(ASKED, run_here) == [told(adapted, again, input) for input in ASKED]

    merged: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "fit" / "merged")
    assert merged.dtype == torch.bfloat16
    ids = torch.tensor([again.ids(ASKED[0])])
    with torch.no_grad():
        near = (merged.float().eval()(ids).logits - adapted(ids).logits).abs().max()
    assert float(near) < 0.1  # rounded once
    assert told(merged, again, ASKED[0])
