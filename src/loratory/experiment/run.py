"""`loratory run`: examples to split to ladder to evidence to verdict, in one folder that can be gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from loratory.artifacts.durable_files import write_json, write_text
from loratory.data.splitting import ledger
from loratory.errors import LoratoryError, RunInterrupted, SpecError, suggest_nearest
from loratory.experiment import prepare
from loratory.experiment.environment import (
    ENVIRONMENT_FILE,
    describe_environment,
    load_or_measure_hardware,
    resolve_auto_options,
)
from loratory.experiment.events import catch_interrupts
from loratory.experiment.inference import stress_run
from loratory.experiment.ledger_entries import compute_test_row_keys, make_test_read
from loratory.experiment.results import write_results
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.experiment.run_paths import RunPaths, check_run_format
from loratory.experiment.spec_loading import format_lock
from loratory.experiment.steps import export, fit, latency, measure, preflight
from loratory.experiment.trackers import open_event_bus
from loratory.protocols import LayerReuse
from loratory.protocols.events import ContenderStarted, EventListener, MeasurementStarted, RunStarted, StageStarted
from loratory.specs.spec import MAJORITY, Contender, Spec, sort_by_start
from loratory.threads import set_torch_threads


def run_experiment(spec: Spec, paths: RunPaths, on_event: EventListener) -> dict[str, Any]:
    """The whole flow; returns the ladder, in which a contender that could not be fitted or measured keeps its reason.

    Raises RunInterrupted on Ctrl-C with everything finished kept, and LoratoryError where none is left that learns.
    """
    ledger.check_ledger()  # a place that cannot be written is told now, not after hours of training
    with paths.lock(), catch_interrupts() as stopping, open_event_bus(spec.track, on_event) as bus:
        context = open_run_context(spec, paths, bus, stopping)
        fitted, failures = _fit_all(context)
        _require_trained_contender(context, fitted, failures)
        _measure_all(context, paths, fitted, failures)
        fitted = {name: one for name, one in fitted.items() if name not in failures}
        _require_trained_contender(context, fitted, failures)
        return write_results(context, paths, fitted, failures)


def open_run_context(
    spec: Spec, paths: RunPaths, on_event: EventListener, should_stop: Callable[[], bool]
) -> RunContext:
    """Refuse what cannot be, make or reread the split, write the lock."""
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool

    check_run_format(paths.folder)
    set_torch_threads(spec.training.threads)
    device = preflight.choose_device()
    split, bases = preflight.run_preflight(spec, lambda: prepare.load_or_prepare(spec, paths.folder / "data", on_event))
    write_text(paths.folder / "spec.lock.yaml", format_lock(spec, paths.folder / "spec.lock.yaml"))
    machine = load_or_measure_hardware(paths.folder / ENVIRONMENT_FILE, device, on_event)
    training = resolve_auto_options(spec.training, machine)
    environment = {**describe_environment(device), "measured": asdict(machine)}
    write_json(paths.folder / ENVIRONMENT_FILE, environment)
    on_event(RunStarted(spec.name, paths.folder, spec.to_dict(), environment))
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
    _plan_shared_layers(context)
    for number, contender in enumerate(sort_by_start(context.spec.ladder), 1):
        context.on_event(ContenderStarted(contender.name, number, len(context.spec.ladder)))
        with fit.isolate_failure(context.on_event, contender.name, failures):
            fitted[contender.name] = fit.fit_contender(context, contender)
    return fitted, failures


def _plan_shared_layers(context: RunContext) -> None:
    """Let whoever reads the texts first keep the states that a later contender trains on: a base reads a text once."""
    if context.training.cache == "off" or context.training.precision != "fp32":
        return
    for contender in context.spec.ladder:
        options = contender.options
        if contender.base and not contender.start and isinstance(options, LayerReuse):
            base = context.resolve_base(contender.base)
            if base.kind == "encoder":
                choose = partial(options.count_frozen_layers, context.split.task)
                context.activation_cache.plan_layer_inputs(base.digest, choose)


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
        ledger.record_read(make_test_read(context, paths, f"run: {names}", looks), compute_test_row_keys(context))
    for name, one in fitted.items():
        _raise_if_stopped(context)
        if name in waiting:
            context.on_event(MeasurementStarted(name))
        with fit.isolate_failure(context.on_event, name, failures):
            measure.measure_contender(context, one)
            export.write_shipped_layouts(context, one)
    for name in (name for name in shaken if name not in failures):
        _raise_if_stopped(context)
        context.on_event(StageStarted(f"measuring on perturbed texts: {name}"))
        with fit.isolate_failure(context.on_event, name, failures):
            stress_run.stress_contender(context, fitted[name], paths.folder / stress_run.STRESS_FILE)
    fitted = {name: one for name, one in fitted.items() if name not in failures}
    if latency.needs_timing(context, fitted, paths.folder / latency.LATENCY_FILE):
        context.on_event(StageStarted("measuring the latency of single texts"))
        latency.time_contenders(
            context, fitted, paths.folder / latency.LATENCY_FILE, lambda: _raise_if_stopped(context)
        )


def _raise_if_stopped(context: RunContext) -> None:
    if context.should_stop():
        raise RunInterrupted("stopped; finished work is kept: run the same command again to resume")
