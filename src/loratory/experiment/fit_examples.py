"""One contender fitted to examples that are held in memory: no test set, no ladder, no report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loratory.data.dataset import Dataset
from loratory.data.splitting.groups import group_examples
from loratory.data.splitting.splits import split_examples
from loratory.experiment.events import catch_interrupts
from loratory.experiment.prepare import PreparedSplit
from loratory.experiment.run_context import RunContext
from loratory.experiment.steps import fit, preflight
from loratory.protocols.events import EventListener
from loratory.specs.spec import MAJORITY, Spec
from loratory.threads import set_torch_threads


def fit_examples(spec: Spec, examples: Dataset, folder: Path, on_event: EventListener) -> Path:
    """Fit the spec's one contender (beside the majority) to the examples; returns the fit that is best on validation.

    The spec's share of the examples is kept as the validation set, near-duplicates on one side. Raises LoratoryError.
    """
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool

    (contender,) = (one for one in spec.ladder if one.regime != MAJORITY or len(spec.ladder) == 1)
    spec = replace(spec, ladder=(contender,))
    ladder = preflight.check_ladder(spec)
    prepared = _split(spec, examples)
    preflight.check_fits(spec, prepared, ladder)
    set_torch_threads(spec.training.threads)
    device = preflight.choose_device()
    with catch_interrupts() as stopping:
        context = RunContext(
            spec,
            prepared,
            folder / "contenders",
            TorchBackbonePool(device, short_attention=spec.training.attention == "short"),
            ActivationCache(run_locally),
            on_event,
            stopping,
            spec.training,
            device,
            ladder.bases,
        )
        fitted = fit.fit_contender(context, contender)
    return fitted.folders[fitted.shipped_seed]


def _split(spec: Spec, examples: Dataset) -> PreparedSplit:
    """Train and validation; the test set is empty. Raises DataError where there are too few examples."""
    found = group_examples(examples, examples.texts, spec.data.near_duplicates)
    grouped = examples.with_groups(found.groups)
    parts = split_examples(grouped, spec.data.split, test=())
    return PreparedSplit(spec.task, parts, {}, {"messages": []}, ())
