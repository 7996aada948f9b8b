"""Tables with a word in each row: its text, its tag, and the sentence that it belongs to (as many NER sets on Kaggle).

The sentence is named in each of its rows, or in the first one alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from loratory.data.readers.annotations.conversion import ConvertedExport
from loratory.data.rows import Row
from loratory.protocols import JSON
from loratory.tasks.tag_notations import detect_notation

WORD_COLUMNS = ("word", "words", "token", "tokens")
SENTENCE_WORDS = (
    "sentence",
    "sent",
    "sequence",
    "doc",
    "document",
    "text",
)  # in the name of the column that tells them apart
MAX_WORDS_PER_CELL = 1.5  # words of a cell on average, where each holds one


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """A row of `tokens` and `tags` for each sentence; None where the table is none of words."""
    names = list(rows[0].values)
    word = next((name for name in names if name.casefold().strip() in WORD_COLUMNS and _are_words(rows, name)), None)
    sentence = next((name for name in names if name != word and _is_sentence_column(rows, name)), None)
    tags = next((name for name in reversed(names) if name not in (word, sentence) and _are_tags(rows, name)), None)
    if word is None or sentence is None or tags is None:
        return None
    groups: list[list[Row]] = []
    last: JSON = None
    for row in rows:
        told = row.values.get(sentence)
        if not groups or (not _is_empty(told) and told != last):
            groups.append([])
            last = told
        groups[-1].append(row)
    made = [replace(group[0], values=_build_values(group, word, tags)) for group in groups]
    file = rows[0].file
    unread = [name for name in names if name not in (word, sentence, tags)]
    said = [f"{file}: read as words in rows ({word!r}, {tags!r}), a text for each {sentence!r}"]
    said += [f"{file}: columns that are not read: {', '.join(map(repr, unread))}"] if unread else []
    return ConvertedExport(made, said, ("tags",))


def _build_values(group: Sequence[Row], word: str, tags: str) -> dict[str, JSON]:
    return {
        "tokens": [str(row.values.get(word)) for row in group],
        "tags": [str(row.values.get(tags)) for row in group],
    }


def _is_empty(value: JSON) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _are_words(rows: Sequence[Row], name: str) -> bool:
    values = [row.values.get(name) for row in rows]
    plain = [value for value in values if isinstance(value, str) and value.strip()]
    return len(plain) >= 0.98 * len(rows) and sum(len(value.split()) for value in plain) <= MAX_WORDS_PER_CELL * len(
        plain
    )


def _is_sentence_column(rows: Sequence[Row], name: str) -> bool:
    """Whether values come in runs, or stand in the first row of a run alone."""
    if not any(word in name.casefold() for word in SENTENCE_WORDS):
        return False
    values = [row.values.get(name) for row in rows]
    told = [value for value in values if not _is_empty(value)]
    if any(isinstance(value, (list, dict)) for value in told) or _is_empty(values[0]):
        return False
    runs: int = 1 + sum(one != other for one, other in pairwise(told))
    return 1 < runs < len(rows)


def _are_tags(rows: Sequence[Row], name: str) -> bool:
    values = [row.values.get(name) for row in rows]
    tags = Counter(value for value in values if isinstance(value, str))
    scheme = detect_notation(tags)
    return tags.total() == len(rows) and scheme is not None and scheme.separator != ""
