"""The quality report: what the data holds, what is wrong with it, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loratory.data.dataset import Parts
from loratory.data.offset_detection import inspect_offsets
from loratory.data.quality.encoding_errors import find_encoding_error
from loratory.data.quality.label_errors import LabelErrors, describe_label_errors
from loratory.data.quality.quality_warnings import collect_quality_warnings
from loratory.data.splitting.groups import DuplicatePairs
from loratory.data.splitting.overlaps import (
    MAX_SHOWN_EXAMPLES,
    find_label_conflicts,
    find_leaked_test_examples,
    find_leaks,
    summarise_leaks,
)
from loratory.protocols import Labelled


def inspect_data(
    parts: Parts,
    pairs: DuplicatePairs,
    token_counts: Mapping[str, Sequence[int]] | None = None,
    max_tokens: int | None = None,
    label_errors: LabelErrors | None = None,
) -> dict[str, Any]:
    """The report as JSON. `lengths`: tokens of each part's texts, `limit`: the most the base reads, both when known.

    Of duplicates, `exact` counts the later copies of a text, `near` the texts that have a near-duplicate. `suspects`
    None means that nobody looked. Lengths are in characters, words (at white space) and tokens.
    """
    texts = {name: examples.texts for name, examples in parts.items()}
    leaks = find_leaks(parts, pairs)
    report: dict[str, Any] = {
        "counts": {name: len(examples) for name, examples in parts.items()},
        "groups": _report_groups(parts),
        "labels": _report_labels(parts),
        "lengths": {
            "characters": {
                name: _compute_percentiles([len(text) for text in inside]) for name, inside in texts.items()
            },
            "words": {
                name: _compute_percentiles([len(text.split()) for text in inside]) for name, inside in texts.items()
            },
            "tokens": {name: _compute_percentiles(inside) for name, inside in (token_counts or {}).items()},
        },
        "truncated": _report_truncation(parts, token_counts, max_tokens),
        "empty": _report_empty_texts(parts, texts),
        "damage": _report_encoding_errors(parts, texts),
        "offsets": inspect_offsets(parts.task, (example for _, examples in parts.items() for example in examples)),
        "duplicates": {
            "exact": len(pairs.exact),
            "near": len({origin for one, other, _ in pairs.near for origin in (one, other)}),
            "exact_examples": [list(pair) for pair in pairs.exact[:MAX_SHOWN_EXAMPLES]],
            "near_examples": [list(pair) for pair in pairs.near[:MAX_SHOWN_EXAMPLES]],
        },
        "conflicts": find_label_conflicts(parts),
        "overlaps": summarise_leaks(parts, leaks),
        "leaked_test": find_leaked_test_examples(parts, leaks),
        "suspects": _report_label_errors(label_errors),
        "languages": None,
        "base": None,
    }
    return {**report, "warnings": collect_quality_warnings(report)}


def add_languages(report: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The report with what `languages.inspect_languages` found, and its warnings."""
    whole = {**report, "languages": found}
    return {**whole, "warnings": collect_quality_warnings(whole)}


def format_quality_lines(report: Mapping[str, Any]) -> list[str]:
    """The report for the screen, plain text."""
    counts, groups, found = report["counts"], report["groups"], report["duplicates"]
    each = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    shown = [
        f"examples     {sum(counts.values()):,}: {each}",
        f"groups       {groups['count']:,}, the largest has {groups['largest']['examples']}",
        *_format_label_lines(report["labels"]),
        *_format_length_lines(report),
        f"duplicates   {found['exact']:,} exact copies, {found['near']:,} texts with a near-duplicate"
        + ("" if report["overlaps"] else " (none in two parts)"),
        f"conflicts    {report['conflicts']['count']:,} texts with two labels",
    ]
    shown += [
        f"leakage      {one['exact']:,} exact, {one['near']:,} near from {one['parts'][0]} to {one['parts'][1]} "
        f"({one['share']:.1%} of it)"
        for one in report["overlaps"]
    ]
    if report.get("languages"):
        shown.append(f"languages    {_format_languages(report['languages'])}")
    if report.get("base"):
        shown.append(f"base         {_format_base(report['base'])}")
    if report["damage"]["count"]:
        first = report["damage"]["examples"][0]["origin"]
        shown.append(f"encoding     {report['damage']['count']:,} damaged texts, first {first}")
    if offsets := report.get("offsets"):
        inside, white = offsets["inside"]["count"], offsets["white"]["count"]
        shown.append(
            f"spans        {offsets['spans']:,}, offsets in {offsets['reading']}; {inside:,} of {offsets['ends']:,} "
            f"ends inside words, {white:,} spans with white space at an end"
        )
    if report["suspects"] is not None:
        shown.append(f"suspected    {describe_label_errors(report['suspects'])}")
    for warning in report["warnings"][:6]:
        shown += [f"! {warning['what']}", f"    {warning['do']}"]
    more = len(report["warnings"]) - 6
    return shown + ([f"! {more} more warnings are in quality.json"] if more > 0 else [])


def _format_languages(found: Mapping[str, Any]) -> str:
    spoken = ", ".join(f"{one['language']} {one['share']:.0%}" for one in found["found"]) or "none is recognised"
    written = {base: judged for base, judged in found["bases"].items() if judged["languages"]}
    each = (f"{base} was written for {_format_base_languages(judged)}" for base, judged in written.items())
    return "; ".join([spoken, *each])


def _format_base(found: Mapping[str, Any]) -> str:
    asked = ", ".join(f"{one['asks_for']} ({one['about']})" for one in found["findings"] if one["asks_for"])
    better = f"; try base: {found['suggested']}" if found["suggested"] else ""
    return f"the texts ask for {asked}{better}; evidence: loratory bases suggest SPEC"


def _format_base_languages(base_report: Mapping[str, Any]) -> str:
    return "many" if base_report["multilingual"] else " and ".join(base_report["languages"][:3])


def _report_label_errors(found: LabelErrors | None) -> dict[str, Any] | None:
    """What was found, and how good the model is that found it; nothing is listed of a model that knows too little."""
    if found is None:
        return None
    listed = [asdict(one) for one in found.suspects] if found.is_useful else []
    about = {"out_of_fold_accuracy": found.accuracy, "majority": found.majority, "useful": found.is_useful}
    return {"count": len(listed), **about, "examples": listed}


def _format_label_lines(labels: Mapping[str, Any]) -> list[str]:
    if not labels:
        return []
    (most, many), (least, few) = labels["largest"], labels["smallest"]
    return [f"labels       {labels['count']}; in train from {few:,} ({least}) to {many:,} ({most})"]


def _format_length_lines(report: Mapping[str, Any]) -> list[str]:
    shown = []
    for unit, parts in report["lengths"].items():
        if "train" in parts:
            one = parts["train"]
            shown.append(f"{unit:<12} median {one['p50']:,}, 95 % up to {one['p95']:,}, longest {one['most']:,}")
    cut = report["truncated"]
    if cut:
        many = sum(cut["examples"].values())
        shown.append(f"cut          {many:,} texts are longer than the base's {cut['limit']:,} tokens")
    return shown


def _report_groups(parts: Parts) -> dict[str, Any]:
    sizes = Counter(name for _, examples in parts.items() for name in examples.groups)
    name, size = min(sizes.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    return {"count": len(sizes), "largest": {"name": name, "examples": size}}


def _report_labels(parts: Parts) -> dict[str, Any]:
    """Counts per label and part; `ratio` is the largest label's count over the smallest's, in train."""
    task = parts.task
    if not isinstance(task, Labelled):
        return {}
    counted = {name: Counter(examples.labels) for name, examples in parts.items()}
    names = task.labels or sorted(set().union(*counted.values()))
    order = sorted(names, key=lambda label: (-counted["train"][label], label))
    largest, smallest = ((label, counted["train"][label]) for label in (order[0], order[-1]))
    return {
        "count": len(names),
        "largest": list(largest),
        "smallest": list(smallest),
        "ratio": largest[1] / smallest[1] if smallest[1] else None,
        "per_part": {label: {name: counts[label] for name, counts in counted.items()} for label in names},
    }


def _compute_percentiles(values: Sequence[int]) -> dict[str, int]:
    """Percentiles by nearest rank."""
    order = sorted(values)
    if not order:
        return {}
    ranks = {f"p{share}": order[max(0, -(-share * len(order) // 100) - 1)] for share in (5, 50, 95, 99)}
    return {"least": order[0], **ranks, "most": order[-1]}


def _report_truncation(
    parts: Parts, token_counts: Mapping[str, Sequence[int]] | None, max_tokens: int | None
) -> dict[str, Any] | None:
    if token_counts is None or max_tokens is None:
        return None
    long = {
        name: [
            example.origin for example, count in zip(getattr(parts, name), counts, strict=True) if count > max_tokens
        ]
        for name, counts in token_counts.items()
    }
    return {
        "limit": max_tokens,
        "examples": {name: len(origins) for name, origins in long.items()},
        "share": {name: len(origins) / max(1, len(token_counts[name])) for name, origins in long.items()},
        "origins": [origin for origins in long.values() for origin in origins][:MAX_SHOWN_EXAMPLES],
    }


def _report_empty_texts(parts: Parts, texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Texts without one letter or digit; wholly empty ones are refused before."""
    origins = [
        example.origin
        for name, examples in parts.items()
        for example, text in zip(examples, texts[name], strict=True)
        if not any(map(str.isalnum, text))
    ]
    return {"count": len(origins), "origins": origins[:MAX_SHOWN_EXAMPLES]}


def _report_encoding_errors(parts: Parts, texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    found = [
        {"origin": example.origin, "kind": kind, "text": text[:120]}
        for name, examples in parts.items()
        for example, text in zip(examples, texts[name], strict=True)
        if (kind := find_encoding_error(text)) is not None
    ]
    return {
        "count": len(found),
        "kinds": dict(Counter(one["kind"] for one in found)),
        "examples": found[:MAX_SHOWN_EXAMPLES],
    }
