"""Teach an encoder: through its trunk (an adapter, or all weights), or a head alone on remembered states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from loratory.models.activations import Pooling, pool
from loratory.models.live import LiveTrunk, Ways
from loratory.models.precision import choose
from loratory.models.trunks import TorchTrunk, apply_head
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS, Row, form_of
from loratory.predictors.heads import PooledHead
from loratory.protocols import JSON, Context, Encode, Example, Lessons, Network, Outcome, Scores, Tokens, answer
from loratory.specs.training import ConsistencySpec, ContrastiveSpec, LossSpec
from loratory.training.batching import Batch, epoch_batches, micro_batches
from loratory.training.checkpoints import Staged
from loratory.training.consistency import Twins, consistent, windowed
from loratory.training.contrastive import contrastive_loss, hard_steps
from loratory.training.loop import Course, train
from loratory.training.objectives import OBJECTIVES, label_loss
from loratory.training.seeds import generator, seed_of

START_OF = 64  # examples of a label whose mean its prototype starts from where the trunk is going to learn
MEANS_OF = 16  # examples of a label that its mean is taken over again after a warm-up


@dataclass(frozen=True)
class Options:
    """What the trained regimes have in common."""

    head: str
    learning_rate: float
    head_learning_rate: float
    loss: LossSpec
    learn_scale: bool = False
    label_names: float = 0.0
    contrastive: ContrastiveSpec | None = None
    consistency: ConsistencySpec | None = None

    @classmethod
    def of(cls, regime: Any) -> Options:
        """The regime's own options of these names."""
        named = {field.name: getattr(regime, field.name) for field in fields(cls)}
        return cls(**{**named, "head": "pooled" if regime.head == "auto" else regime.head})

    def teaches(self, name: str) -> bool:
        """Whether this parameter of a head learns."""
        return self.learn_scale or name != "log_scale"


@dataclass(frozen=True)
class Material:
    """Lessons as tensors."""

    task: Any
    form: str
    rows: list[Row]
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, task: Any, trunk: TorchTrunk, lessons: Lessons, context: Context, loss: LossSpec) -> Material:
        form = form_of(task)
        inputs = [example.input for example in lessons.train]
        parts = FORMS[form].rows(task, trunk.tokenizer, inputs, context.training.max_tokens, context.training.long)
        rows = [row for each in parts for row in each]
        examples = [example for example, each in zip(lessons.train, parts, strict=True) for _ in each]
        targets = OBJECTIVES[form].targets(task, examples, rows)
        weights = OBJECTIVES[form].weights(task, targets, loss) * torch.tensor([e.weight for e in examples])
        return cls(task, form, rows, targets, weights)


def ways(context: Context) -> Ways:
    """How a trunk is to compute in this fit."""
    spec = context.training
    product = "peft" if spec.product == "peft" else "fused"
    return Ways(choose(spec.precision, context.device), product, spec.gradient_checkpointing)


def start_head(
    kind: str,
    trunk: TorchTrunk,
    material: Material,
    context: Context,
    label_names: float = 0.0,
    most: int | None = None,
) -> nn.Module:
    """A fresh head; a pooled one starts at the labels' mean directions (Snell et al. 2017), of `most` examples each.

    The label's own words count there as `label_names` examples.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(context.seed, "head"))
        head = FORMS[material.form].head(kind, material.task, trunk)
    if isinstance(head, PooledHead):
        some = some_of_each(material.targets, most, generator(context.seed, "start"))
        pooled = context.activations.pooled(trunk, trunk.pooling, [material.rows[i][0] for i in some])
        words = described(trunk, material.task, context) if label_names else None
        labels = len(material.task.labels)
        head.prototypes.data.copy_(label_means(pooled, material.targets[some], labels, words, label_names))
    return head.to(context.device)


def some_of_each(targets: Tensor, most: int | None, chance: torch.Generator) -> list[int]:
    """Indices of `most` examples of each label at random, or of all."""
    order = torch.randperm(len(targets), generator=chance).tolist() if most else range(len(targets))
    seen: dict[int, int] = {}
    kept = []
    for i in order:
        label = int(targets[i])
        seen[label] = seen.get(label, 0) + 1
        if most is None or seen[label] <= most:
            kept.append(i)
    return sorted(kept)


def described(trunk: TorchTrunk, task: Any, context: Context) -> Tensor:
    """Pooled states of the labels' own words, float[L, D]."""
    rows = trunk.tokenizer.many([task.describe(label) for label in task.labels], context.training.max_tokens)
    return context.activations.pooled(trunk, trunk.pooling, [ids for ids, _ in rows])


def label_means(
    pooled: Tensor, targets: Tensor, labels: int, words: Tensor | None = None, weight: float = 0.0
) -> Tensor:
    """Mean direction of each label, float[L, D], from pooled float[N, D] and, as `weight` examples, words float[L, D].

    A label of which nothing is known points away from all examples: zeros have no direction, and an infinite gradient.
    """
    directions = nn.functional.normalize(pooled, dim=-1)
    sums = torch.zeros(labels, pooled.shape[1]).index_add_(0, targets, directions)
    counts = torch.bincount(targets, minlength=labels).float()
    if words is not None:
        sums, counts = sums + weight * nn.functional.normalize(words, dim=-1), counts + weight
    means = sums / counts.clamp_min(1e-9)[:, None]
    means[counts == 0] = -directions.mean(0)
    return means


def through_trunk(
    task: Any, lessons: Lessons, live: LiveTrunk, options: Options, context: Context
) -> tuple[Encoder, dict[str, JSON]]:
    """Train what `live` and a head have to learn; the predictor returned is frozen."""
    trunk = live.trunk
    material = Material.of(task, trunk, lessons, context, options.loss)
    head = start_head(options.head, trunk, material, context, options.label_names, START_OF)
    parameters = live.trainable() | {f"head.{name}": p for name, p in head.named_parameters() if options.teaches(name)}
    lengths = [len(ids) for ids, _ in material.rows]
    learned = sum(p.numel() for p in parameters.values())
    now = Encoder.fresh(task, material.form, Network(live, None, head), learned, context.training)
    held = [row for rows in now.rows([e.input for e in lessons.validation]) for row in rows]
    twins = _twins(lessons, live, material, options, context)
    below = twins is None and _remember_below(live, material, held, context)

    def outputs(rows: Sequence[Tokens]) -> Tensor:
        states, mask = live.learn(rows)
        return apply_head(head, states, mask)

    def losses(indices: Sequence[int]) -> Tensor:
        said = outputs([material.rows[i][0] for i in indices])
        wanted = material.targets[list(indices)].to(context.device)
        plain = partial(OBJECTIVES[material.form].losses, targets=wanted, spec=options.loss)
        if twins is None or options.consistency is None:
            return plain(said)
        return consistent(said, outputs(twins.rows(indices)), plain, options.consistency.weight)

    def batches(epoch: int) -> list[Batch]:
        if twins is not None:
            twins.epoch = epoch  # the loop asks for an epoch's batches before it takes its steps
        return epoch_batches(lengths, context.training, context.seed, epoch)

    course = Course(
        parameters=parameters,
        losses=losses,
        weights=material.weights,
        headline=task.headline,
        epochs=context.training.epochs,
        rate=lambda name: options.head_learning_rate if name.startswith("head.") else options.learning_rate,
        batches=batches,
        score=lambda: task.summarise(answer(now, lessons.validation, context.run).totals()),
    )
    context, seconds = _warmed_up(course, live, head, material, options.contrastive, context)
    facts = train(course, context)
    facts["seconds"] += seconds
    facts |= {"product": live.ways.product, "cached_layers": live.cut if below else 0}
    head = head.requires_grad_(False).eval()
    if live.every_weight:
        return replace(now, network=Network(live.frozen(), None, head), owned=True), facts
    return replace(now, network=Network(trunk, live.adapter() if live.adapter_config else None, head)), facts


def _twins(lessons: Lessons, live: LiveTrunk, material: Material, options: Options, context: Context) -> Twins | None:
    """What consistency asks for. Twins are others in each epoch, so what is below the adapters cannot be remembered."""
    if options.consistency is None:
        return None
    if 0 < live.first_layer < live.depth and context.training.cache != "off":
        text = "consistency: twins are others in each epoch, so every layer is computed each time and none is cached"
        context.report("said", {"text": text})
    reading, spec = context.training, options.consistency
    if reading.long == "windows":
        raise windowed()
    twins = (material.task, material.form, live.tokenizer, lessons.train, reading.max_tokens, reading.long)
    return Twins(*twins, spec, context.seed)


def _warmed_up(
    course: Course, live: LiveTrunk, head: Any, material: Material, spec: ContrastiveSpec | None, context: Context
) -> tuple[Context, float]:
    """The context of the fit behind a warm-up that is done, and the seconds it took; without one nothing changes."""
    if spec is None:
        return context, 0.0
    stages = [Staged(context.checkpoints, stage) for stage in ("warm-up", "fit")]
    warmed: dict[str, JSON] = {}
    if stages[1].latest() is None:
        warmed = _warm_up(course, live, head, material, spec, replace(context, checkpoints=stages[0]))
    return replace(context, checkpoints=stages[1]), warmed.get("seconds", 0.0)


def _warm_up(
    course: Course, live: LiveTrunk, head: Any, material: Material, spec: ContrastiveSpec, context: Context
) -> dict[str, JSON]:
    """Train the trunk alone, contrastively; then start the head again at the means of what it has become."""
    targets, lengths = material.targets, [len(ids) for ids, _ in material.rows]
    started_at = head.prototypes.detach().cpu().clone()
    present = sorted(set(targets.tolist()))
    some = some_of_each(targets, MEANS_OF, generator(context.seed, "means"))
    pooling = Network(live, None, Pooling(live.pooling))

    def restart() -> None:
        pooled = torch.stack(context.run([Encode(pooling, material.rows[i][0]) for i in some]))
        means = label_means(pooled, targets[some], len(started_at))
        head.prototypes.data[present] = means[present].to(head.prototypes.device)

    def pooled_states(indices: Sequence[int]) -> Tensor:
        states, mask = live.learn([material.rows[i][0] for i in indices])
        return pool(states, mask, live.pooling)

    def compare(pooled: Tensor, indices: Sequence[int]) -> Tensor:
        return contrastive_loss(pooled, targets[list(indices)].to(context.device), spec.temperature)

    def batches(epoch: int) -> list[Batch]:
        budget = context.training.micro_batch_tokens
        steps = hard_steps(targets, started_at, spec, context.seed, epoch)
        return [micro_batches(step, lengths, budget) for step in steps]

    def score() -> Scores:
        restart()
        return course.score()

    parameters = live.trainable()
    alone = replace(course, parameters=parameters, batches=batches, epochs=spec.epochs, score=score)
    alone = replace(alone, losses=pooled_states, compare=compare)
    facts = train(alone, context)
    restart()
    return facts


def _remember_below(live: LiveTrunk, material: Material, validation: Sequence[Row], context: Context) -> bool:
    """Compute what does not learn once, where the spec and the architecture allow it."""
    first, precision = live.cut, live.ways.precision
    if first == 0 or context.training.cache == "off":
        return False
    if not live.can_be_cut():
        text = f"{live.trunk.config.model_type} cannot be cut at layer {first}: nothing is cached"
        context.report("said", {"text": text})
        return False
    rows = [ids for ids, _ in (*material.rows, *validation)]
    live.start_from(context.activations.below(live.trunk, first, rows, precision))
    return True


def head_on_states(
    task: Any, lessons: Lessons, trunk: TorchTrunk, options: Options, epochs: int, context: Context
) -> tuple[Encoder, dict[str, JSON]]:
    """Train a pooled head alone on pooled states that are computed once.

    Its scale stays where it starts: left free it grows until the head is over-confident (measured on banking77: the
    accuracy on held-out texts falls by two points), because nothing else in a frozen base can give way. It is
    computed in fp32: its products are too small for bf16 to gain anything.
    """
    context = replace(context, training=context.training.model_copy(update={"precision": "fp32"}))
    material = Material.of(task, trunk, lessons, context, options.loss)
    head: Any = start_head("pooled", trunk, material, context, options.label_names)
    parameters = {f"head.{name}": p for name, p in head.named_parameters() if options.teaches(name)}
    learned = sum(p.numel() for p in parameters.values())
    made = Encoder.fresh(task, material.form, Network(trunk, None, head), learned, context.training)
    pooled = context.activations.pooled(trunk, trunk.pooling, [ids for ids, _ in material.rows]).to(context.device)

    def batches(epoch: int) -> list[tuple[tuple[int, ...], ...]]:
        order = torch.randperm(len(pooled), generator=generator(context.seed, "order", epoch)).tolist()
        return [micro_batches(order[i : i + 64], [1] * len(order), 64) for i in range(0, len(order), 64)]

    facts = train(
        Course(
            parameters=parameters,
            weights=material.weights,
            headline=task.headline,
            epochs=epochs,
            batches=batches,
            losses=lambda i: label_loss(
                head.score(pooled[list(i)]), material.targets[list(i)].to(context.device), options.loss
            ),
            rate=lambda name: options.learning_rate,
            score=score_on_states(made, lessons.validation, context),
        ),
        context,
    )
    head.requires_grad_(False).eval()
    return made, facts


def score_on_states(encoder: Encoder, examples: Sequence[Example], context: Context) -> Callable[[], Scores]:
    """Validation of a pooled head from remembered states: the same head and reading as `predict`, without the trunk."""
    task, inputs, head = encoder.task, [e.input for e in examples], encoder.network.head
    trunk: Any = encoder.network.trunk
    rows = encoder.rows(inputs)
    flat = [ids for parts in rows for ids, _ in parts]
    pooled = context.activations.pooled(trunk, trunk.pooling, flat).to(context.device)

    def score() -> Scores:
        with torch.inference_mode():
            each = iter(head.score(pooled).cpu())  # type: ignore[union-attr,operator]
        outputs = [[next(each) for _ in parts] for parts in rows]
        predictions = FORMS[encoder.form].read(task, inputs, rows, outputs)
        marks = [task.mark(e, p) for e, p in zip(examples, predictions, strict=True)]
        return task.summarise(Outcome(examples, predictions, marks).totals())  # type: ignore[no-any-return]

    return score
