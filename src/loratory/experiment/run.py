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
from loratory.artifacts.durable_files import write_json, write_text
from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import check_format, read_manifest
from loratory.data.examples import extract_texts
from loratory.data.splitting import ledger
from loratory.errors import LoratoryError, RunInterrupted, SpecError, suggest_nearest
from loratory.evaluation import ladder as ladders
from loratory.evaluation.contender_result import ContenderResult
from loratory.evaluation.report.html_report import render_report
from loratory.experiment import prepare
from loratory.experiment.artifact_lookup import seal_run, unseal_run
from loratory.experiment.events import EventListener, catch_interrupts
from loratory.experiment.inference import stress_run
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.experiment.spec_loading import format_lock
from loratory.experiment.steps import fit, latency, measure, preflight
from loratory.protocols import ParameterCount
from loratory.specs.spec import MAJORITY, Contender, Spec
from loratory.specs.training import TrainingSpec

if TYPE_CHECKING:
    from loratory.backbones.forward.hardware_benchmark import Hardware

RECORDED_LIBRARIES = ("torch", "transformers", "peft", "scikit-learn", "numpy", "tokenizers", "safetensors", "pyarrow")


@dataclass(frozen=True)
class RunPaths:
    """Where a run lives."""

    folder: Path

    @classmethod
    def for_spec(cls, spec: Spec, output: Path | None) -> RunPaths:
        """The folder asked for, or runs/<name>; raises SpecError where a file is in its way."""
        folder = output or Path("runs") / spec.name
        for there in (folder, *folder.parents):
            if there.exists() and not there.is_dir():
                raise SpecError("this is a file, not a folder", where=str(there), remedy="choose another --output")
        return cls(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else writes into it meanwhile; raises StorageError, which names who does already."""
        with hold_lock(self.folder, 0):
            yield


def run_experiment(spec: Spec, paths: RunPaths, on_event: EventListener) -> dict[str, Any]:
    """The whole flow; returns the ladder, in which a contender that could not be fitted or measured keeps its reason.

    Raises RunInterrupted on Ctrl-C with everything finished kept, and LoratoryError where none is left that learns.
    """
    ledger.check_ledger()  # a place that cannot be written is told now, not after hours of training
    with paths.lock(), catch_interrupts() as stopping:
        context = open_run_context(spec, paths, on_event, stopping)
        fitted, failures = _fit_all(context)
        _require_trained_contender(context, fitted, failures)
        _measure_all(context, paths, fitted, failures)
        fitted = {name: one for name, one in fitted.items() if name not in failures}
        _require_trained_contender(context, fitted, failures)
        return write_results(context, paths, fitted, {name: str(problem) for name, problem in failures.items()})


def open_run_context(spec: Spec, paths: RunPaths, on_event: EventListener, should_stop: Any) -> RunContext:
    """Refuse what cannot be, make or reread the split, write the lock."""
    import torch

    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool

    check_run_format(paths.folder)
    if spec.training.threads:
        torch.set_num_threads(spec.training.threads)
    device = preflight.choose_device()
    split, bases = preflight.run_preflight(spec, lambda: prepare.load_or_prepare(spec, paths.folder / "data", on_event))
    write_text(paths.folder / "spec.lock.yaml", format_lock(spec, paths.folder / "spec.lock.yaml"))
    machine = load_or_measure_hardware(paths.folder / "environment.json", device, on_event)
    training = resolve_auto_options(spec.training, machine)
    write_json(paths.folder / "environment.json", {**describe_environment(device), "measured": asdict(machine)})
    return RunContext(
        spec,
        split,
        paths.folder / "contenders",
        TorchBackbonePool(device, short_attention=training.attention == "short"),
        ActivationCache(run_locally),
        on_event,
        should_stop,
        training,
        device,
        bases,
    )


def check_run_format(folder: Path) -> None:
    """Raise ArtifactError where another version wrote any part of a run: it is not gone on with, nor overwritten."""
    for part in (folder, folder / "data", *sorted(folder.glob("contenders/*/seed-*"))):
        if (manifest := read_manifest(part)) is not None:
            check_format(part, manifest)


def load_or_measure_hardware(file: Path, device: str, on_event: EventListener) -> Hardware:
    """What the run began with, so that going on computes in the same way; else this machine's measurement."""
    from loratory.backbones.forward import hardware_benchmark

    try:
        kept = hardware_benchmark.parse_measurement(json.loads(file.read_text(encoding="utf-8"))["measured"])
        if (kept.device, kept.processor, kept.threads) == (
            device,
            hardware_benchmark.processor_name(device),
            count_torch_threads(),
        ):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass
    on_event("stage", {"text": "finding out what this machine does fast"})
    return hardware_benchmark.load_or_measure(device)


def count_torch_threads() -> int:
    """Threads of a matrix product in this process."""
    import torch

    return torch.get_num_threads()


def resolve_auto_options(training: TrainingSpec, hardware: Hardware) -> TrainingSpec:
    """The training options with every `auto` replaced; attention's crossing is set for this process."""
    from loratory.backbones.forward import attention

    if training.attention != "stock":
        attention.set_short_row_limits(hardware.short_training, hardware.short_answering)
    precision = hardware.choose_precision() if training.precision == "auto" else training.precision
    return training.model_copy(
        update={
            "precision": precision,
            "attention": "short" if training.attention == "auto" else training.attention,
            "product": "fused" if training.product == "auto" else training.product,
        }
    )


def describe_environment(device: str) -> dict[str, Any]:
    """What the figures of this run depend on beside the spec."""
    import torch

    libraries: dict[str, str | None] = {}
    for name in RECORDED_LIBRARIES:
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


def select_contenders(spec: Spec, names: Sequence[str]) -> list[Contender]:
    """Contenders of the ladder by name; raises SpecError."""
    known = {c.name: c for c in spec.ladder}
    for name in names:
        if name not in known:
            raise SpecError(f"there is no contender {name!r}{suggest_nearest(name, known)}", allowed=", ".join(known))
    return [known[name] for name in names] if names else list(spec.ladder)


def _fit_all(context: RunContext) -> tuple[dict[str, FittedContender], dict[str, LoratoryError]]:
    """What could be fitted, and why the others could not."""
    fitted: dict[str, FittedContender] = {}
    failures: dict[str, LoratoryError] = {}
    for number, contender in enumerate(context.spec.ladder, 1):
        context.on_event("contender", {"contender": contender.name, "number": number, "of": len(context.spec.ladder)})
        with fit.isolate_failure(context.on_event, contender.name, failures):
            fitted[contender.name] = fit.fit_contender(context, contender)
    return fitted, failures


def _require_trained_contender(
    context: RunContext, fitted: Mapping[str, FittedContender], failures: Mapping[str, LoratoryError]
) -> None:
    """Raise the failures where nothing is left but the contender that learns nothing: there is no ladder then."""
    if failures and all(one.contender.regime == MAJORITY for one in fitted.values()):
        preflight.raise_problems(failures)


def _measure_all(
    context: RunContext, paths: RunPaths, fitted: dict[str, FittedContender], failures: dict[str, LoratoryError]
) -> None:
    """The only reading of the test set in a run, noted in the ledger before it happens; adds to the failures.

    A run that was stopped in the middle goes on with what it began to look at, so that it counts once. Another
    contender, another fit or another stress is another look.
    """
    waiting = [name for name, one in fitted.items() if not measure.is_measured(context, one)]
    shaken = stress_run.list_unstressed(context, fitted, paths.folder / stress_run.STRESS_FILE)
    on_test = shaken if context.spec.stress and context.spec.stress.part == "test" else []
    if waiting or on_test:
        looks = [*(one for name in waiting for one in measure.name_test_reads(fitted[name]))]
        looks += [stress_run.name_test_read(context, fitted[name]) for name in on_test]
        names = ", ".join(dict.fromkeys([*waiting, *on_test]))
        ledger.record_read(_make_test_read(context, paths, f"run: {names}", looks), _test_row_keys(context))
    for name, one in fitted.items():
        _raise_if_stopped(context)
        if name in waiting:
            context.on_event("measure", {"contender": name})
        with fit.isolate_failure(context.on_event, name, failures):
            measure.measure_contender(context, one)
    for name in (name for name in shaken if name not in failures):
        _raise_if_stopped(context)
        context.on_event("stage", {"text": f"answering perturbed texts: {name}"})
        with fit.isolate_failure(context.on_event, name, failures):
            stress_run.stress_contender(context, fitted[name], paths.folder / stress_run.STRESS_FILE)
    fitted = {name: one for name, one in fitted.items() if name not in failures}
    if latency.needs_timing(context, fitted, paths.folder / latency.LATENCY_FILE):
        context.on_event("stage", {"text": "timing single texts, the contenders side by side"})
        latency.time_contenders(
            context, fitted, paths.folder / latency.LATENCY_FILE, lambda: _raise_if_stopped(context)
        )


def _make_test_read(context: RunContext, paths: RunPaths, purpose: str, read_names: Iterable[str]) -> ledger.TestReader:
    return ledger.TestReader(context.spec.name, str(paths.folder.resolve()), purpose, frozenset(read_names))


def _test_row_keys(context: RunContext) -> ledger.RowKeys:
    return ledger.compute_row_keys(extract_texts(context.split.task, context.split.parts.test))


def _raise_if_stopped(context: RunContext) -> None:
    if context.should_stop():
        raise RunInterrupted("stopped; what is finished is kept, and the same command goes on from there")


def write_results(
    context: RunContext, paths: RunPaths, fitted: dict[str, FittedContender], failures: dict[str, str]
) -> dict[str, Any]:
    """ladder.json, verdict.json and report.html from the rows on disk, and last the manifest that covers them.

    The test set is not read again.
    """
    context.on_event("stage", {"text": "weighing the evidence"})
    spec, task = context.spec, context.split.task
    rows = [
        _collect_results(context, paths, fitted[c.name]) if c.name in fitted else _failed_result(c, failures[c.name])
        for c in spec.ladder
    ]
    ladder = ladders.build_ladder(task, rows, spec.evidence, spec.gate, _run_facts(context, paths, fitted))
    unseal_run(paths.folder)
    write_json(paths.folder / "ladder.json", ladder)
    write_json(paths.folder / "verdict.json", ladder["verdict"])
    write_text(paths.folder / "report.html", render_report(ladder, rows, task, context.split.quality))
    seal_run(paths.folder)
    return ladder


def _collect_results(context: RunContext, paths: RunPaths, fitted: FittedContender) -> ContenderResult:
    under_stress = stress_run.read_stress_results(context, fitted, paths.folder / stress_run.STRESS_FILE)
    timed = latency.read_latency(fitted, paths.folder / latency.LATENCY_FILE)
    return replace(measure.collect_results(context, fitted), stress_rows=under_stress, latency_ms=timed)


def _failed_result(contender: Contender, failure: str) -> ContenderResult:
    return ContenderResult(
        contender.name,
        contender.regime,
        contender.base,
        contender.options.adapts,
        (),
        0,
        ParameterCount(0, 0),
        0,
        {},
        failure=failure,
    )


def _run_facts(context: RunContext, paths: RunPaths, fitted: Mapping[str, FittedContender]) -> dict[str, Any]:
    spec, parts = context.spec, context.split.parts
    tuned = {c.name: c.options.tunable for c in spec.ladder if c.options.tunable}
    split = {
        **{k: v for k, v in context.split.facts.items() if k != "messages"},
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
    looks = [one for each in fitted.values() for one in measure.name_test_reads(each)]
    reads, overlap = ledger.count_reads(_make_test_read(context, paths, "", looks), _test_row_keys(context))
    return {
        "name": spec.name,
        "split": split,
        "budget": budget,
        "test_reads": reads,
        "test_overlap": overlap,
        "leaked_test": context.split.quality.get("leaked_test", []),
        "quality_warnings": context.split.quality.get("warnings", []),
        "environment": json.loads((paths.folder / "environment.json").read_text(encoding="utf-8")),
    }
