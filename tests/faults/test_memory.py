"""Memory runs short while something is trained: passes get smaller, steps and what is learnt stay as they are."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from fault_recording import FaultCounts
from loratory.errors import OutOfMemory, is_out_of_memory
from loratory.protocols.events import FitEvent, Message, ignore_event
from loratory.regimes.lora import Lora
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.memory import split
from loratory.training.training_loop import TrainingJob, train
from tiny_models import BackboneOf, make_context, make_task, make_train_set

from .conftest import Workspace
from .fits import FITS, Cut, Fit, lacks, passes, plans
from .run_fixtures import make_spec, run_command

# of float32, by whose last bits the sums of smaller passes differ; AdamW's first steps divide a gradient by itself
CLOSE: dict[str, Any] = {"rtol": 2e-3, "atol": 2e-5}
WHOLE = {"batch_tokens": 16, "batch_examples": 6, "epochs": 2}  # steps of six examples in one pass


def plain(fit: Fit) -> Fit:
    """Without dropout, which is drawn for each pass, and in fp32."""
    options = {**fit.options, **({"dropout": 0.0} if fit.regime in ("lora", "qlora") else {})}
    return replace(fit, options=options, training={**fit.training, "precision": "fp32"})


PLAIN = [plain(fit) for fit in FITS]


def outcome(fit: Fit, plan: Any = None, **more: Any) -> tuple[dict[str, bytes], list[str], list[int], int]:
    """A fit's files, what it said, the examples of its passes, and how often memory ran short."""
    said: list[str] = []

    def report(event: FitEvent) -> None:
        if isinstance(event, Message) and "out of memory" in event.text:
            said.append(event.text)

    with passes(plan=dict(plan or {})) as counted:
        made = fit.run(make_context(report=report, **{**WHOLE, **fit.training}, **more))
    return made, said, counted.largest, counted.met


@cache
def run_undisturbed(fit: Fit) -> tuple[dict[str, bytes], list[int]]:
    made, said, largest, _ = outcome(fit)
    assert said == []
    return made, largest


def alike(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether all weights are the same within what float32 rounds."""
    if one.keys() != other.keys():
        return False
    for name in (name for name in one if name.endswith(".safetensors")):
        mine, theirs = load(one[name]), load(other[name])
        if mine.keys() != theirs.keys() or not all(torch.allclose(t, theirs[n], **CLOSE) for n, t in mine.items()):
            return False
    return True


def goes_on(fit: Fit, plan: dict[tuple[int, str], BaseException]) -> bool:
    """Whether a fit that meets this goes on in halved passes, says so once, and learns the same."""
    whole, before = run_undisturbed(fit)
    made, said, largest, met = outcome(fit, plan)
    ((number, _),) = plan
    half = -(-before[number - 1] // 2)
    stages = 1 if "warmed" not in fit.name else 2  # what is warmed up is compared whole, and the fit begins anew
    smaller = max(largest[number:], default=0) <= -(-max(before) // (3 - stages))
    return met == 1 and len(said) == 1 and f"at most {half} from now on" in said[0] and smaller and alike(made, whole)


@pytest.mark.parametrize("fit", [fit for fit in PLAIN if fit.name in (
    "lora, encoder, labels", "head, encoder, labels", "lora, encoder, spans", "lora, causal, answers",
    "lora, warmed up", "lora, packed",
)], ids=str)  # fmt: skip
@pytest.mark.parametrize("half", ["forward", "backward"])
def test_training_goes_on_in_halved_passes_and_learns_the_same(fit: Fit, half: str) -> None:
    count = len(run_undisturbed(fit)[1])
    for number, problem in ((1, lacks()[0]), (count // 2 + 1, lacks()[1])):
        assert goes_on(fit, {(number, half): problem})


@pytest.mark.slow
def test_memory_runs_short_200_times(faults: FaultCounts) -> None:
    tries = faults.tries_of("out of memory in a step of training, for every trained regime")
    chance = random.Random(12)
    for fit in PLAIN:
        for plan in plans(len(run_undisturbed(fit)[1]), -(-200 // len(PLAIN)), chance):
            tries.add(failures=not goes_on(fit, plan))
    assert tries.row["tried"] >= 200
    assert tries.row["failures"] == 0


def toy(weight: nn.Parameter, losses: Callable[[Any], Tensor] | None = None) -> TrainingJob:
    """Two steps an epoch: of 8 examples in a pass, and of 5 and 3 of unlike weights."""
    return TrainingJob(
        parameters={"w": weight},
        learning_rate=lambda name: 0.05,
        batches=lambda epoch: [(tuple(range(8)),), ((0, 1, 2, 3, 4), (5, 6, 7))],
        losses=losses or (lambda indices: torch.stack([(weight * (i + 1) - 1).square().sum() for i in indices])),
        weights=torch.tensor([1.0, 2.0, 0.5, 0.0, 3.0, 1.0, 1.0, 0.1]),
        score=lambda: {"accuracy": 0.0},
        headline="accuracy",
        epochs=1,
    )


def test_gradients_of_halved_passes_are_those_of_the_step() -> None:
    found = []
    for lack in (0, 1, 2, 3):
        weight = nn.Parameter(torch.tensor([0.3, -0.2]))
        gradients: list[Tensor] = []
        weight.register_post_accumulate_grad_hook(lambda p, seen=gradients: seen.append(p.grad.clone()))  # type: ignore[no-untyped-call]
        with passes(plan={(k, "backward"): problem for k, problem in enumerate(lacks()[:lack], 1)}) as counted:
            facts = train(toy(weight), make_context(clip=1e9))
        assert facts["halvings"] == counted.met == lack
        last = [8, 5, 3] if not lack else counted.largest[lack:]
        assert max(last) == 8 // 2**lack
        assert sum(last) == 16
        found.append((gradients[-1], weight.detach()))
    for gradient, weights in found[1:]:
        assert torch.allclose(gradient, found[0][0], rtol=1e-5)
        assert torch.allclose(weights, found[0][1], rtol=1e-5)


def test_passes_are_split_evenly_and_keep_their_order() -> None:
    batch = ((1, 2, 3, 4, 5), (6,), (7, 8))
    assert split(batch, 0) is batch
    assert split(batch, 1) == ((1, 2, 3), (4, 5), (6,), (7,), (8,))
    assert split(batch, 9) == tuple((i,) for i in range(1, 9))


def test_one_example_that_is_too_much_is_an_error_with_a_remedy() -> None:
    weight = nn.Parameter(torch.zeros(2))
    with (
        passes(plan={(k, "forward"): lacks()[1] for k in range(1, 9)}) as counted,
        pytest.raises(OutOfMemory, match=r"a single example in a pass: .*can't allocate") as caught,
    ):
        train(toy(weight), make_context())
    assert counted.largest == [8, 4, 2, 1]
    assert caught.value.where == "epoch 1, step 1"
    assert "max_tokens" in caught.value.remedy
    assert "gradient_checkpointing" in caught.value.remedy


def test_an_optimizer_without_room_is_an_error_and_no_half_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise lacks()[2]

    monkeypatch.setattr(torch.optim.AdamW, "step", lacking)
    with pytest.raises(OutOfMemory, match="in the optimizer") as caught:
        train(toy(nn.Parameter(torch.zeros(2))), make_context())
    assert "adamw8bit" in caught.value.remedy


def test_other_errors_are_no_lack_of_memory() -> None:
    assert all(is_out_of_memory(problem) for problem in lacks())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    weight = nn.Parameter(torch.zeros(2))
    with passes(plan={(2, "forward"): RuntimeError("shapes")}), pytest.raises(RuntimeError, match="shapes"):
        train(toy(weight), make_context())


def test_what_goes_on_from_a_checkpoint_keeps_its_small_passes(backbone_of: BackboneOf, tmp_path: Path) -> None:
    """The same bytes as the fit that met the lack and was not cut."""
    found = []
    for cut in (False, True):
        kept = FolderCheckpoints(tmp_path / str(cut), "identity")
        surrounding = make_context(checkpoints=kept, checkpoint_seconds=0.0, report=ignore_event)
        plan: dict[tuple[int, str], BaseException] = {(2, "forward"): lacks()[0]}
        with passes(plan={**plan, **({(9, "backward"): Cut()} if cut else {})}) as counted:
            if cut:
                with pytest.raises(Cut):
                    Lora(rank=2).fit(make_task(), make_train_set(), backbone_of("bert"), surrounding)
                state = kept.load_latest()
                assert state is not None
                assert state.facts["halvings"] == 1
            made: Any = Lora(rank=2).fit(make_task(), make_train_set(), backbone_of("bert"), surrounding)
        found.append(made.network.adapter.digest)
        assert counted.met == 1 + cut
        assert max(counted.largest[:2]) == 8 or max(counted.largest[:2]) > max(counted.largest[2:])
    assert found[0] == found[1]


def test_a_contender_without_room_does_not_keep_the_others_from_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "loratory.training.encoders.EncodedDataset.from_train_set", lambda *_: (_ for _ in ()).throw(lacks()[1])
    )
    folder = workspace(make_spec("  - tfidf\n  - lora\n"))
    done = run_command(folder, "train", "spec.yaml")
    assert done.code == 0
    assert "out of memory while lora was fitted" in done.read_stderr()
    assert (folder / "runs/tiny/contenders/tfidf/seed-1/manifest.json").exists()


REAL = """
import os, resource, signal, sys, torch
from torch import nn
from loratory.errors import OutOfMemory
from loratory.training.training_loop import TrainingJob, train
from loratory.training.memory import explain_failure
sys.path.insert(0, sys.argv[1])
from tiny_models import make_context
torch.set_num_threads(1)
torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)  # imports more, once for all children

def losses(weight, indices):
    made = weight * torch.arange(1.0, 1 + len(indices))[:, None, None].expand(-1, 1024, 256)  # 1 MiB an example
    return made.tanh().square().mean((1, 2))

def learn(most):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + most * 2**20,) * 2)
    weight, said = nn.Parameter(torch.full((256,), 0.1)), []
    course = TrainingJob({"w": weight}, lambda name: 0.01, lambda epoch: [(tuple(range(64)),)] * 2,
                    lambda indices: losses(weight, indices), torch.ones(64), lambda: {"accuracy": 0.0}, "accuracy", 1)
    try:
        with explain_failure("toy"):
            report = lambda event: said.append(1) if type(event).__name__ == "Message" else None
            facts = train(course, make_context(report=report))
    except OutOfMemory:
        return "refused"
    return f"{facts['steps']} {facts['halvings'] == len(said)} {facts['halvings']}"

for most in map(int, sys.argv[2:]):
    if not (child := os.fork()):
        signal.alarm(30)  # nothing hangs
        os.write(1, learn(most).encode() + b"\\n")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print("failed", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much address space is used")
def test_real_limits_are_met_and_lived_with(faults: FaultCounts) -> None:
    """64 examples of 1 MiB in a pass, several times over, and so many MiB left."""
    limits = [1000, *range(320, 20, -20), 12, 4]
    words = [sys.executable, "-c", REAL, str(Path(__file__).parents[1]), *map(str, limits)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:]
    wrong = [line for line in lines if line != "refused" and not line.startswith("2 True ")]
    faults.tries_of("a real limit of memory in training").add(tried=len(limits), failures=len(wrong))
    assert lines[0] == "2 True 0"
    assert len(lines) == len(limits)
    assert wrong == [], done.stderr[-2000:]
    assert len({line for line in lines if line.startswith("2 True ")}) >= 3
