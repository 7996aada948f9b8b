"""Teach an encoder: through its backbone (an adapter, or all weights), or a head alone on remembered states."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from loratory.backbones.forward.activation_cache import PoolingHead, pool_states
from loratory.backbones.forward.encoder_backbone import EncoderBackbone, apply_head
from loratory.backbones.forward.precision import choose_precision
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead, StockHead, collect_head_tensors, load_head_tensors
from loratory.predictors.output_adapters import find_output_adapter_name, load_output_adapter
from loratory.protocols import (
    JSON,
    EncodeRequest,
    Example,
    FitContext,
    Labelled,
    Network,
    Row,
    Scores,
    Spanned,
    Task,
    TokenIds,
    TrainSet,
    predict_and_score,
)
from loratory.protocols.events import Message
from loratory.protocols.objectives import Objective
from loratory.specs.training import AUTO_EPOCHS, ConsistencySpec, ContrastiveSpec, LossSpec
from loratory.training.batching import Batch, build_epoch_batches, split_micro_batches
from loratory.training.checkpoints import StageCheckpoints
from loratory.training.consistency import PerturbedPairs, build_windows_error, compute_consistency_loss
from loratory.training.contrastive import contrastive_loss, sample_hard_negative_steps
from loratory.training.cost_estimates import count_epoch_flops, estimate_seconds
from loratory.training.lazy_embeddings import find_token_embeddings
from loratory.training.pooled_heads import PooledHeadFit, make_states_scorer, refit_pooled_head, train_pooled_head
from loratory.training.seeds import derive_seed, make_generator
from loratory.training.targets import TargetEncoder, find_target_encoder
from loratory.training.trainable_backbones import ComputeConfig, TrainableBackbone
from loratory.training.training_loop import TrainingJob, train

HEAD_START_EXAMPLES = (
    64  # examples of a label whose mean its prototype starts from where the backbone is going to learn
)
FEW_EXAMPLES = 16  # of a label, in the median: up to here its words count as one more
AUTO_EPOCHS_OF_SPANS = 8  # where nobody has set epochs: a tag of every token is learnt later than a label
CLASS_MEAN_EXAMPLES = 16  # examples of a label that its mean is taken over again after a warm-up


@dataclass(frozen=True)
class EncoderTrainingOptions:
    """What the trained regimes have in common."""

    head: str
    learning_rate: float
    head_learning_rate: float
    loss: LossSpec
    learn_scale: bool = False
    label_names: float | None = 0.0  # None: by the number of examples
    contrastive: ContrastiveSpec | None = None
    consistency: ConsistencySpec | None = None
    refit_head: bool | None = False  # None: by the number of examples
    start_head: nn.Module | None = None  # of another fit, on the same labels: the head begins there

    @property
    def objective(self) -> Objective:
        """The loss with its options."""
        made: Objective = self.loss.create_objective()
        return made

    def is_trainable(self, name: str) -> bool:
        """Whether this parameter of a head learns."""
        return self.learn_scale or name != "log_scale"


@dataclass(frozen=True)
class EncodedDataset:
    """TrainSet as tensors: R rows, as many as it takes to read every example."""

    task: Any  # Labelled or Spanned, as the target encoder wants it
    output_adapter_name: str
    rows: list[Row]
    examples: Sequence[Example]  # of each row
    targets: Tensor  # int[R, ...]
    weights: Tensor  # float[R]
    target_encoder: TargetEncoder[Any]

    @classmethod
    def from_train_set(
        cls, task: Task, backbone: EncoderBackbone, train_set: TrainSet, context: FitContext, loss: LossSpec
    ) -> EncodedDataset:
        """The rows of train with their targets; an example's weight goes to each of its rows.

        Raises UnsupportedTask, SpecError.
        """
        form, encoder = find_output_adapter_name(task), find_target_encoder(task)
        inputs = [example.input for example in train_set.train]
        parts = load_output_adapter(form).encode_rows(
            task, backbone.tokenizer, inputs, context.training.max_tokens, context.training.long
        )
        rows = [row for each in parts for row in each]
        examples = [example for example, each in zip(train_set.train, parts, strict=True) for _ in each]
        targets = encoder.build_targets(task, examples, rows)
        weights = encoder.compute_weights(task, targets, loss.class_weights)
        return cls(task, form, rows, examples, targets, weights * torch.tensor([e.weight for e in examples]), encoder)

    def add_label_examples(self, backbone: EncoderBackbone, max_tokens: int, weight: float) -> EncodedDataset:
        """With one example more of each label, of this weight: its own words."""
        labels = self.task.labels or ()
        made = [Example({}, self.task.from_probabilities({}, {label: 1.0}).answer) for label in labels]
        return replace(
            self,
            rows=[*self.rows, *encode_label_rows(backbone, self.task, max_tokens)],
            examples=[*self.examples, *made],
            targets=torch.cat([self.targets, torch.arange(len(labels))]),
            weights=torch.cat([self.weights, torch.full((len(labels),), weight)]),
        )

    def compute_losses(self, outputs: Tensor, indices: Sequence[int], objective: Objective) -> Tensor:
        """The loss of each of some rows, float[B], by the outputs of a head, float[B, ...]."""
        chosen = list(indices)
        targets, weights = self.targets[chosen].to(outputs.device), self.weights[chosen].to(outputs.device)
        examples = [self.examples[i] for i in chosen]
        return objective.compute_losses(self.target_encoder.make_batch(outputs, targets, weights, examples))


def make_compute_config(context: FitContext) -> ComputeConfig:
    """How a backbone is to compute in this fit."""
    spec = context.training
    product = "peft" if spec.product == "peft" else "fused"
    return ComputeConfig(choose_precision(spec.precision, context.device), product, spec.gradient_checkpointing)


def initialise_head(
    kind: str,
    backbone: EncoderBackbone,
    dataset: EncodedDataset,
    context: FitContext,
    label_names: float = 0.0,
    max_examples: int | None = None,
) -> nn.Module:
    """A fresh head; a pooled one starts at the labels' mean directions (Snell et al. 2017), of `most` examples each.

    The label's own words count there as `label_names` examples.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(context.seed, "head"))
        head = load_output_adapter(dataset.output_adapter_name).build_head(kind, dataset.task, backbone)
    if isinstance(head, PooledHead):
        some = sample_per_label(dataset.targets, max_examples, make_generator(context.seed, "start"))
        pooled = context.activations.compute_pooled(backbone, backbone.pooling, [dataset.rows[i][0] for i in some])
        words = encode_label_descriptions(backbone, dataset.task, context) if label_names else None
        labels = len(dataset.task.labels)
        head.prototypes.data.copy_(compute_label_means(pooled, dataset.targets[some], labels, words, label_names))
    return head.to(context.device)


def continue_head(
    start: nn.Module, backbone: EncoderBackbone, dataset: EncodedDataset, context: FitContext
) -> nn.Module:
    """A head of its own that begins where another fit's head ended."""
    adapter = load_output_adapter(dataset.output_adapter_name)
    head = adapter.build_head("stock" if isinstance(start, StockHead) else "pooled", dataset.task, backbone)
    return load_head_tensors(head, collect_head_tensors(start)).requires_grad_(True).to(context.device)


def settle_label_names(task: Task, options: EncoderTrainingOptions, targets: Tensor) -> float:
    """How many examples the words of a label count as in this fit; tags of tokens and stock heads have none by default.

    `targets` int[N] are the labels of the training examples.
    """
    if options.label_names is None and not (isinstance(task, Labelled) and options.head == "pooled"):
        return 0.0
    return choose_label_name_weight(options.label_names, targets)


def has_few_examples(targets: Tensor) -> bool:
    """Whether most labels have few examples; `targets` int[N] are the labels of the training examples."""
    counts = torch.bincount(targets)
    return float(counts[counts > 0].float().median()) <= FEW_EXAMPLES


def should_refit_head(options: EncoderTrainingOptions, head: nn.Module, targets: Tensor) -> bool:
    """Whether a head is fitted again behind the fit: a pooled one, if asked for or where labels have few examples."""
    if not isinstance(head, PooledHead):
        return False
    return has_few_examples(targets) if options.refit_head is None else options.refit_head


def choose_label_name_weight(asked: float | None, targets: Tensor) -> float:
    """What is asked for; else one example where most labels have few (docs/defaults.md), and none where they have not.

    `targets` int[N] are the labels of the training examples.
    """
    if asked is not None:
        return asked
    return 1.0 if has_few_examples(targets) else 0.0


def sample_per_label(targets: Tensor, max_examples: int | None, generator: torch.Generator) -> list[int]:
    """Indices of `most` examples of each label at random, or of all."""
    order = torch.randperm(len(targets), generator=generator).tolist() if max_examples else range(len(targets))
    seen: dict[int, int] = {}
    kept = []
    for i in order:
        label = int(targets[i])
        seen[label] = seen.get(label, 0) + 1
        if max_examples is None or seen[label] <= max_examples:
            kept.append(i)
    return sorted(kept)


def encode_label_rows(backbone: EncoderBackbone, task: Labelled, max_tokens: int) -> list[Row]:
    """The labels' own words as rows, in the order of the labels."""
    return backbone.tokenizer.encode_batch([task.describe(label) for label in task.labels or ()], max_tokens)


def encode_label_descriptions(backbone: EncoderBackbone, task: Labelled, context: FitContext) -> Tensor:
    """Pooled states of the labels' own words, float[L, D]."""
    rows = encode_label_rows(backbone, task, context.training.max_tokens)
    return context.activations.compute_pooled(backbone, backbone.pooling, [ids for ids, _ in rows])


def compute_label_means(
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


def train_encoder(
    task: Task, train_set: TrainSet, backbone: TrainableBackbone, options: EncoderTrainingOptions, context: FitContext
) -> tuple[Encoder, dict[str, JSON]]:
    """Train what `backbone` and a head have to learn; the predictor returned is frozen, beside it the fit's facts."""
    shared = backbone.backbone
    material = EncodedDataset.from_train_set(task, shared, train_set, context, options.loss)
    names = settle_label_names(task, options, material.targets)
    head = (
        continue_head(options.start_head, shared, material, context)
        if options.start_head is not None
        else initialise_head(options.head, shared, material, context, names, HEAD_START_EXAMPLES)
    )
    named = len(material.task.labels) if names else 0
    if names:
        material = material.add_label_examples(shared, context.training.max_tokens, names)
    objective = options.objective
    parameters = backbone.trainable_parameters() | {
        f"head.{name}": p for name, p in head.named_parameters() if options.is_trainable(name)
    }
    lengths = [len(ids) for ids, _ in material.rows]
    learned = sum(p.numel() for p in parameters.values())
    now = Encoder.from_training(
        task, material.output_adapter_name, Network(backbone, None, head), learned, context.training
    )
    held = [row for rows in now.encode_rows([e.input for e in train_set.validation]) for row in rows]
    twins = _build_perturbed_pairs(train_set, backbone, material, options, context)
    below = twins is None and _cache_frozen_layers(backbone, material, held, context)

    def outputs(rows: Sequence[TokenIds]) -> Tensor:
        states, mask = backbone.forward(rows)
        return apply_head(head, states, mask)

    def losses(indices: Sequence[int]) -> Tensor:
        said = outputs([material.rows[i][0] for i in indices])
        plain = partial(material.compute_losses, indices=indices, objective=objective)
        if twins is None or options.consistency is None:
            return plain(said)
        return compute_consistency_loss(said, outputs(twins.encode_rows(indices)), plain, options.consistency.weight)

    def batches(epoch: int) -> list[Batch]:
        if twins is not None:
            twins.epoch = epoch  # the loop asks for an epoch's batches before it takes its steps
        return build_epoch_batches(lengths, context.training, context.seed, epoch)

    flops = count_epoch_flops(backbone, lengths, [len(ids) for ids, _ in held], below)
    precision = backbone.compute_config.precision
    course = TrainingJob(
        epoch_seconds=estimate_seconds(flops, precision, context.device),
        parameters=parameters,
        losses=losses,
        weights=material.weights,
        headline=task.headline,
        epochs=None,
        auto_epochs=AUTO_EPOCHS_OF_SPANS if isinstance(task, Spanned) else AUTO_EPOCHS,
        learning_rate=lambda name: options.head_learning_rate if name.startswith("head.") else options.learning_rate,
        batches=batches,
        score=lambda: task.summarise(predict_and_score(now, train_set.validation, context.run).sum_counts()),
        embeddings=find_token_embeddings(backbone, parameters),
    )
    context, seconds = _run_warm_up_once(course, backbone, head, material, options.contrastive, context)
    facts = train(course, context)
    facts["seconds"] += seconds
    if should_refit_head(options, head, material.targets[: len(material.targets) - named]):
        started = time.monotonic()
        facts |= _refit_head(now, material, named, names, options, train_set, context)
        facts["seconds"] += time.monotonic() - started
    facts |= {"product": backbone.compute_config.product, "cached_layers": backbone.split_layer if below else 0}
    head = head.requires_grad_(False).eval()
    if backbone.owns_weights:
        return replace(now, network=Network(backbone.to_frozen_backbone(), None, head), owns_backbone=True), facts
    return replace(
        now, network=Network(shared, backbone.extract_adapter() if backbone.adapter_config else None, head)
    ), facts


def _build_perturbed_pairs(
    train_set: TrainSet,
    backbone: TrainableBackbone,
    dataset: EncodedDataset,
    options: EncoderTrainingOptions,
    context: FitContext,
) -> PerturbedPairs | None:
    """What consistency asks for. Twins are others in each epoch, so what is below the adapters cannot be remembered."""
    if options.consistency is None:
        return None
    if 0 < backbone.first_layer < backbone.depth and context.training.cache != "off":
        text = "consistency: twins are others in each epoch, so every layer is computed each time and none is cached"
        context.report(Message(text))
    reading, spec = context.training, options.consistency
    if reading.long == "windows":
        raise build_windows_error()
    twins = (
        dataset.task,
        dataset.output_adapter_name,
        backbone.tokenizer,
        train_set.train,
        reading.max_tokens,
        reading.long,
    )
    words = [ids for ids, _ in dataset.rows[len(train_set.train) :]]
    return PerturbedPairs(*twins, spec, context.seed, label_rows=words)


def _run_warm_up_once(
    job: TrainingJob,
    backbone: TrainableBackbone,
    head: nn.Module,
    dataset: EncodedDataset,
    spec: ContrastiveSpec | None,
    context: FitContext,
) -> tuple[FitContext, float]:
    """The context of the fit behind a warm-up that is done, and the seconds it took; without one nothing changes."""
    if spec is None:
        return context, 0.0
    stages = [StageCheckpoints(context.checkpoints, stage) for stage in ("warm-up", "fit")]
    warmed: dict[str, JSON] = {}
    if stages[1].load_latest() is None:
        apart = replace(context, checkpoints=stages[0], check_race=lambda *_: None)  # the fit itself is still to come
        warmed = _warm_up(job, backbone, head, dataset, spec, apart)
    return replace(context, checkpoints=stages[1]), warmed.get("seconds", 0.0)


def _warm_up(
    job: TrainingJob,
    backbone: TrainableBackbone,
    head: nn.Module,
    dataset: EncodedDataset,
    spec: ContrastiveSpec,
    context: FitContext,
) -> dict[str, JSON]:
    """Train the backbone alone, contrastively; then start the head again at the means of what it has become."""
    assert isinstance(head, PooledHead)
    targets, lengths = dataset.targets, [len(ids) for ids, _ in dataset.rows]
    started_at = head.prototypes.detach().cpu().clone()
    present = sorted(set(targets.tolist()))
    some = sample_per_label(targets, CLASS_MEAN_EXAMPLES, make_generator(context.seed, "means"))
    pooling = Network(backbone, None, PoolingHead(backbone.pooling))

    def restart() -> None:
        pooled = torch.stack(context.run([EncodeRequest(pooling, dataset.rows[i][0]) for i in some]))
        means = compute_label_means(pooled, targets[some], len(started_at))
        head.prototypes.data[present] = means[present].to(head.prototypes.device)

    def pooled_states(indices: Sequence[int]) -> Tensor:
        states, mask = backbone.forward([dataset.rows[i][0] for i in indices])
        return pool_states(states, mask, backbone.pooling)

    def compare(pooled: Tensor, indices: Sequence[int]) -> Tensor:
        return contrastive_loss(pooled, targets[list(indices)].to(context.device), spec.temperature)

    def batches(epoch: int) -> list[Batch]:
        budget = context.training.micro_batch_tokens
        steps = sample_hard_negative_steps(targets, started_at, spec, context.seed, epoch)
        return [split_micro_batches(step, lengths, budget) for step in steps]

    def score() -> Scores:
        restart()
        return job.score()

    parameters = backbone.trainable_parameters()
    alone = replace(job, parameters=parameters, batches=batches, epochs=spec.epochs, score=score)
    alone = replace(alone, losses=pooled_states, compare=compare)
    facts = train(alone, context)
    restart()
    return facts


def _refit_head(
    encoder: Encoder,
    dataset: EncodedDataset,
    named: int,
    weight: float,
    options: EncoderTrainingOptions,
    train_set: TrainSet,
    context: FitContext,
) -> dict[str, JSON]:
    """Fit the head once more on the states that the backbone has come to, from the labels' means in them.

    The last `named` rows are the labels' own words, and count as `weight` examples.
    """
    network, head = encoder.network, encoder.network.head
    assert isinstance(head, PooledHead)
    pooling = Network(network.backbone, None, PoolingHead(head.pooling))

    def compute_pooled(rows: Sequence[TokenIds]) -> Tensor:
        return torch.stack(context.run([EncodeRequest(pooling, ids) for ids in rows]))

    pooled = compute_pooled([ids for ids, _ in dataset.rows])
    count, objective = len(pooled) - named, options.objective
    words = pooled[count:] if named else None
    means = compute_label_means(pooled[:count], dataset.targets[:count], len(head.prototypes), words, weight)
    fit = PooledHeadFit(
        head=head,
        pooled=pooled.to(context.device),
        parameters={f"head.{name}": p for name, p in head.named_parameters() if options.is_trainable(name)},
        weights=dataset.weights,
        losses=lambda logits, indices: dataset.compute_losses(logits, indices, objective),
        score=make_states_scorer(encoder, train_set.validation, context, compute_pooled),
        headline=dataset.task.headline,
    )
    return refit_pooled_head(fit, means, context)


def _cache_frozen_layers(
    backbone: TrainableBackbone, dataset: EncodedDataset, validation: Sequence[Row], context: FitContext
) -> bool:
    """Compute what does not learn once, where the spec and the architecture allow it."""
    first, precision = backbone.split_layer, backbone.compute_config.precision
    if first == 0 or context.training.cache == "off":
        return False
    if not backbone.can_split():
        text = f"{backbone.backbone.config.model_type} cannot be cut at layer {first}: nothing is cached"
        context.report(Message(text))
        return False
    rows = [ids for ids, _ in (*dataset.rows, *validation)]
    backbone.use_cached_states(context.activations.lookup_layer_inputs(backbone.backbone, first, rows, precision))
    return True


def train_head_on_states(
    task: Labelled,
    train_set: TrainSet,
    backbone: EncoderBackbone,
    options: EncoderTrainingOptions,
    epochs: int,
    context: FitContext,
) -> tuple[Encoder, dict[str, JSON]]:
    """Train a pooled head alone on pooled states that are computed once.

    Its scale stays where it starts: left free it grows until the head is over-confident (measured on banking77: the
    accuracy on held-out texts falls by two points), because nothing else in a frozen base can give way. It is
    computed in fp32: its products are too small for bf16 to gain anything.
    """
    context = replace(context, training=context.training.model_copy(update={"precision": "fp32"}))
    material, objective = (
        EncodedDataset.from_train_set(task, backbone, train_set, context, options.loss),
        options.objective,
    )
    names = settle_label_names(task, options, material.targets)
    head: Any = initialise_head("pooled", backbone, material, context, names)
    if names:
        material = material.add_label_examples(backbone, context.training.max_tokens, names)
    parameters = {f"head.{name}": p for name, p in head.named_parameters() if options.is_trainable(name)}
    learned = sum(p.numel() for p in parameters.values())
    made = Encoder.from_training(
        task, material.output_adapter_name, Network(backbone, None, head), learned, context.training
    )
    pooled = context.activations.compute_pooled(backbone, backbone.pooling, [ids for ids, _ in material.rows]).to(
        context.device
    )

    fit = PooledHeadFit(
        head=head,
        pooled=pooled,
        parameters=parameters,
        weights=material.weights,
        losses=lambda logits, indices: material.compute_losses(logits, indices, objective),
        score=make_states_scorer(made, train_set.validation, context),
        headline=task.headline,
        learning_rate=options.learning_rate,
        epochs=epochs,
    )
    facts = train_pooled_head(fit, context)
    head.requires_grad_(False).eval()
    return made, facts
