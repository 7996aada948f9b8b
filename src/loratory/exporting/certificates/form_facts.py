"""What a form says of itself beside what its reader was told: labels, temperature, window, operating point."""

from __future__ import annotations

from collections.abc import Mapping

from loratory.exporting.certificates.certificate import make_parity_error
from loratory.protocols import JSON
from loratory.protocols.exporters import ExportedModel, get_form_facts

STAGES: Mapping[str, str] = {  # where an answer goes wrong when a reader is told something else
    "max_tokens": "tokens",
    "long": "tokens",
    "row_overlap": "tokens",
    "pooling": "pooled",
    "head": "logits",
    "temperature": "probabilities",
    "labels": "labels",
    "task": "labels",
    "output_adapter": "answer",
    "operating_point": "answer",
    "scope": "logits",  # scale and bias of the head
    "has_span_rules": "answer",
}


def check_form_facts(model: ExportedModel, expected: Mapping[str, JSON], where: str) -> None:
    """Raise ParityError where the form's own files say something else than its reader is told."""
    labels = list(expected["labels"])
    if labels and model.output_names and list(model.output_names) != labels:
        raise make_parity_error("labels", "the form has other names of outputs, or another order of them", where)
    found = get_form_facts(model)
    for key, stage in STAGES.items():
        if key in found and key in expected and not _agree(found[key], expected[key]):
            raise make_parity_error(stage, f"{key} of the form is {found[key]!r}, expected {expected[key]!r}", where)


def _agree(found: JSON, expected: JSON) -> bool:
    """Equal, numbers to six digits: a scale may be read from float32."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, (int, float)) and isinstance(expected, (int, float)):
        return abs(found - expected) <= 1e-6 * max(1.0, abs(expected))
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(_agree(found[key], expected[key]) for key in found)
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(_agree, found, expected))
    return bool(found == expected)
