"""Which column of a file holds the text, and which the label: candidates with a score, best first.

The score adds what a column is called, where it stands and what it holds; nothing of it is learnt from one data set.
`loratory init` adds how well a TF-IDF model tells the values of a label from the text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from loratory.data.rows import Row
from loratory.protocols import JSON
from loratory.tasks.tag import is_span

INNER = 500  # keys of a column's objects from which they are content, and no columns
MAX_DISTINCT_SHARE = 0.25  # share of the rows that a label seldom has more values than
MAX_CLOSE_SCORE_GAP = 0.3  # two labels whose scores differ by less could both be meant
TEXT_WORDS: Mapping[str, float] = {
    **dict.fromkeys(("text", "message", "body", "utterance", "texto", "texte", "nachricht"), 1.0),
    **dict.fromkeys(("description", "content", "comment", "review", "sentence", "tweet", "complaint"), 0.8),
    **dict.fromkeys(("document", "question", "query", "input", "transcript", "post", "chat", "clause", "email"), 0.7),
    **dict.fromkeys(("headline", "abstract", "note", "prompt", "instruction", "passage", "receipt", "narrative"), 0.6),
    **dict.fromkeys(("title", "subject", "summary", "beschreibung"), 0.3),
}
NO_TEXT_WORDS = frozenset(("id", "url", "link", "date", "time", "path", "hash", "uuid", "answer", "response", "output"))
LABEL_WORDS: Mapping[str, float] = {
    **dict.fromkeys(("label", "labels", "etiqueta"), 1.5),
    **dict.fromkeys(("target", "class", "y"), 1.2),
    **dict.fromkeys(("category", "intent", "sentiment", "emotion", "kategorie", "klasse", "classe"), 1.0),
    **dict.fromkeys(("topic", "decision", "polarity", "stance", "verdict", "genre", "toxicity", "spam", "fraud"), 0.9),
    **dict.fromkeys(("tag", "type", "kind", "outcome", "department", "queue", "severity", "risk"), 0.7),
    **dict.fromkeys(("priority", "rating", "stars", "score", "urgency", "section", "subject", "status"), 0.5),
}
NO_LABEL_WORDS = frozenset(
    "id uuid hash url link path date time day month year timestamp created updated name user author annotator customer "
    "email phone gender sex age country city region state zip address language lang locale channel source platform "
    "device browser version split fold index row worker currency price amount quantity unnamed".split()
)
METADATA_NAMES = (
    "meta",
    "metadata",
    "info",
    "extra",
    "_meta",
    "options",
    "context",
    "contexts",
)  # objects that are no answers
ADDRESS_PATTERN = re.compile(r"\S+@\S+\.\S+|(https?|ftp)://\S*|www\.\S+")
DATE_PATTERN = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?[./-]\d\d?[./-]\d{2,4}([T ].*)?|\d\d?:\d\d(:\d\d)?")
WORD_PATTERN = re.compile(r"[^\W\d_]+|\d+")
CAMEL_CASE_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class ColumnCandidate:
    """A column that may be the text or the label; `path` may reach into an object."""

    path: str
    score: float
    distinct: int  # values it has in the rows that were looked at


def suggest_text_columns(rows: Sequence[Row], excluded: Sequence[str] = ()) -> list[ColumnCandidate]:
    """Columns of text that a task may read, best first."""
    found = []
    for path, values in _iterate_columns(rows, excluded):
        texts = [value for value in values if isinstance(value, str) and value.strip()]
        if (
            not texts
            or _compute_match_share(texts, ADDRESS_PATTERN) > 0.5
            or _compute_match_share(texts, DATE_PATTERN) > 0.5
        ):
            continue
        words = sum(len(text.split()) for text in texts) / len(texts)
        characters = sum(map(len, texts)) / len(texts)
        distinct = len(set(texts))
        score = (
            _score_column_name(path, TEXT_WORDS, NO_TEXT_WORDS)
            + min(1.2, math.log1p(max(words, characters / 6)) / 3)  # languages without spaces have no words to count
            + 0.4 * distinct / len(texts)
            - (1 - len(texts) / len(rows))
        )
        found.append(ColumnCandidate(path, score, distinct))
    return sorted(found, key=lambda one: -one.score)


def suggest_label_columns(rows: Sequence[Row], text: str | None, excluded: Sequence[str] = ()) -> list[ColumnCandidate]:
    """Columns of labels, best first: at least two values, each of them of several rows.

    Of two columns that say the same (a number and its name) only the names stay.
    """
    columns = list(_iterate_columns(rows, [*excluded, *([text] if text else [])]))
    found = []
    for place, (path, values) in enumerate(columns):
        score = _score_label_column(path, values, is_outermost=place in (0, len(columns) - 1))
        if score is not None:
            found.append((ColumnCandidate(path, score, len(_count_label_values(values))), values))
    kept = [one for one, values in found if not any(_is_better_duplicate(other, values, one) for other in found)]
    return sorted(kept, key=lambda one: -one.score)


def suggest_span_columns(rows: Sequence[Row], excluded: Sequence[str] = ()) -> list[ColumnCandidate]:
    """Columns of lists of spans ({start, end, ...} or [start, end, label]), the one with the most spans first."""
    found = []
    for path, values in _iterate_columns(rows, excluded):
        lists = [value for value in values if isinstance(value, list)]
        spans = [span for value in lists for span in value]
        if spans and len(lists) > len(values) / 2 and all(map(is_span, spans)):
            found.append(ColumnCandidate(path, float(len(spans)), len(spans)))
    return sorted(found, key=lambda one: -one.score)


def suggest_list_columns(rows: Sequence[Row], excluded: Sequence[str] = ()) -> list[ColumnCandidate]:
    """Columns of short lists of strings that recur, as several labels for a text do, the one with the fewest first."""
    found = []
    for path, values in _iterate_columns(rows, excluded):
        lists = [value for value in values if isinstance(value, list)]
        counts = Counter(one for value in lists for one in value if isinstance(one, str))
        plain = all(isinstance(one, str) for value in lists for one in value)
        if lists and plain and 2 <= len(counts) <= max(2, counts.total() // 2):
            found.append(ColumnCandidate(path, -float(len(counts)), len(counts)))
    return sorted(found, key=lambda one: -one.score)


def find_json_column(rows: Sequence[Row]) -> str | None:
    """The column that holds a JSON object in nearly every row, as an object or as text."""
    held: Counter[str] = Counter()
    for row in rows:
        held.update({key: isinstance(as_json(value), Mapping) for key, value in row.values.items()})
    for key in held:
        if held[key] >= 0.9 * len(rows) and key.casefold() not in METADATA_NAMES:
            return key
    return None


def as_json(value: JSON) -> JSON:
    """The object or list that a text is, or the value itself."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def find_close_candidates(candidates: Sequence[ColumnCandidate]) -> list[ColumnCandidate]:
    """The first of the candidates, and those that could be meant as well."""
    return [one for one in candidates if candidates[0].score - one.score < MAX_CLOSE_SCORE_GAP]


def add_model_gains(
    candidates: Sequence[ColumnCandidate], rows: int, measure_gain: Callable[[str], float]
) -> list[ColumnCandidate]:
    """The candidates, best first, with how much of what the commonest label gets wrong a model gets right, 0 to 1.

    Columns with more values than labels seldom have are not tried.
    """
    gains = [measure_gain(one.path) if one.distinct <= MAX_DISTINCT_SHARE * rows else 0.0 for one in candidates]
    gained = [replace(one, score=one.score + more) for one, more in zip(candidates, gains, strict=True)]
    return sorted(gained, key=lambda one: -one.score)


def _iterate_columns(rows: Sequence[Row], excluded: Sequence[str]) -> Iterator[tuple[str, list[JSON]]]:
    """Path and values of each column, objects looked into one level deep."""
    paths: dict[str, str] = {}  # path -> its column
    many: Counter[str] = Counter()  # paths of each column
    for row in rows:
        for key, value in row.values.items():
            inner = [f"{key}.{name}" for name in value] if isinstance(value, Mapping) else [key]
            for path in inner if many[key] <= INNER else ():
                many[key] += path not in paths
                paths.setdefault(path, key)
    for path, key in paths.items():
        if many[key] <= INNER and path not in excluded and path.partition(".")[0] not in excluded:
            yield path, [_get_value(row, path) for row in rows]


def _get_value(row: Row, path: str) -> JSON:
    if path in row.values:
        return row.values[path]
    key, _, name = path.partition(".")
    value = row.values.get(key)
    return value.get(name) if isinstance(value, Mapping) else None


def _unwrap_single_values(values: Sequence[JSON]) -> list[JSON]:
    """The values, with its only member in the place of a list of one."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def _count_label_values(values: Sequence[JSON]) -> Counter[str]:
    """The values that a label may have, and how often."""
    return Counter(
        str(value).strip() for value in _unwrap_single_values(values) if value is not None and str(value).strip()
    )


def _score_label_column(path: str, values: Sequence[JSON], is_outermost: bool) -> float | None:
    """How much a column looks like labels, None where it holds none."""
    single = _unwrap_single_values(values)
    if any(isinstance(value, (list, Mapping)) for value in single):
        return None
    if any(isinstance(value, float) and not value.is_integer() for value in single):
        return None
    counts = _count_label_values(values)
    many = counts.total()
    if not 2 <= len(counts) <= max(2, many // 2) or _compute_match_share(list(counts), ADDRESS_PATTERN) > 0.5:
        return None
    if _compute_match_share(list(counts), DATE_PATTERN) > 0.5:
        return None
    words = sum(len(value.split()) for value in counts) / len(counts)
    numbers = all(value.lstrip("-").replace(".", "", 1).isdigit() for value in counts)
    return (
        _score_column_name(path, LABEL_WORDS, NO_LABEL_WORDS)
        + (0.1 if is_outermost else 0.0)
        + (0.2 if len(counts) <= 50 else 0.0)
        - (0.5 if words > 5 else 0.0)
        - (0.4 if numbers and len(counts) > 10 else 0.1 if numbers else 0.0)
        - (0.4 if len(counts) > MAX_DISTINCT_SHARE * many else 0.0)
        - (0.3 if max(counts.values()) > 0.98 * many else 0.0)
        - (1 - many / len(values))
    )


def _score_column_name(path: str, good: Mapping[str, float], bad: frozenset[str]) -> float:
    """What a column's name tells: the best of its words, less where another word names something else."""
    words = [word.casefold() for word in WORD_PATTERN.findall(CAMEL_CASE_BOUNDARY.sub(" ", path))]
    score = max((good.get(word, 0.0) for word in words), default=0.0)
    others = [word for word in words if word in bad]
    if not others:
        return score if len(words) == 1 else 0.9 * score
    return score / 2 if words[-1] in good else -0.6


def _is_better_duplicate(
    other: tuple[ColumnCandidate, Sequence[JSON]], values: Sequence[JSON], one: ColumnCandidate
) -> bool:
    """Whether another column has the same values by other names, and is the better one to show."""
    candidate, theirs = other
    if candidate.path == one.path or candidate.distinct != one.distinct:
        return False
    pairs = {(str(a), str(b)) for a, b in zip(values, theirs, strict=True)}
    if len(pairs) != one.distinct:
        return False
    digits = [all(str(value).strip().isdigit() for value in column) for column in (values, theirs)]
    if digits[0] != digits[1]:
        return digits[0]
    return (candidate.score, one.path) > (one.score, candidate.path)


def _compute_match_share(texts: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(text.strip()) is not None for text in texts) / max(1, len(texts))
