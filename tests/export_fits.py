"""Fits of random weights as artifacts, and what they answer: what exported formats are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, processors

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.experiment.export_fit import ExportRequest, ExportResult, export_fit
from loratory.exporting.gguf import sentencepiece
from loratory.exporting.transformers_js import classifier_graph
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead, make_head, make_token_head
from loratory.predictors.prompt_files import Prompt
from loratory.protocols import Network, Predictor
from loratory.tasks.tag import Tag
from tiny_models import (
    CHATML,
    TEXTS,
    load_causal_backbone_from,
    make_config,
    make_random_adapter,
    make_task,
    make_vocabulary,
    save_causal_model,
)

MAX_TOKENS = 40  # of a row: fewer than the tiny bases read
MAX_TEXT_TOKENS = 150  # of a text in a prompt: every probe text but the last
LONG_TEXT = "hello, my card was blocked and the login code is late; " * 8  # more than a row holds
PROBES = (*TEXTS, "", "x", "  spaces  around ", "naïve \u200d \U0001f600 \u05d0\u05d1 \u4e2d\u6587 \x07", LONG_TEXT)
POINT = OperatingPoint(temperature=1.7, thresholds={"card": 0.4}, score="confidence", least=0.05)
LABELS = ("card", "cash", "login")
SPAN_LABELS = ("NAME", "CITY")


def make_label_encoder(backbone: EncoderBackbone, head: str = "pooled", long: str = "head") -> Encoder:
    """LoRA with a head for labels, of random weights."""
    made = make_head(head, backbone, LABELS)
    return Encoder(
        make_task(LABELS),
        "labels",
        Network(backbone, make_random_adapter(backbone), _randomise(made)),
        MAX_TOKENS,
        9,
        long_text_mode=long,
    )


def make_span_encoder(backbone: EncoderBackbone) -> Encoder:
    """LoRA with a layer on every token, of random weights."""
    task = Tag(labels=SPAN_LABELS)
    head = make_token_head("token", backbone, ("O", *(f"{p}-{label}" for label in SPAN_LABELS for p in "BI")))
    network = Network(backbone, make_random_adapter(backbone), _randomise(head))
    return Encoder(task, "spans", network, MAX_TOKENS, 9)


def _randomise(head: torch.nn.Module) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for weight in head.parameters():
            torch.nn.init.normal_(weight.data, std=0.3)
    if isinstance(head, PooledHead):
        torch.nn.init.constant_(head.log_scale, 3.2)  # a small one would hide differences behind even probabilities
    return head.requires_grad_(False).eval()


def save_fit(folder: Path, predictor: Predictor, point: OperatingPoint | None = None, contender: str = "lora") -> Path:
    """A predictor as a fit on disk."""
    whole = CalibratedPredictor(predictor, point) if point else predictor
    with stage_artifact(folder, {"kind": "fit", "contender": contender, "seed": 1}) as part:
        predictor_files.save_predictor(part, whole)
    return folder


def export_to(fit: Path, layout: str, output: Path, **options: Any) -> ExportResult:
    """The command's own road."""
    return export_fit(ExportRequest(fit, None, (layout,), output, options))


def export_graph_here(command: Sequence[str], **rest: Any) -> SimpleNamespace:
    """Stands for `subprocess.run`: the exporter of graphs in this process, where it is imported once for all tests."""
    try:
        classifier_graph.main(*command[command.index(classifier_graph.__name__) + 1 :])
    except SystemExit as problem:
        return SimpleNamespace(returncode=1, stderr=f"a warning\n{problem}\n")
    return SimpleNamespace(returncode=0, stderr="")


def predict_probabilities(predictor: Predictor, point: OperatingPoint | None = None) -> np.ndarray[Any, Any]:
    """float64[N, L] of the probe texts, as the fit answers them at its temperature."""
    whole = CalibratedPredictor(predictor, point) if point else predictor
    made = whole.predict([{"text": text} for text in PROBES], run_locally)
    return np.array([list(one.probabilities["/label"].values()) for one in made])


def list_token_ids(encoder: Encoder) -> list[tuple[int, ...]]:
    """Of the first row of each probe text."""
    return [tuple(rows[0][0]) for rows in encoder.encode_rows([{"text": text} for text in PROBES])]


def make_decoder(folder: Path, family: str = "llama", template: str | None = CHATML, **more: Any) -> Decoder:
    """A causal base with an adapter of random weights that answers with a label; its base is saved in `folder`."""
    return make_decoder_from(save_causal_model(folder, family, template, **more))


def make_decoder_from(base: Path) -> Decoder:
    """A causal base of a folder with an adapter of random weights."""
    return make_decoder_of(load_causal_backbone_from(base))


def make_decoder_of(backbone: CausalBackbone) -> Decoder:
    """LoRA of random weights that answers with a label."""
    prompt = Prompt("1", 'Labels: {names}. Answer with {"label": ...}', "Text: {text}")
    network = Network(backbone, make_random_adapter(backbone))
    return Decoder(make_task(LABELS), "labels", network, prompt, MAX_TEXT_TOKENS)


def make_sentencepiece_tokenizer() -> Any:
    """BPE as Llama 2 has it: a mark for spaces, bytes to fall back on, every split of a token among its merges."""
    words = sorted({f"\u2581{word}" for word in make_vocabulary()})
    letters = sorted({letter for word in words for letter in word})
    vocab = {token: place for place, token in enumerate(["<unk>", "<s>", "</s>", *sentencepiece.BYTE_TOKENS, *letters])}
    found = {word[start:end] for word in words for start in (0, 1) for end in range(start + 2, len(word) + 1)}
    pieces = sorted(found, key=lambda piece: (len(piece), piece))
    vocab |= {piece: len(vocab) + place for place, piece in enumerate(pieces)}
    merges = [[*pair] for piece in pieces for pair in sentencepiece.list_splits(piece, vocab)]
    scores = [0.0] * len(vocab)
    raw = sentencepiece.describe_tokenizer(vocab, scores, "<unk>")
    model: Any = raw["model"]
    made = Tokenizer.from_str(json.dumps({**raw, "model": {**model, "merges": merges}}))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    inputs = ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_input_names=inputs
    )


def save_sentencepiece_base(folder: Path, template: str | None) -> Path:
    """A tiny Llama with such a tokenizer."""
    tokenizer = make_sentencepiece_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template, tokenizer.model_max_length = template, 1024
    wide = {"hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 1024}
    config = make_config("llama", tokenizer, bos_token_id=1, eos_token_id=2, **wide)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    return folder


def list_prompts(decoder: Decoder) -> list[tuple[int, ...]]:
    """Ids of the prompt for each probe text that no window cuts."""
    return [decoder.encode_prompt({"text": text}) for text in PROBES[:-1]]


@torch.no_grad()
def predict_next_tokens(decoder: Decoder) -> np.ndarray[Any, Any]:
    """float64[N, V]: probabilities of the token behind each prompt, computed with the adapter beside the base."""
    backbone = decoder.network.backbone
    rows = list_prompts(decoder)
    made = []
    for ids in rows:
        states, _ = backbone.compute_states([ids], [decoder.network.adapter])  # type: ignore[attr-defined]
        made.append(backbone.lm_head(states[0, -1]).double().softmax(-1).numpy())  # type: ignore[attr-defined]
    return np.array(made)
