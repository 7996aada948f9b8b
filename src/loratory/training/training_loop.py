"""The one loop. It knows neither tasks nor models: it is given parameters, batches, a loss and a score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from loratory.backbones.forward.precision import autocast, choose_precision
from loratory.errors import RunInterrupted, TrainingDiverged, first_line, is_out_of_memory
from loratory.protocols import JSON, FitContext, Scores, TrainingState
from loratory.protocols.events import EpochFinished, Message, StepFinished, TrainingPlanned
from loratory.specs.training import AUTO_EPOCHS, TrainingSpec
from loratory.training import lazy_embeddings, memory, optimizers
from loratory.training.batching import Batch
from loratory.training.seeds import derive_seed

MAX_LOSS_GROWTH, LOSS_WINDOW = (
    3.0,
    50,
)  # the mean loss of the last LOOK steps may be GROWTH times that of the first LOOK


@dataclass(frozen=True)
class TrainingJob:
    """What is learnt and how. losses(indices) gives one loss per example, float[B]; score() looks at validation.

    Where the examples of a pass are compared with each other, losses(indices) gives what is compared, float[B, D], and
    compare(it, indices) the losses: they need the whole pass, but what is compared can be computed piece by piece.
    """

    parameters: Mapping[str, nn.Parameter]
    learning_rate: Callable[[str], float]  # learning rate by parameter name
    batches: Callable[[int], list[Batch]]  # of an epoch, the same whenever it is asked
    losses: Callable[[Sequence[int]], Tensor]
    weights: Tensor  # float[N], of the examples
    score: Callable[[], Scores]
    headline: str
    epochs: int | None  # None: by the spec and the steps in an epoch
    auto_epochs: int = AUTO_EPOCHS  # where the spec does not say: at least so many
    compare: Callable[[Tensor, Sequence[int]], Tensor] | None = None
    epoch_seconds: float | None = None  # about how long an epoch takes, where that is known
    embeddings: Mapping[str, nn.Embedding] = field(default_factory=dict)  # that only a lookup reads, by parameter


@dataclass
class Progress:
    """Where a fit stands; all of it crosses a crash."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: list[float] | None = None
    stale: int = 0
    seconds: float = 0.0
    halvings: int = 0  # of the passes, where memory was short
    scaler: dict[str, float] = field(default_factory=dict)  # of the loss under fp16
    epoch_loss: float = 0.0
    decay_from: int | None = None  # of schedule plateau: the step at which the learning rate began to fall
    losses: list[float] = field(default_factory=list)  # the first LOOK and the last LOOK
    history: list[dict[str, float]] = field(default_factory=list)


def train(job: TrainingJob, context: FitContext) -> dict[str, JSON]:
    """Leave the best parameters, by validation, in place; return the facts of the fit.

    Raises TrainingDiverged on NaN, infinity or growth, and Stopped (after a checkpoint) when the user asks. Where
    memory is
    short it computes each step's gradient in smaller passes; raises OutOfMemory where one example is too much.
    """
    return _TrainingLoop(job, context).run()


class _TrainingLoop:
    """One call of `train`: the optimizer, the progress and the best parameters so far."""

    def __init__(self, job: TrainingJob, context: FitContext) -> None:
        self.job, self.context = job, context
        self.spec: TrainingSpec = context.training
        self.precision = choose_precision(self.spec.precision, context.device)
        self.optimizer = optimizers.make_optimizer(
            self.spec.optimizer, _build_parameter_groups(job, self.spec.weight_decay), context.device
        )
        self.scaler = torch.amp.GradScaler(context.device.partition(":")[0], enabled=self.precision == "fp16")
        self.lazy = lazy_embeddings.make_lazy_embeddings(
            {name: job.embeddings[name] for name in job.embeddings if name in job.parameters},
            self.optimizer,
            allowed=not self.spec.average and not self.scaler.is_enabled(),
        )
        self.progress = Progress()
        self.best_parameters = self._copy_parameters()
        self.average_parameters = self._copy_parameters() if self.spec.average else {}
        self.steps_per_epoch = len(job.batches(0))
        self.epochs = job.epochs or self.spec.count_epochs(self.steps_per_epoch, job.auto_epochs)
        self.saved_at = time.monotonic()
        if state := context.checkpoints.load_latest():
            self._restore(state)

    def run(self) -> dict[str, JSON]:
        progress = self.progress
        self._report_plan()
        try:
            while not self._is_finished():
                self._train_epoch()
        finally:
            for embedding in self.lazy:
                embedding.close()
        self._set_parameters(self.best_parameters)
        return {
            "history": progress.history,
            "steps": progress.step,
            "seconds": progress.seconds,
            "precision": self.precision,
            "best": (progress.best or [0.0])[0],
            "halvings": progress.halvings,
        }

    def _report_plan(self) -> None:
        steps = max(self._count_steps() - self.progress.step, 0)
        per_epoch = self.job.epoch_seconds
        seconds = None if per_epoch is None else per_epoch * steps / max(self.steps_per_epoch, 1)
        self.context.report(TrainingPlanned(steps, seconds))

    def _is_finished(self) -> bool:
        progress = self.progress
        if self.spec.schedule == "plateau":  # patience says when the last epoch begins
            return progress.epoch > 0 and progress.step >= self._count_steps()
        return progress.epoch >= self.epochs or progress.stale >= (self.spec.patience or self.epochs)

    def _count_steps(self) -> int:
        """Steps of the whole fit, as far as they are known now."""
        if self.progress.decay_from is not None:
            return self.progress.decay_from + self.steps_per_epoch
        return self.steps_per_epoch * self.epochs

    def _begin_decay_at_plateau(self) -> None:
        """One epoch in which the learning rate falls to zero: from a plateau on, or the last that is allowed."""
        progress = self.progress
        if self.spec.schedule != "plateau" or progress.decay_from is not None:
            return
        if progress.stale >= (self.spec.patience or 1) or progress.epoch >= self.epochs - 1:
            progress.decay_from = progress.step

    def _train_epoch(self) -> None:
        self._begin_decay_at_plateau()
        progress = self.progress
        batches = self.job.batches(progress.epoch)
        while progress.batch < len(batches):
            started = time.monotonic()
            loss = self._train_step(batches[progress.batch])
            progress.batch, progress.step = progress.batch + 1, progress.step + 1
            progress.epoch_loss += loss / len(batches)
            progress.seconds += time.monotonic() - started
            self._check_divergence(loss)
            self.context.report(StepFinished(progress.step, self._count_steps(), loss, progress.epoch + 1))
            self._checkpoint_or_stop(last=progress.batch == len(batches))
        self._validate()

    def _train_step(self, batch: Batch) -> float:
        progress = self.progress
        steps = self.steps_per_epoch * self.epochs
        factor = compute_schedule_factor(self.spec, progress.step, steps, progress.decay_from, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        loss = self._gradients(batch)
        self._update()
        self._update_average()
        return loss

    def _gradients(self, batch: Batch) -> float:
        """Leave the gradients of a step in place; returns its loss. Out of memory, it begins again in smaller passes.

        The passes stay small for the rest of the fit, and for what goes on from its checkpoints. A crash between a
        halving and the next checkpoint forgets it: the step meets the same lack again, and halves again.
        """
        while True:
            try:
                return self._passes(batch)
            except (MemoryError, RuntimeError) as problem:
                if not is_out_of_memory(problem):
                    raise
                said = first_line(problem)
            self._halve(batch, said)  # out of the handler: the error holds on to all that the failed pass had made

    def _passes(self, batch: Batch) -> float:
        torch.manual_seed(derive_seed(self.context.seed, "step", self.progress.step))  # dropout
        weights = self.job.weights
        whole = float(sum(weights[list(micro)].sum() for micro in batch)) or 1.0  # all may weigh nothing
        total = 0.0
        for micro in batch if self.job.compare else memory.split(batch, self.progress.halvings):
            with autocast(self.precision, self.context.device):
                losses = self._losses(micro)
            loss = (losses * weights[list(micro)].to(losses.device)).sum() / whole
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _losses(self, micro: Sequence[int]) -> Tensor:
        """Float[B]. A pass that is compared whole is computed in pieces, and each again when its gradient is needed."""
        if self.job.compare is None:
            return self.job.losses(micro)
        pieces = memory.split((tuple(micro),), self.progress.halvings)
        if len(pieces) == 1:
            return self.job.compare(self.job.losses(micro), micro)
        found = [checkpoint(self.job.losses, piece, use_reentrant=False) for piece in pieces]
        return self.job.compare(torch.cat(found), micro)

    def _halve(self, batch: Batch, said: str) -> None:
        """Make the passes half as large from now on, and say so; raises OutOfMemory where they have one example."""
        progress = self.progress
        self.optimizer.zero_grad(set_to_none=True)
        memory.free(self.context.device)
        before = memory.largest(memory.split(batch, progress.halvings))
        if before <= 1:
            raise memory.in_a_pass(self._place(), said, self.spec)
        progress.halvings += 1
        now = memory.largest(memory.split(batch, progress.halvings))
        text = (
            f"out of memory at step {progress.step + 1} with {before} examples in a pass: at most {now} from now on; "
            "steps are as large as before, and so is what is learnt (training: micro_batch_tokens sets the passes)"
        )
        self.context.report(Message(text))

    def _place(self) -> str:
        return f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"

    def _update(self) -> None:
        """The optimizer's step. What it had changed before memory ran out cannot be taken back, so that is an error."""
        try:
            self.scaler.unscale_(self.optimizer)
            lazy_embeddings.clip_gradients(self.job.parameters.values(), self.spec.clip)
            for embedding in self.lazy:
                embedding.step()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        except (MemoryError, RuntimeError) as problem:
            if not is_out_of_memory(problem):
                raise
            raise memory.in_the_optimizer(self._place(), first_line(problem)) from problem
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Polyak averaging with a decay that grows into its value, so that the start does not weigh on it."""
        decay = min(self.spec.average, (1 + self.progress.step) / (10 + self.progress.step))
        for name, mean in self.average_parameters.items():
            mean.lerp_(self.job.parameters[name], 1 - decay)

    @contextmanager
    def _use_average_parameters(self) -> Iterator[None]:
        """The mean in the weights' place."""
        trained = self._copy_parameters() if self.average_parameters else {}
        self._set_parameters(self.average_parameters)
        try:
            yield
        finally:
            self._set_parameters(trained)

    @torch.no_grad()
    def _set_parameters(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.job.parameters[name].copy_(value)

    def _check_divergence(self, loss: float) -> None:
        losses = self.progress.losses
        losses.append(loss)
        if len(losses) > 2 * LOSS_WINDOW:
            del losses[LOSS_WINDOW]
        first, last = losses[:LOSS_WINDOW], losses[-LOSS_WINDOW:]
        grew = len(losses) == 2 * LOSS_WINDOW and sum(last) > MAX_LOSS_GROWTH * sum(first)
        if not math.isfinite(loss) or grew:
            what = (
                f"the loss is {loss}"
                if not math.isfinite(loss)
                else f"the loss grew from {sum(first) / LOSS_WINDOW:.3g} to {sum(last) / LOSS_WINDOW:.3g}"
            )
            raise TrainingDiverged(
                f"training diverged at step {self.progress.step}: {what}",
                where=f"epoch {self.progress.epoch + 1}",
                remedy="try a third of the learning rate; then precision: fp32, a longer warmup, or a smaller clip",
            )

    def _validate(self) -> None:
        progress = self.progress
        started = time.monotonic()
        for embedding in self.lazy:
            embedding.flush()
        with self._use_average_parameters():
            scores = self.job.score()
        # of two epochs with the same headline the better calibrated one is kept: small validation sets tie often
        now = [scores[self.job.headline], -scores.get("log_loss", 0.0)]
        better = progress.best is None or now > progress.best
        if better:
            progress.best, self.best_parameters = (
                now,
                {n: t.clone() for n, t in self.average_parameters.items()} or self._copy_parameters(),
            )
        progress.stale = 0 if better else progress.stale + 1
        finished = EpochFinished(progress.epoch + 1, progress.epoch_loss, now[0])
        progress.history.append({"epoch": finished.epoch, "loss": finished.loss, "score": finished.score})
        progress.epoch, progress.batch, progress.epoch_loss = progress.epoch + 1, 0, 0.0
        progress.seconds += time.monotonic() - started
        self.context.report(finished)
        so_far = [epoch["score"] for epoch in progress.history]
        self.context.check_race(self.job.headline, so_far, self.epochs - progress.epoch)
        self._checkpoint_or_stop(last=False)

    def _checkpoint_or_stop(self, last: bool) -> None:
        stopping = self.context.should_stop()
        if stopping or (not last and time.monotonic() - self.saved_at >= self.spec.checkpoint_seconds):
            self.context.checkpoints.save(self._capture_state())
            self.saved_at = time.monotonic()
        if stopping:
            raise RunInterrupted(f"stopped at step {self.progress.step}; run the same command again to resume")

    def _copy_parameters(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.job.parameters.items()}

    def _capture_state(self) -> TrainingState:
        tensors = {f"now/{name}": t for name, t in self._copy_parameters().items()} | {
            f"best/{name}": t for name, t in self.best_parameters.items()
        }
        tensors |= {f"mean/{name}": t for name, t in self.average_parameters.items()}
        for name, parameter in self.job.parameters.items():
            parts = optimizers.get_state_parts(self.optimizer, parameter)
            tensors |= {f"{part}/{name}": t for part, t in parts.items()}
        self.progress.scaler = self.scaler.state_dict()
        return TrainingState(tensors, dict(vars(self.progress)))

    def _restore(self, state: TrainingState) -> None:
        self.progress = Progress(**state.facts)
        with torch.no_grad():
            for name, parameter in self.job.parameters.items():
                parameter.copy_(state.tensors[f"now/{name}"])
                self.best_parameters[name] = state.tensors[f"best/{name}"].to(parameter.device)
                if name in self.average_parameters:
                    self.average_parameters[name] = state.tensors[f"mean/{name}"].to(parameter.device)
                parts = {
                    part: t for part in optimizers.STATE_PARTS if (t := state.tensors.get(f"{part}/{name}")) is not None
                }
                if parts:
                    optimizers.restore_state_parts(self.optimizer, parameter, parts)
        if self.scaler.is_enabled() and self.progress.scaler:
            self.scaler.load_state_dict(self.progress.scaler)


def _build_parameter_groups(job: TrainingJob, decay: float) -> list[dict[str, object]]:
    """One group per (learning rate, decayed or not): biases, scales and norms are not decayed."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in job.parameters.items():
        groups.setdefault((job.learning_rate(name), parameter.ndim > 1), []).append(parameter)
    return [
        {"params": params, "lr": rate, "rate": rate, "weight_decay": decay if matrix else 0.0}
        for (rate, matrix), params in groups.items()
    ]


def compute_schedule_factor(
    spec: TrainingSpec, step: int, steps: int, decay_from: int | None = None, decay_steps: int = 1
) -> float:
    """The learning rate's factor: linear warm-up, then linear or cosine to zero, or constant.

    plateau: constant until step `decay_from`, then linear to zero in `decay_steps` (warm-up, stable, decay: Hu et al.
    2024, section 4.2).
    """
    warm = spec.warmup * steps
    if step < warm:
        return (step + 1) / (warm + 1)
    if spec.schedule == "plateau":
        return 1.0 if decay_from is None else max(1.0 - (step - decay_from) / decay_steps, 0.0)
    share = (step - warm) / max(steps - warm, 1)
    if spec.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return 1.0 if spec.schedule == "constant" else max(1.0 - share, 0.0)
