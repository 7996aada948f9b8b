"""Teach a causal model to write an answer: the loss is on the answer's tokens alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor

from loratory.backbones.forward.architectures import sliding_window_of
from loratory.backbones.forward.batching import MAX_BATCH_TOKENS, batch_by_length
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.generation.prefix_cache import MIN_PREFIX_ROWS, MIN_PREFIX_TOKENS, find_common_prefix
from loratory.errors import DataError, UnsupportedTask, is_out_of_memory
from loratory.predictors.decoder import Decoder
from loratory.protocols import (
    JSON,
    Example,
    FitContext,
    Labelled,
    Network,
    Scores,
    Task,
    TokenIds,
    TrainSet,
    predict_and_score,
)
from loratory.protocols.events import ExamplePreviewed
from loratory.protocols.objectives import LossBatch
from loratory.training.batching import build_epoch_batches
from loratory.training.cost_estimates import count_epoch_flops, estimate_seconds
from loratory.training.lazy_embeddings import find_token_embeddings
from loratory.training.objectives import CrossEntropy
from loratory.training.targets import ClassWeights, compute_class_weights
from loratory.training.trainable_backbones import TrainableBackbone
from loratory.training.training_loop import TrainingJob, train

PACKING_TOLERANCE = 1e-4  # of losses in float32, packed and not
PREVIEW_EXAMPLES = 2  # examples whose tokens are shown before a fit
LossFunction = Callable[[LossBatch], Tensor]  # what a pass predicted to the loss of each of its examples, float[B]
CROSS_ENTROPY: LossFunction = CrossEntropy().compute_losses


@dataclass(frozen=True)
class SftExample:
    """A prompt with the answer behind it; the last `loss_tokens` ids carry the loss."""

    ids: TokenIds
    loss_tokens: int
    example: Example = field(default_factory=lambda: Example({}))  # what it was made of
    weight: float = 1.0  # what it counts in a step


@dataclass(frozen=True)
class CausalTrainingOptions:
    """How a causal model learns to write, beside the training options that all regimes share."""

    learning_rate: float
    class_weights: ClassWeights = None  # of a task of labels


def build_sft_examples(
    decoder: Decoder, examples: Sequence[Example], max_tokens: int | None = None
) -> list[SftExample]:
    """What is learnt from, each weighed by its answer's tokens, since a step's loss is the mean over those.

    Raises one DataError for all examples that do not fit or take more than `max_tokens`.
    """
    made, long = [], []
    room = min(max_tokens or decoder.context_length, decoder.context_length)
    for example in examples:
        written = decoder.encode_answer(example)
        try:
            ids = (*decoder.encode_prompt(example.input), *written)
        except UnsupportedTask:  # not one token fits behind it
            long.append((decoder.count_needed_tokens(example), example.origin))
            continue
        if len(ids) > room and not decoder.template.truncates:
            long.append((len(ids), example.origin))
        made.append(SftExample(ids, len(written), example, example.weight * len(written)))
    if long:
        raise _build_length_error(decoder, long, max_tokens)
    return made


def _build_length_error(decoder: Decoder, long: Sequence[tuple[int, str]], max_tokens: int | None) -> DataError:
    """Of (tokens, origin) of every example that is too long: told of the longest."""
    backbone = decoder.network.backbone
    needed, where = max(long, key=lambda one: one[0])
    reads = int(backbone.tokenizer.max_length)
    others = f", the longest of {len(long):,} examples that are too long" if len(long) > 1 else ""
    raised = (
        f"set training: max_tokens: {needed}"
        if needed <= reads
        else f"choose a base that reads more than {reads:,} tokens"
    )
    return DataError(
        f"prompt and answer take {needed:,} tokens{others}",
        where=where,
        allowed=f"at most {min(max_tokens or reads, reads):,} tokens, so that no answer is cut; {backbone.name} "
        f"reads {reads:,}",
        remedy=f"{raised}, or shorten or remove {'these examples' if len(long) > 1 else 'this example'}",
    )


def make_answer_batch(
    states: Tensor, starts: Sequence[int], batch: Sequence[SftExample], lm_head: Callable[[Tensor], Tensor] | None
) -> LossBatch:
    """What a loss sees of final states float[N, D]: the logits that precede each token of an answer.

    `starts` says where in the states each example begins.
    """
    assert lm_head is not None
    device = states.device
    before = [
        start + len(page.ids) - page.loss_tokens - 1 + k
        for start, page in zip(starts, batch, strict=True)
        for k in range(page.loss_tokens)
    ]
    return LossBatch(
        "answers",
        logits=lm_head(states[torch.tensor(before, device=device)]).float(),
        targets=torch.tensor([token for page in batch for token in page.ids[-page.loss_tokens :]], device=device),
        owners=torch.tensor([row for row, page in enumerate(batch) for _ in range(page.loss_tokens)], device=device),
        weights=torch.tensor([page.weight for page in batch], device=device),
        examples=[page.example for page in batch],
    )


def compute_example_losses(
    backbone: TrainableBackbone,
    batch: Sequence[SftExample],
    packed: bool,
    grad: bool = True,
    loss: LossFunction = CROSS_ENTROPY,
    shared: int = 0,
) -> Tensor:
    """The loss of each example, float[B]: their rows padded side by side, or packed one behind another.

    Where all rows begin with the same `shared` tokens, these can be computed once for all of them (not packed).
    """
    rows = [page.ids for page in batch]
    if shared and not packed:
        states = backbone.forward_behind_prefix(rows[0][:shared], [row[shared:] for row in rows], grad)
        starts = [row * states.shape[1] - shared for row in range(len(batch))]
        return loss(make_answer_batch(states.flatten(0, 1), starts, batch, backbone.lm_head))
    if packed:
        starts = list(accumulate((len(row) for row in rows[:-1]), initial=0))
        return loss(make_answer_batch(backbone.forward_packed(rows, grad), starts, batch, backbone.lm_head))
    states, _ = backbone.forward(rows, grad)
    places = range(0, states.shape[1] * len(batch), states.shape[1])
    return loss(make_answer_batch(states.flatten(0, 1), places, batch, backbone.lm_head))


def supports_packing(backbone: EncoderBackbone, batch: Sequence[SftExample]) -> bool:
    """Whether the architecture keeps packed pages apart: their losses are those of pages side by side, in float32."""
    live = TrainableBackbone(backbone)
    with torch.no_grad():
        try:
            apart, packed = (compute_example_losses(live, batch, way, grad=False) for way in (False, True))
        except (RuntimeError, TypeError, ValueError) as problem:
            if is_out_of_memory(problem):
                raise
            return False
    return torch.allclose(apart, packed, rtol=PACKING_TOLERANCE, atol=PACKING_TOLERANCE)


def find_shared_prefix(backbone: TrainableBackbone, examples: Sequence[SftExample], context: FitContext) -> int:
    """How many tokens all prompts begin with that can be computed once for a pass; 0 where it does not pay.

    Tried on the first examples: an architecture may keep something else than keys and values of every token.
    """
    if context.training.share_prefix == "off" or context.training.packing == "on" or len(examples) < MIN_PREFIX_ROWS:
        return 0
    if backbone.compute_config.gradient_checkpointing or not can_attend_to_all(backbone.backbone, examples):
        return 0
    shared = len(find_common_prefix([page.ids[: len(page.ids) - page.loss_tokens] for page in examples]))
    return shared if shared >= MIN_PREFIX_TOKENS and supports_prefix(backbone.backbone, examples[:4], shared) else 0


def can_attend_to_all(backbone: EncoderBackbone, examples: Sequence[SftExample]) -> bool:
    """Whether every layer looks back over the longest example."""
    window = sliding_window_of(backbone.config)
    return window is None or max(len(page.ids) for page in examples) <= window


def supports_prefix(backbone: EncoderBackbone, batch: Sequence[SftExample], shared: int) -> bool:
    """Whether losses behind a shared beginning are those of whole rows, in float32."""
    live = TrainableBackbone(backbone)
    with torch.no_grad():
        try:
            whole, behind = (
                compute_example_losses(live, batch, False, grad=False, shared=tokens) for tokens in (0, shared)
            )
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as problem:
            if is_out_of_memory(problem):
                raise
            return False
    return torch.allclose(whole, behind, rtol=PACKING_TOLERANCE, atol=PACKING_TOLERANCE)


def check_packing(backbone: EncoderBackbone, batch: Sequence[SftExample]) -> None:
    """Raise UnsupportedTask where the architecture does not keep packed pages apart."""
    if not supports_packing(backbone, batch):
        raise UnsupportedTask(
            f"{backbone.name} does not keep packed rows apart: packed examples have another loss than the same "
            "ones apart",
            where="training: packing",
            remedy="set training: packing: off",
        )


def report_preview(decoder: Decoder, examples: Sequence[SftExample], context: FitContext) -> None:
    """The pre-flight look: the first examples with what carries loss, as the model will see them."""
    backbone = decoder.network.backbone
    read = backbone.tokenizer.tokenizer.decode
    for page in examples[:PREVIEW_EXAMPLES]:
        start = len(page.ids) - page.loss_tokens
        context.report(ExamplePreviewed(read(page.ids[:start]), read(page.ids[start:])))


def check_target(decoder: Decoder, sft_example: SftExample, example: Example) -> None:
    """Raise DataError where the tokenizer does not give the answer of this page back."""
    backbone = decoder.network.backbone
    target = decoder.template.render_target(decoder.task, example.answer)
    told = backbone.tokenizer.tokenizer.decode(sft_example.ids[-sft_example.loss_tokens : -1])
    if told.strip() != decoder.chat.escape_special_tokens(target).strip():
        raise DataError(
            f"the tokenizer does not give an answer back: {target!r} became {told!r}",
            where=backbone.name,
            allowed="a tokenizer that decodes what it has encoded",
            remedy="choose another base",
        )


def train_causal(
    train_set: TrainSet,
    start: Decoder,
    backbone: TrainableBackbone,
    options: CausalTrainingOptions,
    context: FitContext,
    loss: LossFunction = CROSS_ENTROPY,
) -> tuple[Decoder, dict[str, JSON]]:
    """Train what `backbone` has to learn, by any loss; `start` says how the task is put.

    The predictor returned is frozen; beside it come the facts of the fit. Raises what `training_loop.train` does, and
    DataError for examples that do not fit.
    """
    parameters = backbone.trainable_parameters() | (backbone.lm_head_parameters() if backbone.full_finetuning else {})
    learned = sum(p.numel() for p in parameters.values())
    now = replace(start, network=Network(backbone), trained_parameters=learned)
    longest = min(context.training.max_tokens, backbone.tokenizer.max_length)
    material = build_sft_examples(now, train_set.train, longest)
    report_preview(now, material, context)
    check_target(now, material[0], train_set.train[0])
    packed = context.training.packing == "on"
    if packed:
        check_packing(backbone.backbone, material[:4])
    shared = find_shared_prefix(backbone, material, context)

    def losses(indices: Sequence[int]) -> Tensor:
        return compute_example_losses(backbone, [material[i] for i in indices], packed, loss=loss, shared=shared)

    headline, score = _build_validation_score(now, train_set, backbone, longest, context)
    flops = count_epoch_flops(backbone, [len(page.ids) - shared for page in material], (), cached=False)
    course = TrainingJob(
        epoch_seconds=estimate_seconds(flops, backbone.compute_config.precision, context.device),
        parameters=parameters,
        losses=losses,
        weights=_compute_example_weights(now.task, material, options.class_weights),
        headline=headline,
        epochs=None,
        learning_rate=lambda name: options.learning_rate,
        batches=lambda epoch: build_epoch_batches(
            [len(p.ids) for p in material], context.training, context.seed, epoch
        ),
        score=score,
        embeddings=find_token_embeddings(backbone, parameters),
    )
    facts = train(course, context) | {"product": backbone.compute_config.product, "prompt": now.prompt.digest}
    facts |= {"shared_prefix_tokens": shared}
    if backbone.owns_weights:
        return replace(now, network=Network(backbone.to_frozen_backbone()), owns_backbone=True), facts
    return replace(now, network=Network(backbone.backbone, backbone.extract_adapter())), facts


def _compute_example_weights(task: Task, examples: Sequence[SftExample], class_weights: ClassWeights) -> Tensor:
    """An example weighs as many tokens as its answer has, times its own weight and that of its label: float[N]."""
    own = torch.tensor([page.weight for page in examples])
    if not isinstance(task, Labelled):
        return own.float()
    labels = task.labels or ()
    places = {label: place for place, label in enumerate(labels)}
    targets = torch.tensor([places[task.label_of(page.example.answer)] for page in examples])
    return (compute_class_weights(targets, labels, class_weights)[targets] * own).float()


def _build_validation_score(
    decoder: Decoder, train_set: TrainSet, backbone: TrainableBackbone, max_tokens: int, context: FitContext
) -> tuple[str, Callable[[], Scores]]:
    """What early stopping goes by: the task's headline where answers are scored; where they are drawn, which takes
    much longer, the mean probability of a validation answer's token (geometric).
    """
    task = decoder.task
    if decoder.template.scores_choices:
        return task.headline, lambda: task.summarise(
            predict_and_score(decoder, train_set.validation, context.run).sum_counts()
        )
    held = build_sft_examples(decoder, train_set.validation, max_tokens)

    def likelihood() -> Scores:
        said = torch.tensor([page.loss_tokens for page in held])
        with torch.no_grad():
            found = [
                (
                    compute_example_losses(backbone, [held[i] for i in batch], False, grad=False).cpu(),
                    said[batch],
                )
                for batch in batch_by_length([len(page.ids) for page in held], MAX_BATCH_TOKENS)
            ]
        total = sum(float((losses * counts).sum()) for losses, counts in found)
        return {"likelihood": math.exp(-total / int(said.sum()))}

    return "likelihood", likelihood
