"""A certificate in a few lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summarise_certificate(values: Mapping[str, Any]) -> list[str]:
    """How near the form is, what it costs, and by what it was decided."""
    measured, goldens = values["measured"], values["goldens"]
    agreement, latency = measured["label_agreement"], measured["latency_ms"]
    parts = [f"certified {values['tolerance_class']} on {goldens['count']} goldens"]
    if measured["max_dp"] is not None:
        parts.append(f"max |dp| {measured['max_dp']:.1e}")
    if agreement["of"]:
        parts.append(f"labels equal {agreement['equal']} of {agreement['of']}")
    if measured["batch_dp"] is not None:
        parts.append(f"batches {measured['batch_dp']:.0e}")
    parts.append(f"{latency['median']:.1f} ms a text")
    parts.append(f"{measured['bytes'] / 1e6:.1f} MB")
    lines = [", ".join(parts)]
    if (accuracy := measured["accuracy"]) is not None:
        lines.append(
            f"{accuracy['score']} {accuracy['difference']:+.4f} ({accuracy['low']:+.4f} to {accuracy['high']:+.4f}, "
            f"{accuracy['confidence']:.0%}) on {accuracy['rows']} test rows, margin {accuracy['margin']:g}"
        )
    return lines
