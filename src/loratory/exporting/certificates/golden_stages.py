"""What the fit itself makes of the golden texts, stage by stage, through the code that measured and serves it.

Shapes: T tokens, D width, L outputs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.forward.execution import run_locally
from loratory.data.task_inputs import InputFormat
from loratory.errors import UnsupportedTask
from loratory.exporting.certificates.adversarial_texts import fill_window
from loratory.exporting.certificates.checksums import Floats, compute_checksum
from loratory.exporting.certificates.golden_texts import GoldenText
from loratory.exporting.certificates.goldens import Golden, GoldenSet, NextTokens
from loratory.exporting.certificates.model_facts import unwrap
from loratory.predictors.calibrated import OperatingPoint, apply_temperature
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead
from loratory.protocols import (
    JSON,
    EncodeRequest,
    Input,
    InspectableBackbone,
    Labelled,
    Prediction,
    Predictor,
    ScoreRequest,
    Task,
    TokenIds,
    require_causal,
)

NEXT_TOKENS = 20
MAX_WRITER_TEXTS = 60  # golden texts of a model that scores answers: each is a whole prompt
MAX_GOLDEN_NUMBERS = 200_000  # logits in all, of test texts: of thousands of labels fewer texts are kept
MIN_TEST_TEXTS = 20
MAX_GENERATED_TEXTS = 24  # of one that generates them, token by token


def compute_goldens(predictor: Predictor, texts: Sequence[GoldenText]) -> GoldenSet:
    """Every stage of every text, computed by the fit: one text at a time, in full precision.

    Raises UnsupportedTask for a fit that is no neural network.
    """
    inner, point = unwrap(predictor)
    if isinstance(inner, Decoder):
        return GoldenSet.of(_compute_writer_goldens(inner, texts))
    assert isinstance(inner, Encoder)
    return GoldenSet.of(_compute_encoder_goldens(predictor, inner, point or OperatingPoint(), texts))


def make_input(task: Task, one: GoldenText) -> Input | None:
    """The task's input of a golden text; None where a text alone is no input, as options come with it."""
    if one.input:
        return one.input
    form = InputFormat.from_task(task)
    return form.parse_input(one.text, one.id) if form.text_field else None


def _pair_inputs(task: Task, texts: Sequence[GoldenText]) -> tuple[list[GoldenText], list[Input]]:
    """Those texts that are an input of the task, and their inputs."""
    pairs = [(one, made) for one in texts if (made := make_input(task, one)) is not None]
    return [one for one, _ in pairs], [made for _, made in pairs]


# ---- encoders
def _compute_encoder_goldens(
    predictor: Predictor, encoder: Encoder, point: OperatingPoint, texts: Sequence[GoldenText]
) -> list[Golden]:
    tokenizer = encoder.network.backbone.tokenizer
    filled = fill_window(encoder.max_row_tokens, lambda text: tokenizer.count_tokens([text])[0])
    most = max(
        MAX_GOLDEN_NUMBERS // max(len(encoder.output_adapter.list_output_names(encoder.task)), 1), MIN_TEST_TEXTS
    )
    tests = _spread([one for one in texts if one.kind == "test"], most)
    texts = [*tests, *(one for one in texts if one.kind != "test")]
    filling = [GoldenText(f"adversarial-{name}", "adversarial", text) for name, text in filled.items()]
    every, inputs = _pair_inputs(predictor.task, [*texts, *filling])
    rows = encoder.encode_rows(inputs)
    outputs = run_locally([EncodeRequest(encoder.network, mine[0][0]) for mine in rows])
    predictions = predictor.predict(inputs, run_locally)
    made = []
    for text, mine, output, prediction in zip(every, rows, outputs, predictions, strict=True):
        if _reads_both_ends(encoder, text.text):
            continue  # no other tokenizer joins two parts of a text
        made.append(_make_golden(encoder, point, text, mine[0][0], (len(mine), output, prediction)))
    return made


def _reads_both_ends(encoder: Encoder, text: str) -> bool:
    if encoder.long_text_mode != "ends" or encoder.row_overlap:
        return False
    return encoder.network.backbone.tokenizer.count_tokens([text])[0] > encoder.max_row_tokens


def _make_golden(
    encoder: Encoder,
    point: OperatingPoint,
    text: GoldenText,
    ids: TokenIds,
    outcome: tuple[int, torch.Tensor, Prediction],
) -> Golden:
    row_count, output, prediction = outcome
    backbone, head = encoder.network.backbone, encoder.network.head
    if not isinstance(backbone, InspectableBackbone):
        raise UnsupportedTask(
            f"the backbone {backbone.name} does not show what its layers make of a text",
            allowed="backbones with compute_hidden_states, as those that Loratory loads",
        )
    states = backbone.compute_hidden_states(ids, encoder.network.adapter)
    logits = output.double().numpy()
    if logits.ndim > 1:
        logits = logits[: len(ids)]  # rows of one batch are as long as its longest
    pooled = None
    if isinstance(head, PooledHead):
        mask = torch.ones(1, len(ids), dtype=torch.long)
        pooled = compute_checksum(pool_states(states[-1][None], mask, head.pooling)[0].double().numpy())
    return Golden(
        text.id,
        text.kind,
        text.text,
        text.label,
        ids,
        tuple(compute_checksum(layer.double().numpy()) for layer in states),
        pooled,
        logits,
        compute_probabilities(logits, point.temperature),
        simplify_answer(encoder.task, prediction),
        prediction.reason == "abstained",
        row_count,
    )


def simplify_answer(task: Task, prediction: Prediction) -> JSON:
    """The label of a task of labels, any other task's answer as it is; None where there is none."""
    if prediction.answer is None or not isinstance(task, Labelled):
        return prediction.answer
    return task.label_of(prediction.answer)


def compute_probabilities(logits: Floats, temperature: float) -> Floats:
    """Probabilities of logits float[..., L], tempered as an operating point does it."""
    flat = np.atleast_2d(logits)
    shares = np.exp(flat - flat.max(-1, keepdims=True))
    return apply_temperature(shares / shares.sum(-1, keepdims=True), temperature).reshape(logits.shape)


# ---- models that write
def _compute_writer_goldens(decoder: Decoder, texts: Sequence[GoldenText]) -> list[Golden]:
    chosen, inputs = _pair_inputs(decoder.task, _choose_writer_texts(decoder, texts))
    predictions = decoder.predict(inputs, run_locally)
    made = []
    for text, input, prediction in zip(chosen, inputs, predictions, strict=True):
        if prediction.reason == "long":
            continue
        ids = decoder.encode_prompt(input)
        prompt = _render_prompt(decoder, input, ids)
        if prompt is None:
            continue  # its text was cut: what is left of it is no text that tokenizes alike
        made.append(
            Golden(
                text.id,
                text.kind,
                text.text,
                text.label,
                ids,
                (),
                None,
                None,
                None,
                prediction.answer,
                prediction.reason == "abstained",
                prompt=prompt,
                next=_score_next(decoder, ids),
            )
        )
    return made


def _render_prompt(decoder: Decoder, input: Input, ids: TokenIds) -> str | None:
    """The whole prompt as text; None where that has other ids than those that the fit reads."""
    chat, tokenizer = decoder.chat, decoder.network.backbone.tokenizer.tokenizer
    prompt = chat.render_prompt(decoder.list_messages(input))
    again = list(tokenizer(prompt, add_special_tokens=not chat.has_template)["input_ids"])
    if not chat.has_template and again and again[-1] == tokenizer.eos_token_id:
        again = again[:-1]
    return prompt if tuple(again) == ids else None


def _choose_writer_texts(decoder: Decoder, texts: Sequence[GoldenText]) -> list[GoldenText]:
    """As many test texts as there is time for, and those that we wrote; half and half where answers are generated."""
    tests = [one for one in texts if one.kind == "test"]
    written = [one for one in texts if one.kind != "test"]
    most = MAX_WRITER_TEXTS if decoder.template.scores_choices else MAX_GENERATED_TEXTS
    kept = _spread(tests, max(most - len(written), most // 2))
    return [*kept, *_spread(written, most - len(kept))]


def _spread(texts: Sequence[GoldenText], count: int) -> list[GoldenText]:
    """At most so many, from the first to the last."""
    return list(texts[:: max(-(-len(texts) // max(count, 1)), 1)])


def _score_next(decoder: Decoder, prompt: TokenIds) -> NextTokens:
    """The likeliest tokens behind a prompt, by the fit's own scores of every token of the vocabulary."""
    backbone = require_causal(decoder.network.backbone)
    size = int(backbone.config.vocab_size)
    (scores,) = run_locally([ScoreRequest(decoder.network, prompt, tuple((token,) for token in range(size)))])
    best = torch.topk(scores, min(NEXT_TOKENS, size))
    return NextTokens(tuple(best.indices.tolist()), tuple(best.values.tolist()))
