"""What every exporter promises, as a check that a package of your own can call; AssertionError says what is broken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from loratory.artifacts.manifests import open_artifact, verify_artifact
from loratory.errors import LoratoryError
from loratory.exporting.export_target import EXPORT_KIND, StagedTarget, describe_export
from loratory.protocols.exporters import ExportedModel, Exporter, StageOutputs, ToleranceClass
from loratory.specs.option_parsing import verify_options

PROBE_TEXTS = ("a text", "another, that is somewhat longer than the first one", "")
MAX_DIFFERENCE = 1e-5  # of probabilities, of a text alone and beside others


def verify_exporter(
    exporter: Exporter[Any],
    fit: Path,
    output: Path,
    options: Mapping[str, Any] | None = None,
    exact_member: Path | None = None,
) -> bool:
    """Export a fit twice to `output` and open what was written; returns whether the exporter suits the fit.

    `exact_member` is a folder of its `exact_form`, where it names one. Raises AssertionError with what is broken.
    """
    assert exporter.tolerance_class in (None, *get_args(ToleranceClass)), "the tolerance class is none that there is"
    assert exporter.summary, "the summary is empty"
    assert "\n" not in exporter.summary, "the summary has more than one line"
    verify_options(exporter.Options)
    artifact = open_artifact(fit)
    problem = exporter.check_support(artifact)
    if problem is not None:
        assert isinstance(problem, LoratoryError), "check_support returns an error of loratory.errors"
        assert problem.remedy or problem.allowed, "a refusal says what would mend it: remedy, or allowed"
        return False
    before = verify_artifact(fit)
    for _ in range(2):  # the same command writes over its own
        target = StagedTarget(output, describe_export(artifact, fit, "contract"), exact_member=exact_member)
        notes = exporter.export(artifact, target, exporter.Options.model_validate(options or {}))
        assert all(isinstance(note, str) and note for note in notes), "export returns a list of lines"
        assert target.folders, "nothing was staged: use target.stage()"
    assert verify_artifact(fit) == before, "the fit was changed"
    assert any([_verify_folder(exporter, folder) for folder in target.folders]), "no folder answers by itself"
    return True


def _verify_folder(exporter: Exporter[Any], folder: Path) -> bool:
    assert verify_artifact(folder)["kind"] == EXPORT_KIND, "the manifest says another kind"
    try:
        model = exporter.open(folder)
    except LoratoryError:
        return False  # a part that does not answer by itself
    verify_exported_model(model)
    return True


def verify_exported_model(model: ExportedModel) -> None:
    """Answers in order, the same alone and together, of shapes that fit each other; raises AssertionError."""
    together = model.run_stages(PROBE_TEXTS)
    assert len(together) == len(PROBE_TEXTS), "there are not as many outputs as texts"
    assert model.run_stages([]) == [], "no text gives no output"
    for text, one in zip(PROBE_TEXTS, together, strict=True):
        _verify_stages(one, model.output_names)
        (alone,) = model.run_stages([text])
        assert alone.tokens == one.tokens, f"alone {text!r} has other tokens"
        if one.probabilities is not None:
            assert alone.probabilities is not None, f"alone {text!r} has no probabilities"
            far = float(np.abs(alone.probabilities - one.probabilities).max())
            assert far <= MAX_DIFFERENCE, f"alone {text!r} has other probabilities: {far:.2g} apart"


def _verify_stages(one: StageOutputs, names: tuple[str, ...]) -> None:
    stages = (one.tokens, one.states, one.logits, one.probabilities)
    assert any(stage is not None for stage in stages), "a form shows one stage at least"
    if one.states is not None and one.tokens is not None:
        assert len(one.states) == len(one.tokens), "there are not as many states as tokens"
    if one.logits is not None and names:
        assert one.logits.shape[-1] == len(names), "there are not as many logits as names of outputs"
    if one.probabilities is not None:
        assert bool(np.all(np.abs(one.probabilities.sum(-1) - 1) <= MAX_DIFFERENCE)), "probabilities do not sum to 1"
        assert one.logits is None or one.logits.shape == one.probabilities.shape, "shapes differ"
