"""The loss of writers, and what learns from it, are those of trl's SFTTrainer on the same conversations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from loratory.predictors.decoder import Decoder
from loratory.predictors.prompt_files import Prompt
from loratory.predictors.prompt_templates import load_prompt_template
from loratory.protocols import Example, Network, TrainSet
from loratory.protocols.events import FitEvent, StepFinished
from loratory.regimes.lora import Lora
from loratory.training.causal import build_sft_examples, compute_example_losses
from loratory.training.trainable_backbones import TrainableBackbone
from tiny_models import CHATML, load_backbone_from, make_context, make_examples, make_task, save_causal_model

FAMILIES = ("llama", "qwen3")
CLOSED = CHATML.replace("<|im_end|>\n", "<|im_end|>")  # trl learns all that a template writes behind an answer's end
MADE = make_examples()[::9]  # eight, of different lengths
MAX_PACKED_TOKENS = 400  # tokens of a packed row: two pages or three
WAYS: dict[str, dict[str, Any]] = {
    "padded": {"max_length": None},
    "padding_free": {"max_length": None, "padding_free": True},
    "packing": {"max_length": MAX_PACKED_TOKENS, "packing": True},
}

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # trl's own defaults


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal_model(tmp_path_factory.mktemp("writer"), request.param, CLOSED)


def decoder(backbone: Any) -> Decoder:
    return Decoder(make_task(), "labels", Network(backbone), Prompt.load(None, "labels"), 64)


def conversations(made: Decoder, taught: Sequence[Example]) -> Any:
    """The examples as trl reads them."""
    wording = load_prompt_template(made.template_name)
    asked = [wording.build_messages(made.task, made.prompt, example.input) for example in taught]
    answers = [
        [{"role": "assistant", "content": wording.render_target(made.task, example.answer)}] for example in taught
    ]
    return Dataset.from_dict({"prompt": asked, "completion": answers})


def stock(folder: Path, taught: Any, scratch: Path, **way: Any) -> tuple[Any, dict[str, Any]]:
    """A SFTTrainer, and all of the examples as the one batch that its collator makes of them."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    arguments = SFTConfig(
        str(scratch),
        use_cpu=True,
        bf16=False,
        report_to=[],
        gradient_checkpointing=False,
        per_device_train_batch_size=len(taught),
        **way,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    trainer = SFTTrainer(model, arguments, train_dataset=taught, processing_class=tokenizer)
    (batch,) = trainer.get_train_dataloader()
    return trainer, batch


def read(batch: dict[str, Any]) -> set[tuple[tuple[int, ...], int]]:
    """Each example's ids in trl's batch, and how many of its last ones carry loss."""
    ids, labels = batch["input_ids"], batch["labels"]
    if "attention_mask" in batch:
        real = batch["attention_mask"].bool()
        rows = [(one[keep], learnt[keep]) for one, learnt, keep in zip(ids, labels, real, strict=True)]
    else:
        ends = batch["cu_seq_lens_q"].tolist()
        rows = [(ids[0, a:b], labels[0, a:b]) for a, b in pairwise(ends)]
    found = set()
    for one, learnt in rows:
        answered = int((learnt != -100).sum())
        assert learnt[-answered:].tolist() == one[-answered:].tolist()
        found.add((tuple(one.tolist()), answered))
    return found


def gradients(named: Any) -> dict[str, Any]:
    """By the names that stock transformers gives."""
    return {name.removeprefix("model.").replace("voice.layer", "lm_head"): p.grad for name, p in named}


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_and_its_gradients_are_those_of_trl(folder: Path, tmp_path: Path, way: str) -> None:
    backbone = load_backbone_from(folder)
    made = decoder(backbone)
    batch = build_sft_examples(made, MADE)
    trainer, theirs = stock(folder, conversations(made, MADE), tmp_path, **WAYS[way])
    assert read(theirs) == {(page.ids, page.loss_tokens) for page in batch}
    wanted = trainer.compute_loss(trainer.model, theirs)
    wanted.backward()

    live = TrainableBackbone(backbone, full_finetuning=True)
    counts = torch.tensor([page.loss_tokens for page in batch])
    loss: Any = (compute_example_losses(live, batch, packed=way != "padded") * counts).sum() / counts.sum()
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    ours = gradients((live.trainable_parameters() | live.lm_head_parameters()).items())
    stocks = gradients(trainer.model.named_parameters())
    assert ours.keys() == stocks.keys()
    for name, gradient in ours.items():
        assert torch.allclose(gradient, stocks[name], atol=1e-5), name


@pytest.mark.parametrize("packing", ["off", "on"])
def test_the_first_step_of_a_fit_has_the_loss_of_trl(folder: Path, tmp_path: Path, packing: str) -> None:
    backbone = load_backbone_from(folder)
    trainer, theirs = stock(folder, conversations(decoder(backbone), MADE), tmp_path, **WAYS["padded"])
    with torch.no_grad():
        wanted = float(trainer.compute_loss(trainer.model, theirs))
    seen: list[float] = []

    def report(event: FitEvent) -> None:
        if isinstance(event, StepFinished):
            seen.append(event.loss)

    surrounding = make_context(epochs=1, batch_examples=len(MADE), packing=packing, report=report)
    Lora(rank=4).fit(make_task(), TrainSet(MADE, MADE[:1]), backbone, surrounding)
    assert seen == [pytest.approx(wanted, abs=1e-5)]
