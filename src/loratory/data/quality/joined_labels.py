"""Labels that look like several labels in one, such as "billing|refund"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from loratory.errors import format_value

LABEL_SEPARATORS = ("|", "#", ";", ",", "+", "/", "&")
MIN_RECURRING_SHARE = 0.6  # share of the parts that stand in another label too, from which they are labels


def describe_joined_labels(labels: Collection[str]) -> str | None:
    """What to tell of labels whose parts, cut at one sign, are labels themselves or recur in others; else None."""
    for separator in LABEL_SEPARATORS:
        joined = [label for label in labels if separator in label.strip(separator)]
        if not joined:
            continue
        parts = {label: [part.strip() for part in label.split(separator) if part.strip()] for label in labels}
        holders = Counter(part for inside in parts.values() for part in set(inside))
        recurring = [holders[part] > 1 for label in joined for part in parts[label]]
        if sum(recurring) >= MIN_RECURRING_SHARE * len(recurring):
            return (
                f"labels such as {format_value(min(joined))} look like several labels in one ({len(joined)} of "
                f"{len(labels)}, "
                f"joined by {separator!r}); classify gives a text one label, so each combination is a label of its own"
            )
    return None
