"""A pooled head alone, on pooled states that are computed once: fitted, fitted again, and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain

import torch
from torch import Tensor, nn

from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead
from loratory.protocols import JSON, Counts, Example, FitContext, Scores, TokenIds, sum_counts
from loratory.protocols.events import ignore_event
from loratory.training.batching import Batch
from loratory.training.checkpoints import NoCheckpoints
from loratory.training.seeds import make_generator
from loratory.training.training_loop import TrainingJob, train

HEAD_BATCH = 64  # examples of a step of a head alone
MANY_LABELS, MANY_LABELS_BATCH = 1_000, 512  # above so many labels a step costs by labels: fewer, larger steps
MAX_SCORED_OUTPUTS = 2**24  # logits of a head that are read at a time
REFIT_EPOCHS, REFIT_LEARNING_RATE = 20, 2e-3  # as `head` has them


@dataclass(frozen=True)
class PooledHeadFit:
    """What a head learns from: pooled states float[N, D], and how its logits float[B, L] of some rows are judged."""

    head: PooledHead
    pooled: Tensor
    parameters: Mapping[str, nn.Parameter]
    weights: Tensor  # float[N]
    losses: Callable[[Tensor, Sequence[int]], Tensor]  # logits float[B, L] of rows -> float[B]
    score: Callable[[], Scores]
    headline: str
    learning_rate: float = REFIT_LEARNING_RATE
    epochs: int = REFIT_EPOCHS


def train_pooled_head(fit: PooledHeadFit, context: FitContext) -> dict[str, JSON]:
    """Train the head on its states; the facts of the fit."""

    def batches(epoch: int) -> list[Batch]:
        order = torch.randperm(len(fit.pooled), generator=make_generator(context.seed, "order", epoch)).tolist()
        size = HEAD_BATCH if len(fit.head.prototypes) <= MANY_LABELS else MANY_LABELS_BATCH
        return [(tuple(order[i : i + size]),) for i in range(0, len(order), size)]

    job = TrainingJob(
        parameters=fit.parameters,
        weights=fit.weights,
        headline=fit.headline,
        epochs=fit.epochs,
        batches=batches,
        losses=lambda i: fit.losses(fit.head.compute_logits(fit.pooled[list(i)]), i),
        learning_rate=lambda name: fit.learning_rate,
        score=fit.score,
    )
    return train(job, context)


def refit_pooled_head(fit: PooledHeadFit, means: Tensor, context: FitContext) -> dict[str, JSON]:
    """Train the head again, from the labels' means float[L, D]; the better of both heads on validation stays.

    It takes seconds and is computed in fp32. A fit that is stopped here goes on behind its backbone's last checkpoint.
    """
    plain = {"precision": "fp32", "average": 0.0, "schedule": "linear", "patience": None, "optimizer": "adamw"}
    alone = replace(
        context,
        training=context.training.model_copy(update=plain),
        checkpoints=NoCheckpoints(),
        report=ignore_event,
        check_race=lambda *_: None,
    )
    head, before = fit.head, fit.score()
    kept = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with torch.no_grad():
        head.prototypes.copy_(means.to(head.prototypes.device))
        head.bias.zero_()
    train_pooled_head(fit, alone)
    after = fit.score()
    if _rank_scores(after, fit.headline) <= _rank_scores(before, fit.headline):
        head.load_state_dict(kept)
    measured: JSON = {"before": before[fit.headline], "after": after[fit.headline]}
    return {"refit_head": measured, "best": max(before[fit.headline], after[fit.headline])}


def _rank_scores(scores: Scores, headline: str) -> list[float]:
    """Of equal headlines the better calibrated is the better, as between epochs."""
    return [scores[headline], -scores.get("log_loss", 0.0)]


def make_states_scorer(
    encoder: Encoder,
    examples: Sequence[Example],
    context: FitContext,
    compute_pooled: Callable[[Sequence[TokenIds]], Tensor] | None = None,
) -> Callable[[], Scores]:
    """Validation of a pooled head from remembered states: the same head and reading as `predict`, without the
    backbone. `compute_pooled` gives the states float[N, D] of a backbone in training, which nobody may remember.
    """
    task, inputs, head = encoder.task, [e.input for e in examples], encoder.network.head
    backbone = encoder.network.backbone
    rows = encoder.encode_rows(inputs)
    flat = [ids for parts in rows for ids, _ in parts]
    if compute_pooled is None:
        compute_pooled = partial(context.activations.compute_pooled, backbone, backbone.pooling)
    pooled = compute_pooled(flat).to(context.device)
    starts = [0, *accumulate(len(parts) for parts in rows)]
    step = max(1, MAX_SCORED_OUTPUTS // max(len(task.labels or ()), 1))

    def score_part(first: int, last: int) -> list[Counts]:
        """The marks of some examples: of very many labels not all logits lie in memory at a time."""
        with torch.inference_mode():
            some = pooled[starts[first] : starts[last]]
            each = iter(head.compute_logits(some).cpu())  # type: ignore[union-attr,operator]
        outputs = [[next(each) for _ in parts] for parts in rows[first:last]]
        predictions = encoder.output_adapter.read_outputs(task, inputs[first:last], rows[first:last], outputs)
        return [task.score_example(e, p) for e, p in zip(examples[first:last], predictions, strict=True)]

    def score() -> Scores:
        parts = (score_part(first, min(first + step, len(examples))) for first in range(0, len(examples), step))
        return task.summarise(sum_counts(chain.from_iterable(parts)))  # type: ignore[no-any-return]

    return score
