"""Small fits of every regime that is trained step by step, found by entry points, and of what can be set beside."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.discovery import list_names, load_named
from loratory.predictors import predictor_files
from loratory.protocols import Example, FitContext, TrainingState, TrainSet
from loratory.specs.training import ConsistencySpec, ContrastiveSpec
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag
from loratory.training import training_loop
from loratory.training.batching import Batch
from tiny_models import load_backbone_from, make_examples, make_task, save_base, save_causal_model

STARTS = ("nothing", "encoder", "causal")
WANTED = {"card": "THING", "cash": "THING", "password": "SECRET", "code": "SECRET"}
TASKS: dict[str, Any] = {
    "labels": make_task(),
    "spans": Tag(labels=("SECRET", "THING")),
    "answers": Generate(),
}
# 2 steps an epoch, each of two batches in several passes: a cut can come in the middle of all of them
BATCHES = {"batch_tokens": 16, "batch_examples": 3, "accumulation": 2, "micro_batch_tokens": 24, "epochs": 2}
SMALL: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "dropout": 0.3},
    "qlora": {"rank": 2, "dropout": 0.3},
    "head": {"epochs": 4},
}
MORE: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any]]] = {
    "lora, stock head, bf16": ("lora", "encoder", "labels", {"head": "stock", "dropout": 0.3}, {"precision": "bf16"}),
    "head, stock": ("head", "encoder", "labels", {"head": "stock"}, {}),
    "lora, pooled head, causal": ("lora", "causal", "labels", {"head": "pooled"}, {}),
    "lora, top layer remembered": ("lora", "encoder", "labels", {"layers": "top-1"}, {"average": 0.9}),
    "lora, warmed up": (
        "lora",
        "encoder",
        "labels",
        {"dropout": 0.3, "contrastive": ContrastiveSpec(epochs=1, labels=2, examples=2)},
        {"epochs": 1},
    ),
    "lora, consistent": ("lora", "encoder", "labels", {"consistency": ConsistencySpec()}, {}),
    "lora, computed twice": ("lora", "encoder", "labels", {"dropout": 0.3}, {"gradient_checkpointing": True}),
    "lora, windows": ("lora", "encoder", "labels", {}, {"long": "windows", "max_tokens": 8, "epochs": 1}),
    "lora, packed": ("lora", "causal", "answers", {"dropout": 0.3}, {"packing": "on"}),
}


@dataclass(frozen=True, eq=False)
class Fit:
    """A regime, what it starts from, what it learns, and with which options."""

    name: str
    regime: str
    start: str
    task: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def on_states(self) -> bool:
        """Whether a head alone is trained, on remembered states."""
        return self.regime == "head" and self.task == "labels" and not self.options

    def run(self, surrounding: FitContext) -> dict[str, bytes]:
        """Every file of the predictor that comes out."""
        regime = load_named("regimes", self.regime)(**{**SMALL.get(self.regime, {}), **self.options})
        start = backbone(self.start) if self.start in ("encoder", "causal") else None
        made = regime.fit(TASKS[self.task], build_train_set(self.task, self.on_states), start, surrounding)
        with TemporaryDirectory() as folder, stage_artifact(Path(folder) / "fit", {}) as part:
            predictor_files.save_predictor(part, made)
            return {f.relative_to(part).as_posix(): f.read_bytes() for f in part.rglob("*") if f.is_file()}


def _list_fits() -> Iterator[Fit]:
    for regime in list_names("regimes"):
        kind = load_named("regimes", regime)
        for start in STARTS if kind.seeded or kind.adapts else ():
            for task, about in TASKS.items():
                if kind().check_support(about, start) is None:
                    yield Fit(f"{regime}, {start}, {task}", regime, start, task)


FITS = [*_list_fits(), *(Fit(name, *about) for name, about in MORE.items())]


@cache
def backbone(kind: str) -> EncoderBackbone:
    """A tiny backbone, shared by all fits of this process; one that changes it spoils the others, and they tell."""
    with TemporaryDirectory() as folder:
        where = Path(folder) / kind
        return load_backbone_from(save_base(where, "bert") if kind == "encoder" else save_causal_model(where, "qwen3"))


@cache
def build_train_set(task: str, many: bool) -> TrainSet:
    """12 examples to learn from (72 where asked: a head on remembered states takes 64 in a step), and 3 of them."""
    chosen = make_examples() if many else make_examples()[::6]
    make: dict[str, Callable[[Example], Example]] = {"labels": lambda e: e, "spans": _spans, "answers": _dialogue}
    made = [make[task](example) for example in chosen]
    return TrainSet(made, made[::24] if many else made[::4])


def _spans(example: Example) -> Example:
    text, spans, place = str(example.input["text"]), [], 0
    for word in text.split(" "):
        if word in WANTED:
            spans.append([place, place + len(word), WANTED[word]])
        place += len(word) + 1
    made: Example = TASKS["spans"].read({"text": text, "spans": spans})
    return made


def _dialogue(example: Example) -> Example:
    said: Any = example.answer
    made: Example = TASKS["answers"].read({"prompt": str(example.input["text"]), "completion": said["label"]})
    return made


# ---- injected faults
class Cut(BaseException):
    """What ends a process, as far as training can see."""


def lacks() -> list[BaseException]:
    """How it is said that memory is short."""
    said = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes. Error code 12"
    return [
        MemoryError(),
        RuntimeError(f"[enforce fail at alloc_cpu.cpp:117] err == 0. {said} (Cannot allocate memory)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ]


@dataclass
class Passes:
    """Counts the passes of fits, and raises what is planned for one of them: (its number from 1, in which half)."""

    plan: dict[tuple[int, str], BaseException] = field(default_factory=dict)
    count: int = 0
    largest: list[int] = field(default_factory=list)  # examples of each pass
    met: int = 0

    def meet(self, half: str) -> None:
        if problem := self.plan.pop((self.count, half), None):
            self.met += 1
            raise problem


@contextmanager
def passes(**plan: Any) -> Iterator[Passes]:
    """While it is open, every pass is counted; faults come in the forward half, or when gradients are there already."""
    made = Passes(**plan)
    losses, backward = training_loop._TrainingLoop._losses, torch.Tensor.backward

    def count_pass(fit: Any, micro: Any) -> Any:
        made.count += 1
        made.largest.append(len(micro))
        made.meet("forward")
        return losses(fit, micro)

    def backwards(tensor: Any, *words: Any, **more: Any) -> None:
        backward(tensor, *words, **more)  # type: ignore[no-untyped-call]
        made.meet("backward")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_loop._TrainingLoop, "_losses", count_pass)
        patched.setattr(torch.Tensor, "backward", backwards)
        yield made


@dataclass(frozen=True)
class Moment:
    """What a fit is between two steps, and what the step before it was; behind a validation there was none."""

    state: TrainingState
    batch: Batch
    rates: tuple[float, ...]
    drawn: bytes  # the random generator's state behind the step

    def same(self, other: Moment) -> bool:
        """To the bit, but for the time it took."""
        mine, theirs = ({**one.state.facts, "seconds": 0.0} for one in (self, other))
        tensors = other.state.tensors
        return (
            (mine, self.batch, self.rates, self.drawn) == (theirs, other.batch, other.rates, other.drawn)
            and self.state.tensors.keys() == tensors.keys()
            and all(t.dtype == tensors[n].dtype and torch.equal(t, tensors[n]) for n, t in self.state.tensors.items())
        )


@dataclass
class Moments:
    """Checkpoints that begin with one of another fit, and remember every moment of this one."""

    begin: TrainingState | None = None
    seen: list[Moment] = field(default_factory=list)
    last: tuple[Batch, tuple[float, ...], bytes] = ((), (), b"")

    def load_latest(self) -> TrainingState | None:
        return self.begin

    def save(self, state: TrainingState) -> None:
        copied = TrainingState({n: t.clone() for n, t in state.tensors.items()}, json.loads(json.dumps(state.facts)))
        self.seen.append(Moment(copied, *self.last))
        self.last = ((), (), b"")


@contextmanager
def record_moments(moments: Moments) -> Iterator[Moments]:
    """Every moment of the fits inside, which have these checkpoints, is kept in them."""
    step, between = training_loop._TrainingLoop._train_step, training_loop._TrainingLoop._checkpoint_or_stop

    def record_step(fit: Any, batch: Batch) -> float:
        loss = step(fit, batch)
        rates = tuple(group["lr"] for group in fit.optimizer.param_groups)
        moments.last = (batch, rates, torch.get_rng_state().numpy().tobytes())
        return loss

    def save_each_moment(fit: Any, last: bool) -> None:
        fit.context.checkpoints.save(fit._capture_state())
        between(fit, last)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_loop._TrainingLoop, "_train_step", record_step)
        patched.setattr(training_loop._TrainingLoop, "_checkpoint_or_stop", save_each_moment)
        yield moments


def plans(count: int, tries: int, chance: random.Random) -> list[dict[tuple[int, str], BaseException]]:
    """So many plans, each of one lack of memory in one of `count` passes."""
    return [
        {(chance.randint(1, count), chance.choice(("forward", "backward"))): chance.choice(lacks())}
        for _ in range(tries)
    ]
