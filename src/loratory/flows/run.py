"""`loratory run`: examples to split to ladder to evidence to verdict, in one folder that can be gone on with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory import __version__
from loratory.artifacts.files import write_json, write_text
from loratory.artifacts.locks import held
from loratory.data import ledger
from loratory.data.examples import texts_of
from loratory.errors import LoratoryError, SpecError, Stopped, nearest
from loratory.evaluation import ladder as ladders
from loratory.evaluation.measured import Measured
from loratory.evaluation.report import report
from loratory.flows import fitting, latency, measuring, preflight, preparing, stress
from loratory.flows.bench import Bench, Fitted
from loratory.flows.listening import Listener, interruptible
from loratory.flows.opening import seal_run, unseal_run
from loratory.flows.specs import lock
from loratory.protocols import Size
from loratory.specs.frame import MAJORITY, Contender, Spec
from loratory.specs.training import TrainingSpec

if TYPE_CHECKING:
    from loratory.models.probe import Machine

LIBRARIES = ("torch", "transformers", "peft", "scikit-learn", "numpy", "tokenizers", "safetensors", "pyarrow")


@dataclass(frozen=True)
class Place:
    """Where a run lives."""

    folder: Path

    @classmethod
    def of(cls, spec: Spec, output: Path | None) -> Place:
        """The folder asked for, or runs/<name>; raises SpecError where a file is in its way."""
        folder = output or Path("runs") / spec.name
        for there in (folder, *folder.parents):
            if there.exists() and not there.is_dir():
                raise SpecError("this is a file, not a folder", where=str(there), remedy="choose another --output")
        return cls(folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes into it meanwhile; raises StorageError, which names who does already."""
        with held(self.folder, 0):
            yield


def run(spec: Spec, place: Place, listen: Listener) -> dict[str, Any]:
    """The whole flow; returns the ladder, in which a contender that could not be fitted or measured keeps its reason.

    Raises Stopped on Ctrl-C with everything finished kept, and LoratoryError where none is left that learns.
    """
    ledger.ready()  # a place that cannot be written is told now, not after hours of training
    with place.held(), interruptible() as stopping:
        bench = open_bench(spec, place, listen, stopping)
        fitted, failures = _fit_all(bench)
        _something_learnt(bench, fitted, failures)
        _measure_all(bench, place, fitted, failures)
        fitted = {name: one for name, one in fitted.items() if name not in failures}
        _something_learnt(bench, fitted, failures)
        return conclude(bench, place, fitted, {name: str(problem) for name, problem in failures.items()})


def open_bench(spec: Spec, place: Place, listen: Listener, stopping: Any) -> Bench:
    """Refuse what cannot be, make or reread the split, write the lock."""
    import torch

    from loratory.models.activations import Remembered
    from loratory.models.execution import run_here
    from loratory.models.trunks import Pool

    if spec.training.threads:
        torch.set_num_threads(spec.training.threads)
    device = preflight.device_of()
    split, bases = preflight.examine(spec, lambda: preparing.kept_or_made(spec, place.folder / "data", listen))
    write_text(place.folder / "spec.lock.yaml", lock(spec, place.folder / "spec.lock.yaml"))
    machine = measured_machine(place.folder / "environment.json", device, listen)
    training = settle(spec.training, machine)
    write_json(place.folder / "environment.json", {**environment(device), "measured": asdict(machine)})
    return Bench(
        spec,
        split,
        place.folder / "contenders",
        Pool(device, short_rows=training.attention == "short"),
        Remembered(run_here),
        listen,
        stopping,
        training,
        device,
        bases,
    )


def measured_machine(file: Path, device: str, listen: Listener) -> Machine:
    """What the run began with, so that going on computes in the same way; else this machine's measurement."""
    from loratory.models import probe

    try:
        kept = probe.read(json.loads(file.read_text(encoding="utf-8"))["measured"])
        if (kept.device, kept.processor, kept.threads) == (device, probe.processor(device), torch_threads()):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass
    listen("stage", {"text": "finding out what this machine does fast"})
    return probe.known(device)


def torch_threads() -> int:
    """Threads of a matrix product in this process."""
    import torch

    return torch.get_num_threads()


def settle(training: TrainingSpec, machine: Machine) -> TrainingSpec:
    """The training options with every `auto` replaced; attention's crossing is set for this process."""
    from loratory.models import attention

    if training.attention != "stock":
        attention.adopt(machine.short_training, machine.short_answering)
    precision = machine.precision() if training.precision == "auto" else training.precision
    return training.model_copy(
        update={
            "precision": precision,
            "attention": "short" if training.attention == "auto" else training.attention,
            "product": "fused" if training.product == "auto" else training.product,
        }
    )


def environment(device: str) -> dict[str, Any]:
    """What the figures of this run depend on beside the spec."""
    import torch

    libraries: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return {
        "loratory": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "libraries": libraries,
    }


def chosen(spec: Spec, names: Sequence[str]) -> list[Contender]:
    """Contenders of the ladder by name; raises SpecError."""
    known = {c.name: c for c in spec.ladder}
    for name in names:
        if name not in known:
            raise SpecError(f"there is no contender {name!r}{nearest(name, known)}", allowed=", ".join(known))
    return [known[name] for name in names] if names else list(spec.ladder)


def _fit_all(bench: Bench) -> tuple[dict[str, Fitted], dict[str, LoratoryError]]:
    """What could be fitted, and why the others could not."""
    fitted: dict[str, Fitted] = {}
    failures: dict[str, LoratoryError] = {}
    for number, contender in enumerate(bench.spec.ladder, 1):
        bench.listen("contender", {"contender": contender.name, "number": number, "of": len(bench.spec.ladder)})
        with fitting.alone(bench.listen, contender.name, failures):
            fitted[contender.name] = fitting.fit_contender(bench, contender)
    return fitted, failures


def _something_learnt(bench: Bench, fitted: Mapping[str, Fitted], failures: Mapping[str, LoratoryError]) -> None:
    """Raise the failures where nothing is left but the contender that learns nothing: there is no ladder then."""
    if failures and all(one.contender.regime == MAJORITY for one in fitted.values()):
        preflight.refuse(failures)


def _measure_all(bench: Bench, place: Place, fitted: dict[str, Fitted], failures: dict[str, LoratoryError]) -> None:
    """The only reading of the test set in a run, noted in the ledger before it happens; adds to the failures.

    A run that was stopped in the middle goes on with what it began to look at, so that it counts once. Another
    contender, another fit or another stress is another look.
    """
    waiting = [name for name, one in fitted.items() if not measuring.measured_already(bench, one)]
    shaken = stress.waiting(bench, fitted, place.folder / stress.STRESS)
    on_test = shaken if bench.spec.stress and bench.spec.stress.part == "test" else []
    if waiting or on_test:
        looks = [*(one for name in waiting for one in measuring.looks(fitted[name]))]
        looks += [stress.look(bench, fitted[name]) for name in on_test]
        names = ", ".join(dict.fromkeys([*waiting, *on_test]))
        ledger.record(_look(bench, place, f"run: {names}", looks), _test_keys(bench))
    for name, one in fitted.items():
        _go_on(bench)
        if name in waiting:
            bench.listen("measure", {"contender": name})
        with fitting.alone(bench.listen, name, failures):
            measuring.measure(bench, one)
    for name in (name for name in shaken if name not in failures):
        _go_on(bench)
        bench.listen("stage", {"text": f"answering perturbed texts: {name}"})
        with fitting.alone(bench.listen, name, failures):
            stress.stress_one(bench, fitted[name], place.folder / stress.STRESS)
    fitted = {name: one for name, one in fitted.items() if name not in failures}
    if latency.waiting(bench, fitted, place.folder / latency.FILE):
        bench.listen("stage", {"text": "timing single texts, the contenders side by side"})
        latency.measure(bench, fitted, place.folder / latency.FILE, lambda: _go_on(bench))


def _look(bench: Bench, place: Place, purpose: str, looks: Iterable[str]) -> ledger.Look:
    return ledger.Look(bench.spec.name, str(place.folder.resolve()), purpose, frozenset(looks))


def _test_keys(bench: Bench) -> ledger.Keys:
    return ledger.keys_of(texts_of(bench.split.task, bench.split.parts.test))


def _go_on(bench: Bench) -> None:
    if bench.stopping():
        raise Stopped("stopped; what is finished is kept, and the same command goes on from there")


def conclude(bench: Bench, place: Place, fitted: dict[str, Fitted], failures: dict[str, str]) -> dict[str, Any]:
    """ladder.json, verdict.json and report.html from the rows on disk, and last the manifest that covers them.

    The test set is not read again.
    """
    bench.listen("stage", {"text": "weighing the evidence"})
    spec, task = bench.spec, bench.split.task
    rows = [
        _gathered(bench, place, fitted[c.name]) if c.name in fitted else _failed(c, failures[c.name])
        for c in spec.ladder
    ]
    ladder = ladders.build(task, rows, spec.evidence, spec.gate, _facts(bench, place, fitted))
    unseal_run(place.folder)
    write_json(place.folder / "ladder.json", ladder)
    write_json(place.folder / "verdict.json", ladder["verdict"])
    write_text(place.folder / "report.html", report(ladder, rows, task, bench.split.quality))
    seal_run(place.folder)
    return ladder


def _gathered(bench: Bench, place: Place, fitted: Fitted) -> Measured:
    under_stress = stress.known(bench, fitted, place.folder / stress.STRESS)
    timed = latency.known(fitted, place.folder / latency.FILE)
    return replace(measuring.gathered(bench, fitted), stress=under_stress, latency_ms=timed)


def _failed(contender: Contender, failure: str) -> Measured:
    return Measured(
        contender.name,
        contender.regime,
        contender.base,
        contender.options.adapts,
        (),
        0,
        Size(0, 0),
        0,
        {},
        failure=failure,
    )


def _facts(bench: Bench, place: Place, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    spec, parts = bench.spec, bench.split.parts
    tuned = {c.name: c.options.tunable for c in spec.ladder if c.options.tunable}
    split = {
        **{k: v for k, v in bench.split.facts.items() if k != "said"},
        "counts": {name: len(e) for name, e in parts.items()},
    }
    budget = {
        "seeds": spec.training.seeds,
        "trials": spec.training.trials,
        "epochs": spec.training.epochs,
        "says": f"{spec.training.trials} validation trial(s) for each tuned contender, {spec.training.seeds} seed(s) "
        f"for each seeded one",
        "tuned": tuned,
    }
    looks = [one for each in fitted.values() for one in measuring.looks(each)]
    reads, overlap = ledger.counted(_look(bench, place, "", looks), _test_keys(bench))
    return {
        "name": spec.name,
        "split": split,
        "budget": budget,
        "test_reads": reads,
        "test_overlap": overlap,
        "leaked_test": bench.split.quality.get("leaked_test", []),
        "quality_warnings": bench.split.quality.get("warnings", []),
        "environment": json.loads((place.folder / "environment.json").read_text(encoding="utf-8")),
    }
