"""What of a quality report a person should act on, and how."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loratory.data import offset_detection
from loratory.data.quality import languages
from loratory.data.quality.joined_labels import describe_joined_labels
from loratory.errors import MAX_TYPO_CHARACTERS

MIN_LABEL_EXAMPLES = 10  # train examples below which a label is hardly learnt
MAX_LABEL_RATIO = 10.0  # the largest label over the smallest
MAX_TRUNCATED_SHARE = 0.05  # share of texts that lose their end
MIN_TEST_EXAMPLES = 100  # test examples below which half a 95 % interval exceeds 5 to 10 points
MAX_GROUP_SHARE = 0.05  # share of all examples in one group


def collect_quality_warnings(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """{"kind", "what": what is wrong, "do": what to do}, the gravest first.

    The kind of a leak is "leak/EARLIER PART/LATER PART", that of all others "data".
    """
    meant = (*offset_detection.warn_of_offsets(report["offsets"]), *languages.warn_of_languages(report["languages"]))
    found = [
        *meant,
        *_warn_of_wrong_labels(report),
        *_warn_of_damaged_texts(report),
        *_warn_of_label_balance(report),
        *_warn_of_sizes(report),
    ]
    others = [{"kind": "data", "what": what, "do": what_to_do} for what, what_to_do in found]
    return [*map(_describe_leak, report["overlaps"]), *others]


def _describe_leak(overlap: Mapping[str, Any]) -> dict[str, str]:
    earlier, later = overlap["parts"]
    many = overlap["exact"] + overlap["near"]
    return {
        "kind": f"leak/{earlier}/{later}",
        "what": f"{many:,} examples of {later} ({overlap['share']:.1%}) are duplicates or near-duplicates of one in "
        f"{earlier}",
        "do": "a given file is never changed: remove them from it; in a split made here name a group column",
    }


def _warn_of_wrong_labels(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if report["conflicts"]["count"]:
        first = report["conflicts"]["examples"][0]
        places = ", ".join(f"{label} at {origins[0]}" for label, origins in list(first["labels"].items())[:2])
        yield (
            f"{report['conflicts']['count']:,} texts have two labels, first: {places}",
            "choose one label for each (see conflicts in quality.json)",
        )
    if report["suspects"] and report["suspects"]["count"]:
        first = report["suspects"]["examples"][0]
        yield (
            f"{report['suspects']['count']:,} labels of train look wrong to a cross-validated model with "
            f"accuracy {report['suspects']['out_of_fold_accuracy']:.0%}, first {first['origin']}: "
            f"{first['label']}, or {first['suggested']}?",
            "read the list (suspects in quality.json) and correct the file",
        )


def _warn_of_damaged_texts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if report["damage"]["count"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report["damage"]["kinds"].items())
        yield (
            f"damaged texts: {kinds}, first {report['damage']['examples'][0]['origin']}",
            "export the data again with the right encoding (see data: encoding)",
        )
    if report["empty"]["count"]:
        yield (
            f"{report['empty']['count']:,} texts hold no letter or digit, first {report['empty']['origins'][0]}",
            "remove them, or keep them if they are real input",
        )
    cut = report["truncated"]
    if cut and max(cut["share"].values(), default=0.0) > MAX_TRUNCATED_SHARE:
        yield (
            f"{max(cut['share'].values()):.0%} of the texts exceed the base's {cut['limit']:,} tokens",
            "their end is cut off: shorten them, or use a base with a longer limit",
        )


def _warn_of_label_balance(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    labels = report["labels"]
    if not labels:
        return
    unseen = {label: counts for label, counts in labels["per_part"].items() if not counts["train"]}
    asked = sum(sum(counts.values()) for counts in unseen.values())
    if unseen:
        known = [label for label in labels["per_part"] if label not in unseen]
        listed = ", ".join(f"{label}{_suggest_similar_label(label, known)}" for label in list(unseen)[:5])
        yield (
            f"no example in train for {listed}{' and more' if len(unseen) > 5 else ''}"
            + (f": nobody can learn it, and {asked:,} examples of the other parts ask for it" if asked else ""),
            "add examples to train, correct the label, or remove it under task: labels:",
        )
    if joined := describe_joined_labels(labels["per_part"]):
        yield joined, "where a text has several labels, make one task for each of them, or keep its main one"
    few = [label for label, counts in labels["per_part"].items() if 0 < counts["train"] < MIN_LABEL_EXAMPLES]
    if few:
        yield (
            f"{len(few)} labels have fewer than {MIN_LABEL_EXAMPLES} examples in train: {', '.join(few[:5])}",
            "add examples of them, or merge them into others",
        )
    for part in ("validation", "calibration", "test"):
        missing = [label for label, counts in labels["per_part"].items() if not counts[part] and counts["train"]]
        if missing and report["counts"][part]:
            yield (
                f"{len(missing)} labels have no example in {part}: {', '.join(missing[:5])}",
                f"they cannot be measured there: add examples, or raise the share of {part}",
            )
    if labels["ratio"] and labels["ratio"] > MAX_LABEL_RATIO:
        yield (
            f"the largest label has {labels['ratio']:.0f} times the examples of the smallest",
            "use macro_f1 (task: headline: macro_f1), and try class weights",
        )


def _suggest_similar_label(label: str, known: Sequence[str]) -> str:
    """A label that train has and that looks like a slip of the pen."""
    if len(label) > MAX_TYPO_CHARACTERS:
        return ""
    close = difflib.get_close_matches(
        label.casefold(), [overlap.casefold() for overlap in known if len(overlap) <= MAX_TYPO_CHARACTERS], 1, 0.85
    )
    return f" (train has {next(one for one in known if one.casefold() == close[0])!r})" if close else ""


def _warn_of_sizes(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if report["counts"]["test"] < MIN_TEST_EXAMPLES:
        yield (
            f"the test set has {report['counts']['test']} examples, so its scores are uncertain by many points",
            "add examples, or raise data: split: test",
        )
    group, total = report["groups"]["largest"], sum(report["counts"].values())
    if group["examples"] > max(MAX_GROUP_SHARE * total, 2):
        yield (
            f"one group ({group['name']}) holds {group['examples']:,} of {total:,} examples",
            "a group stays in one part: use a finer group column, or raise data: near_duplicates",
        )
