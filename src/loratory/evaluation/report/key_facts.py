"""What the result means, in words for a reader who does not know the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.table_cells import (
    format_bytes,
    format_confidence,
    format_milliseconds,
    format_seconds,
)

SCORE_NAMES: Mapping[str, str] = {"macro_f1": "macro-F1", "f2": "F2"}


@dataclass(frozen=True)
class KeyFact:
    """A number of the recommended contender, and the sentences that explain it."""

    title: str
    value: str
    sentences: Sequence[str]
    tone: str = ""  # "good", "bad", or nothing
    term: str = ""  # of the glossary


def name_score(score: str) -> str:
    """`macro-F1` for macro_f1, `strict F1` for strict_f1, `accuracy` for accuracy."""
    return SCORE_NAMES.get(score) or score.replace("_f1", " F1").replace("_", " ")


def build_key_facts(ladder: Mapping[str, Any], recommended: Mapping[str, Any] | None) -> list[KeyFact]:
    """The recommended contender, its score, what it costs, and the gate; empty where nothing was fitted."""
    if recommended is None:
        return []
    title = "best on validation" if ladder["verdict"]["case"] == "nothing-learnt" else "recommended"
    facts = [
        KeyFact(title, recommended["name"], [_describe_base(recommended)], term="contender"),
        _describe_score(ladder, recommended),
        _describe_speed(recommended),
        KeyFact(
            "training time",
            format_seconds(recommended["train_seconds"]),
            [f"The model needs {format_bytes(recommended['size_bytes'])} on disk."],
        ),
    ]
    return [*facts, _describe_gate(ladder["verdict"]["gate"])]


def _describe_base(row: Mapping[str, Any]) -> str:
    if row["base"] is None:
        return "It uses no language model."
    return (
        f"It is a fine-tuned language model (base: {row['base']})."
        if row["adapts"]
        else f"It uses the language model {row['base']} without fine-tuning it."
    )


def _describe_score(ladder: Mapping[str, Any], row: Mapping[str, Any]) -> KeyFact:
    headline, sure = ladder["headline"], format_confidence(ladder["evidence"]["confidence"])
    score = row["metrics"][headline]["shipped"]
    right = (
        f"It gives the right answer for {100 * score['value']:.0f} of 100 test examples."
        if headline == "accuracy"
        else f"Measured on {ladder['test']['examples']:,} test examples; 100% is perfect."
    )
    said = [
        right,
        f"With {sure} confidence, the true value is between {100 * score['low']:.1f}% and {100 * score['high']:.1f}%.",
    ]
    baseline = next((one for one in ladder["contenders"] if one["regime"] == "majority"), None)
    if baseline is not None and baseline["status"] == "fitted" and baseline["name"] != row["name"]:
        value = baseline["metrics"][headline]["shipped"]["value"]
        said.append(f"The most common answer every time would reach {100 * value:.1f}%.")
    return KeyFact(name_score(headline), f"{100 * score['value']:.1f}%", said, term="interval")


def _describe_speed(row: Mapping[str, Any]) -> KeyFact:
    times = row["latency_ms"]
    if not times.get("p50"):
        return KeyFact("time for one answer", "not measured", [])
    slow = f"95% of the answers take at most {format_milliseconds(times['p95'])} ms." if times.get("p95") else ""
    return KeyFact(
        "time for one answer",
        f"{format_milliseconds(times['p50'])} ms",
        [*([slow] if slow else []), "Measured on the computer of this run."],
        term="latency",
    )


def _describe_gate(gate: Mapping[str, Any] | None) -> KeyFact:
    if gate is None:
        return KeyFact("gate", "none", ["The spec requires no minimum quality."], term="gate")
    failed = sum(not check["holds"] for check in gate["checks"])
    count = len(gate["checks"])
    if gate["holds"]:
        many = "Both" if count == 2 else f"All {count}"
        said = (
            "The requirement of the spec is proven." if count == 1 else f"{many} requirements of the spec are proven."
        )
        return KeyFact("gate", "passes", [said], "good", "gate")
    said = f"{failed} of {count} requirements {'is' if failed == 1 else 'are'} not proven. See below."
    return KeyFact("gate", "fails", [said], "bad", "gate")
