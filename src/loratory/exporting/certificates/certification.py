"""An exported folder is measured before it takes its name: what passes gets a certificate, the rest is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loratory.exporting.certificates.accuracy import AccuracyEvidence, AccuracyMeasurement
from loratory.exporting.certificates.certificate import (
    CERTIFICATE_FILE,
    Certificate,
    describe_runtime,
    list_files,
    make_parity_error,
    seal_certificate,
)
from loratory.exporting.certificates.form_facts import check_form_facts
from loratory.exporting.certificates.goldens import GOLDENS_FILE, GoldenSet
from loratory.exporting.certificates.measurement import Divergence, find_divergence, measure_form
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.exporting.certificates.tokenizer_files import check_tokenizer_files
from loratory.exporting.certificates.tolerances import MAX_MARGIN, get_tolerances
from loratory.exporting.certificates.uncalibrated import strip_operating_point
from loratory.protocols import JSON
from loratory.protocols.exporters import (
    WRITER,
    ExportedModel,
    Exporter,
    ToleranceClass,
    get_form_facts,
    get_tolerance_class,
)


@dataclass(frozen=True)
class Reference:
    """What a form of a fit is compared with."""

    model: ModelFacts
    fit: Mapping[str, JSON]  # contender, regime, seed, identity, base
    goldens: GoldenSet
    evidence: AccuracyEvidence | None = None  # rows of the test split; None where there are none


FORM_KEYS = ("files", "max_batch")  # what a form alone knows; all else that it says has to be what the fit says


def certify_folder(
    folder: Path, format: str, exporter: Exporter[Any], reference: Reference, exact_member: str | None = None
) -> Certificate | None:
    """Write goldens.jsonl and certificate.json into a staged folder; None for an exporter that writes no model.

    `exact_member`: the digest of the certificate of the form that this one rounds. Raises ParityError where it is not
    the fit, ArtifactError where it does not answer by itself; whoever stages the folder then removes it.
    """
    kind = get_tolerance_class(exporter, reference.model.head, reference.model.quantised_base)
    if kind is None:
        return None
    model = exporter.open(folder)
    if not exporter.applies_temperature:
        plain, goldens = strip_operating_point(reference.model, reference.goldens)
        reference = replace(reference, model=plain, goldens=goldens)
    facts = _merge_facts(model, reference.model, format)
    check_tokenizer_files(folder, facts, reference.goldens.goldens, format)
    measured = measure_form(model, reference.goldens, facts.get("max_batch"))
    limits = get_tolerances(kind, reference.model.head)
    if (found := find_divergence(measured, limits)) is not None:
        raise make_parity_error(found.stage, found.problem, format, remedy=NOT_WRITTEN)
    accuracy = _weigh_evidence(kind, reference, model)
    (folder / GOLDENS_FILE).write_text(reference.goldens.to_text(), encoding="utf-8")
    files = list_files(folder)
    values = {
        "format": format,
        "tolerance_class": kind,
        "model": facts,
        "fit": dict(reference.fit),
        "runtime": describe_runtime(model),
        "files": files,
        "goldens": _describe_goldens(reference.goldens, files[GOLDENS_FILE]),
        "measured": {
            **measured.to_dict(),
            "accuracy": None if accuracy is None else accuracy.to_dict(),
            "bytes": sum((folder / name).stat().st_size for name in files if name != GOLDENS_FILE),
        },
        "chain": {"exact_member": exact_member},
        "tolerances": limits.to_dict(),
        "passed": True,
        "stage": None,
    }
    made = seal_certificate(values)
    (folder / CERTIFICATE_FILE).write_text(made.to_text(), encoding="utf-8")
    return made


def _merge_facts(model: ExportedModel, fit: ModelFacts, format: str) -> dict[str, Any]:
    """What the fit says of itself, with what the form alone knows; raises ParityError where they do not agree."""
    own = get_form_facts(model)
    check_form_facts(model, fit.to_dict(), format)
    return {**fit.to_dict(), **{key: own[key] for key in FORM_KEYS if key in own}}


def _describe_goldens(goldens: GoldenSet, digest: str) -> dict[str, JSON]:
    count, batches = len(goldens.goldens), len(goldens.batches)
    return {"file": GOLDENS_FILE, "count": count, "batches": batches, "sha256": digest}


NOT_WRITTEN = (
    "nothing was written; where torch, transformers or onnxruntime were updated lately, try the versions before"
)


def _weigh_evidence(kind: ToleranceClass, reference: Reference, model: Any) -> AccuracyMeasurement | None:
    if kind == "exact" or reference.model.head == WRITER:
        return None
    if reference.evidence is None:
        if kind == "quantised":
            raise make_parity_error(
                "labels",
                "there are no test rows to show what rounding costs",
                "evidence",
                remedy="export it from its run's folder, where the test split lies",
            )
        return None
    measured = reference.evidence.measure(model)
    if kind == "quantised" and (found := _find_accuracy_loss(measured)) is not None:
        raise make_parity_error(found.stage, found.problem, "evidence", remedy=_suggest_margin(measured.needed_margin))
    return measured


def _suggest_margin(needed: float) -> str:
    if needed > MAX_MARGIN:
        return f"nothing was written; no margin up to {MAX_MARGIN:g} holds that: choose a form that rounds less"
    return (
        f"nothing was written; --margin {needed:.3f} accepts a loss of that size, and more test rows could show a "
        "smaller one"
    )


def _find_accuracy_loss(measured: AccuracyMeasurement) -> Divergence | None:
    margin = min(measured.margin, MAX_MARGIN)
    if measured.low >= -margin:
        return None
    return Divergence(
        "labels",
        f"{measured.score} may be {-measured.low:.3f} lower than the fit's ({measured.difference:+.4f}, "
        f"{measured.confidence:.0%} interval {measured.low:+.4f} to {measured.high:+.4f}, {measured.rows} test rows), "
        f"the margin is {margin:g}",
    )
