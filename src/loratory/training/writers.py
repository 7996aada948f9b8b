"""Teach a causal model to write an answer: the loss is on the answer's tokens alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from loratory.errors import DataError, Unfit, is_out_of_memory
from loratory.models.live import LiveTrunk
from loratory.models.trunks import BATCH_TOKENS, TorchTrunk, by_length
from loratory.predictors.decoder import Decoder
from loratory.protocols import JSON, Context, Example, Labelled, Lessons, Network, Scores, Tokens, answer
from loratory.specs.training import LossSpec
from loratory.training.batching import epoch_batches
from loratory.training.loop import Course, train
from loratory.training.objectives import class_weights

PACKED_ALIKE = 1e-4  # of losses in float32, packed and not
SHOWN = 2  # examples whose tokens are shown before a fit


@dataclass(frozen=True)
class Page:
    """A prompt with the answer behind it; the last `answered` ids carry the loss."""

    ids: Tokens
    answered: int


def pages(decoder: Decoder, examples: Sequence[Example], most: int | None = None) -> list[Page]:
    """What is learnt from; raises one DataError for all examples that do not fit or take more than `most` tokens."""
    made, long = [], []
    room = min(most or decoder.limit, decoder.limit)
    for example in examples:
        written = decoder.written(example)
        try:
            page = Page((*decoder.ids(example.input), *written), len(written))
        except Unfit:  # not one token fits behind it
            long.append((decoder.needed(example), example.origin))
            continue
        if len(page.ids) > room and not decoder.words.cuts:
            long.append((len(page.ids), example.origin))
        made.append(page)
    if long:
        raise _too_long(decoder, long, most)
    return made


def _too_long(decoder: Decoder, long: Sequence[tuple[int, str]], most: int | None) -> DataError:
    """Of (tokens, origin) of every example that is too long: told of the longest."""
    trunk: Any = decoder.network.trunk
    needed, where = max(long, key=lambda one: one[0])
    reads = int(trunk.tokenizer.limit)
    others = f", the longest of {len(long):,} examples that are too long" if len(long) > 1 else ""
    raised = (
        f"set training: max_tokens: {needed}"
        if needed <= reads
        else f"choose a base that reads more than {reads:,} tokens"
    )
    return DataError(
        f"prompt and answer take {needed:,} tokens{others}",
        where=where,
        allowed=f"at most {min(most or reads, reads):,} tokens, so that no answer is cut; {trunk.name} reads {reads:,}",
        remedy=f"{raised}, or shorten or remove {'these examples' if len(long) > 1 else 'this example'}",
    )


def answer_losses(states: Tensor, starts: Sequence[int], batch: Sequence[Page], voice: Any, loss: LossSpec) -> Tensor:
    """Mean cross-entropy over each answer's tokens, float[B], from final states float[N, D].

    `starts` says where in the states each page begins. focal_gamma weighs the mean by (1 - p)^gamma with p the
    probability of the whole answer (Lin et al. 2017, eq. 4).
    """
    rows = torch.tensor([row for row, page in enumerate(batch) for _ in range(page.answered)], device=states.device)
    before = [
        start + len(page.ids) - page.answered - 1 + k
        for start, page in zip(starts, batch, strict=True)
        for k in range(page.answered)
    ]
    wanted = torch.tensor([token for page in batch for token in page.ids[-page.answered :]], device=states.device)
    logits = voice(states[torch.tensor(before, device=states.device)]).float()
    each = cross_entropy(logits, wanted, reduction="none", label_smoothing=loss.label_smoothing)
    counts = torch.tensor([page.answered for page in batch], device=states.device, dtype=each.dtype)
    mean = each.new_zeros(len(batch)).index_add(0, rows, each) / counts
    if not loss.focal_gamma:
        return mean
    exact = cross_entropy(logits, wanted, reduction="none") if loss.label_smoothing else each
    right = (-each.new_zeros(len(batch)).index_add(0, rows, exact)).exp()
    return (1 - right).clamp_min(1e-6).pow(loss.focal_gamma) * mean


def page_losses(live: LiveTrunk, batch: Sequence[Page], loss: LossSpec, packed: bool, grad: bool = True) -> Tensor:
    """The loss of each page, float[B]: padded side by side, or packed one behind another."""
    rows = [page.ids for page in batch]
    if packed:
        starts = list(accumulate((len(row) for row in rows[:-1]), initial=0))
        return answer_losses(live.learn_packed(rows, grad), starts, batch, live.voice, loss)
    states, _ = live.learn(rows, grad)
    width = states.shape[1]
    return answer_losses(states.flatten(0, 1), range(0, width * len(batch), width), batch, live.voice, loss)


def packs(trunk: TorchTrunk, batch: Sequence[Page]) -> bool:
    """Whether the architecture keeps packed pages apart: their losses are those of pages side by side, in float32."""
    live = trunk.open()
    with torch.no_grad():
        try:
            apart, packed = (page_losses(live, batch, LossSpec(), way, grad=False) for way in (False, True))
        except (RuntimeError, TypeError, ValueError) as problem:
            if is_out_of_memory(problem):
                raise
            return False
    return torch.allclose(apart, packed, rtol=PACKED_ALIKE, atol=PACKED_ALIKE)


def check_packing(trunk: TorchTrunk, batch: Sequence[Page]) -> None:
    """Raise Unfit where the architecture does not keep packed pages apart."""
    if not packs(trunk, batch):
        raise Unfit(
            f"{trunk.name} does not keep packed rows apart: packed examples have another loss than the same ones apart",
            where="training: packing",
            remedy="set training: packing: off",
        )


def show(decoder: Decoder, material: Sequence[Page], context: Context) -> None:
    """The pre-flight look: the first examples with what carries loss, as the model will see them."""
    trunk: Any = decoder.network.trunk
    read = trunk.tokenizer.tokenizer.decode
    for page in material[:SHOWN]:
        start = len(page.ids) - page.answered
        context.report("preflight", {"prompt": read(page.ids[:start]), "learnt": read(page.ids[start:])})


def check_target(decoder: Decoder, page: Page, example: Example) -> None:
    """Raise DataError where the tokenizer does not give the answer of this page back."""
    trunk: Any = decoder.network.trunk
    target = decoder.words.target(decoder.task, example.answer)
    told = trunk.tokenizer.tokenizer.decode(page.ids[-page.answered : -1])
    if told.strip() != decoder.chat.quoted(target).strip():
        raise DataError(
            f"the tokenizer does not give an answer back: {target!r} became {told!r}",
            where=trunk.name,
            allowed="a tokenizer that decodes what it has encoded",
            remedy="choose another base",
        )


def through_writing(
    lessons: Lessons, start: Decoder, live: LiveTrunk, rate: float, loss: LossSpec, context: Context
) -> tuple[Decoder, dict[str, JSON]]:
    """Train what `live` has to learn; `start` says how the task is put. The predictor returned is frozen."""
    parameters = live.trainable() | (live.speaks() if live.every_weight else {})
    learned = sum(p.numel() for p in parameters.values())
    now = replace(start, network=Network(live), learned=learned)
    longest = min(context.training.max_tokens, live.tokenizer.limit)
    material = pages(now, lessons.train, longest)
    show(now, material, context)
    check_target(now, material[0], lessons.train[0])
    packed = context.training.packing == "on"
    if packed:
        check_packing(live.trunk, material[:4])

    def losses(indices: Sequence[int]) -> Tensor:
        return page_losses(live, [material[i] for i in indices], loss, packed)

    headline, score = _looking(now, lessons, live, longest, context)
    course = Course(
        parameters=parameters,
        losses=losses,
        weights=_weights(now.task, lessons, material, loss),
        headline=headline,
        epochs=context.training.epochs,
        rate=lambda name: rate,
        batches=lambda epoch: epoch_batches([len(p.ids) for p in material], context.training, context.seed, epoch),
        score=score,
    )
    facts = train(course, context) | {"product": live.ways.product, "prompt": now.prompt.digest}
    if live.every_weight:
        return replace(now, network=Network(live.frozen()), owned=True), facts
    return replace(now, network=Network(live.trunk, live.adapter())), facts


def _weights(task: Any, lessons: Lessons, material: Sequence[Page], loss: LossSpec) -> Tensor:
    """An example weighs as many tokens as its answer has, times its own weight and that of its label."""
    own = torch.tensor([e.weight * p.answered for e, p in zip(lessons.train, material, strict=True)])
    if not isinstance(task, Labelled):
        return own.float()
    targets = torch.tensor([(task.labels or ()).index(task.label_of(e.answer)) for e in lessons.train])
    return (class_weights(targets, task.labels or (), loss)[targets] * own).float()


def _looking(
    now: Decoder, lessons: Lessons, live: LiveTrunk, longest: int, context: Context
) -> tuple[str, Callable[[], Scores]]:
    """What early stopping goes by: the task's headline where answers are scored; where they are drawn, which takes
    much longer, the mean probability of a validation answer's token (geometric).
    """
    task = now.task
    if now.choices:
        return task.headline, lambda: task.summarise(answer(now, lessons.validation, context.run).totals())
    held = pages(now, lessons.validation, longest)

    def likelihood() -> Scores:
        said = torch.tensor([page.answered for page in held])
        with torch.no_grad():
            found = [
                (page_losses(live, [held[i] for i in batch], LossSpec(), False, grad=False).cpu(), said[batch])
                for batch in by_length([len(page.ids) for page in held], BATCH_TOKENS)
            ]
        total = sum(float((losses * counts).sum()) for losses, counts in found)
        return {"likelihood": math.exp(-total / int(said.sum()))}

    return "likelihood", likelihood
